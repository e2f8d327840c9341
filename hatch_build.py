"""Brings ONNX Runtime's WebAssembly (MIT) from npm into the page's folder, so that the wheel carries it.

Without npm or a connection the package is built without it; its page then answers through the server alone.
"""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root, "src/oamface/server/static/vendor")
        mark = folder / "version.txt"
        if mark.exists() and mark.read_text() == PACKAGE:
            return
        npm = shutil.which("npm")
        if npm is None:
            self.app.display_warning("no npm here: the page will not answer in the browser itself")
            return
        with TemporaryDirectory() as scratch:
            try:
                call = [npm, "pack", PACKAGE, "--json", "--pack-destination", scratch]
                told = subprocess.run(call, check=True, capture_output=True, text=True, timeout=300, cwd=scratch)
                (packed,) = json.loads(told.stdout)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self.app.display_warning(f"{PACKAGE} cannot be had ({error}): the page will not answer in the browser")
                return
            if packed["integrity"] != INTEGRITY:
                raise RuntimeError(f"{PACKAGE} is not what it was: {packed['integrity']}")
            folder.mkdir(exist_ok=True)
            with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
                for name in FILES:
                    member = archive.extractfile(f"package/dist/{name}")
                    assert member is not None
                    (folder / name).write_bytes(member.read())
        mark.write_text(PACKAGE)
