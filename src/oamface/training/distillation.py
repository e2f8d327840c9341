"""What teachers make of the training faces: features to learn, and soft labels to stand beside the hard ones, both of a
trained network, asked once or of every view; or a frozen face network's features, and soft labels of small networks
that read them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oamface.datasets.store import Store
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.face_resnet import MEAN, SIDE, STD, WIDTH, WINDOW, FaceResNet, load_dlib
from oamface.models.oam_cnn import OamCnn, preprocess_batch, resized
from oamface.preprocessing import Preprocessing
from oamface.training.checkpoint import load_network
from oamface.training.dataset import Batch, Faces
from oamface.training.losses import age_credit, set_loss, years_loss

TAUGHT = ("age", "gender", "race")
FOLDS = 3
TOGETHER = 64  # faces a teacher answers for at once


@torch.no_grad()
def answers_of(checkpoint: Path, faces: Faces) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """What a checkpoint's averaged network says of every face as it is: task to (N, classes) probabilities, and the
    vectors (N, C) that it says it from.

    The means of the face and its mirror image. Raises ModelError: no checkpoint, or one that lacks a task.
    """
    device = _device()
    model, size = _loaded(checkpoint, TAUGHT, device)
    said = {task: np.empty((len(faces), len(TASKS[task])), np.float32) for task in TAUGHT}
    vectors = np.empty((len(faces), model.channels), np.float32)
    for start in range(0, len(faces), TOGETHER):
        rows = range(start, min(start + TOGETHER, len(faces)))
        images = preprocess_batch((faces.crop(row)[0] for row in rows), model.preprocessing, size, device)
        soft, z = _ask_both(model, images)
        for task, table in said.items():
            table[rows.start : rows.stop] = soft[task].cpu().numpy()
        vectors[rows.start : rows.stop] = z.cpu().numpy()
    return said, vectors


class Teacher:
    """A trained network that answers every image just as the one that learns sees it (Beyer et al., 2022, whom such
    consistency and patience brought further than asking once).

    Raises ModelError: no checkpoint or model file, one that lacks a task, or one that frames its images otherwise.
    """

    def __init__(self, checkpoint: Path, preprocessing: Preprocessing, device: torch.device) -> None:
        self.model, self.size = _loaded(checkpoint, tuple(TASKS), device)
        if self.model.preprocessing != preprocessing:
            raise ModelError(
                f"{checkpoint}: cannot teach a network of another backbone what it sees; it frames otherwise"
            )

    @torch.no_grad()
    def answer(self, batch: Batch, images: Tensor) -> Batch:
        """The batch with what this network says of its rows as their soft labels, and with its vectors as features.

        The means of the images, (R, 3, S, S), the batch's crops as a network takes them, and their mirror images, at
        the size that this network knows.
        """
        soft, vectors = _ask_both(self.model, resized(images, self.size))
        return replace(batch, soft=soft, features=vectors)


class Standard(nn.Module):
    """Columns of mean 0 and deviation 1, by all the rows that ever came."""

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("squares", torch.zeros(width))

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        """Take note of (R, F) rows, and return them standardised (Chan, Golub and LeVeque, 1979)."""
        before, away = self.count.clone(), rows.mean(0) - self.mean
        self.count += len(rows)
        self.squares += rows.var(0, unbiased=False) * len(rows) + away**2 * (before * len(rows) / self.count)
        self.mean += away * (len(rows) / self.count)
        return (rows - self.mean) / ((self.squares / self.count).sqrt() + 1e-6)


@torch.no_grad()
def face_features(
    store: Store, *, weights: Path | None = None, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> npt.NDArray[np.float16]:
    """(N, 256): what dlib's face network, frozen, makes of a store's faces; the mean of each and its mirror image.

    weights: their file, or the installed package's when None. on_progress: faces done, and all. Raises ModelError.
    """
    device, network = _device(), FaceResNet()
    load_dlib(network, weights)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = Preprocessing(WINDOW, MEAN, STD)
    features = np.empty((len(store.crops), WIDTH), np.float16)
    for start in range(0, len(features), TOGETHER):
        images = preprocess_batch(store.crops[start : start + TOGETHER], preprocessing, SIDE, device)
        sides = network(images) + network(images.flip(3))
        features[start : start + TOGETHER] = (sides / 2).half().cpu().numpy()
        on_progress(min(start + TOGETHER, len(features)), len(features))
    return features


def kd(faces: Faces, *, passes: int = 15, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
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


def _loaded(checkpoint: Path, tasks: Sequence[str], device: torch.device | str) -> tuple[OamCnn, int]:
    """What `load_network` gives, on a device, and the side of the images that it knows, in pixels.

    Raises ModelError: besides, a network that lacks one of the tasks.
    """
    model, progress = load_network(checkpoint)
    if lacking := [task for task in tasks if task not in model.heads]:
        raise ModelError(f"{checkpoint}: cannot teach, it does not answer {', '.join(lacking)}")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, progress["recipe"]["phases"][-1]["size"]


def _ask(model: OamCnn, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Of (B, 3, S, S) images task to (B, classes) probabilities, and the vectors (B, C)."""
    # On a processor without bfloat16 it would be eight times as slow as float32.
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
        logits, _, z = model(images)
    return {task: values.float().softmax(1) for task, values in logits.items()}, z.float()


def _ask_both(model: OamCnn, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What `_ask` gives, the means of images and their mirror images."""
    soft, vectors = _ask(model, torch.cat([images, images.flip(3)]))
    return {task: _halves(values).mean(0) for task, values in soft.items()}, _halves(vectors).mean(0)


def _halves(rows: Tensor) -> Tensor:
    return rows.view(2, len(rows) // 2, -1)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
