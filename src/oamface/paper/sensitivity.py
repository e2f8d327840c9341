"""How sensitive predictions are to one factor at a time: synthetic people rendered at every level of each factor.

This is counterfactual fairness (Kusner et al., 2017) on images: the predicted age or mask should not change when only
gender or race does, and nothing should change with the light.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.analyzer import Analyzer
from oamface.datasets.readers.synthetic import RACES
from oamface.detection import nearest
from oamface.evaluation.bootstrap import bootstrap, describe_interval
from oamface.evaluation.metrics import MetricValues
from oamface.evaluation.tables import markdown_table
from oamface.labels import GENDERS, TASKS
from oamface.results import Face
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_STYLES, Mask, Person
from oamface.synthetic.scene import EXPRESSIONS, LIGHTS, SURROUNDINGS, Scene

RESAMPLES = 1000
MIN_IOU = 0.3  # of the detected and the true box
_CLASS_TASKS = ("gender", "race", "mask")
_HEADINGS = {
    "detected": "detected",
    **{f"{task}_{metric}": f"{task} {metric}" for task in _CLASS_TASKS for metric in ("accuracy", "flips")},
    "age_bias": "age bias",
    "age_shift": "age shift",
}

Change = Callable[[Person, Scene], tuple[Person, Scene]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """What is varied. levels: name to how a person in a scene is changed to that level; the first is the baseline."""

    name: str
    levels: dict[str, Change]


def _person(**changed: Any) -> Change:
    return lambda person, scene: (replace(person, **changed), scene)


def _scene(**changed: Any) -> Change:
    return lambda person, scene: (person, replace(scene, **changed))


FACTORS = (
    Factor("age", {f"{age} years": _person(age=age) for age in (40, 20, 30, 50, 60, 75)}),
    Factor("gender", {gender: _person(gender=gender) for gender in GENDERS}),
    Factor("race", {race: _person(race=race) for race in RACES}),
    Factor(
        "mask",
        {
            "none": _person(mask=None),
            **{style: _person(mask=Mask(style)) for style in MASK_STYLES},
            "surgical, under the nose": _person(mask=Mask("surgical", "below_nose")),
            "surgical, on the chin": _person(mask=Mask("surgical", "on_chin")),
        },
    ),
    Factor("light", {light: _scene(light=light) for light in LIGHTS}),
    Factor("yaw", {f"{yaw} degrees": _scene(yaw=float(yaw)) for yaw in (0, -45, -30, -15, 15, 30, 45)}),
    Factor("pitch", {f"{pitch} degrees": _scene(pitch=float(pitch)) for pitch in (0, -25, 25)}),
    Factor("expression", {name: _scene(expression=name) for name in EXPRESSIONS}),
    Factor("surroundings", {name: _scene(surroundings=name) for name in SURROUNDINGS}),
    Factor("exposure", {f"{stops:+.0f} stops": _scene(stops=float(stops)) for stops in (0, -2, -1, 1)}),
    Factor("sharpness", {"sharp": _scene(), "soft": _scene(blur=1.5), "noisy": _scene(noise=0.8)}),
)


def measure_sensitivity(
    analyzer: Analyzer,
    head_model: HeadModel,
    *,
    count: int = 60,
    seed: int = 0,
    workers: int | None = None,
    factors: Sequence[Factor] = FACTORS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Metrics at every level of every factor, with bootstrap intervals over people, as plain values.

    count: people, as many of each gender and race, aged 25 to 55, without mask, frontal, in a studio unless a factor
    changes that. on_progress: images done, all. Metrics are, over detected faces: "detected", a share of all;
    "TASK_accuracy"; "age_bias", mean signed error in years; and against the same person at the baseline: "TASK_flips",
    the share of changed classes, and "age_shift", the mean absolute change in years.
    """
    people = list(_people(count, seed))
    changes = [change for factor in factors for change in factor.levels.values()]
    persons, scenes = zip(
        *(change(person, Scene(seed=person.identity)) for change in changes for person in people), strict=True
    )
    rows = []
    for image, person in zip(render_images(head_model, persons, scenes, workers=workers), persons, strict=True):
        rows.append(_row(person, nearest(analyzer.analyze(image.image).faces, image.box, MIN_IOU)))
        on_progress(len(rows), len(persons))
    tables = iter(np.array(rows).reshape(len(changes), len(people), -1))
    measured: dict[str, Any] = {}
    for factor in factors:
        levels = {level: next(tables) for level in factor.levels}
        baseline = next(iter(levels.values()))
        measured[factor.name] = {
            level: bootstrap(_metrics, table, baseline, resamples=RESAMPLES) for level, table in levels.items()
        }
    models = {analyzer.predictor.path.stem: analyzer.digest}
    return {
        "models": models,
        "people": len(people),
        "seed": seed,
        "intervals": describe_interval(RESAMPLES),
        "factors": measured,
    }


def markdown(measured: dict[str, Any]) -> str:
    """What `measure_sensitivity` measured as Markdown, a table for each factor."""
    ((weights, digest),) = measured["models"].items()
    lines = [
        f"Of `{weights}`, SHA-256 `{digest}`.",
        "",
        f"{measured['people']} synthetic people, the same at every level; a factor's first level is the baseline. In",
        "brackets: 95 % interval (bootstrap over people). Flips: share of classes that differ from the same person's",
        "at the baseline. Age bias: mean signed error in years. Age shift: mean absolute change from the baseline in",
        "years. All else in percent. Written by `oamface paper sensitivity`. Rendered faces differ from real ones: see",
        "[synthetic.md](synthetic.md).",
    ]
    for factor, levels in measured["factors"].items():
        rows = [(level, *(_cell(name, metrics.get(name)) for name in _HEADINGS)) for level, metrics in levels.items()]
        lines += ["", f"## {factor}", "", markdown_table(("", *_HEADINGS.values()), rows)]
    return "\n".join(lines) + "\n"


def _cell(name: str, estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "-"
    scale, digits = (1, 1) if name.startswith("age") else (100, 0)
    value, low, high = (f"{scale * estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _people(count: int, seed: int) -> Iterator[Person]:
    rng = np.random.default_rng((seed, 3))
    for gender, race in islice(cycle(product(GENDERS, RACES)), count):
        yield Person(int(rng.integers(25, 56)), gender, race, int(rng.integers(2**31)))


def _row(person: Person, face: Face | None) -> list[float]:
    """1 or 0 for detected; number and correctness of the class of each of _CLASS_TASKS; predicted age and its error."""
    if face is None:
        return [0.0] + [np.nan] * (2 * len(_CLASS_TASKS) + 2)
    row = [1.0]
    for task in _CLASS_TASKS:
        probabilities = getattr(face, task).probabilities
        predicted = max(probabilities, key=probabilities.get)
        row += [float(TASKS[task].index(predicted)), float(predicted in getattr(person.label, task))]
    return [*row, face.age.years, face.age.years - person.age]


def _metrics(table: FloatArray, baseline: FloatArray, *, weights: FloatArray | None = None) -> MetricValues:
    """The metrics of one level, from (people, columns of _row) at the level and at the baseline."""
    weights = np.ones((1, len(table))) if weights is None else weights

    def mean(values: FloatArray) -> FloatArray:
        finite = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights[:, finite] @ values[finite]) / weights[:, finite].sum(1)

    shift = np.abs(table - baseline)
    metrics = {"detected": mean(table[:, 0]), "age_bias": mean(table[:, -1]), "age_shift": mean(shift[:, -2])}
    for number, task in enumerate(_CLASS_TASKS):
        predicted, correct = 1 + 2 * number, 2 + 2 * number
        flips = np.where(np.isfinite(shift[:, predicted]), shift[:, predicted] > 0, np.nan)
        metrics |= {f"{task}_accuracy": mean(table[:, correct]), f"{task}_flips": mean(flips)}
    return metrics
