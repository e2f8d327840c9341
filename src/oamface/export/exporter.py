"""A finished run becomes a model file: traced, calibrated, checked against the network, measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from oamface.atomic import check_output
from oamface.datasets.store import UNDETECTED, Store
from oamface.errors import DataError, ModelError
from oamface.evaluation.conditions import CLEAN, CONDITIONS, Condition, rows_of, view
from oamface.evaluation.model import evaluate
from oamface.evaluation.predictions import TOGETHER
from oamface.export.calibration import LEVEL, fit_quantiles, fit_temperature, widened
from oamface.export.int8 import quantise
from oamface.export.onnx import TOLERANCE, describe, trace, write_model
from oamface.export.openvino import check_name, convert
from oamface.labels import MASKS, TASKS, members
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.models.onnx_import import is_model_file, read_model
from oamface.occlusion import STYLES
from oamface.predictor import Predictions, Predictor
from oamface.runtime import FloatArray, import_openvino
from oamface.training.checkpoint import history, load_network
from oamface.weights import weights_file

TRAINED = Condition(tuple(name for name, style in STYLES.items() if not style.held_out))
COMPARED = 64  # faces on which network and file have to agree
FORMS = {"onnx": "float16", "int8": "int8", "openvino": "float16"}  # what is written, and how its weights are stored
QUANTISED_ON = 800  # faces of each data set, bare and as many covered, from which the ranges of 8 bits are read
ALLOWED = {"share": 0.003, "years": 0.05}  # that 8 bits may cost, of accuracy and of mean absolute error


def export(
    source: Path,
    stores: Sequence[Store],
    out: Path,
    *,
    to: str = "onnx",
    also: Sequence[Store] = (),
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write a model file and return its description.

    source: a checkpoint, of which the averaged network is taken, or a model file in float16, to be calibrated anew.
    to: of FORMS; "int8" quantises the backbone and refuses what that may not cost (see ALLOWED); "openvino" writes an .xml
    and a .bin, and takes a model file as it is, calibration and figures included, when there are no stores.
    Temperatures and the age intervals' quantiles are fitted on the stores' calibration part, each face bare and covered
    with styles of training, and the quantiles of undetected faces (see `fit_undetected`) where the stores were prepared
    with such; else those may be of any age. The figures are those of the test part, and of that of the stores in
    `also`, which calibrate nothing. on_progress: what is being done, faces done, all.
    Raises ModelError (source, disk, a file that answers otherwise than the network, one that lost too much), DataError
    (no such faces).
    """
    check_export(str(source), stores, out, to)
    if to == "openvino":
        if not stores:
            return convert(source, out)
        with TemporaryDirectory() as folder:
            calibrated = Path(folder) / "calibrated.onnx"
            export(source, stores, calibrated, also=also, on_progress=on_progress)
            return convert(calibrated, out)
    model = None
    if is_model_file(str(source)):
        graph, description = read_model(str(source))
        if description.setdefault("stored", FORMS["onnx"]) != FORMS["onnx"]:
            raise ModelError(f"{source}: is stored in {description['stored']}; export from float16 or a checkpoint")
    else:
        model, progress = load_network(source)
        size = progress["recipe"]["stages"][-1]["size"]
        graph, description = trace(model, size), describe(model, size, history(source))
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        predictor = _calibrated(draft, graph, description, stores, on_progress)
        if model is not None:
            _compare(model, predictor, stores)
        measured = [*stores, *also]
        figures = evaluate(predictor, measured, on_progress=lambda done, total: on_progress("evaluate", done, total))
        if to == "int8":
            plain, images = figures, _images(predictor, stores)
            graph = quantise(graph, images)
            description["stored"] = FORMS[to]
            predictor = _calibrated(draft, graph, description, stores, on_progress)
            figures = evaluate(
                predictor, measured, on_progress=lambda done, total: on_progress("evaluate", done, total)
            )
            description["quantisation"] = _cost(plain, figures)
    description["figures"] = figures
    write_model(out, graph, description)
    return description


def check_export(source: str, stores: Sequence[Store], out: Path, to: str) -> None:
    """Make sure that `export` can write what it is asked for, before its minutes; nothing is touched.

    Raises ModelError (an unknown form, openvino missing), FileError (`out`), DataError (no stores).
    """
    if to not in FORMS:
        raise ModelError(f"form {to!r}: known are {', '.join(FORMS)}")
    path = weights_file(source)
    inputs = [path, path.with_suffix(".bin")]
    if to == "openvino":
        check_name(out)
        for part in (out, out.with_suffix(".bin")):
            check_output(part, inputs=inputs)
        import_openvino()
        return
    check_output(out, inputs=inputs, suffixes=(".onnx",))
    if not stores:
        raise DataError(f"--to {to} calibrates and measures: name at least one --store")


def _calibrated(
    draft: Path,
    graph: onnx.ModelProto,
    description: dict[str, Any],
    stores: Sequence[Store],
    on_progress: Callable[[str, int, int], None],
) -> Predictor:
    """The graph as a predictor that knows how sure it may sound; the calibration is put into the description."""
    description["temperatures"] = dict.fromkeys(TASKS, 1.0)
    description["figures"] = None
    write_model(draft, graph, description)
    predictor = Predictor(draft)
    logits, known = _calibration(predictor, stores, on_progress)
    # Flatter ages would pull their mean, the estimate, to the middle of life; quantiles calibrate the intervals.
    classed = [task for task in TASKS if task != "age"]
    description["temperatures"] |= {task: fit_temperature(logits[task], known[task]) for task in classed}
    quantiles = {"quantiles": fit_quantiles(logits["age"], known["age"])}
    if any(store.undetected for store in stores):
        quantiles[UNDETECTED] = fit_undetected(predictor, stores, on_progress)
    tables = {name: [round(float(value), 4) for value in table] for name, table in quantiles.items()}
    description["intervals"] = {"level": LEVEL, **tables}
    write_model(draft, graph, description)
    return Predictor(draft)


def fit_undetected(
    predictor: Predictor,
    stores: Sequence[Store],
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> FloatArray:
    """(101,): the quantiles of age intervals where no face was detected.

    Fitted as the others, on the same faces with their detection taken away, bare and covered; then widened to hold for
    the few that really were not detected, which are harder. Raises DataError: too few faces, or no store with such.
    """
    blind = [store.undetected for store in stores if store.undetected is not None]
    logits, known = _calibration(predictor, blind, on_progress)
    quantiles = fit_quantiles(logits["age"], known["age"])
    chosen = [(store, row) for store in blind for row in rows_of(store, UNDETECTED, CONDITIONS[CLEAN])]
    answers = predictor.predict([np.array(store.crops[row]) for store, row in chosen])
    ages = np.log(answers.probabilities["age"].clip(1e-12))
    return widened(quantiles, ages, members([store.labels[row] for store, row in chosen], "age"))


def _images(predictor: Predictor, stores: Sequence[Store]) -> FloatArray:
    """Calibration faces, bare and covered, as the network takes them: what quantisation reads its ranges from."""
    crops = []
    for store in stores:
        for condition in (CONDITIONS[CLEAN], TRAINED):
            rows = rows_of(store, "calibrate", condition)[:QUANTISED_ON]
            crops += [view(store, row, condition).image for row in rows]
    return predictor.preprocess(crops)


def _cost(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What quantisation lost on bare faces and under held-out masks, by data set: points of accuracy, years of error.

    Raises ModelError when the mean over a data set's conditions lost more than ALLOWED.
    """
    cost: dict[str, Any] = {}
    for data_set, measured in before["data_sets"].items():
        for task, metric, sign in (
            ("age", "mae", 1),
            ("gender", "accuracy", -1),
            ("race", "accuracy", -1),
            ("mask", "accuracy", -1),
        ):
            lost = []
            for condition, sheet in measured["conditions"].items():
                other = after["data_sets"][data_set]["conditions"][condition]
                if metric in sheet.get(task, {}):
                    lost.append(sign * (other[task][metric]["value"] - sheet[task][metric]["value"]))
            if lost:
                cost.setdefault(data_set, {})[task] = round(float(np.mean(lost)), 5)
    worst = [
        f"{task} of {data_set}: {lost:.4f}"
        for data_set, tasks in cost.items()
        for task, lost in tasks.items()
        if lost > ALLOWED["years" if task == "age" else "share"]
    ]
    if worst:
        raise ModelError(f"8 bits cost more than {ALLOWED}: {'; '.join(worst)}; not written")
    return cost


def _calibration(
    predictor: Predictor, stores: Sequence[Store], on_progress: Callable[[str, int, int], None]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.bool_]]]:
    """Every task's logits and label sets, (N, classes), over bare and covered faces of the calibration part."""
    plan = [
        (store, row, condition)
        for store in stores
        for condition in (CONDITIONS[CLEAN], TRAINED)
        for row in rows_of(store, "calibrate", condition)
    ]
    if not plan:
        raise DataError("the stores hold no face of the calibration part")
    answers: list[Predictions] = []
    known = {task: members([store.labels[row] for store, row, _ in plan], task) for task in TASKS}
    for start in range(0, len(plan), TOGETHER):
        views = [view(store, row, condition) for store, row, condition in plan[start : start + TOGETHER]]
        answers.append(predictor.predict([item.image for item in views]))
        for place, item in enumerate(views, start):
            if plan[place][2].styles:
                known["mask"][place] = [name == item.mask for name in MASKS]
        on_progress("calibrate", min(start + TOGETHER, len(plan)), len(plan))
    # A softmax at temperature 1 keeps the logits up to a constant, which no temperature sees.
    logits = {
        task: np.log(np.concatenate([part.probabilities[task] for part in answers]).clip(1e-12)) for task in TASKS
    }
    return logits, known


def _compare(model: OamCnn, predictor: Predictor, stores: Sequence[Store]) -> None:
    """Refuse a file whose answers differ from the network's."""
    crops = [np.array(crop) for store in stores for crop in store.crops[: COMPARED // len(stores) + 1]]
    with torch.no_grad():
        outputs = model(preprocess_batch(crops, model.preprocessing, predictor.size))
    answered = predictor.predict(crops)
    for task, temperature in predictor.description["temperatures"].items():
        wanted = (outputs.logits[task] / temperature).softmax(1).numpy()
        away = float(np.abs(wanted - answered.probabilities[task]).max())
        if away > TOLERANCE:
            raise ModelError(f"the file's {task} probabilities are up to {away:.3f} off the network's; not written")
