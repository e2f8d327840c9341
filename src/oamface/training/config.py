"""A training recipe: one TOML file, every value of which is checked before anything starts."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from oamface.errors import RecipeError
from oamface.labels import TASKS
from oamface.models.backbones import DLIB_STAGES, FACE_RESNET, RESNET50, Stages, min_image_size, stages_problem
from oamface.preprocessing import crop_box_problem
from oamface.training.balancing import METHODS

PRECISIONS = ("auto", "32-true", "bf16-mixed")
_SHARES = (
    "backbone_lr_scale",
    "warmup",
    "ema_decay",
    "dropout",
    "occlusion_probability",
    "clean_pair_probability",
    "group_balance",
    "age_balance",
)


@dataclass(frozen=True)
class Phase:
    """Some epochs with one image size. image_size: pixels. batch_size: faces a step, over all processes."""

    image_size: int
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class TeacherRef:
    """A network to distil. checkpoint: a run's, or a model file. tasks: those that it is asked for."""

    checkpoint: str
    tasks: tuple[str, ...] = tuple(TASKS)


@dataclass(frozen=True)
class LossWeights:
    """The weight of every loss.

    age (the distribution), age_mean, gender, race, mask: of the tasks. labels, kd: of the labels and of the teacher's
    predictions within each task. attention: of the supervised attention map. consistency: between the embeddings of an
    occluded face and its clean pair. features: of the teacher's embedding.
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
    """Everything that decides a training run, except for the data.

    backbone, backbone_stages, tasks, attention, crop_box: of the network, see OamCnn. Only a network with attention and
    all tasks can be exported.
    pretrained: the initial weights, see `initial_model`. backbone_lr_scale: the backbone's learning rate, times lr.
    teachers: networks to distil, whose probabilities are averaged. Without any, features in the stores are distilled
    where there are some.
    distill_every_view: the teachers predict every augmented image as the network sees it, not each clean crop once.
    mixup_repeats: how often every batch is repeated with mixup, with the teachers' predictions alone as labels.
    device_augmentation: images are augmented in batches on the GPU, and worker processes draw occlusions alone; then
    teachers may have other crop boxes.
    samples_per_epoch: faces of an epoch, drawn anew for each; 0 is all. repeat: how often each data set's faces come in
    an epoch, by its name.
    group_balance: how far the groups of a data set, by race, gender and decade, are drawn equally often: from 0, as
    often as they are in it, to 1. age_balance: how far the age is learned as if all ages were equally frequent, from 0
    to 1: see FaceDataset.age_prior.
    loss_balancing: how the tasks' losses are combined, one of METHODS.
    warmup: the share of all steps in which the learning rate rises; then it falls as half a cosine.
    freeze_backbone: only the heads of tasks that have labels are trained; all else stays as in the initial weights,
    batch norms and what is predicted for the other tasks too.
    patience: stop after so many epochs without a lower loss on the calibration split, and keep the best epoch's
    weights; 0 trains to the end and keeps the last.
    occlusion_probability: of a synthetic occlusion of a face. clean_pair_probability: that an occluded face also comes
    clean in the same batch. seed: of all random numbers.
    """

    name: str
    phases: tuple[Phase, ...]
    loss_weights: LossWeights = field(default_factory=LossWeights)
    backbone: str = RESNET50
    backbone_stages: Stages = ()
    pretrained: str = "scratch"
    teachers: tuple[TeacherRef, ...] = ()
    crop_box: tuple[float, ...] = ()
    distill_every_view: bool = False
    mixup_repeats: int = 0
    device_augmentation: bool = False
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
    freeze_backbone: bool = False
    patience: int = 0
    occlusion_probability: float = 0.5
    clean_pair_probability: float = 0.5
    repeat: dict[str, int] = field(default_factory=dict)
    group_balance: float = 0.0
    age_balance: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if problems := [*self._phase_problems(), *self._value_problems()]:
            raise RecipeError(f"recipe {self.name}: " + "; ".join(problems))

    @property
    def epochs(self) -> int:
        """Over all phases."""
        return sum(phase.epochs for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints, model files and the log keep them."""
        return asdict(self)

    def _phase_problems(self) -> list[str]:
        problems = []
        if not self.phases:
            problems.append("no phase; give at least one [[phases]] with image_size, epochs and batch_size")
        stages, least = self.backbone_stages or DLIB_STAGES, 32
        if problem := stages_problem(stages):
            problems.append(problem)
        elif self.backbone == FACE_RESNET:
            least = min_image_size(len(stages))
        elif self.backbone_stages:
            problems.append(f"backbone_stages: only the backbone {FACE_RESNET!r} has them")
        for phase in self.phases:
            if not least <= phase.image_size <= 512 or phase.epochs < 1 or phase.batch_size < 2:
                problems.append(f"phase {asdict(phase)}: image_size {least} to 512, epochs from 1, batch_size from 2")
        return problems

    def _value_problems(self) -> list[str]:
        problems = [
            f"{name}: {getattr(self, name)} is not within 0 to 1"
            for name in _SHARES
            if not 0 <= getattr(self, name) <= 1
        ]
        if any(task not in TASKS for task in self.tasks) or len(set(self.tasks)) < len(self.tasks):
            problems.append(f"tasks {list(self.tasks)}: expected some of {', '.join(TASKS)}, each once")
        if min(self.samples_per_epoch, self.mixup_repeats, self.patience) < 0:
            problems.append("samples_per_epoch, mixup_repeats, patience: at least 0")
        if (self.mixup_repeats and not self.distill_every_view) or (self.distill_every_view and not self.teachers):
            problems.append("mixup_repeats need distill_every_view = true, which needs teachers")
        if any(not set(teacher.tasks) <= set(TASKS) or not teacher.tasks for teacher in self.teachers):
            problems.append(f"teachers: tasks are some of {', '.join(TASKS)}")
        if self.device_augmentation and self.clean_pair_probability:
            problems.append("device_augmentation makes no clean pairs: set clean_pair_probability = 0")
        if problem := crop_box_problem(self.crop_box):
            problems.append(problem)
        if self.loss_balancing not in METHODS:
            problems.append(f"loss_balancing {self.loss_balancing!r}: expected one of {', '.join(METHODS)}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")
        if self.lr <= 0 or self.weight_decay < 0:
            problems.append("lr has to be above 0, weight_decay at least 0")
        if any(not isinstance(count, int) or count < 0 for count in self.repeat.values()):
            problems.append(f"repeat: {self.repeat} has to give whole numbers from 0")
        return problems


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; its name is the file's unless it gives another.

    Raises RecipeError: no such file, invalid TOML, an unknown key, a value of the wrong type or out of range.
    """
    return build_recipe(read_toml(path), path.stem, path)


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file. Raises RecipeError: no such file, or invalid TOML."""
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: is not a file; name a TOML file")  # reading a device may never end
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML ({error})") from error


def build_recipe(values: dict[str, Any], name: str, path: Path) -> Recipe:
    """The recipe of a file's values; name: unless they give another; path: for messages. Raises RecipeError."""
    values = dict(values)
    try:
        values["phases"] = tuple(_build(Phase, phase) for phase in values.pop("phases", []))
        values["loss_weights"] = _build(LossWeights, values.pop("loss_weights", {}))
        for key in ("tasks", "crop_box"):
            if key in values:
                values[key] = tuple(values[key])
        values["teachers"] = tuple(
            _build(TeacherRef, {**teacher, **({"tasks": tuple(teacher["tasks"])} if "tasks" in teacher else {})})
            for teacher in values.pop("teachers", [])
        )
        if "backbone_stages" in values:
            values["backbone_stages"] = tuple(tuple(stage) for stage in values["backbone_stages"])
        recipe: Recipe = _build(Recipe, {"name": name, **values})
        return recipe
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError(f"{path}: {name}: {error}") from error


def _build(kind: Any, values: dict[str, Any]) -> Any:
    """A dataclass from values whose names and plain types are checked."""
    types: dict[str, Any] = {item.name: item.type for item in fields(kind)}
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"unknown key {name!r}; expected some of {', '.join(types)}")
        allowed = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}.get(types[name])
        if allowed is not None and (
            not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)
        ):
            raise ValueError(f"{name}: {value!r} is not of type {types[name].__name__}")
    return kind(**values)
