"""A quick look at a network after every epoch; the figures that are published come from `evaluation`."""

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from oamface.labels import TASKS
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.training.config import LossWeights, Phase
from oamface.training.dataset import FaceDataset
from oamface.training.distributed import sum_over_processes
from oamface.training.losses import age_mean_loss, expected_age, partial_label_nll, smooth_age_candidates

VALIDATION_FACES = 2000  # of the calibration split


@torch.no_grad()
def validate(model: OamCnn, faces: FaceDataset, phase: Phase, fabric: Fabric, weights: LossWeights) -> dict[str, float]:
    """Metrics on clean faces, computed by all processes together; {} where there is no face.

    valid_TASK: the share of predictions that are a candidate of the label; of ages only where it is a range.
    valid_age_mae: mean absolute error in years where the exact age is known. valid_loss: the labels' losses, weighted.
    """
    model.eval()
    if not len(faces):
        return {}
    indices = np.random.default_rng(0).permutation(len(faces))[:VALIDATION_FACES]
    index = indices[fabric.global_rank :: fabric.world_size]
    logits = _predict(model, faces, index, phase, fabric)
    candidates = {task: torch.from_numpy(faces.candidates[task][index]) for task in logits}
    scores = {name: values for task in logits for name, values in _scores(task, logits[task], candidates[task]).items()}
    local = torch.tensor([[float(values.sum()), len(values)] for values in scores.values()], dtype=torch.float64)
    sums = sum_over_processes(fabric, local)
    metrics = {
        f"valid_{name}": float(total / count) for name, (total, count) in zip(scores, sums, strict=True) if count
    }
    loss = torch.tensor(sum(_loss(task, logits[task], candidates[task], weights) for task in logits))
    return {"valid_loss": float(sum_over_processes(fabric, loss)) / fabric.world_size, **metrics}


def _predict(
    model: OamCnn, faces: FaceDataset, index: npt.NDArray[np.int64], phase: Phase, fabric: Fabric
) -> dict[str, Tensor]:
    """Task to the logits (N, classes) of some faces, on the CPU."""
    logits = {task: [torch.empty(0, len(TASKS[task]))] for task in model.heads}
    for start in range(0, len(index), phase.batch_size):
        crops = (faces.crop(int(row))[0] for row in index[start : start + phase.batch_size])
        images = preprocess_batch(crops, model.preprocessing, phase.image_size, fabric.device)
        with fabric.autocast():
            predicted = model(images).logits
        for task, values in predicted.items():
            logits[task].append(values.float().cpu())
    return {task: torch.cat(batches) for task, batches in logits.items()}


def _scores(task: str, logits: Tensor, candidates: Tensor) -> dict[str, Tensor]:
    """Metric to a value for each face that has one."""
    known, count = ~candidates.all(1), candidates.sum(1)
    if task != "age":
        correct = candidates.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        return {task: correct[known].float()}
    years = expected_age(logits)
    inside = candidates.gather(1, years.round().long()[:, None])[:, 0]
    error = (years - candidates.float().argmax(1)).abs()
    return {"age_mae": error[count == 1], "age": inside[known & (count > 1)].float()}


def _loss(task: str, logits: Tensor, candidates: Tensor, weights: LossWeights) -> float:
    """The weighted loss of a task's labels, as in training."""
    if task != "age":
        return float(getattr(weights, task) * partial_label_nll(logits, candidates.float()))
    nll = partial_label_nll(logits, smooth_age_candidates(candidates))
    return float(weights.age * nll + weights.age_mean * age_mean_loss(logits, candidates))
