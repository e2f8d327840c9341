"""The training loop: stores and a recipe in, a checkpoint out. A run that was killed goes on from its checkpoint."""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from oamface.alignment import CROP_SIZE
from oamface.atomic import make_folder, visible_names, write_whole
from oamface.datasets.near_duplicates import find_near_duplicates
from oamface.datasets.store import Store, open_stores
from oamface.errors import TrainError
from oamface.training.checkpoint import BEST_MODEL, load_checkpoint, read_progress, save_checkpoint
from oamface.training.config import Phase, Recipe
from oamface.training.dataset import (
    Batch,
    FaceDataset,
    NetworkView,
    epoch_batches,
    load_faces,
    standardise,
    steps_per_epoch,
)
from oamface.training.device_batches import DeviceBatches
from oamface.training.distillation import Ensemble, label_faces, soft_labels_from_features
from oamface.training.distributed import is_process_lost, launch, sum_over_processes
from oamface.training.early_stopping import EarlyStopping
from oamface.training.initialization import initial_model
from oamface.training.learner import Learner, lr_factor
from oamface.training.run_log import LOG, OnEvent, RunLog
from oamface.training.validation import validate

CHECKPOINT = "checkpoint.safetensors"
SAVE_EVERY = 120.0  # seconds of work that an interruption costs at most
LOG_EVERY = 20  # steps
TIMED_STEPS = 10  # from whose time that of all others is estimated


@dataclass(frozen=True)
class Epoch:
    """One epoch of a run: its number from 0, its phase, and the steps before it and in it."""

    number: int
    phase: Phase
    first_step: int
    steps: int
    starts_phase: bool

    @property
    def last_step(self) -> int:
        """The number of steps when it is over."""
        return self.first_step + self.steps


class Trainer:
    """One training run in a folder; `train` starts it, or goes on from the checkpoint in the folder.

    stores: folders. workers: processes that load batches. compiled: torch.compile the network, which is faster on a GPU
    after a minute or two. minutes: of training, if it is to end by the clock instead of after the recipe's epochs; the
    learning rate then falls with the time. on_event: gets every line of the log as it is written.
    Raises StoreError, FileError, TrainError (no face to train on, a folder with other files than a run's).
    """

    def __init__(
        self,
        recipe: Recipe,
        stores: Sequence[Path],
        out: Path,
        *,
        workers: int = 1,
        compiled: bool = False,
        minutes: float | None = None,
        on_event: OnEvent = lambda line: None,
    ) -> None:
        self.recipe, self.out, self.workers, self.compiled, self.minutes = recipe, out, workers, compiled, minutes
        _check_run_folder(out)
        opened = open_stores(stores, size=CROP_SIZE)
        near_duplicates = [find_near_duplicates(store) for store in opened]
        self.faces = load_faces(opened, "train", repeat=recipe.repeat, exclude=near_duplicates)
        self.validation_faces = load_faces(opened, "calibrate", repeat={}, allow_none=bool(recipe.patience))
        self.data = {
            store.data_set: _provenance(store, copies) for store, copies in zip(opened, near_duplicates, strict=True)
        }
        self.identity = hashlib.sha256(json.dumps([recipe.to_dict(), self.data], sort_keys=True).encode()).hexdigest()
        self.epochs = _epochs(recipe, self.faces)
        self.total_steps = self.epochs[-1].last_step
        self._device_batches: DeviceBatches | None = None
        self._stopping: EarlyStopping | None = None
        make_folder(out)
        self.log = RunLog(out, on_event)

    def train(self) -> Path:
        """Train to the recipe's end and return the checkpoint.

        Raises TrainError: another recipe or other data in the folder, too little GPU memory, a lost process, infinite
        losses; ModelError, OamfaceError: see `initial_model` and Teacher. The last checkpoint is kept.
        """
        try:
            return self._train()
        except torch.OutOfMemoryError as error:
            raise TrainError(
                f"out of GPU memory ({str(error).splitlines()[0]}): use a smaller batch_size, or more GPUs, "
                f"which share a batch; the last checkpoint is in {self.out}"
            ) from error
        except RuntimeError as error:
            if not is_process_lost(error):
                raise
            raise TrainError(
                f"another process of this run was lost ({str(error).splitlines()[0]}); start all of them again to "
                f"go on from the checkpoint in {self.out}"
            ) from error
        finally:
            self._close_device_batches()

    def _train(self) -> Path:
        clock, fabric = _Clock(self.minutes), launch(self.recipe.precision)
        self._check(fabric)
        learner, faces = self._build(fabric)
        step = start = self._resume(learner)
        if not self._is_over(step):
            self._start(learner, step)
        saved = timed = time.monotonic()
        for epoch in self.epochs:
            if step >= epoch.last_step:
                continue
            if self._is_over(step):
                break
            if epoch.starts_phase and step == epoch.first_step:
                learner.ema.n_averaged.zero_()  # an EMA over two image sizes would fit neither
            for batch in self._batches(learner, faces, epoch, step):
                if clock.is_over():
                    break
                step += 1
                learner.total_steps = clock.total_steps(step, learner.total_steps)
                losses = learner.step(batch, step)
                if step == start + 1:
                    timed = time.monotonic()  # the first step includes the startup
                elif step == start + 1 + TIMED_STEPS and fabric.is_global_zero:
                    seconds = (time.monotonic() - timed) / TIMED_STEPS
                    left = self._minutes_left(seconds, epoch, step) if self.minutes is None else clock.minutes_left()
                    self.log.write("estimate", step, minutes=round(left, 1))
                if step % LOG_EVERY == 0:
                    self._log_step(fabric, epoch, step, losses, len(batch.images), learner.total_steps)
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save(learner, step)
                    saved = time.monotonic()
            self._finish_epoch(learner, epoch, step)
            saved = time.monotonic()
            if clock.is_over():
                break
        if step > start and fabric.is_global_zero:
            if self._stopping:
                self.log.write("best", step, **(self._stopping.best or {}))
            self.log.draw_curves()
        fabric.barrier()  # every process returns a complete checkpoint
        return self.out / CHECKPOINT

    def _labelled_tasks(self) -> list[str]:
        return [task for task in self.recipe.tasks if not self.faces.candidates[task].all()]

    def _is_over(self, step: int) -> bool:
        """Whether a run that has done so many steps does no more."""
        done = sum(epoch.last_step <= step for epoch in self.epochs)
        return step >= self.total_steps or (self._stopping is not None and self._stopping.is_over(done))

    def _start(self, learner: Learner, step: int) -> None:
        """Log what is to come, and before the first step the metrics of the initial weights if they may be the best."""
        if learner.fabric.is_global_zero:
            tasks = self._labelled_tasks()
            self.log.write("start", step, steps=self.total_steps, data=self.data, faces=len(self.faces), tasks=tasks)
        if self._stopping and not step:
            self._validate(learner, self.epochs[0], 0, number=-1)

    def _check(self, fabric: Fabric) -> None:
        """Raises TrainError: what would only show after minutes."""
        if any(phase.batch_size < 2 * fabric.world_size for phase in self.recipe.phases):
            raise TrainError(
                f"recipe {self.recipe.name}: {fabric.world_size} processes share a batch; give each at least 2 faces"
            )
        if fabric.world_size > 1 and (self.recipe.device_augmentation or self.minutes is not None):
            raise TrainError(f"recipe {self.recipe.name}: device_augmentation and minutes are for one process")
        if self.recipe.freeze_backbone and not self._labelled_tasks():
            raise TrainError("no training face has a label of age, gender, race or mask; there is nothing to learn")
        path = self.out / CHECKPOINT
        if path.exists() and read_progress(path)["identity"] != self.identity:
            raise TrainError(f"{path}: was trained with another recipe or on other data; name an empty folder")

    def _build(self, fabric: Fabric) -> tuple[Learner, FaceDataset]:
        """The learner, and the faces with what a teacher predicts of them."""
        recipe, faces, teachers = self.recipe, self.faces, None
        model = initial_model(recipe, faces, resuming=(self.out / CHECKPOINT).exists())
        if recipe.distill_every_view:
            teachers = Ensemble(
                recipe.teachers,
                model.preprocessing,
                fabric.device,
                device_augmentation=recipe.device_augmentation,
            )
        elif recipe.loss_weights.kd and recipe.tasks and not faces.soft_labels:
            faces = self._with_soft_labels(fabric)
        if recipe.patience and any(not table.all() for table in self.validation_faces.candidates.values()):
            self._stopping = EarlyStopping(model, recipe.patience)
        if recipe.freeze_backbone:
            model.requires_grad_(False)
            for task in self._labelled_tasks():
                model.heads[task].requires_grad_(True)
        learner = Learner(
            recipe,
            model,
            teachers,
            fabric,
            feature_width=faces.features.shape[1],
            total_steps=self.total_steps,
            compiled=self.compiled,
        )
        return learner, faces

    def _with_soft_labels(self, fabric: Fabric) -> FaceDataset:
        """The faces with a teacher's soft labels and features, made once and kept in the folder."""
        path = self.out / f"teacher-{self.identity[:12]}.npz"
        arrays: dict[str, Any] = {}
        if not fabric.broadcast(path.exists()):
            if not self.recipe.teachers:
                arrays = dict(soft_labels_from_features(self.faces, seed=self.recipe.seed))
            elif fabric.is_global_zero:
                self.log.write("teacher", 0, faces=len(self.faces))
                soft_labels, embeddings = label_faces(self.recipe.teachers, self.faces, fabric.device)
                arrays = {"features": standardise(embeddings), **soft_labels}
            if fabric.is_global_zero:
                write_whole(path, lambda file: np.savez(file, **arrays))
        fabric.barrier()
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return replace(self.faces, features=arrays.pop("features", self.faces.features), soft_labels=arrays)

    def _batches(self, learner: Learner, faces: FaceDataset, epoch: Epoch, step: int) -> Iterator[Batch]:
        if self.recipe.device_augmentation:
            if self._device_batches is None or epoch.starts_phase:
                self._close_device_batches()
                views = [NetworkView(learner.model.preprocessing, epoch.phase.image_size)]
                views += learner.teachers.views if learner.teachers else []
                self._device_batches = DeviceBatches(
                    faces, self.recipe, views, learner.fabric.device, workers=self.workers
                )
            return self._device_batches.epoch(epoch.number, epoch.phase.batch_size, skip=step - epoch.first_step)
        return epoch_batches(
            faces,
            self.recipe,
            epoch.phase,
            epoch.number,
            learner.model.preprocessing,
            skip=step - epoch.first_step,
            workers=self.workers,
            rank=learner.fabric.global_rank,
            world_size=learner.fabric.world_size,
        )

    def _close_device_batches(self) -> None:
        if self._device_batches is not None:
            self._device_batches.close()
            self._device_batches = None

    def _resume(self, learner: Learner) -> int:
        """The steps that the checkpoint in the folder has done, loaded into the learner."""
        path = self.out / CHECKPOINT
        if not path.exists():
            return 0
        progress = load_checkpoint(path, self._modules(learner), learner.optimizer)
        if self._stopping:
            self._stopping.best = progress["best"]
        learner.restore(progress["step"], progress["ema_steps"])
        return int(progress["step"])

    def _modules(self, learner: Learner) -> dict[str, nn.Module]:
        """What a checkpoint has besides the optimizer."""
        return learner.modules | ({BEST_MODEL: self._stopping.model} if self._stopping else {})

    def _save(self, learner: Learner, step: int) -> None:
        if not learner.fabric.is_global_zero:
            return
        progress = {
            "identity": self.identity,
            "step": step,
            "steps": step if self.minutes is not None else self.total_steps,
            "ema_steps": int(learner.ema.n_averaged),
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "best": self._stopping.best if self._stopping else None,
        }
        save_checkpoint(self.out / CHECKPOINT, self._modules(learner), learner.optimizer, progress)

    def _finish_epoch(self, learner: Learner, epoch: Epoch, step: int) -> None:
        self._validate(learner, epoch, step, number=epoch.number)
        self._save(learner, step)
        if learner.fabric.is_global_zero:
            self.log.update_curves()

    def _validate(self, learner: Learner, epoch: Epoch, step: int, *, number: int) -> None:
        """Log the metrics after an epoch, or of the initial weights as number -1, and keep the best."""
        metrics = validate(
            learner.ema_model, self.validation_faces, epoch.phase, learner.fabric, self.recipe.loss_weights
        )
        if self._stopping:
            self._stopping.update(learner.ema_model, number, metrics["valid_loss"])
        if learner.fabric.is_global_zero:
            self.log.write("epoch", step, epoch=number, image_size=epoch.phase.image_size, **metrics)

    def _log_step(
        self, fabric: Fabric, epoch: Epoch, step: int, losses: dict[str, Tensor], samples: int, total_steps: int
    ) -> None:
        """Log the losses of the whole batch. Raises TrainError: one is not finite."""
        samples = int(sum_over_processes(fabric, torch.tensor(samples)))
        totals = sum_over_processes(fabric, torch.stack(list(losses.values()))) / fabric.world_size
        values = {name: round(loss, 4) for name, loss in zip(losses, totals.tolist(), strict=True)}
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainError(f"the loss is not finite at step {step}: {values}; lower the learning rate")
        if fabric.is_global_zero:
            lr = self.recipe.lr * lr_factor(step, self.recipe.warmup, total_steps)
            about = {"epoch": epoch.number, "image_size": epoch.phase.image_size, "lr": lr, "samples": samples}
            self.log.write("step", step, **about, **values)

    def _minutes_left(self, seconds: float, epoch: Epoch, step: int) -> float:
        """Of training after `step`, if a step takes so many seconds; the time is proportional to the pixels."""
        pixels = sum(
            max(0, other.last_step - max(other.first_step, step)) * _pixels(other.phase) for other in self.epochs
        )
        return seconds * pixels / _pixels(epoch.phase) / 60


def _check_run_folder(folder: Path) -> None:
    """Raises TrainError: it holds files, and no run is among them."""
    names = visible_names(folder)
    if names and not {CHECKPOINT, LOG} & {*names}:
        raise TrainError(f"{folder}: holds {names[0]}, and no run to go on with; name a new or an empty folder")


class _Clock:
    """The time of a run that ends after some minutes; one without an end where these are None."""

    def __init__(self, minutes: float | None) -> None:
        self.end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.first: tuple[int, float] | None = None

    def is_over(self) -> bool:
        return time.monotonic() >= self.end

    def minutes_left(self) -> float:
        return max(0.0, self.end - time.monotonic()) / 60

    def total_steps(self, step: int, planned: int) -> int:
        """The steps that the run will have at its speed so far; `planned` without an end, or too early to tell."""
        if math.isinf(self.end):
            return planned
        now = time.monotonic()
        if self.first is None:
            self.first = step, now
        first, started = self.first
        if step - first < TIMED_STEPS:
            return planned
        return step + max(0, round((self.end - now) * (step - first) / (now - started)))


def _pixels(phase: Phase) -> int:
    return phase.batch_size * phase.image_size**2


def _epochs(recipe: Recipe, faces: FaceDataset) -> list[Epoch]:
    epochs: list[Epoch] = []
    for phase in recipe.phases:
        steps = steps_per_epoch(faces, phase.batch_size, recipe.samples_per_epoch)
        for number in range(phase.epochs):
            first_step = epochs[-1].last_step if epochs else 0
            epochs.append(Epoch(len(epochs), phase, first_step, steps, starts_phase=number == 0))
    return epochs


def _provenance(store: Store, near_duplicates: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """What a checkpoint keeps about a store: the faces trained on, those left out, those with features."""
    train = np.array([split == "train" for split in store.splits], bool)
    features = store.features
    has_features = np.zeros(len(train), bool) if features is None else np.isfinite(features).all(1)
    return {
        "train": int((train & ~near_duplicates).sum()),
        "near_duplicates_excluded": int((train & near_duplicates).sum()),
        "with_features": int((train & ~near_duplicates & has_features).sum()),
        "source": store.digest,
    }
