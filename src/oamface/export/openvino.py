"""A model file as an OpenVINO model for Intel's runtime: same network, calibration and figures."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from oamface.atomic import write_bytes
from oamface.benchmark import person_crop
from oamface.errors import ModelError
from oamface.export.onnx import TOLERANCE
from oamface.images import RGBImage
from oamface.predictor import Predictor
from oamface.runtime import METADATA, OPENVINO, import_openvino

COMPARED_FACES = 16


def convert(source: str | Path, output: Path) -> dict[str, Any]:
    """Write an .xml file and its weights, a .bin file beside it, from an .onnx model file; return its description.

    Raises ModelError (source, openvino missing, predictions that differ), FileError.
    """
    predictor, openvino = Predictor(source), import_openvino()
    if predictor.description.get("stored") == "int8":
        raise ModelError(f"{predictor.path}: OpenVINO rounds 8 bits differently; convert a float16 file, such as oam")
    with TemporaryDirectory() as folder:
        draft = Path(folder) / f"draft{OPENVINO}"
        model = openvino.Core().read_model(predictor.path)
        model.set_rt_info(json.dumps(predictor.description), [METADATA])
        openvino.save_model(model, draft, compress_to_fp16=True)
        one, other = (network.predict(_test_faces()).probabilities for network in (predictor, Predictor(draft)))
        difference = max(float(np.abs(one[task] - other[task]).max()) for task in one)
        if difference > TOLERANCE:
            raise ModelError(f"OpenVINO's probabilities differ by up to {difference:.3f} from {predictor.path}'s")
        for suffix in (".bin", OPENVINO):  # the .xml comes last: it needs the other
            write_bytes(output.with_suffix(suffix), draft.with_suffix(suffix).read_bytes())
    return predictor.description


def _test_faces() -> list[RGBImage]:
    """Aligned faces to compare on: the package's synthetic person in different light, with more and more noise."""
    crop, rng = person_crop().astype(np.float32), np.random.default_rng(0)
    gains = rng.uniform(0.4, 1.6, (COMPARED_FACES, 1, 1, 3))
    strength = np.linspace(0, 30, COMPARED_FACES)[:, None, None, None]
    noise = rng.standard_normal((COMPARED_FACES, *crop.shape)) * strength
    return list(np.clip(crop * gains + noise, 0, 255).astype(np.uint8))
