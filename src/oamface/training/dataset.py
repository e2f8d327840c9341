"""From stores to training batches: which faces, how they are changed, and what is known of each.

Every face's changes follow from (seed, pass, face) alone, so a run that was interrupted sees the same batches again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oamface import occlusion
from oamface.datasets.store import Store
from oamface.errors import TrainError
from oamface.images import RGBImage
from oamface.labels import MASKS, TASKS, members
from oamface.preprocessing import Preprocessing, resize

_TRAINED = tuple(name for name, style in occlusion.STYLES.items() if not style.held_out)
_TRAINED_MASKS = tuple(name for name in _TRAINED if occlusion.STYLES[name].mask)
_TRAINED_OBJECTS = tuple(name for name in _TRAINED if not occlusion.STYLES[name].mask)


@dataclass(frozen=True)
class Faces:
    """The training faces of several stores, N in all. Small arrays only; crops stay memory-mapped in the stores.

    store, row: (N,) where each face lies. members: task to (N, classes) bool. repeat: (N,) times a pass.
    features: (N, F) float32 teacher features, see `standardised`; rows of NaN where there are none; F may be 0.
    soft: task to (N, classes) float32 of the teacher's answers, likewise.
    """

    stores: Sequence[Store]
    store: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    members: dict[str, npt.NDArray[np.bool_]]
    repeat: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    soft: dict[str, npt.NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.row)

    def crop(self, index: int) -> tuple[RGBImage, npt.NDArray[np.float32]]:
        """The crop, and its landmarks in its pixels."""
        store, row = self.stores[self.store[index]], self.row[index]
        return np.array(store.crops[row]), store.landmarks[row]


def gather(
    stores: Sequence[Store],
    split: str,
    *,
    repeat: dict[str, int],
    left_out: Sequence[npt.NDArray[np.bool_]] | None = None,
) -> Faces:
    """The faces of one split of all stores. left_out: for each store, (faces,) bool of those not to take.

    Raises TrainError when nothing is left, StoreError when the stores' crops differ in size.
    """
    store_of, rows, labels, counts, features = [], [], [], [], []
    width = max((store.features.shape[1] for store in stores if store.features is not None), default=0)
    for number, store in enumerate(stores):
        taken = np.array([name == split for name in store.splits], bool)
        if left_out is not None:
            taken &= ~left_out[number]
        chosen = np.flatnonzero(taken)
        store_of.append(np.full(len(chosen), number))
        rows.append(chosen)
        labels += [store.labels[row] for row in chosen]
        counts.append(np.full(len(chosen), repeat.get(store.card["data_set"], 1)))
        missing = np.full((len(chosen), width), np.nan, np.float32)
        features.append(missing if store.features is None else store.features[chosen].astype(np.float32))
    if not labels:
        raise TrainError(f"the stores hold no face of the split {split!r}")
    return Faces(
        stores,
        np.concatenate(store_of),
        np.concatenate(rows),
        {task: members(labels, task) for task in TASKS},
        np.concatenate(counts),
        standardised(np.concatenate(features)),
        {},
    )


def standardised(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, F) with columns of mean 0 and deviation 1 over the rows that are numbers; others stay as they are."""
    known = np.isfinite(features).all(1)
    if not known.any():
        return features
    return ((features - features[known].mean(0)) / (features[known].std(0) + 1e-6)).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """R rows: first every face once, bare or covered, then the bare partners of P of the covered ones.

    crops: (R, S, S, 3) uint8. coverage: (R, S, S) float32. traced: (R,) bool, whether coverage is known.
    members, soft: task to (R, classes). features: (R, F). covered, bare: (P,) rows of each pair.
    """

    crops: Tensor
    coverage: Tensor
    traced: Tensor
    members: dict[str, Tensor]
    soft: dict[str, Tensor]
    features: Tensor
    covered: Tensor
    bare: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; from pinned memory nothing waits for the copy."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU reads by itself; the loader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def like(self) -> "Batch":
        """A batch of the same shapes on the same device, to be filled by `take`."""
        return self._each(torch.empty_like)

    def take(self, other: "Batch") -> bool:
        """Become another batch in place; False, and nothing done, where a shape differs."""
        pairs = list(zip(self._tensors(), other._tensors(), strict=True))
        if any(own.shape != theirs.shape for own, theirs in pairs):
            return False
        for own, theirs in pairs:
            own.copy_(theirs)
        return True

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {
            name: {task: change(tensor) for task, tensor in value.items()} if isinstance(value, dict) else change(value)
            for name, value in vars(self).items()
        }
        return Batch(**changed)

    def _tensors(self) -> Iterator[Tensor]:
        for value in vars(self).values():
            yield from value.values() if isinstance(value, dict) else (value,)


def mixup(crops: Tensor) -> Tensor:
    """Half of the (R, S, S, 3) uint8 rows mirrored, then each laid over another in a share drawn from 0 to 1 (mixup,
    Zhang et al., 2018, as Beyer et al., 2022, use it). torch's generator draws.

    The share has the distribution Beta(1/2, 1/2): more rows look like a face than with one drawn evenly.
    """
    rows, device = len(crops), crops.device
    turned = torch.rand(rows, 1, 1, 1, device=device) < 0.5
    above = torch.where(turned, crops.flip(2), crops).float()
    share = (torch.rand(rows, 1, 1, 1, device=device) * (math.pi / 2)).sin() ** 2
    below = above[torch.rand(rows, device=device).argsort()]
    return torch.lerp(below, above, share).round().to(torch.uint8)


def mixed(batch: Batch, mix: Callable[[Tensor], Tensor] = mixup) -> Batch:
    """The batch with its rows mixed: nothing is known of them but what a teacher says.

    mix: `mixup`, or a compiled form of it.
    """
    return replace(
        batch,
        crops=mix(batch.crops),
        traced=torch.zeros_like(batch.traced),
        members={task: torch.ones_like(table) for task, table in batch.members.items()},
        covered=batch.covered[:0],
        bare=batch.bare[:0],
    )


def batches(
    faces: Faces,
    *,
    size: int,
    batch: int,
    seed: int,
    number: int,
    skip: int,
    count: int = 0,
    occluded: float,
    paired: float,
    preprocessing: Preprocessing,
    workers: int = 1,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The batches of pass `number` (from 0) in its own order, from batch `skip` on; a last short one is left out.

    share: which part of every batch, of how many: what one of several processes takes.
    preprocessing: the part of the crops that the network sees, at size x size pixels.
    count: faces of a pass where it is not all of them, some several times if there are not so many.
    """
    rng, listed = np.random.default_rng((seed, number)), np.repeat(np.arange(len(faces)), faces.repeat)
    order = rng.permutation(listed)
    while len(order) < count:
        order = np.concatenate([order, rng.permutation(listed)])
    order = order[: count or None]
    whole = len(order) // batch
    part, parts = share
    groups = [np.array_split(order[at * batch : (at + 1) * batch], parts)[part] for at in range(skip, whole)]
    dataset = _Groups(faces, groups, size, (seed, number), occluded, paired, preprocessing)
    return iter(
        DataLoader(
            dataset,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
        )
    )


def steps_a_pass(faces: Faces, batch: int, count: int = 0) -> int:
    """Whole batches in one pass (count: see batches). Raises TrainError when there is not even one."""
    listed = int(faces.repeat.sum())
    steps = (count or listed) // batch if listed else 0
    if not steps:
        raise TrainError(f"{min(count or listed, listed)} faces do not fill one batch of {batch}; make it smaller")
    return steps


class _Groups(Dataset[Batch]):
    """One item is one whole batch, so that only finished tensors cross from the worker."""

    def __init__(
        self,
        faces: Faces,
        groups: list[npt.NDArray[np.int64]],
        size: int,
        seed: tuple[int, int],
        occluded: float,
        paired: float,
        preprocessing: Preprocessing,
    ) -> None:
        self.faces, self.groups, self.size, self.seed = faces, groups, size, seed
        self.occluded, self.paired, self.preprocessing = occluded, paired, preprocessing

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, at: int) -> Batch:
        cv2.setNumThreads(1)
        faces, group = self.faces, self.groups[at]
        views = [self._views(int(index)) for index in group]
        first = [view[0] for view in views]
        pairs = [row for row, view in enumerate(views) if len(view) > 1]
        rows = first + [views[row][1] for row in pairs]
        source = np.concatenate([group, group[pairs]]) if pairs else group
        known = {task: table[source] for task, table in faces.members.items()}
        for row, view in enumerate(rows):
            if view.mask is not None:
                known["mask"][row] = [name == view.mask for name in MASKS]
        return Batch(
            crops=torch.from_numpy(np.stack([view.crop for view in rows])),
            coverage=torch.from_numpy(np.stack([view.coverage for view in rows])),
            traced=torch.tensor([view.traced for view in rows]),
            members={task: torch.from_numpy(table) for task, table in known.items()},
            soft={task: torch.from_numpy(table[source]) for task, table in faces.soft.items()},
            features=torch.from_numpy(faces.features[source]),
            covered=torch.tensor(pairs, dtype=torch.long),
            bare=torch.arange(len(first), len(rows)),
        )

    def _views(self, index: int) -> list["_View"]:
        """The face bare or covered; covered with its bare partner at times. Both share every other change."""
        rng = np.random.default_rng((*self.seed, index))
        crop, landmarks = self.faces.crop(index)
        # Half as large again as needed is fine enough to draw on, and far cheaper than the whole crop.
        left, _, right, _ = self.preprocessing.crop_box
        side = min(crop.shape[0], round(self.size * 3 / 2 / (right - left)))
        landmarks = landmarks * (side / crop.shape[0])
        crop = resize(crop, side)
        change = _Change.draw(rng, crop, self.size, self.preprocessing)
        masked = self.faces.members["mask"][index]
        bare = masked[0] and not masked[1:].any()
        nothing = np.zeros(crop.shape[:2], np.float32)
        if rng.random() >= self.occluded:
            return [change.apply(crop, nothing, None, traced=bool(bare))]
        style, wear = _pick(rng)
        # Over a mask that an image already shows, another would be nonsense; a hand or scarf is not.
        if not bare and occlusion.STYLES[style].mask:
            style = str(rng.choice(_TRAINED_OBJECTS))
        drawn = occlusion.draw(crop, landmarks, style, rng, wear=wear)
        mask = drawn.mask if occlusion.STYLES[style].mask else None
        views = [change.apply(drawn.image, drawn.coverage, mask, traced=bool(bare))]
        if bare and rng.random() < self.paired:
            views.append(change.apply(crop, nothing, None, traced=True))
        return views


@dataclass(frozen=True)
class _View:
    crop: RGBImage
    coverage: npt.NDArray[np.float32]
    mask: str | None  # what was drawn; None leaves the label as it is
    traced: bool


@dataclass(frozen=True)
class _Change:
    """Light augmentation, drawn once for a face and applied alike to its bare and its covered view."""

    warp: npt.NDArray[np.float64]
    flip: bool
    size: int
    preprocessing: Preprocessing
    gain: npt.NDArray[np.float32]
    offset: float
    grey: bool
    blur: float
    noise: npt.NDArray[np.float32] | None
    border: tuple[int, int, int, int]

    @classmethod
    def draw(cls, rng: np.random.Generator, crop: RGBImage, size: int, preprocessing: Preprocessing) -> "_Change":
        side = crop.shape[0]
        warp = cv2.getRotationMatrix2D(
            (side / 2, side / 2), float(rng.normal(0, 4)), float(np.exp(rng.normal(0, 0.05)))
        )
        warp[:, 2] += rng.normal(0, 0.02 * side, 2)
        gain = np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.04, 3)).astype(np.float32)
        offset = float(rng.normal(0, 10))
        if rng.random() < 0.1:  # a dark room: everything fainter, black stays black
            faint = float(np.exp(rng.uniform(-1.5, 0)))
            gain, offset = (gain * faint).astype(np.float32), 127.5 * (faint - 1) + faint * offset
        # Crops that end near the face leave grey at the crop's rim; the network must not read a data set from it.
        border = rng.integers(0, int(0.2 * side), 4) if rng.random() < 0.25 else np.zeros(4, int)
        left, top, right, bottom = (int(width) for width in border)
        return cls(
            warp,
            bool(rng.random() < 0.5),
            size,
            preprocessing,
            gain,
            offset,
            bool(rng.random() < 0.05),
            float(rng.uniform(0.3, 1.5)) * side / 96 if rng.random() < 0.15 else 0.0,
            _noise(rng, size) if rng.random() < 0.12 else None,
            (left, top, right, bottom),
        )

    def apply(self, crop: RGBImage, coverage: npt.NDArray[np.float32], mask: str | None, *, traced: bool) -> _View:
        side = crop.shape[0]
        left, top, right, bottom = self.border
        rim = (127, 127, 127)
        if any(self.border):
            crop = cv2.copyMakeBorder(
                crop[top : side - bottom, left : side - right], top, bottom, left, right, cv2.BORDER_CONSTANT, value=rim
            )
        crop = cv2.warpAffine(crop, self.warp, (side, side), flags=cv2.INTER_LINEAR, borderValue=rim)
        covered: Any = coverage
        if coverage.any():
            covered = cv2.warpAffine(coverage, self.warp, (side, side), flags=cv2.INTER_LINEAR)
        if self.blur:
            crop = cv2.GaussianBlur(crop, (0, 0), self.blur)
        crop, covered = self.preprocessing.extract(crop, self.size), self.preprocessing.extract(covered, self.size)
        if self.grey:
            crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        if self.noise is None:  # every pixel of a grey stage alike, so a table will do
            toned = cv2.LUT(crop, self._tone(np.arange(256, dtype=np.uint8)[None, :, None]))
        else:
            toned = self._tone(crop, self.noise)
        if self.flip:
            toned, covered = toned[:, ::-1], covered[:, ::-1]
        return _View(np.ascontiguousarray(toned), np.ascontiguousarray(covered), mask, traced)

    def _tone(self, backbone_stages: npt.NDArray[np.uint8], noise: npt.NDArray[np.float32] | None = None) -> RGBImage:
        shade = (backbone_stages - np.float32(127.5)) * self.gain + np.float32(127.5 + self.offset)
        return np.clip(shade if noise is None else shade + noise, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """A sensor's noise in grey backbone_stages, (size, size, 3); its deviation 2 to 40, mostly small."""
    grain: npt.NDArray[np.float32] = rng.standard_normal((size, size, 3), np.float32)
    return grain * np.float32(np.exp(rng.uniform(np.log(2), np.log(40))))


def _pick(rng: np.random.Generator) -> tuple[str, str]:
    """Masks twice as often as other things; a fifth of them worn wrongly."""
    if rng.random() < 2 / 3:
        return str(rng.choice(_TRAINED_MASKS)), str(rng.choice(["right", "nose", "chin"], p=[0.8, 0.12, 0.08]))
    return str(rng.choice(_TRAINED_OBJECTS)), "right"
