"""What a frozen teacher's features say of the training faces, as soft labels beside the hard ones."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oamface.labels import TASKS
from oamface.train.batches import Faces
from oamface.train.losses import age_credit, set_loss, years_loss

TAUGHT = ("age", "gender", "race")
FOLDS = 3


def soft_labels(faces: Faces, *, passes: int = 15, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Task to (N, classes) probabilities, rows of NaN for faces without features; {} when no face has any.

    A small network reads the features; every face is answered by one that was trained on the other folds, so that
    no answer repeats its own label (cross-fitting).
    """
    known = np.flatnonzero(np.isfinite(faces.features).all(1)) if faces.features.shape[1] else np.zeros(0, int)
    if len(known) < 10 * FOLDS:
        return {}
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(known))
    soft = {task: np.full((len(faces), len(TASKS[task])), np.nan, np.float32) for task in TAUGHT}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number in range(FOLDS):
            probe = _fit(faces, known[fold != number], passes)
            asked = known[fold == number]
            with torch.no_grad():
                for task, logits in probe(torch.from_numpy(faces.features[asked])).items():
                    soft[task][asked] = logits.softmax(1).numpy()
    return soft


class _Probe(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(width, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.4)
        )
        self.heads = nn.ModuleDict({task: nn.Linear(512, len(TASKS[task])) for task in TAUGHT})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        hidden = self.body(features)
        return {task: head(hidden) for task, head in self.heads.items()}


def _fit(faces: Faces, rows: npt.NDArray[np.int64], passes: int) -> _Probe:
    features = torch.from_numpy(faces.features[rows])
    known = {task: torch.from_numpy(faces.members[task][rows]) for task in TAUGHT}
    probe, batch = _Probe(features.shape[1]), min(512, len(rows))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, passes * (len(rows) // batch))
    for _ in range(passes):
        for chosen in torch.randperm(len(rows))[: len(rows) // batch * batch].view(-1, batch):
            logits = probe(features[chosen])
            years = known["age"][chosen]
            loss = set_loss(logits["age"], age_credit(years)) + years_loss(logits["age"], years)
            loss = loss + sum(set_loss(logits[task], known[task][chosen].float()) for task in ("gender", "race"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return probe.eval()
