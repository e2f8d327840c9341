"""What no set of images can tell: the same person with one thing changed, and what the answers make of it.

Counterfactual fairness (Kusner et al., 2017) asked of images: an answer about age or mask should not move when only
gender or ancestry does, and none should move with the light.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.analyzer import Analyzer
from oamface.detection import nearest
from oamface.evaluation import tables
from oamface.evaluation.bootstrap import bootstrap, described
from oamface.evaluation.metrics import Figures
from oamface.labels import GENDERS, SYNTH_RACES, TASKS
from oamface.results import Face
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import MASKS, Mask, Person
from oamface.synthetic.scene import EXPRESSIONS, LIGHTS, SURROUNDINGS, Scene

RESAMPLES = 1000
_FOUND = 0.3  # least intersection over union of the detector's box with the true one


@dataclass(frozen=True)
class Factor:
    """One thing that is varied. levels: name to (person, scene) of it, from those at the base level, the first."""

    name: str
    levels: dict[str, Callable[[Person, Scene], tuple[Person, Scene]]]


def _person(**changed: Any) -> Callable[[Person, Scene], tuple[Person, Scene]]:
    return lambda person, scene: (replace(person, **changed), scene)


def _scene(**changed: Any) -> Callable[[Person, Scene], tuple[Person, Scene]]:
    return lambda person, scene: (person, replace(scene, **changed))


FACTORS = (
    Factor("age", {f"{age} years": _person(age=age) for age in (40, 20, 30, 50, 60, 75)}),
    Factor("gender", {gender: _person(gender=gender) for gender in GENDERS}),
    Factor("race", {race: _person(race=race) for race in SYNTH_RACES}),
    Factor(
        "mask",
        {
            "none": _person(mask=None),
            **{style: _person(mask=Mask(style)) for style in MASKS},
            "surgical, under the nose": _person(mask=Mask("surgical", "nose")),
            "surgical, on the chin": _person(mask=Mask("surgical", "chin")),
        },
    ),
    Factor("light", {light: _scene(light=light) for light in LIGHTS}),
    Factor("yaw", {f"{yaw} degrees": _scene(yaw=float(yaw)) for yaw in (0, -45, -30, -15, 15, 30, 45)}),
    Factor("pitch", {f"{pitch} degrees": _scene(pitch=float(pitch)) for pitch in (0, -25, 25)}),
    Factor("expression", {expression: _scene(expression=expression) for expression in EXPRESSIONS}),
    Factor("surroundings", {where: _scene(surroundings=where) for where in SURROUNDINGS}),
    Factor("exposure", {f"{stops:+.0f} stops": _scene(stops=float(stops)) for stops in (0, -2, -1, 1)}),
    Factor("sharpness", {"sharp": _scene(), "soft": _scene(blur=1.5), "noisy": _scene(noise=0.8)}),
)


def counterfactual(
    analyzer: Analyzer,
    shapes: Shapes,
    *,
    count: int = 60,
    seed: int = 0,
    workers: int | None = None,
    factors: Sequence[Factor] = FACTORS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Figures of every level of every factor, with intervals over people, as plain values.

    count: people at the base: grown, bare, from in front, in a studio; evenly of each gender and ancestry.
    At every level: `found`, of those found `gender`, `race` and `mask` right (accuracy), `age_error` (years said less
    those set, mean); and against the same person at the base level, where both were found: `gender_changed` and so on,
    and `age_moved` (mean absolute difference in years). Bootstrap over people. on_progress: images done, all.
    """
    people = list(_people(count, seed))
    plan = [
        (factor, level, *change(person, Scene(seed=person.identity)))
        for factor in factors
        for level, change in factor.levels.items()
        for person in people
    ]
    images = draw(shapes, [task[2] for task in plan], [task[3] for task in plan], workers=workers)
    rows = []
    for number, image in enumerate(images):
        face = nearest(analyzer.analyze(image.image).faces, image.box, _FOUND)
        rows.append(_row(plan[number][2], face))
        on_progress(number + 1, len(plan))
    told, at = np.array(rows), 0
    measured: dict[str, Any] = {}
    for factor in factors:
        levels = {}
        for level in factor.levels:
            levels[level] = told[at : at + len(people)]
            at += len(people)
        base = next(iter(levels.values()))
        measured[factor.name] = {
            level: bootstrap(_figures, table, base, resamples=RESAMPLES) for level, table in levels.items()
        }
    return {"people": len(people), "seed": seed, "intervals": described(RESAMPLES), "factors": measured}


def markdown(measured: dict[str, Any], weights: str) -> str:
    """The tables for people, each figure with its interval."""
    lines = [
        f"# One thing changed at a time: `{weights}`",
        "",
        f"{measured['people']} synthetic people, the same at every level; each factor's first level is the base. In",
        "brackets the 95 % interval (bootstrap over people). *Changed*, *moved*: against the same person at the base.",
        "Percent, and years of age. Made by `oamface counterfactual`. Drawn faces are not images: see",
        "[synthetic.md](synthetic.md) for how far the weights know them for what they are.",
    ]
    for factor, levels in measured["factors"].items():
        rows = [(level, *(_cell(name, figures.get(name)) for name in _SHOWN)) for level, figures in levels.items()]
        lines += ["", f"## {factor}", "", tables.table(("", *_SHOWN.values()), rows)]
    return "\n".join(lines) + "\n"


_SHOWN = {
    "found": "found",
    "gender": "gender right",
    "gender_changed": "gender changed",
    "race": "race right",
    "race_changed": "race changed",
    "mask": "mask right",
    "mask_changed": "mask changed",
    "age_error": "age, said less set",
    "age_moved": "age moved",
}
_TASKS = ("gender", "race", "mask")


def _cell(name: str, figure: dict[str, float] | None) -> str:
    if figure is None:
        return "-"
    scale, digits = (1, 1) if name.startswith("age") else (100, 0)
    value, low, high = (scale * figure[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _people(count: int, seed: int) -> Iterator[Person]:
    rng, cells = np.random.default_rng((seed, 3)), cycle(product(GENDERS, SYNTH_RACES))
    for gender, race in islice(cells, count):
        yield Person(int(rng.integers(25, 56)), gender, race, int(rng.integers(2**31)))


def _row(person: Person, face: Face | None) -> list[float]:
    """found; for each of _TASKS the answer's number and whether it is right; years said, and less those set."""
    if face is None:
        return [0.0] + [np.nan] * (2 * len(_TASKS) + 2)
    row = [1.0]
    for task in _TASKS:
        probabilities = getattr(face, task).probabilities
        answer = max(probabilities, key=probabilities.get)
        row += [float(TASKS[task].index(answer)), float(answer in getattr(person.label, task))]
    assert face.age is not None
    return [*row, face.age.years, face.age.years - person.age]


def _figures(
    table: npt.NDArray[np.float64], base: npt.NDArray[np.float64], *, weights: npt.NDArray[np.float64] | None = None
) -> Figures:
    weights = np.ones((1, len(table))) if weights is None else weights

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        known = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights[:, known] @ values[known]) / weights[:, known].sum(1)

    figures = {
        "found": mean(table[:, 0]),
        "age_error": mean(table[:, -1]),
        "age_moved": mean(np.abs(table[:, -2] - base[:, -2])),
    }
    for number, task in enumerate(_TASKS):
        answer, other = table[:, 1 + 2 * number], base[:, 1 + 2 * number]
        changed = np.where(np.isfinite(answer) & np.isfinite(other), answer != other, np.nan).astype(float)
        figures |= {task: mean(table[:, 2 + 2 * number]), f"{task}_changed": mean(changed)}
    return figures
