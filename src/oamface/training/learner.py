"""One training step: everything that it reads and changes. Knows neither files nor epochs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from oamface.models.oam_cnn import OamCnn, Outputs, normalise
from oamface.training import losses
from oamface.training.balancing import METHODS
from oamface.training.checkpoint import EMA_MODEL
from oamface.training.config import Recipe
from oamface.training.dataset import Batch
from oamface.training.distillation import Ensemble
from oamface.training.distributed import sync_batchnorm

MAX_GRADIENT_NORM = 5.0


class TrainingModel(nn.Module):
    """The network with what only its training needs: a head that predicts a teacher's features, and learned weights."""

    def __init__(self, model: OamCnn, recipe: Recipe, feature_width: int) -> None:
        super().__init__()
        self.model = model
        self.balancing = METHODS[recipe.loss_balancing](recipe.tasks)
        self.feature_head = nn.Linear(model.channels, feature_width) if feature_width else None
        distilling = recipe.distill_every_view
        self.feature_norm = nn.BatchNorm1d(feature_width, affine=False, momentum=None) if distilling else None

    def forward(self, images: Tensor) -> tuple[Outputs, Tensor | None]:
        """(B, 3, H, W) images to the network's outputs and predicted features (B, F)."""
        outputs = self.model(images)
        return outputs, None if self.feature_head is None else self.feature_head(outputs.embedding)

    @torch.no_grad()
    def standardise_features(self, features: Tensor) -> Tensor:
        """A teacher's features (B, F) by the mean and standard deviation of all that came, which are updated."""
        if self.feature_norm is None:  # those of the data set are standardised
            return features
        self.feature_norm.train()(features)
        return self.feature_norm.eval()(features)


class Learner:
    """A network in training, with its optimizer, learning rate schedule and exponential moving average (EMA).

    model: with the initial weights; it is trained in place. teachers: for distill_every_view. feature_width: of the
    features in the batches. total_steps: of the run; it may be changed, and so the schedule. ema: counts its steps in
    ema.n_averaged.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: OamCnn,
        teachers: Ensemble | None,
        fabric: Fabric,
        *,
        feature_width: int,
        total_steps: int,
        compiled: bool = False,
    ) -> None:
        self.recipe, self.teachers, self.fabric, self.total_steps = recipe, teachers, fabric, total_steps
        torch.manual_seed(recipe.seed)  # the same whether a teacher has predicted now or in an earlier start
        feature_width = teachers.channels if teachers else feature_width
        training_model = TrainingModel(model, recipe, feature_width)
        training_model.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training_model = sync_batchnorm(training_model, fabric)
        self.model = self.training_model.model
        self.frozen = frozen_modules(self.model) if recipe.freeze_backbone else []
        self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        self.ema_model: Any = self.ema.module
        # What a checkpoint has besides the optimizer.
        self.modules = {"training_model": self.training_model, EMA_MODEL: self.ema_model}
        self.optimizer = _optimizer(recipe, self.training_model)
        self.scheduler = LambdaLR(self.optimizer, lambda step: lr_factor(step + 1, recipe.warmup, self.total_steps))
        # Not by fabric.setup_module, which forbids the gradients at the embedding that balancing takes.
        self.network: Any = fabric.strategy.setup_module(self.training_model)
        if compiled:
            self.network = torch.compile(self.network, mode="reduce-overhead")
            if teachers:
                teachers.compile()

    def restore(self, step: int, ema_steps: int) -> None:
        """Go on after `step` steps, once `modules` and the optimizer are loaded."""
        self.ema.n_averaged.fill_(ema_steps)
        self.scheduler.last_epoch = step
        for group, lr in zip(self.optimizer.param_groups, self.scheduler.base_lrs, strict=True):
            group["lr"] = lr * self.scheduler.lr_lambdas[0](step)

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Train on a batch and its mixup repeats; step: its number from 1. Returns the batch's unweighted losses."""
        seed = self.recipe.seed * 1_000_003 + step  # dropout too is the same after an interruption
        torch.manual_seed(seed + (self.fabric.global_rank << 40))
        batch = self.fabric.to_device(batch)
        values = self._update(batch)
        for _ in range(self.recipe.mixup_repeats):
            with frozen_statistics(self.model):
                self._update(batch.mixup())
        self.scheduler.step()
        return values

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        self.model.train()
        for module in self.frozen:
            module.eval()
        images = normalise(batch.images, self.model.preprocessing)
        if self.teachers:
            batch = self.teachers.label(batch, images)
        with self.fabric.autocast():
            outputs, features = self.network(images)
        values = self._losses(outputs, features, batch)
        self.optimizer.zero_grad()
        self.fabric.backward(self._total(values, outputs.embedding))
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        return {name: value.detach() for name, value in values.items()}

    def _losses(self, outputs: Outputs, predicted_features: Tensor | None, batch: Batch) -> dict[str, Tensor]:
        """Every loss, unweighted, by its name in LossWeights, those of soft labels as kd_TASK."""
        logits, embedding, values = outputs.logits, outputs.embedding, {}
        for task in self.recipe.tasks:
            candidates = batch.candidates[task]
            weights = losses.smooth_age_candidates(candidates) if task == "age" else candidates.float()
            adjusted = logits[task] + batch.age_prior if task == "age" else logits[task]
            values[task] = losses.partial_label_nll(adjusted, weights)
            if task == "age":
                values["age_mean"] = losses.age_mean_loss(adjusted, candidates)
            if task in batch.soft_labels:
                values[f"kd_{task}"] = losses.kd_loss(logits[task], batch.soft_labels[task])
        if self.recipe.attention:
            values["attention"] = losses.attention_loss(outputs.attention, batch.occlusion, batch.has_occlusion_mask)
        values["consistency"] = losses.consistency_loss(embedding[batch.occluded], embedding[batch.clean])
        if predicted_features is not None:
            features = self.training_model.standardise_features(batch.features)
            values["features"] = losses.feature_loss(predicted_features, features)
        return values

    def _total(self, values: dict[str, Tensor], embedding: Tensor) -> Tensor:
        """The weighted sum of the losses, with the tasks balanced."""
        weights, tasks = self.recipe.loss_weights, {}
        for task in self.recipe.tasks:
            tasks[task] = weights.labels * getattr(weights, task) * values[task]
            if task == "age":
                tasks[task] = tasks[task] + weights.labels * weights.age_mean * values["age_mean"]
            if f"kd_{task}" in values:
                tasks[task] = tasks[task] + weights.kd * getattr(weights, task) * values[f"kd_{task}"]
        others = [
            getattr(weights, name) * values[name] for name in ("attention", "consistency", "features") if name in values
        ]
        total = torch.stack(others).sum()
        return total + self.training_model.balancing(tasks, embedding) if tasks else total

    def _average(self, ema: Any, current: Any, steps: Tensor | int) -> None:
        """Update the EMA in place; its decay is smaller at first, while there is little to average."""
        steps = torch.as_tensor(steps)
        weight = 1 - ((1 + steps) / (10 + steps)).clamp_max(self.recipe.ema_decay)
        for average, value in zip(ema, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)


def _optimizer(recipe: Recipe, training_model: TrainingModel) -> torch.optim.Optimizer:
    """AdamW with the backbone's own learning rate; biases and normalisation layers have no weight decay."""
    backbone = [*training_model.model.backbone.parameters(), *training_model.model.neck.parameters()]
    in_backbone = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in training_model.parameters() if id(parameter) not in in_backbone]
    groups: list[dict[str, Any]] = []
    for parameters, scale in ((backbone, recipe.backbone_lr_scale), (others, 1.0)):
        settings = {"lr": recipe.lr * scale}
        groups.append({**settings, "params": [parameter for parameter in parameters if parameter.ndim > 1]})
        without_decay = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups.append({**settings, "params": without_decay, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def lr_factor(step: int, warmup: float, total_steps: int) -> float:
    """The learning rate of a step (from 1) as a share of the highest: a linear warmup, then half a cosine to 0.002."""
    warmup_steps = max(1, round(warmup * total_steps))
    if step <= warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(0.002, 0.5 * (1 + math.cos(math.pi * progress)))


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """The modules without a parameter that is trained, and all batch norms."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        or ((parameters := list(module.parameters())) and not any(parameter.requires_grad for parameter in parameters))
    ]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms keep their running means and variances, which are not to become those of mixed images."""
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
