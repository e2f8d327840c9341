"""The training loop: stores and a recipe in, a checkpoint out; killed at any moment, it goes on from the last one."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oamface.alignment import CROP_SIZE
from oamface.atomic import append_line, make_folder, write_whole
from oamface.datasets.near_duplicates import copies_of_test
from oamface.datasets.store import Store, open_stores
from oamface.errors import TrainError
from oamface.labels import TASKS
from oamface.models.oam_cnn import FACE, OamCnn, load_start, normalise, preprocess_batch, resized
from oamface.models.onnx_import import described, is_model_file, restore, settle
from oamface.models.pruning import prune
from oamface.training import losses
from oamface.training.balancing import Uncertainty, combine
from oamface.training.captured import Captured
from oamface.training.checkpoint import load_checkpoint, progress_of, save_checkpoint
from oamface.training.config import Phase, Recipe
from oamface.training.dataset import Batch, Faces, batches, gather, mixed, mixup, standardised, steps_a_pass
from oamface.training.distillation import Standard, Teacher, answers_of, kd
from oamface.training.distributed import Team, launch, process_lost

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
SAVE_EVERY = 180.0  # seconds of work that an interruption costs at most
LOG_EVERY = 20  # steps
TIMED = 10  # steps from which the time of all others is estimated
SETTLED = 4000  # faces on which a model file's batch normalisation is settled
PRUNED = 768  # of these, on which a smaller network is fitted
VALIDATED = 2000  # faces of the calibration part looked at after every pass

Event = Callable[[dict[str, Any]], None]


class Run:
    """One training run in a folder. Make it, then call `train`; a folder with a checkpoint is gone on with.

    stores: folders. workers: processes that draw. compiled: by torch.compile, which on a GPU spares passes over memory,
    after a minute or two at the start. on_event: gets every line of the log as it is written.
    Raises StoreError, FileError, TrainError (no face to train on; `train`: another recipe or other data in the folder).
    """

    def __init__(
        self,
        recipe: Recipe,
        stores: Sequence[Path],
        out: Path,
        *,
        workers: int = 1,
        compiled: bool = False,
        on_event: Event = lambda line: None,
    ) -> None:
        self.recipe, self.out, self.workers, self.on_event = recipe, out, workers, on_event
        self.compiled = compiled
        opened = open_stores(stores, size=CROP_SIZE)
        left_out = [copies_of_test(store) for store in opened]
        self.faces = gather(opened, "train", repeat=recipe.repeat, left_out=left_out)
        self.validation = gather(opened, "calibrate", repeat={})
        self.data = {
            store.card["data_set"]: _provenance(store, copies) for store, copies in zip(opened, left_out, strict=True)
        }
        self.identity = hashlib.sha256(json.dumps([recipe.to_dict(), self.data], sort_keys=True).encode()).hexdigest()
        make_folder(out)
        self.steps = [steps_a_pass(self.faces, phase.batch_size, recipe.samples_per_epoch) for phase in recipe.phases]
        self.total = sum(steps * phase.epochs for steps, phase in zip(self.steps, recipe.phases, strict=True))

    def train(self) -> Path:
        """Train to the recipe's end and return the checkpoint.

        Raises TrainError: a GPU without room for the batch, another process of the run that is gone, a loss that is no
        number; the last checkpoint stands.
        """
        try:
            return self._train()
        except torch.OutOfMemoryError as error:
            raise TrainError(
                f"no room on the GPU ({str(error).splitlines()[0]}): give the recipe a smaller batch, or the run more "
                f"GPUs, which share a batch; {self.out} keeps what was trained"
            ) from error
        except RuntimeError as error:
            if not process_lost(error):
                raise
            raise TrainError(
                f"another process of the run is gone ({str(error).splitlines()[0]}); start all of them again to go on "
                f"from the checkpoint in {self.out}"
            ) from error

    def _train(self) -> Path:
        recipe = self.recipe
        self.fabric = launch(recipe.precision)
        # Of other backbones some layers normalise over the batch; two processes then agree with one up to rounding.
        self.team = Team(self.fabric, halved=recipe.backbone == FACE)
        if any(phase.batch_size < 2 * self.team.size for phase in recipe.phases):
            raise TrainError(
                f"recipe {recipe.name}: {self.team.size} processes share a batch; give each at least 2 faces"
            )
        path = self.out / CHECKPOINT
        if path.exists() and progress_of(path)["identity"] != self.identity:  # before a teacher takes its minutes
            raise TrainError(f"{path}: was trained with another recipe or on other data; name an empty folder")
        self._start()  # likewise: a start that is none
        self.teacher = None
        if recipe.distill_every_view:
            self.teacher = Teacher(Path(recipe.teacher), self.model.preprocessing, self.fabric.device)
        elif recipe.loss_weights.kd and recipe.tasks and not self.faces.soft:
            self.faces = self._taught()
        self._build()
        done = self._resume()
        if done < self.total:
            self._log({"event": "start", "step": done, "steps": self.total, "data": self.data})
        saved = began = time.monotonic()
        for number, (phase, first, steps) in enumerate(self._passes()):
            if done >= first + steps:
                continue
            if first == self._phase_start(first + 1) and done <= first:
                self.averagings.zero_()  # the average starts anew: one over two image sizes fits neither
            stream = batches(
                self.faces,
                size=phase.image_size,
                batch=phase.batch_size,
                seed=recipe.seed,
                number=number,
                skip=max(0, done - first),
                count=recipe.samples_per_epoch,
                occluded=recipe.occlusion_probability,
                paired=recipe.clean_pair_probability,
                preprocessing=self.model.preprocessing,
                workers=self.workers,
                share=(self.team.rank, self.team.size),
            )
            for step, batch in enumerate(stream, max(first, done) + 1):
                rate = self._rate(step)
                torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout too is the same after an interruption
                batch = batch.to(self.fabric.device)
                self._set_rate(rate)
                values = self.step(batch)
                for _ in range(recipe.mixup_repeats):
                    self.mixed_step(batch)
                if step == done + 1:
                    began = time.monotonic()  # the first step pays for start-up
                elif step == done + 1 + TIMED:
                    minutes = self._minutes_left((time.monotonic() - began) / TIMED, phase.image_size, step)
                    self._log({"event": "estimate", "step": step, "minutes": round(minutes, 1)})
                if step % LOG_EVERY == 0:
                    shown = {name: round(float(value), 4) for name, value in values.items()}
                    if not all(math.isfinite(value) for value in shown.values()):
                        raise TrainError(f"the loss is no number at step {step}: {shown}; lower the learning rate")
                    rows = int(self.team.total(torch.tensor(len(batch.crops))))
                    plain = {"step": step, "pass": number, "size": phase.image_size, "rate": rate, "rows": rows}
                    self._log({"event": "step", **plain, **shown})
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save(step)
                    saved = time.monotonic()
            self._log(
                {
                    "event": "pass",
                    "step": first + steps,
                    "pass": number,
                    "size": phase.image_size,
                    **self._validate(phase),
                }
            )
            self._save(first + steps)
            saved = time.monotonic()
            if self.team.leads:
                write_curves(self.out)
        self.team.wait()  # the checkpoint is whole for all of them
        return self.out / CHECKPOINT

    def _start(self) -> None:
        """The network as it is before the first step."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        model = OamCnn(
            backbone=recipe.backbone,
            backbone_stages=recipe.backbone_stages,
            tasks=recipe.tasks,
            attention=recipe.attention,
            dropout=recipe.dropout,
        )
        if is_model_file(recipe.pretrained):
            self._start_from_file(model)
        else:
            load_start(model, recipe.pretrained)
        model.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.divided = nn.ModuleList([model.backbone, model.attention or nn.Identity(), model.neck])
        self.team.synchronise(self.divided)
        self.model = model

    def _build(self) -> None:
        """What trains it."""
        recipe, model = self.recipe, self.model
        torch.manual_seed(recipe.seed)  # the same whether a teacher has answered now or in an earlier start
        extra: dict[str, nn.Module] = {"uncertainty": Uncertainty(recipe.tasks)}
        if self.teacher:
            extra["standard"] = Standard(self.teacher.model.channels)
        if width := self.teacher.model.channels if self.teacher else self.faces.features.shape[1]:
            extra["features"] = nn.Linear(model.channels, width)
        self.extra = nn.ModuleDict(extra).to(self.fabric.device)
        self.same = nn.ModuleList([model.heads, self.extra])  # what every process computes alike
        self.averaged, self.averagings = deepcopy(model), torch.zeros((), device=self.fabric.device)
        groups: list[dict[str, Any]] = []
        for modules, share in (
            ((model.backbone, model.neck), recipe.backbone_lr_scale),
            ((model.attention or nn.Identity(), model.heads, self.extra), 1.0),
        ):
            parameters = [parameter for module in modules for parameter in module.parameters()]
            # Biases and normalisation scales are no weights to decay.
            decayed = [parameter for parameter in parameters if parameter.ndim > 1]
            free = [parameter for parameter in parameters if parameter.ndim <= 1]
            groups += [{"params": decayed, "share": share}, {"params": free, "share": share, "weight_decay": 0.0}]
        on_gpu = self.fabric.device.type == "cuda"
        if on_gpu:
            for group in groups:  # where a recorded step can read it
                group["lr"] = torch.tensor(recipe.lr, device=self.fabric.device)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, capturable=on_gpu)
        self.parts = {"model": self.model, "averaged": self.averaged, "extra": self.extra}
        self.embed, self.mix = model.embed, mixup
        if self.compiled:
            self.embed, self.mix = torch.compile(self.embed), torch.compile(self.mix)
            if self.teacher:
                self.teacher.model.compile()
        self.step, self.mixed_step = self._step, self._mixed_step
        # Partners make every batch another length; projection looks at its gradients before it goes on.
        if on_gpu and self.team.size == 1 and not recipe.clean_pair_probability and recipe.loss_balancing != "pcgrad":
            self.step, self.mixed_step = Captured(self._step), Captured(self._mixed_step)

    def _start_from_file(self, model: OamCnn) -> None:
        """Take over the network of a model file, its batch normalisation settled on training faces."""
        recipe, phase = self.recipe, self.recipe.phases[0]
        if recipe.backbone != FACE or set(recipe.tasks) != set(TASKS) or not recipe.attention:
            raise TrainError(
                f"recipe {recipe.name}: a model file starts only a whole network with the backbone {FACE!r}"
            )
        start = restore(recipe.pretrained)
        if not (self.out / CHECKPOINT).exists():  # what goes on has its own
            stream = batches(
                self.faces,
                size=phase.image_size,
                batch=phase.batch_size,
                seed=recipe.seed,
                number=0,
                skip=0,
                count=SETTLED,
                occluded=recipe.occlusion_probability,
                paired=0.0,
                preprocessing=model.preprocessing,
                workers=0,
            )
            images: Iterator[Tensor] = (normalise(batch.crops, model.preprocessing) for batch in stream)
            if model.backbone_stages != start.backbone_stages:
                seen = list(islice(images, -(-PRUNED // phase.batch_size)))
                size = described(recipe.pretrained)["input"]["size"]
                start = prune(start, model.backbone_stages, resized(torch.cat(seen)[:PRUNED], size), phase.image_size)
                images = chain(seen, images)
            settle(start, images)
            model.load_state_dict(start.state_dict())

    def _resume(self) -> int:
        path = self.out / CHECKPOINT
        if not path.exists():
            return 0
        step = int(load_checkpoint(path, self.parts, self.optimizer)["step"])
        self.averagings.fill_(step - self._phase_start(step))
        return step

    def _save(self, step: int) -> None:
        progress = {
            "identity": self.identity,
            "step": step,
            "steps": self.total,
            "recipe": self.recipe.to_dict(),
            "data": self.data,
        }
        if self.team.leads:
            save_checkpoint(self.out / CHECKPOINT, self.parts, self.optimizer, progress)

    def _taught(self) -> Faces:
        """The faces with soft labels, and a teacher's vectors as their features; made once, kept in the folder."""
        path = self.out / f"teacher-{self.identity[:12]}.npz"
        if not path.exists() and self.team.leads:
            if self.recipe.teacher:
                self._log({"event": "teach", "step": 0, "faces": len(self.faces)})
                soft, vectors = answers_of(Path(self.recipe.teacher), self.faces)
                told: dict[str, Any] = {"features": standardised(vectors), **soft}
            else:
                told = dict(kd(self.faces, seed=self.recipe.seed))
            write_whole(path, lambda file: np.savez(file, **told))
        self.team.wait()
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
        return replace(self.faces, features=kept.pop("features", self.faces.features), soft=kept)

    def _passes(self) -> list[tuple[Phase, int, int]]:
        """Every pass: its phase, the step before its first, its steps."""
        passes, first = [], 0
        for phase, steps in zip(self.recipe.phases, self.steps, strict=True):
            for _ in range(phase.epochs):
                passes.append((phase, first, steps))
                first += steps
        return passes

    def _phase_start(self, step: int) -> int:
        """The step before the first of the phase that `step`, counted from 1, lies in."""
        starts, first = [0], 0
        for phase, steps in zip(self.recipe.phases, self.steps, strict=True):
            first += steps * phase.epochs
            starts.append(first)
        return max(start for start in starts if start < max(step, 1))

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to nearly zero."""
        warm = max(1, round(self.recipe.warmup * self.total))
        if step <= warm:
            return self.recipe.lr * step / warm
        share = (step - warm) / max(1, self.total - warm)
        return self.recipe.lr * max(0.002, 0.5 * (1 + math.cos(math.pi * share)))

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            own = rate * group["share"]
            group["lr"] = group["lr"].fill_(own) if isinstance(group["lr"], Tensor) else own

    def _mixed_step(self, batch: Batch) -> dict[str, Tensor]:
        """By the batch's faces mixed; batch normalisation's running means stay those of faces as they are."""
        with _statistics_kept(self.model):
            return self._step(mixed(batch, self.mix))

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimizer; returns the parts of the loss, unweighted."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        images = normalise(batch.crops, self.model.preprocessing).contiguous(memory_format=torch.channels_last)
        weights = self.recipe.loss_weights
        if self.teacher:
            batch = self.teacher.answer(batch, images)
        layout = self.team.layout(batch)
        own = [part.contiguous(memory_format=torch.channels_last) for part in self.team.parts(layout, images)]
        with self.fabric.autocast():
            embedded = self.embed(own)
            # From here on every process has the whole batch. The heads' gradients meet at the shared vector, where
            # `combine` can weigh them before the one pass back.
            batch, leaf, seen = self.team.whole(batch, layout, embedded)
            leaf.requires_grad_()
            seen.requires_grad_(embedded[0][1].requires_grad)
            logits = self.model.answer(leaf)
            guess = self.extra["features"](leaf) if "features" in self.extra else None
        credit = {task: batch.members[task].float() for task in TASKS}
        credit["age"] = losses.age_credit(batch.members["age"])
        parts = {
            **{task: losses.set_loss(logits[task], credit[task]) for task in self.recipe.tasks},
            "attention": losses.attention_loss(seen, batch.coverage, batch.traced),
            "recovery": losses.recovery_loss(leaf[batch.covered], leaf[batch.bare]),
        }
        tasks = {task: weights.labels * getattr(weights, task) * parts[task] for task in self.recipe.tasks}
        if "age" in tasks:
            parts["years"] = losses.years_loss(logits["age"], batch.members["age"])
            tasks["age"] = tasks["age"] + weights.labels * weights.age_mean * parts["years"]
        soft = {task: losses.soft_loss(logits[task], target) for task, target in batch.soft.items() if task in tasks}
        for task, loss in soft.items():
            tasks[task] = tasks[task] + weights.kd * getattr(weights, task) * loss
        if self.recipe.loss_balancing == "uncertainty":
            tasks = self.extra["uncertainty"](tasks)
        gradient = combine(self.recipe.loss_balancing, tasks, leaf).clone() if tasks else torch.zeros_like(leaf)
        leaf.grad = None
        beside = weights.consistency * parts["recovery"]
        if guess is not None:
            features = batch.features
            if "standard" in self.extra:  # mean and deviation of a teacher's vectors become known on the way
                features = self.extra["standard"](features)
            parts["features"] = losses.feature_loss(guess, features)
            beside = beside + weights.features * parts["features"]
        if seen.requires_grad:
            beside = beside + weights.attention * parts["attention"]
        beside.backward()
        if leaf.grad is not None:
            gradient = gradient + leaf.grad
        roots = [z for z, _ in embedded]
        gradients = [part.to(roots[0].dtype) for part in self.team.own(layout, gradient)]
        if seen.grad is not None:
            roots += [attention for _, attention in embedded]
            gradients += [part.to(roots[-1].dtype) for part in self.team.own(layout, seen.grad)]
        torch.autograd.backward(roots, gradients)
        self.team.sum_gradients(self.divided, self.same)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self._average()
        parts |= {f"soft_{task}": loss for task, loss in soft.items()}
        return {name: loss.detach() for name, loss in parts.items()}

    @torch.no_grad()
    def _average(self) -> None:
        """The exponential moving average of the weights, with a shorter memory while there is little to remember."""
        count = self.averagings  # a tensor where the weights lie: nothing waits for a GPU
        share = torch.where(count == 0, 1.0, 1 - ((1 + count) / (10 + count)).clamp_max(self.recipe.ema_decay))
        both = zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True)
        for mean, value in both:
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)
        count += 1

    @torch.no_grad()
    def _validate(self, phase: Phase) -> dict[str, float]:
        """The averaged network on bare faces of the calibration part: how often its answer is in the label's set."""
        faces, model = self.validation, self.averaged.eval()
        chosen = np.random.default_rng(0).permutation(len(faces))[:VALIDATED][self.team.rank :: self.team.size]
        right: dict[str, list[float]] = {task: [] for task in self.recipe.tasks if task != "age"}
        away: list[float] = []
        for start in range(0, len(chosen), phase.batch_size):
            index = chosen[start : start + phase.batch_size]
            images = preprocess_batch(
                (faces.crop(int(row))[0] for row in index),
                self.model.preprocessing,
                phase.image_size,
                self.fabric.device,
            )
            with self.fabric.autocast():
                logits = model(images).logits
            for task, hits in right.items():
                members = faces.members[task][index]
                answer = logits[task].argmax(1).cpu().numpy()
                hits += [float(row[choice]) for row, choice in zip(members, answer, strict=True) if not row.all()]
            if "age" not in logits:
                continue
            members = faces.members["age"][index]
            exact = members.sum(1) == 1
            away += list(np.abs(losses.mean_age(logits["age"]).cpu().numpy() - members.argmax(1))[exact])
        found = {**right, "years": away}
        sums = self.team.total(
            torch.tensor([[sum(values), len(values)] for values in found.values()], dtype=torch.float64)
        )
        return {
            f"valid_{name}": float(total / count) for name, (total, count) in zip(found, sums, strict=True) if count
        }

    def _minutes_left(self, seconds: float, size: int, step: int) -> float:
        """What is left after `step`, if one at `size` takes so many seconds: work goes by the square of the size."""
        left = sum(
            max(0, first + steps - max(first, step)) * phase.batch_size * phase.image_size**2
            for phase, first, steps in self._passes()
        )
        phase = next(phase for phase in self.recipe.phases if phase.image_size == size)
        return seconds * left / (phase.batch_size * size**2) / 60

    def _log(self, line: dict[str, Any]) -> None:
        if not self.team.leads:
            return
        line = {"time": round(time.time(), 1), **line}
        append_line(self.out / LOG, json.dumps(line))
        self.on_event(line)


def _provenance(store: Store, copies: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """What a run says of one of its stores: faces trained on, those left out, those with a teacher's features."""
    trained = np.array([split == "train" for split in store.splits], bool)
    taught = np.isfinite(store.features).all(1) if store.features is not None else np.zeros(len(trained), bool)
    return {
        "train": int((trained & ~copies).sum()),
        "near_duplicates_excluded": int((trained & copies).sum()),
        "with_features": int((trained & ~copies & taught).sum()),
        "source": store.card["source"],
    }


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch normalisation's running means stay those of faces as they are, while mixed ones pass."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    moments = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    yield
    for layer, momentum in zip(norms, moments, strict=True):
        layer.momentum = momentum


def write_curves(out: Path) -> None:
    """Draw the log's losses and validation figures into curves.png beside it."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    passes = [line for line in lines if line["event"] == "pass"]
    if not steps or not passes:
        return
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    plain = {"time", "event", "step", "pass", "size", "rate", "rows"}
    for name in [key for key in steps[-1] if key not in plain]:
        shown = [(line["step"], line[name]) for line in steps if name in line]
        left.plot(*zip(*shown, strict=True), label=name, linewidth=0.8)
    left.set(xlabel="step", ylabel="loss, unweighted", yscale="log")
    left.legend(fontsize=7, ncols=2)
    for task in ("gender", "race", "mask"):
        shown = [(line["step"], 100 * line[f"valid_{task}"]) for line in passes if f"valid_{task}" in line]
        if shown:
            right.plot(*zip(*shown, strict=True), label=f"{task}: answers in the label's set", marker="o")
    right.set(xlabel="step", ylabel="% of calibration faces, bare")
    right.legend(fontsize=7)
    write_whole(out / "curves.png", lambda file: figure.savefig(file, format="png", dpi=110))
