"""A training recipe: one TOML file, every value checked before anything starts."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from oamface.errors import RecipeError
from oamface.labels import TASKS
from oamface.model.face_resnet import LEVELS, Levels, least_side, level_problem
from oamface.model.oam_cnn import FACE
from oamface.train.balance import METHODS

PRECISIONS = ("auto", "32-true", "bf16-mixed")


@dataclass(frozen=True)
class Stage:
    """A part of the schedule. size: pixels; passes: times over all faces; batch: distinct faces a step."""

    size: int
    passes: int
    batch: int


@dataclass(frozen=True)
class Weights:
    """What each part of the loss counts. features: of the teacher, where there is one.

    labels, soft_labels: what the labels and a teacher's answers count within each task.
    """

    age: float = 0.5
    years: float = 0.5
    gender: float = 1.0
    race: float = 1.0
    mask: float = 0.5
    attention: float = 0.5
    recovery: float = 0.5
    labels: float = 1.0
    features: float = 0.5
    soft_labels: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the data.

    trunk, levels: see OamCnn. pretrained: "scratch", "hub", "package" or a safetensors file, see load_start; or a model
    file with the face network, such as "oam", which is pruned where its levels are others.
    teacher: a checkpoint or such a model file; its network's answers for the bare faces stand beside the labels as soft
    labels, its vectors z as features to learn. Without one, the stores' features do both, where they have any.
    consistent: the teacher answers every picture just as the network sees it, covered or not, instead of each bare face
    once. echoes: times that each batch comes again with its faces mixed (see `mixed`), for such a teacher to answer.
    trunk_rate: the share of the learning rate that the trunk gets; less than 1 keeps more of a pretrained one.
    tasks, attention: what the network has; fewer than all are for comparisons and cannot be exported.
    faces_a_pass: how many faces, drawn anew for each, make a pass; 0 takes all.
    balance: how the four tasks are weighed against each other.
    occluded: share of faces that get covered; paired: share of those that also appear bare in the same step.
    repeat: how often a data set's faces come in one pass, by its name. seed: of everything left to chance.
    """

    name: str
    stages: tuple[Stage, ...]
    weights: Weights = field(default_factory=Weights)
    trunk: str = "resnet50"
    levels: Levels = ()
    pretrained: str = "scratch"
    teacher: str = ""
    consistent: bool = False
    echoes: int = 0
    trunk_rate: float = 1.0
    tasks: tuple[str, ...] = tuple(TASKS)
    attention: bool = True
    faces_a_pass: int = 0
    balance: str = "fixed"
    precision: str = "auto"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    averaging: float = 0.999
    dropout: float = 0.3
    occluded: float = 0.5
    paired: float = 0.5
    repeat: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not self.stages:
            problems.append("no stage; give at least one [[stages]] with size, passes and batch")
        levels = self.levels or LEVELS
        if wrong := level_problem(levels):
            problems.append(wrong)
        elif self.levels and self.trunk != FACE:
            problems.append(f"levels: only the trunk {FACE!r} has them")
        least = least_side(len(levels)) if self.trunk == FACE and not wrong else 32
        for stage in self.stages:
            if stage.size < least or stage.size > 512 or stage.passes < 1 or stage.batch < 2:
                problems.append(f"stage {asdict(stage)}: size {least} to 512, passes from 1, batch from 2")
        if any(task not in TASKS for task in self.tasks) or len(set(self.tasks)) < len(self.tasks):
            problems.append(f"tasks {list(self.tasks)}: known are {', '.join(TASKS)}, each once")
        if self.faces_a_pass < 0:
            problems.append("faces_a_pass: at least 0")
        if self.echoes < 0 or (self.echoes and not self.consistent) or (self.consistent and not self.teacher):
            problems.append("echoes: at least 0, and above it only where consistent is true, which needs a teacher")
        if self.balance not in METHODS:
            problems.append(f"balance {self.balance!r}: known are {', '.join(METHODS)}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision {self.precision!r}: known are {', '.join(PRECISIONS)}")
        for name in ("trunk_rate", "warm_up", "averaging", "dropout", "occluded", "paired"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name}: {getattr(self, name)} is not within 0 to 1")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            problems.append("learning_rate has to be above 0, weight_decay at least 0")
        if any(not isinstance(count, int) or count < 0 for count in self.repeat.values()):
            problems.append(f"repeat: {self.repeat} has to give whole numbers from 0")
        if problems:
            raise RecipeError(f"recipe {self.name}: " + "; ".join(problems))

    @property
    def passes(self) -> int:
        """Over all stages."""
        return sum(stage.passes for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the model file and the log keep them."""
        return asdict(self)


def load_recipe(path: Path) -> Recipe:
    """Read a TOML recipe; its name is the file's unless it says otherwise.

    Raises RecipeError: no such file, no TOML, an unknown key, a value of the wrong type or out of range.
    """
    return build_recipe(read_toml(path), path.stem, path)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's values. Raises RecipeError: no such file, or no TOML."""
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: no file; name a TOML file")  # a device may never end
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML ({error})") from error


def build_recipe(values: dict[str, Any], name: str, path: Path) -> Recipe:
    """A recipe from a file's values; name, unless they say otherwise, and path for messages. Raises RecipeError."""
    values = dict(values)
    try:
        stages = tuple(_fill(Stage, stage) for stage in values.pop("stages", []))
        weights = _fill(Weights, values.pop("weights", {}))
        if "tasks" in values:
            values["tasks"] = tuple(values["tasks"])
        if "levels" in values:
            values["levels"] = tuple(tuple(level) for level in values["levels"])
        recipe: Recipe = _fill(Recipe, {"name": name, "stages": stages, "weights": weights, **values})
        return recipe
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError(f"{path}: {name}: {error}") from error


def _fill(kind: Any, values: dict[str, Any]) -> Any:
    known: dict[str, Any] = {item.name: item.type for item in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown key {name!r}; known are {', '.join(known)}")
        wanted = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}.get(known[name])
        if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
            raise ValueError(f"{name}: {value!r} is no {known[name].__name__}")
    return kind(**values)
