"""A model file in OpenVINO's own form: the same network, calibration and figures, for Intel's runtime."""

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

COMPARED = 16


def convert(source: str | Path, out: Path) -> dict[str, Any]:
    """Write `out` (.xml), and its weights beside it (.bin), from a model file (.onnx); return its description.

    Raises ModelError (source, `out` of another ending, openvino missing, a file that answers otherwise), FileError.
    """
    check_name(out)
    predictor, openvino = Predictor(source), import_openvino()
    with TemporaryDirectory() as folder:
        draft = Path(folder) / f"draft{OPENVINO}"
        model = openvino.Core().read_model(predictor.path)
        model.set_rt_info(json.dumps(predictor.description), [METADATA])
        openvino.save_model(model, draft, compress_to_fp16=True)
        one, other = (network.predict(_faces()).probabilities for network in (predictor, Predictor(draft)))
        away = max(float(np.abs(one[task] - other[task]).max()) for task in one)
        if away > TOLERANCE:
            raise ModelError(f"OpenVINO's answers are up to {away:.3f} off those of {predictor.path}; not written")
        for ending in (".bin", OPENVINO):  # the file that needs the other comes last
            write_bytes(out.with_suffix(ending), draft.with_suffix(ending).read_bytes())
    return predictor.description


def check_name(out: Path) -> None:
    """Raises ModelError: of another ending."""
    if out.suffix != OPENVINO:
        raise ModelError(f"{out}: a model for OpenVINO is two files, NAME{OPENVINO} and NAME.bin; name the first")


def _faces() -> list[RGBImage]:
    """Aligned faces to compare on: the package's synthetic person in many lights, some of them noisy."""
    crop, rng = person_crop().astype(np.float32), np.random.default_rng(0)
    gains = rng.uniform(0.4, 1.6, (COMPARED, 1, 1, 3))
    noise = rng.standard_normal((COMPARED, *crop.shape)) * np.linspace(0, 30, COMPARED)[:, None, None, None]
    return list(np.clip(crop * gains + noise, 0, 255).astype(np.uint8))
