"""Knowledge distillation: soft labels and features from a teacher, for every face once or for every augmented image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oamface.datasets.store import Store
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.backbones import DLIB_CHANNELS, DLIB_IMAGE_SIZE, DLIB_PREPROCESSING, FaceResNet, load_dlib_weights
from oamface.models.oam_cnn import normalise, preprocess_batch, resize_batch
from oamface.preprocessing import Preprocessing
from oamface.training.checkpoint import load_network
from oamface.training.config import TeacherRef
from oamface.training.dataset import Batch, FaceDataset, NetworkView
from oamface.training.losses import age_mean_loss, partial_label_nll, smooth_age_candidates

DISTILLED = ("age", "gender", "race")  # tasks whose soft labels are made once; masks are drawn on the faces later
FOLDS = 3
_BATCH = 64  # faces


class Teacher:
    """A trained network, whose predictions become soft labels and whose embeddings become features.

    Both are means over an image and its mirror image. checkpoint: or a model file. Raises ModelError: neither, or a
    network that lacks one of the tasks.
    """

    def __init__(self, checkpoint: Path, tasks: Sequence[str], device: torch.device) -> None:
        self.model, progress = load_network(checkpoint)
        if missing := [task for task in tasks if task not in self.model.heads]:
            raise ModelError(f"{checkpoint}: cannot be the teacher, it does not predict {', '.join(missing)}")
        self.checkpoint, self.tasks, self.device = checkpoint, tuple(tasks), device
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.image_size: int = progress["recipe"]["phases"][-1]["image_size"]

    @torch.no_grad()
    def predict(self, images: Tensor, *, mirrored: bool = True) -> tuple[dict[str, Tensor], Tensor]:
        """(B, 3, S, S) as the network takes them to probabilities, task to (B, classes), and embeddings (B, C)."""
        images = resize_batch(images, self.image_size)
        # On a CPU without native bfloat16 that would be eight times as slow as float32.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            logits, _, embedding = self.model(torch.cat([images, images.flip(3)]) if mirrored else images)
        probabilities = {task: logits[task].float().softmax(1) for task in self.tasks}
        if not mirrored:
            return probabilities, embedding.float()
        means = {task: _mean_of_halves(values) for task, values in probabilities.items()}
        return means, _mean_of_halves(embedding.float())

    def label_faces(
        self, faces: FaceDataset, *, mirrored: bool
    ) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
        """Soft labels, task to (N, classes), and embeddings (N, C) of the unchanged crops of all faces."""
        soft_labels = {task: np.empty((len(faces), len(TASKS[task])), np.float32) for task in self.tasks}
        embeddings = np.empty((len(faces), self.model.channels), np.float32)
        for start in range(0, len(faces), _BATCH):
            rows = slice(start, start + _BATCH)
            crops = (faces.crop(row)[0] for row in range(len(faces))[rows])
            images = preprocess_batch(crops, self.model.preprocessing, self.image_size, self.device)
            probabilities, embedding = self.predict(images, mirrored=mirrored)
            for task, table in soft_labels.items():
                table[rows] = probabilities[task].cpu().numpy()
            embeddings[rows] = embedding.cpu().numpy()
        return soft_labels, embeddings


def label_faces(
    teachers: Sequence[TeacherRef], faces: FaceDataset, device: torch.device
) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """The teachers' mean soft labels of all faces, task to (N, classes), and the first one's embeddings (N, C).

    Of the tasks in DISTILLED that a teacher is asked for. One teacher alone also predicts the mirror images.
    """
    predicted: dict[str, list[npt.NDArray[np.float32]]] = {}
    embeddings = []
    for reference in teachers:
        tasks = [task for task in DISTILLED if task in reference.tasks]
        teacher = Teacher(Path(reference.checkpoint), tasks, device)
        soft_labels, embedding = teacher.label_faces(faces, mirrored=len(teachers) == 1)
        embeddings.append(embedding)
        for task, table in soft_labels.items():
            predicted.setdefault(task, []).append(table)
    return {task: np.mean(tables, 0) for task, tables in predicted.items()}, embeddings[0]


class Ensemble:
    """Several teachers that predict every augmented image together; the features are the first one's.

    One teacher alone also predicts the mirror image. device_augmentation: teachers may have another preprocessing than
    the network's, `preprocessing`. Raises ModelError: see Teacher; or one with another preprocessing.
    """

    def __init__(
        self,
        teachers: Sequence[TeacherRef],
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        device_augmentation: bool = False,
    ) -> None:
        self.teachers = [Teacher(Path(teacher.checkpoint), teacher.tasks, device) for teacher in teachers]
        if missing := [task for task in TASKS if not any(task in teacher.tasks for teacher in self.teachers)]:
            raise ModelError(f"no teacher is asked for {', '.join(missing)}")
        self.views: list[NetworkView] = []  # that batches have to hold besides the network's own
        self._view_of: list[int | None] = []
        for teacher in self.teachers:
            if teacher.model.preprocessing == preprocessing:
                self._view_of.append(None)
                continue
            if not device_augmentation:
                raise ModelError(f"{teacher.checkpoint}: its preprocessing differs, so it cannot predict every view")
            view = NetworkView(teacher.model.preprocessing, teacher.image_size)
            if view not in self.views:
                self.views.append(view)
            self._view_of.append(self.views.index(view))

    @property
    def channels(self) -> int:
        """Of the features."""
        return self.teachers[0].model.channels

    def compile(self) -> None:
        """See torch.compile."""
        for teacher in self.teachers:
            teacher.model.compile(mode="reduce-overhead")

    def label(self, batch: Batch, images: Tensor) -> Batch:
        """The batch with soft labels and features of its own augmented images, given as the network takes them.

        Consistent teaching, after Beyer et al., 2022.
        """
        features, predicted = torch.empty(0), {task: list[Tensor]() for task in TASKS}
        for teacher, view in zip(self.teachers, self._view_of, strict=True):
            own = images if view is None else normalise(batch.teacher_images[view], teacher.model.preprocessing)
            probabilities, embedding = teacher.predict(own, mirrored=len(self.teachers) == 1)
            features = features if len(features) else embedding
            for task, values in probabilities.items():
                predicted[task].append(values)
        soft_labels = {task: torch.stack(values).mean(0) for task, values in predicted.items()}
        return batch._replace(soft_labels=soft_labels, features=features)


@torch.no_grad()
def extract_features(
    store: Store, *, weights: Path | None = None, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> npt.NDArray[np.float16]:
    """(N, 256): the features of a store's faces from dlib's face network, averaged over each face and its mirror image.

    weights: dlib's file; None is the installed package's. on_progress: faces done, and all. Raises ModelError.
    """
    device, network = "cuda" if torch.cuda.is_available() else "cpu", FaceResNet()
    load_dlib_weights(network, weights)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = np.empty((len(store.crops), DLIB_CHANNELS), np.float16)
    for start in range(0, len(features), _BATCH):
        rows = slice(start, start + _BATCH)
        images = preprocess_batch(store.crops[rows], DLIB_PREPROCESSING, DLIB_IMAGE_SIZE, device)
        features[rows] = ((network(images) + network(images.flip(3))) / 2).half().cpu().numpy()
        on_progress(min(start + _BATCH, len(features)), len(features))
    return features


def soft_labels_from_features(
    faces: FaceDataset, *, epochs: int = 15, seed: int = 0
) -> dict[str, npt.NDArray[np.float32]]:
    """Task to (N, classes) probabilities, rows of NaN for faces without features; {} when no face has any.

    A small network reads the features. Each face is predicted by one that was trained on the other folds, so that no
    soft label repeats the face's own label (cross-fitting).
    """
    has_features = np.isfinite(faces.features).all(1) & (faces.features.shape[1] > 0)
    rows = np.flatnonzero(has_features)
    if len(rows) < 10 * FOLDS:
        return {}
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(rows))
    soft_labels = {task: np.full((len(faces), len(TASKS[task])), np.nan, np.float32) for task in DISTILLED}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number in range(FOLDS):
            probe = _fit_probe(faces, rows[fold != number], epochs)
            held_out = rows[fold == number]
            with torch.no_grad():
                for task, logits in probe(torch.from_numpy(faces.features[held_out])).items():
                    soft_labels[task][held_out] = logits.softmax(1).numpy()
    return soft_labels


class _Probe(nn.Module):
    """A small network from features (B, F) to logits of the distilled tasks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(width, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.4)
        )
        self.heads = nn.ModuleDict({task: nn.Linear(512, len(TASKS[task])) for task in DISTILLED})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        hidden = self.body(features)
        return {task: head(hidden) for task, head in self.heads.items()}


def _fit_probe(faces: FaceDataset, rows: npt.NDArray[np.int64], epochs: int) -> _Probe:
    features = torch.from_numpy(faces.features[rows])
    candidates = {task: torch.from_numpy(faces.candidates[task][rows]) for task in DISTILLED}
    targets = {task: mask.float() for task, mask in candidates.items()}
    targets["age"] = smooth_age_candidates(candidates["age"])
    probe, batch_size = _Probe(features.shape[1]), min(512, len(rows))
    steps = len(rows) // batch_size
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows))[: steps * batch_size].view(-1, batch_size):
            logits = probe(features[batch])
            loss = age_mean_loss(logits["age"], candidates["age"][batch])
            for task in DISTILLED:
                loss = loss + partial_label_nll(logits[task], targets[task][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return probe.eval()


def _mean_of_halves(rows: Tensor) -> Tensor:
    return rows.view(2, len(rows) // 2, -1).mean(0)
