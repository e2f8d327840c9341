"""What the page consists of: its files, the pipeline's constants, the networks. Served by `app`, or exported."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from oamface import age_thresholds, alignment, centerface, detection, face_detector, face_scanner, quality
from oamface.analyzer import LEAST_FACE
from oamface.atomic import make_folder, write_bytes
from oamface.centerface import centerface_model
from oamface.errors import ServeError
from oamface.face_detector import FaceDetector
from oamface.face_scanner import face_scanner_model
from oamface.predictor import FORMAT
from oamface.runtime import OPENVINO
from oamface.weights import WEIGHTS, terms, weights_file

STATIC = Path(str(files("oamface") / "server" / "static"))
SERVICE_WORKER = "service-worker.js"


@dataclass(frozen=True)
class File:
    """A file of the page. read: gives its content, of so many bytes (size), with this SHA-256. gzipped: compressed."""

    read: Callable[[], bytes] = field(repr=False)
    size: int
    sha256: str
    gzipped: Callable[[], bytes] | None = field(default=None, repr=False)

    @classmethod
    def by(cls, read: Callable[[], bytes], gzipped: Callable[[], bytes] | None = None) -> "File":
        content = read()
        return cls(read, len(content), hashlib.sha256(content).hexdigest(), gzipped)

    @classmethod
    def at(cls, path: Path) -> "File":
        """What is stored as .gz stands for what is compressed in it."""
        if path.suffix == ".gz":
            return cls.by(lambda: gzip.decompress(path.read_bytes()), path.read_bytes)
        return cls.by(path.read_bytes)

    @classmethod
    def of(cls, content: bytes) -> "File":
        return cls.by(lambda: content)

    def listed(self) -> dict[str, Any]:
        return {"bytes": self.size, "sha256": self.sha256}


class Site:
    """Everything that a browser needs. weights: the served model, a name or a file; others of ours are offered too.

    Raises ModelError: no such model.
    """

    def __init__(self, weights: str | Path) -> None:
        path = weights_file(weights)
        self.model = path.stem if path.suffix != OPENVINO else None  # that form is for OpenVINO only
        served = {} if self.model is None else {self.model: File.at(path)}
        own = {name: File.at(weights_file(name)) for name in WEIGHTS if name not in served}
        self.models = {**served, **own}
        self.detectors = {
            "centerface": File.by(centerface_model),
            "face_scanner": File.by(face_scanner_model),
        }

    @property
    def networks(self) -> dict[str, File]:
        """By name: NAME.onnx."""
        return {**self.models, **self.detectors}

    @cached_property
    def runtime(self) -> dict[str, tuple[str, File]]:
        """ONNX Runtime's WebAssembly by backend, and its path; empty where the package was built without."""
        binaries = {}
        for path in sorted(STATIC.glob("vendor/*.wasm.gz")):
            file = File.at(path)
            # Browsers keep it compiled for as long as they need not ask for it, so each version has its own path.
            name = f"vendor/{path.name.removesuffix('.wasm.gz')}.{file.sha256[:12]}.wasm"
            binaries["webgpu" if "jspi" in path.name else "wasm"] = (name, file)
        return binaries

    @cached_property
    def files(self) -> dict[str, File]:
        """By path, all but the networks and what lists them."""
        paths = [path for path in sorted(STATIC.rglob("*.*")) if path.is_file() and path.suffix not in (".gz", ".txt")]
        shell = {path.relative_to(STATIC).as_posix(): File.at(path) for path in paths}
        shell["constants.js"] = File.of(self._constants().encode())
        digests = {path: file.sha256 for path, file in shell.items() if path != SERVICE_WORKER}
        shell["files.js"] = File.of(f"self.FILES = {json.dumps(digests, indent=1)};\n".encode())
        return {**shell, **dict(self.runtime.values())}

    def index(self, models: dict[str, File], *, service: bool) -> bytes:
        """models/index.json; its form is the type `Index` in engine.js. service: whether there is one that analyzes."""
        content = {
            "service": service,
            "model": self.model,
            "models": {name: {**file.listed(), "terms": terms(name)} for name, file in models.items()},
            "detectors": {name: file.listed() for name, file in self.detectors.items()},
            "runtime": {backend: {"path": path, **file.listed()} for backend, (path, file) in self.runtime.items()},
        }
        return json.dumps(content, indent=1).encode()

    def export(self, folder: Path) -> None:
        """Write a site that needs no service, only a web server; of the models only the served one.

        Raises ServeError: the folder is not empty, or the model is for OpenVINO; FileError.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ServeError(f"{folder}: exists and is not an empty folder; name another one")
        models = {name: file for name, file in self.models.items() if name == self.model}
        if not models:
            raise ServeError("a browser cannot run models for OpenVINO; name one of ONNX with --weights")
        networks = {f"models/{name}.onnx": file for name, file in {**models, **self.detectors}.items()}
        index = {"models/index.json": File.of(self.index(models, service=False))}
        for path, file in {**self.files, **networks, **index}.items():
            make_folder((folder / path).parent)
            write_bytes(folder / path, file.read())

    def _constants(self) -> str:
        """constants.js: a JavaScript module of the pipeline's constants, so that the page computes as Python does."""
        values = {
            "THRESHOLD": signature(FaceDetector).parameters["threshold"].default,
            "LEAST_FACE": LEAST_FACE,
            "OPEN_WEIGHTS": [name for name in WEIGHTS if not terms(name)],
            "CELL": centerface.STRIDE,
            "FORMAT": FORMAT,
            "TEMPLATE": alignment.template(1).astype(float),
            "FIRST_THRESHOLD": age_thresholds.FIRST,
            "CURVES": quality.constants()["curves"],
            "WIDENING": quality.constants()["widening"],
        }
        for module in (alignment, detection, face_detector, face_scanner, quality):
            values |= {name: value for name, value in vars(module).items() if name.isupper() and name[0] != "_"}
        lines = {name: json.dumps(value, default=np.ndarray.tolist) for name, value in sorted(values.items())}
        return "".join(f"export const {name} = {value};\n" for name, value in lines.items())
