"""Export: a checkpoint or a model file goes in; a calibrated, checked and evaluated model file comes out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch

from oamface.atomic import check_output
from oamface.datasets.store import Store
from oamface.errors import DataError, ModelError, OptionError
from oamface.evaluation.conditions import apply_condition, select_rows
from oamface.evaluation.model_file import evaluate
from oamface.export.calibration import CALIBRATION_CONDITIONS, Progress, calibrate
from oamface.export.int8 import quantise
from oamface.export.model_card import terms_of_use
from oamface.export.onnx import TOLERANCE, describe, trace, write_model
from oamface.export.openvino import convert
from oamface.labels import TASKS
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.models.onnx_import import is_model_file, read_metadata, read_model
from oamface.predictor import Predictor
from oamface.results import FloatArray
from oamface.runtime import OPENVINO, import_openvino
from oamface.training.checkpoint import history, load_network
from oamface.weights import weights_file

PRECISIONS = ("float16", "int8")
COMPARED_FACES = 64  # on which network and file must agree
INT8_FACES = 800  # of each data set and condition, from which the ranges of 8-bit activations are estimated
MAX_INT8_COST = {"age": 0.05, "gender": 0.003, "race": 0.003, "mask": 0.003}  # years of mae, shares of accuracy


def export(
    source: str | Path,
    stores: Sequence[Store],
    output: Path,
    *,
    precision: str = "float16",
    test_stores: Sequence[Store] = (),
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write a model file and return its description.

    source: a checkpoint, of which the EMA network is exported, or a model file in float16, which is calibrated anew.
    stores: their calibration split calibrates the file, their test split evaluates it, as does that of test_stores.
    output: .onnx, or .xml for OpenVINO (a .bin is written beside it); without stores a model file becomes an .xml file
    as it is. precision: "int8" quantises the backbone.
    Raises ModelError (source, predictions that differ from the network's, an accuracy cost above MAX_INT8_COST),
    DataError (too few faces), and what `check_export` raises.
    """
    check_export(source, stores, output, precision)
    if output.suffix == OPENVINO:
        if not stores:
            return convert(source, output)
        with TemporaryDirectory() as folder:
            calibrated = Path(folder) / "calibrated.onnx"
            export(source, stores, calibrated, test_stores=test_stores, on_progress=on_progress)
            return convert(calibrated, output)
    model, graph, description = _load(source)
    evaluated = [*stores, *test_stores]

    def show(done: int, total: int) -> None:
        on_progress("evaluate", done, total)

    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        predictor = _calibrate(draft, graph, description, stores, on_progress)
        if model is not None:
            _check_predictions(model, predictor, stores)
        figures = evaluate(predictor, evaluated, on_progress=show) if _has_test_faces(evaluated) else None
        if precision == "int8":
            if figures is None:
                raise DataError("int8 is compared with float16 on test faces, and the stores hold none")
            float16_figures = figures
            graph = quantise(graph, _calibration_images(predictor, stores))
            description["stored"] = precision
            figures = evaluate(_calibrate(draft, graph, description, stores, on_progress), evaluated, on_progress=show)
            description["quantisation"] = _int8_cost(float16_figures, figures)
    if figures is not None:
        del figures["model"]  # the digest of the draft
    description["figures"] = figures
    write_model(output, graph, description)
    return description


def check_export(source: str | Path, stores: Sequence[Store], output: Path, precision: str) -> None:
    """Check the arguments of `export` before its minutes of work; nothing is written.

    Raises OptionError (precision), ModelError (openvino missing), FileError (output), DataError (no stores).
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision {precision!r}: known are {', '.join(PRECISIONS)}")
    inputs = [weights_file(source), weights_file(source).with_suffix(".bin")]
    if output.suffix == OPENVINO:
        if precision != "float16":
            raise OptionError(f"{output}: a file for OpenVINO is exported in float16, not {precision}")
        for path in (output, output.with_suffix(".bin")):
            check_output(path, inputs=inputs)
        import_openvino()
        return
    check_output(output, inputs=inputs, suffixes=(".onnx", OPENVINO))
    if not stores:
        raise DataError("an .onnx file is calibrated and evaluated: name at least one --store")


def _load(source: str | Path) -> tuple[OamCnn | None, onnx.ModelProto, dict[str, Any]]:
    """The network of a checkpoint (None for a model file), its ONNX graph and its description."""
    if is_model_file(str(source)):
        graph, description = read_model(str(source))
        stored = description.setdefault("stored", "float16")
        if stored != "float16":
            raise ModelError(f"{source}: its weights are {stored}; export from a float16 file or a checkpoint")
        return None, graph, description
    model, progress = load_network(Path(source))
    size = progress["recipe"]["phases"][-1]["image_size"]
    description = describe(model, size, history(Path(source)))
    return model, trace(model, size), description | _fine_tuned_from(description["training"])


def _fine_tuned_from(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """{"fine_tuned_from": the model file that the last run started from, with its terms of use}; {} for other runs."""
    pretrained = runs[-1]["recipe"]["pretrained"]
    if not is_model_file(pretrained):
        return {}
    digest = hashlib.sha256(weights_file(pretrained).read_bytes()).hexdigest()
    terms = terms_of_use(read_metadata(pretrained)["training"])
    return {"fine_tuned_from": {"weights": Path(pretrained).name, "digest": digest, "terms": terms}}


def _has_test_faces(stores: Sequence[Store]) -> bool:
    return any("test" in store.splits for store in stores)


def _calibrate(
    draft: Path,
    graph: onnx.ModelProto,
    description: dict[str, Any],
    stores: Sequence[Store],
    on_progress: Progress,
) -> Predictor:
    """The graph as a calibrated predictor, written to `draft`; the description is updated."""
    start = _start(description)
    description.update(temperatures=dict.fromkeys(TASKS, 1.0), figures=None)
    write_model(draft, graph, description)
    description.pop("kept", None)  # of an earlier calibration
    description.update(calibrate(Predictor(draft), stores, on_progress, start=start))
    write_model(draft, graph, description)
    return Predictor(draft)


def _start(description: dict[str, Any]) -> dict[str, Any] | None:
    """The description of the model file that a network was fine-tuned from, None for others."""
    pretrained = description["training"][-1]["recipe"].get("pretrained", "")
    return read_metadata(pretrained) if is_model_file(pretrained) else None


def _check_predictions(model: OamCnn, predictor: Predictor, stores: Sequence[Store]) -> None:
    """Raises ModelError: the file's probabilities differ from the network's by more than TOLERANCE."""
    crops = [np.array(crop) for store in stores for crop in store.crops[: COMPARED_FACES // len(stores) + 1]]
    with torch.no_grad():
        outputs = model(preprocess_batch(crops, model.preprocessing, predictor.size))
    predictions = predictor.predict(crops)
    for task, temperature in predictor.description["temperatures"].items():
        expected = (outputs.logits[task] / temperature).softmax(1).numpy()
        difference = float(np.abs(expected - predictions.probabilities[task]).max())
        if difference > TOLERANCE:
            raise ModelError(f"the file's {task} probabilities differ by up to {difference:.3f} from the network's")


def _calibration_images(predictor: Predictor, stores: Sequence[Store]) -> FloatArray:
    """(N, 3, S, S) clean and occluded faces of the calibration split, as the network takes them."""
    crops = [
        apply_condition(store, row, condition).image
        for store in stores
        for condition in CALIBRATION_CONDITIONS
        for row in select_rows(store, "calibrate", condition)[:INT8_FACES]
    ]
    return predictor.preprocess(crops)


def _int8_cost(float16: dict[str, Any], int8: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Data set to task to how much worse int8 is, as a mean over conditions: years of mae, share of accuracy.

    float16, int8: figures as of `evaluate`. Raises ModelError: a cost above MAX_INT8_COST.
    """
    cost: dict[str, dict[str, float]] = {}
    for data_set, results in float16["data_sets"].items():
        for task in TASKS:
            metric, sign = ("mae", 1) if task == "age" else ("accuracy", -1)
            differences = [
                sign * (int8["data_sets"][data_set]["conditions"][condition][task][metric]["value"] - figure["value"])
                for condition, tasks in results["conditions"].items()
                if (figure := tasks.get(task, {}).get(metric))
            ]
            if differences:
                cost.setdefault(data_set, {})[task] = round(float(np.mean(differences)), 5)
    too_high = [
        f"{task} of {data_set}: {value:.4f}"
        for data_set, tasks in cost.items()
        for task, value in tasks.items()
        if value > MAX_INT8_COST[task]
    ]
    if too_high:
        raise ModelError(f"int8 costs more than {MAX_INT8_COST}: {'; '.join(too_high)}")
    return cost
