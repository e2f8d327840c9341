"""A quick look at a network after every epoch; the figures that are published come from `evaluation`."""

import numpy as np
import torch
from lightning_fabric import Fabric

from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.training.config import Phase
from oamface.training.dataset import FaceDataset
from oamface.training.distributed import sum_over_processes
from oamface.training.losses import expected_age

VALIDATION_FACES = 2000  # of the calibration split


@torch.no_grad()
def validate(model: OamCnn, faces: FaceDataset, phase: Phase, fabric: Fabric) -> dict[str, float]:
    """Metrics on clean faces, computed by all processes together.

    valid_TASK: the share of predictions that are a candidate of the label. valid_age_mae: mean absolute error in years
    where the exact age is known.
    """
    model.eval()
    indices = np.random.default_rng(0).permutation(len(faces))[:VALIDATION_FACES][
        fabric.global_rank :: fabric.world_size
    ]
    scores: dict[str, list[float]] = {task: [] for task in model.heads if task != "age"}
    scores["age_mae"] = []
    for start in range(0, len(indices), phase.batch_size):
        index = indices[start : start + phase.batch_size]
        crops = (faces.crop(int(row))[0] for row in index)
        images = preprocess_batch(crops, model.preprocessing, phase.image_size, fabric.device)
        with fabric.autocast():
            logits = model(images).logits
        for task, values in logits.items():
            candidates = faces.candidates[task][index]
            if task == "age":
                is_exact = candidates.sum(1) == 1
                errors = np.abs(expected_age(values).cpu().numpy() - candidates.argmax(1))
                scores["age_mae"] += list(errors[is_exact])
            else:
                is_candidate = candidates[np.arange(len(index)), values.argmax(1).cpu().numpy()]
                scores[task] += list(is_candidate[~candidates.all(1)])
    local = torch.tensor([[float(sum(values)), len(values)] for values in scores.values()], dtype=torch.float64)
    sums = sum_over_processes(fabric, local)
    return {f"valid_{name}": float(total / count) for name, (total, count) in zip(scores, sums, strict=True) if count}
