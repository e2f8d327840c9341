"""A training recipe: one TOML file, every value checked before anything starts."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from oamface.errors import RecipeError
from oamface.labels import TASKS
from oamface.models.face_resnet import DLIB_STAGES, Stages, least_side, stages_problem
from oamface.models.oam_cnn import FACE
from oamface.training.balancing import METHODS

PRECISIONS = ("auto", "32-true", "bf16-mixed")


@dataclass(frozen=True)
class Phase:
    """A part of the schedule. image_size: pixels; epochs; batch_size: distinct faces a step."""

    image_size: int
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class LossWeights:
    """What each part of the loss counts. features: of the teacher, where there is one.

    labels, kd: what the labels and a teacher's answers count within each task.
    """

    age: float = 0.5
    age_mean: float = 0.5
    gender: float = 1.0
    race: float = 1.0
    mask: float = 0.5
    attention: float = 0.5
    consistency: float = 0.5
    labels: float = 1.0
    features: float = 0.5
    kd: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the data.

    backbone, backbone_stages: see OamCnn. pretrained: "scratch", "hub", "package" or a safetensors file, see load_start; or a model
    file with the face network, such as "oam", which is pruned where its backbone_stages are others.
    teacher: a checkpoint or such a model file; its network's answers for the bare faces stand beside the labels as soft
    labels, its vectors z as features to learn. Without one, the stores' features do both, where they have any.
    distill_every_view: the teacher answers every image just as the network sees it, covered or not, instead of each bare face
    once. mixup_repeats: times that each batch comes again with its faces mixed (see `mixed`), for such a teacher to answer.
    backbone_lr_scale: the share of the learning rate that the backbone gets; less than 1 keeps more of a pretrained one.
    tasks, attention: what the network has; fewer than all are for comparisons and cannot be exported.
    samples_per_epoch: how many faces, drawn anew for each, make an epoch; 0 takes all.
    loss_balancing: how the four tasks are weighed against each other.
    occlusion_probability: of a face to get covered; clean_pair_probability: share of those that also appear bare in the same step.
    repeat: how often a data set's faces come in one epoch, by its name. seed: of everything left to chance.
    """

    name: str
    phases: tuple[Phase, ...]
    loss_weights: LossWeights = field(default_factory=LossWeights)
    backbone: str = "resnet50"
    backbone_stages: Stages = ()
    pretrained: str = "scratch"
    teacher: str = ""
    distill_every_view: bool = False
    mixup_repeats: int = 0
    backbone_lr_scale: float = 1.0
    tasks: tuple[str, ...] = tuple(TASKS)
    attention: bool = True
    samples_per_epoch: int = 0
    loss_balancing: str = "fixed"
    precision: str = "auto"
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    ema_decay: float = 0.999
    dropout: float = 0.3
    occlusion_probability: float = 0.5
    clean_pair_probability: float = 0.5
    repeat: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not self.phases:
            problems.append("no phase; give at least one [[phases]] with image_size, epochs and batch_size")
        backbone_stages = self.backbone_stages or DLIB_STAGES
        if wrong := stages_problem(backbone_stages):
            problems.append(wrong)
        elif self.backbone_stages and self.backbone != FACE:
            problems.append(f"backbone_stages: only the backbone {FACE!r} has them")
        least = least_side(len(backbone_stages)) if self.backbone == FACE and not wrong else 32
        for phase in self.phases:
            if phase.image_size < least or phase.image_size > 512 or phase.epochs < 1 or phase.batch_size < 2:
                problems.append(f"phase {asdict(phase)}: image_size {least} to 512, epochs from 1, batch_size from 2")
        if any(task not in TASKS for task in self.tasks) or len(set(self.tasks)) < len(self.tasks):
            problems.append(f"tasks {list(self.tasks)}: known are {', '.join(TASKS)}, each once")
        if self.samples_per_epoch < 0:
            problems.append("samples_per_epoch: at least 0")
        if (
            self.mixup_repeats < 0
            or (self.mixup_repeats and not self.distill_every_view)
            or (self.distill_every_view and not self.teacher)
        ):
            problems.append(
                "mixup_repeats: at least 0, and above it only where distill_every_view is true, which needs a teacher"
            )
        if self.loss_balancing not in METHODS:
            problems.append(f"loss_balancing {self.loss_balancing!r}: known are {', '.join(METHODS)}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision {self.precision!r}: known are {', '.join(PRECISIONS)}")
        for name in (
            "backbone_lr_scale",
            "warmup",
            "ema_decay",
            "dropout",
            "occlusion_probability",
            "clean_pair_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name}: {getattr(self, name)} is not within 0 to 1")
        if self.lr <= 0 or self.weight_decay < 0:
            problems.append("lr has to be above 0, weight_decay at least 0")
        if any(not isinstance(count, int) or count < 0 for count in self.repeat.values()):
            problems.append(f"repeat: {self.repeat} has to give whole numbers from 0")
        if problems:
            raise RecipeError(f"recipe {self.name}: " + "; ".join(problems))

    @property
    def epochs(self) -> int:
        """Over all phases."""
        return sum(phase.epochs for phase in self.phases)

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
        phases = tuple(_fill(Phase, phase) for phase in values.pop("phases", []))
        weights = _fill(LossWeights, values.pop("loss_weights", {}))
        if "tasks" in values:
            values["tasks"] = tuple(values["tasks"])
        if "backbone_stages" in values:
            values["backbone_stages"] = tuple(tuple(stage) for stage in values["backbone_stages"])
        recipe: Recipe = _fill(Recipe, {"name": name, "phases": phases, "loss_weights": weights, **values})
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
