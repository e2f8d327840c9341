"""From stores to training batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oamface.datasets.store import Store
from oamface.errors import TrainError
from oamface.images import RGBImage
from oamface.labels import MASKS, TASKS, candidate_mask
from oamface.preprocessing import Preprocessing
from oamface.training.augmentation import Augmenter, View, mixup
from oamface.training.config import Phase, Recipe

PRIOR_STD, PRIOR_FLOOR = 2.0, 0.05  # years that ages are smoothed by, and the share that is evenly distributed


@dataclass(frozen=True)
class FaceDataset:
    """The N faces of one split of several stores. The crops stay memory-mapped in the stores.

    store, row: (N,) where each face is. candidates: task to (N, classes) bool, the label's candidate classes.
    repeat: (N,) times an epoch.
    features: (N, F) float32 of a teacher, standardised; rows of NaN where there are none; F may be 0.
    soft_labels: task to (N, classes) float32 of a teacher, likewise.
    """

    stores: Sequence[Store]
    store: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    candidates: dict[str, npt.NDArray[np.bool_]]
    repeat: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    soft_labels: dict[str, npt.NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.row)

    def crop(self, index: int) -> tuple[RGBImage, npt.NDArray[np.float32]]:
        """A face's crop, and its landmarks in the crop's pixels."""
        store, row = self.stores[self.store[index]], self.row[index]
        return np.array(store.crops[row]), store.landmarks[row]

    def drawing_weights(self, balance: float) -> npt.NDArray[np.float64]:
        """(N,) the probability of each face to be drawn; see Recipe.repeat and Recipe.group_balance.

        A group is the faces of one store with the same races, genders and decade. Faces of unknown age, gender and race
        are one group.
        """
        ages = self.candidates["age"]
        decade = np.where(ages.all(1), -1, ages.argmax(1) // 10)
        columns = [self.store[:, None], decade[:, None], self.candidates["gender"], self.candidates["race"]]
        _, group, sizes = np.unique(np.hstack(columns), axis=0, return_inverse=True, return_counts=True)
        weights = sizes[group.ravel()].astype(np.float64) ** -balance
        totals = np.bincount(self.store, weights)
        faces = np.bincount(self.store, self.repeat.astype(np.float64))
        weights *= (faces / np.maximum(totals, 1e-12))[self.store]
        return weights / weights.sum()

    def age_prior(self, recipe: Recipe) -> npt.NDArray[np.float32]:
        """(N, 101): Recipe.age_balance times the logarithm of the distribution of ages in each face's store, smoothed.

        What logit adjustment (Menon et al., 2021) adds to the logits of a face in its labels' loss.
        """
        ages = self.candidates["age"]
        if not recipe.age_balance:  # asked for in every epoch, and most recipes have none
            return np.zeros(ages.shape, np.float32)
        table = np.zeros((len(self.stores), ages.shape[1]))
        weights = self.drawing_weights(recipe.group_balance) * ~ages.all(1)
        np.add.at(table, self.store, (weights / ages.sum(1))[:, None] * ages)
        years = np.arange(ages.shape[1])
        kernel = np.exp(-0.5 * ((years[:, None] - years) / PRIOR_STD) ** 2)
        smooth = table @ (kernel / kernel.sum(0))
        smooth /= np.maximum(smooth.sum(1, keepdims=True), 1e-12)
        smooth = (1 - PRIOR_FLOOR) * smooth + PRIOR_FLOOR / len(years)
        return (recipe.age_balance * np.log(smooth)).astype(np.float32)[self.store]

    def has_no_mask(self, index: int) -> bool:
        """Whether the label of a face says that no mask is worn."""
        candidates = self.candidates["mask"][index]
        return bool(candidates[0] and not candidates[1:].any())


def load_faces(
    stores: Sequence[Store],
    split: str,
    *,
    repeat: dict[str, int],
    exclude: Sequence[npt.NDArray[np.bool_]] | None = None,
    allow_none: bool = False,
) -> FaceDataset:
    """The faces of one split. repeat: see Recipe. exclude: for each store, (faces,) bool of those to leave out.

    Raises TrainError: there is no such face, unless allow_none.
    """
    store_of, rows, labels, repeats, features = [], [], [], [], []
    width = max((store.features.shape[1] for store in stores if store.features is not None), default=0)
    for number, store in enumerate(stores):
        included = np.array([name == split for name in store.splits], bool)
        if exclude is not None:
            included &= ~exclude[number]
        indices = np.flatnonzero(included)
        store_of.append(np.full(len(indices), number))
        rows.append(indices)
        labels += [store.labels[row] for row in indices]
        repeats.append(np.full(len(indices), repeat.get(store.data_set, 1)))
        missing = np.full((len(indices), width), np.nan, np.float32)
        features.append(missing if store.features is None else store.features[indices].astype(np.float32))
    if not labels and not allow_none:
        raise TrainError(f"the stores hold no face of the split {split!r}")
    return FaceDataset(
        stores,
        np.concatenate(store_of),
        np.concatenate(rows),
        {task: candidate_mask(labels, task) for task in TASKS},
        np.concatenate(repeats),
        standardise(np.concatenate(features)),
        {},
    )


def standardise(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, F) with columns of mean 0 and standard deviation 1 over the finite rows; others stay as they are."""
    finite = np.isfinite(features).all(1)
    if not finite.any():
        return features
    return ((features - features[finite].mean(0)) / (features[finite].std(0) + 1e-6)).astype(np.float32)


class NetworkView(NamedTuple):
    """What one network sees of a crop: its preprocessing, and the side of its images in pixels."""

    preprocessing: Preprocessing
    size: int


class Batch(NamedTuple):
    """R rows: first every face once, clean or occluded, then the clean pairs of P of the occluded ones.

    images: (R, S, S, 3) uint8. occlusion: (R, S, S) float32. has_occlusion_mask: (R,) bool, whether that is known.
    candidates, soft_labels: task to (R, classes). features: (R, F). occluded, clean: (P,) rows of each pair.
    age_prior: (R, 101), see FaceDataset. teacher_images: like images, of the views that teachers with another
    preprocessing take, in their order.
    """

    images: Tensor
    occlusion: Tensor
    has_occlusion_mask: Tensor
    candidates: dict[str, Tensor]
    soft_labels: dict[str, Tensor]
    features: Tensor
    occluded: Tensor
    clean: Tensor
    age_prior: Tensor
    teacher_images: tuple[Tensor, ...] = ()

    def mixup(self) -> "Batch":
        """The batch with its images mixed and without labels, for a teacher to predict."""
        images, *teacher_images = mixup([self.images, *self.teacher_images])
        return self._replace(
            images=images,
            teacher_images=tuple(teacher_images),
            has_occlusion_mask=torch.zeros_like(self.has_occlusion_mask),
            candidates={task: torch.ones_like(table) for task, table in self.candidates.items()},
            occluded=self.occluded[:0],
            clean=self.clean[:0],
        )


class EpochDataset(Dataset[Batch]):
    """The batches of one epoch, augmented. An item is a whole batch, so that workers pass on finished tensors.

    groups: the faces of every batch. seed: of the augmentation, together with the face's index.
    age_prior: of all faces.
    """

    def __init__(
        self,
        faces: FaceDataset,
        groups: Sequence[npt.NDArray[np.int64]],
        augmenter: Augmenter,
        seed: tuple[int, ...],
        age_prior: npt.NDArray[np.float32],
    ) -> None:
        self.faces, self.groups, self.augmenter, self.seed = faces, groups, augmenter, seed
        self.age_prior = age_prior

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, at: int) -> Batch:
        cv2.setNumThreads(1)
        faces, group = self.faces, self.groups[at]
        views = [self._views(int(index)) for index in group]
        paired = [row for row, face_views in enumerate(views) if len(face_views) > 1]
        rows = [face_views[0] for face_views in views] + [views[row][1] for row in paired]
        index = np.concatenate([group, group[paired]]) if paired else group
        candidates = {task: table[index] for task, table in faces.candidates.items()}
        for row, view in enumerate(rows):
            if view.mask is not None:
                candidates["mask"][row] = [name == view.mask for name in MASKS]
        return Batch(
            images=torch.from_numpy(np.stack([view.image for view in rows])),
            occlusion=torch.from_numpy(np.stack([view.occlusion for view in rows])),
            has_occlusion_mask=torch.tensor([view.has_occlusion_mask for view in rows]),
            candidates={task: torch.from_numpy(table) for task, table in candidates.items()},
            soft_labels={task: torch.from_numpy(table[index]) for task, table in faces.soft_labels.items()},
            features=torch.from_numpy(faces.features[index]),
            occluded=torch.tensor(paired, dtype=torch.long),
            clean=torch.arange(len(views), len(rows)),
            age_prior=torch.from_numpy(self.age_prior[index]),
        )

    def _views(self, index: int) -> list[View]:
        crop, landmarks = self.faces.crop(index)
        rng = np.random.default_rng((*self.seed, index))
        return self.augmenter.views(crop, landmarks, rng, clean=self.faces.has_no_mask(index))


def epoch_batches(
    faces: FaceDataset,
    recipe: Recipe,
    phase: Phase,
    epoch: int,
    preprocessing: Preprocessing,
    *,
    skip: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """The batches of epoch `epoch` (from 0) from batch `skip` on; a last incomplete one is left out.

    Order and augmentation follow from recipe.seed, epoch and face. rank, world_size: this process gets its part of
    every batch.
    """
    order, size = draw_order(faces, recipe, epoch), phase.batch_size
    batches = [order[at * size : (at + 1) * size] for at in range(skip, len(order) // size)]
    augmenter = Augmenter(phase.image_size, preprocessing, recipe.occlusion_probability, recipe.clean_pair_probability)
    groups = [np.array_split(batch, world_size)[rank] for batch in batches]
    loader = DataLoader(
        EpochDataset(faces, groups, augmenter, (recipe.seed, epoch), faces.age_prior(recipe)),
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def draw_order(faces: FaceDataset, recipe: Recipe, epoch: int) -> npt.NDArray[np.int64]:
    """The faces of epoch `epoch` (from 0) in their order; each as often as Recipe.repeat says, or drawn by group."""
    rng, repeated = np.random.default_rng((recipe.seed, epoch)), np.repeat(np.arange(len(faces)), faces.repeat)
    if recipe.group_balance:
        count = recipe.samples_per_epoch or len(repeated)
        return rng.choice(len(faces), count, p=faces.drawing_weights(recipe.group_balance))
    order = rng.permutation(repeated)
    while len(order) < recipe.samples_per_epoch:
        order = np.concatenate([order, rng.permutation(repeated)])
    return order[: recipe.samples_per_epoch or None]


def steps_per_epoch(faces: FaceDataset, batch_size: int, samples_per_epoch: int = 0) -> int:
    """Complete batches of an epoch. Raises TrainError: there is not even one."""
    available = int(faces.repeat.sum())
    steps = (samples_per_epoch or available) // batch_size if available else 0
    if not steps:
        count = min(samples_per_epoch or available, available)
        raise TrainError(f"{count} faces do not fill one batch of {batch_size}; make it smaller")
    return steps
