"""A finished run becomes a model file: traced, calibrated, checked against the network, measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from oamface.data.store import Store
from oamface.engine import Answers, Engine
from oamface.errors import DataError, ModelError
from oamface.evaluate.conditions import CLEAN, CONDITIONS, Condition, rows_of, view
from oamface.evaluate.evaluate import evaluate
from oamface.evaluate.predictions import TOGETHER
from oamface.export.calibrate import LEVEL, fit_quantiles, fit_temperature
from oamface.export.model_file import describe, trace, write_model
from oamface.labels import MASKS, TASKS, members
from oamface.model.oam_cnn import OamCnn, pictures_of
from oamface.occlusion import STYLES
from oamface.train.checkpoint import history, load_network

TOLERANCE = 0.02  # by which a probability may differ between the network and its file, with float16 weights
TRAINED = Condition(tuple(name for name, style in STYLES.items() if not style.held_out))
COMPARED = 64  # faces on which network and file have to agree


def export(
    checkpoint: Path,
    stores: Sequence[Store],
    out: Path,
    *,
    also: Sequence[Store] = (),
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write the averaged network of a checkpoint as a model file and return its description.

    Temperatures and the age intervals' quantiles are fitted on the stores' calibration part, each face bare and covered
    with styles of training; the figures are those of the test part, and of that of the stores in `also`, which
    calibrate nothing. on_progress: what is being done, faces done, all.
    Raises ModelError (checkpoint, disk, or a file that answers otherwise than the network), DataError (no such faces).
    """
    model, progress = load_network(checkpoint)
    size = progress["recipe"]["stages"][-1]["size"]
    description = describe(model, size, history(checkpoint))
    graph = trace(model, size)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        write_model(draft, graph, description)
        engine = Engine(draft)
        logits, known = _calibration(engine, stores, on_progress)
        # Flatter ages would pull their mean, the estimate, to the middle of life; quantiles calibrate the intervals.
        classed = [task for task in TASKS if task != "age"]
        description["temperatures"] |= {task: fit_temperature(logits[task], known[task]) for task in classed}
        quantiles = fit_quantiles(logits["age"], known["age"])
        description["intervals"] = {"level": LEVEL, "quantiles": [round(float(value), 4) for value in quantiles]}
        write_model(draft, graph, description)
        engine = Engine(draft)
        _compare(model, engine, stores)
        figures = evaluate(
            engine, [*stores, *also], on_progress=lambda done, total: on_progress("evaluate", done, total)
        )
    description["figures"] = figures
    write_model(out, graph, description)
    return description


def _calibration(
    engine: Engine, stores: Sequence[Store], on_progress: Callable[[str, int, int], None]
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
    answers: list[Answers] = []
    known = {task: members([store.labels[row] for store, row, _ in plan], task) for task in TASKS}
    for start in range(0, len(plan), TOGETHER):
        views = [view(store, row, condition) for store, row, condition in plan[start : start + TOGETHER]]
        answers.append(engine.answer([item.image for item in views]))
        for place, item in enumerate(views, start):
            if plan[place][2].styles:
                known["mask"][place] = [name == item.mask for name in MASKS]
        on_progress("calibrate", min(start + TOGETHER, len(plan)), len(plan))
    # A softmax at temperature 1 keeps the logits up to a constant, which no temperature sees.
    logits = {
        task: np.log(np.concatenate([part.probabilities[task] for part in answers]).clip(1e-12)) for task in TASKS
    }
    return logits, known


def _compare(model: OamCnn, engine: Engine, stores: Sequence[Store]) -> None:
    """Refuse a file whose answers differ from the network's."""
    chips = [np.array(chip) for store in stores for chip in store.chips[: COMPARED // len(stores) + 1]]
    with torch.no_grad():
        outputs = model(pictures_of(chips, model.framing, engine.size))
    answered = engine.answer(chips)
    for task, temperature in engine.description["temperatures"].items():
        wanted = (outputs.logits[task] / temperature).softmax(1).numpy()
        away = float(np.abs(wanted - answered.probabilities[task]).max())
        if away > TOLERANCE:
            raise ModelError(f"the file's {task} probabilities are up to {away:.3f} off the network's; not written")
