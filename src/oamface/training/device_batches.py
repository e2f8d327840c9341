"""Batches that are augmented on the device, a whole batch at once, for a GPU that workers could not feed.

Worker processes draw occlusions alone, on a pool of faces that is renewed all the time; all else happens on the device.
The distributions are those of `augmentation`, and low resolution.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from oamface.labels import MASKS
from oamface.training.augmentation import Augmenter
from oamface.training.config import Recipe
from oamface.training.dataset import Batch, FaceDataset, NetworkView, draw_order

CHUNK = 64  # faces that a worker draws on at a time
POOL = 65_536  # the most faces in the pool
MIN_POOL = 2_048  # before the first batch
_GREY = 127.0


class DrawnFaces(NamedTuple):
    """C faces with an occlusion each. faces: (C,) their rows in the data set. images: (C, S, S, 3) uint8.

    occlusions: (C, S, S) uint8, 255 where something is drawn. masks: (C,) the class of a drawn mask, or -1.
    """

    faces: Tensor
    images: Tensor
    occlusions: Tensor
    masks: Tensor


class DrawnDataset(Dataset[DrawnFaces]):
    """Chunks of faces with occlusions, without end; chunk `at` follows from seed and `at`."""

    def __init__(self, faces: FaceDataset, recipe: Recipe, augmenter: Augmenter) -> None:
        self.faces, self.recipe, self.augmenter = faces, recipe, augmenter
        self.weights = faces.drawing_weights(recipe.group_balance)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, at: int) -> DrawnFaces:
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.recipe.seed, at, 1))
        index = rng.choice(len(self.faces), CHUNK, p=self.weights)
        drawn = [
            self.augmenter.draw(*self.faces.crop(row), rng, clean=self.faces.has_no_mask(row)) for row in index.tolist()
        ]
        return DrawnFaces(
            torch.from_numpy(index),
            torch.from_numpy(np.stack([face.image for face in drawn])),
            torch.from_numpy(np.stack([(face.occlusion_mask * 255).astype(np.uint8) for face in drawn])),
            torch.tensor([-1 if face.mask is None else MASKS.index(face.mask) for face in drawn]),
        )


class DeviceBatches:
    """The faces of a data set on a device, and endless batches of them.

    views: of the network, then of the teachers that need another. workers: processes that draw; 0 draws one chunk for
    each batch in this process. Call `close` at the end.
    """

    def __init__(
        self,
        faces: FaceDataset,
        recipe: Recipe,
        views: Sequence[NetworkView],
        device: torch.device,
        *,
        workers: int = 0,
        pool: int = POOL,
    ) -> None:
        self.faces, self.recipe, self.views, self.device = faces, recipe, tuple(views), device
        self.crops = torch.from_numpy(np.stack([faces.crop(row)[0] for row in range(len(faces))])).to(device)
        self.candidates = {task: torch.from_numpy(table).to(device) for task, table in faces.candidates.items()}
        self.soft_labels = {task: torch.from_numpy(table).to(device) for task, table in faces.soft_labels.items()}
        self.features = torch.from_numpy(faces.features).to(device)
        self.age_prior = torch.from_numpy(faces.age_prior(recipe)).to(device)
        self.has_no_mask = self.candidates["mask"][:, 0] & ~self.candidates["mask"][:, 1:].any(1)
        side = self.crops.shape[1]
        self.pool = DrawnFaces(
            torch.empty(pool, dtype=torch.long, device=device),
            torch.empty(pool, side, side, 3, dtype=torch.uint8, device=device),
            torch.empty(pool, side, side, dtype=torch.uint8, device=device),
            torch.empty(pool, dtype=torch.long, device=device),
        )
        self.filled = self.next_slot = 0
        augmenter = Augmenter(side, views[0].preprocessing, recipe.occlusion_probability, 0.0)
        self.drawn = DrawnDataset(faces, recipe, augmenter)
        self.queue: Queue[DrawnFaces | Exception] = Queue(maxsize=64)
        self.chunk, self.workers, self.closed = 0, workers, Event()
        self.thread = Thread(target=self._draw, daemon=True)
        if workers:
            cv2.setNumThreads(1)  # a worker forked from a process with threads of OpenCV waits for these for ever
            self.thread.start()

    def close(self) -> None:
        """Wait for the workers to end."""
        self.closed.set()
        if self.workers:
            self.thread.join()

    def epoch(self, epoch: int, batch_size: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of epoch `epoch` (from 0) from batch `skip` on; a last incomplete one is left out."""
        order = torch.from_numpy(draw_order(self.faces, self.recipe, epoch)).to(self.device)
        for at in range(skip, len(order) // batch_size):
            self._renew_pool()
            generator = torch.Generator(self.device)
            generator.manual_seed(((self.recipe.seed * 1009 + epoch) << 24) + at)
            yield self._batch(order[at * batch_size : (at + 1) * batch_size], generator)

    def _draw(self) -> None:
        """Queue what the workers draw, and the error that one of them ends with, for the training to raise."""
        try:
            loader = DataLoader(
                self.drawn, batch_size=None, sampler=count(), num_workers=self.workers, prefetch_factor=4
            )
            for chunk in loader:
                if not self._queue(chunk):
                    return
        except Exception as error:
            self._queue(error.with_traceback(None))  # which would keep the workers

    def _queue(self, item: DrawnFaces | Exception) -> bool:
        """Whether there was room for it before the end."""
        while not self.closed.is_set():
            try:
                self.queue.put(item, timeout=0.1)
            except Full:  # the device is busy
                continue
            return True
        return False

    def _renew_pool(self) -> None:
        """Put what has been drawn since the last batch into the pool."""
        if not self.workers:
            self._put(self.drawn[self.chunk])
            self.chunk += 1
            return
        while self.filled < min(MIN_POOL, len(self.pool.faces)):
            self._put(self.queue.get())
        for _ in range(8):
            try:
                self._put(self.queue.get_nowait())
            except Empty:
                return

    def _put(self, chunk: DrawnFaces | Exception) -> None:
        if isinstance(chunk, Exception):
            raise chunk
        capacity, faces = len(self.pool.faces), len(chunk.faces)
        slots = torch.arange(self.next_slot, self.next_slot + faces, device=self.device) % capacity
        for stored, new in zip(self.pool, chunk, strict=True):
            stored[slots] = new.to(self.device, non_blocking=True)
        self.next_slot = (self.next_slot + faces) % capacity
        self.filled = min(capacity, self.filled + faces)

    def _batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        rows, device = len(index), self.device
        drawn = torch.rand(rows, generator=generator, device=device) < self.recipe.occlusion_probability
        slots = torch.randint(self.filled, (rows,), generator=generator, device=device)
        index = torch.where(drawn, self.pool.faces[slots], index)
        images = torch.where(drawn[:, None, None, None], self.pool.images[slots], self.crops[index])
        occlusions = self.pool.occlusions[slots] * drawn[:, None, None]
        masks = torch.where(drawn, self.pool.masks[slots], -1)
        candidates = {task: table[index] for task, table in self.candidates.items()}
        classes = torch.arange(len(MASKS), device=device)
        candidates["mask"] = torch.where(masks[:, None] >= 0, classes == masks[:, None], candidates["mask"])
        change = Change.sample(rows, images.shape[1], generator, device)
        source = change.degrade(images.permute(0, 3, 1, 2).float())
        first, *others = (change.view(source, view, generator) for view in self.views)
        return Batch(
            images=first,
            occlusion=change.view_occlusion(occlusions, self.views[0]),
            has_occlusion_mask=self.has_no_mask[index],
            candidates=candidates,
            soft_labels={task: table[index] for task, table in self.soft_labels.items()},
            features=self.features[index],
            occluded=torch.empty(0, dtype=torch.long, device=device),
            clean=torch.empty(0, dtype=torch.long, device=device),
            age_prior=self.age_prior[index],
            teacher_images=tuple(others),
        )


class Change(NamedTuple):
    """One random change of geometry and color for each of B crops: see `augmentation.Transform`.

    warp: (B, 2, 3) from a view's to the crop's coordinates, both -1 to 1. border: (B, 4) pixels, left, top, right,
    bottom. gain: (B, 3). offset, blur, noise: (B,). grayscale: (B,) bool. low_resolution: (B,) bool, shrunk to `side`.
    """

    warp: Tensor
    border: Tensor
    gain: Tensor
    offset: Tensor
    blur: Tensor
    noise: Tensor
    grayscale: Tensor
    low_resolution: Tensor
    side: int

    @classmethod
    def sample(cls, rows: int, side: int, generator: torch.Generator, device: torch.device) -> "Change":
        """Of crops of side x side pixels."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(rows, *shape, generator=generator, device=device)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(rows, *shape, generator=generator, device=device)

        def chance(probability: float) -> Tensor:
            return uniform(0, 1) < probability

        angle, scale = normal() * math.radians(4), (normal() * 0.05).exp()
        flip = torch.where(chance(0.5), -1.0, 1.0)
        cos, sin = angle.cos() / scale, angle.sin() / scale
        shift = normal(2) * 0.04  # of half the crop's side
        warp = torch.stack([cos * flip, -sin, shift[:, 0], sin * flip, cos, shift[:, 1]], 1).view(rows, 2, 3)
        gain = (normal(1) * 0.18 + normal(3) * 0.04).exp()
        exposure = torch.where(chance(0.1), uniform(-1.5, 0).exp(), 1.0)
        offset = 127.5 * (exposure - 1) + exposure * normal() * 10
        border = (uniform(0, 0.2, 4) * side).floor() * chance(0.25)[:, None]
        blur = torch.where(chance(0.15), uniform(0.3, 1.5) * side / 96, 0.0)
        noise = torch.where(chance(0.12), uniform(math.log(2), math.log(40)).exp(), 0.0)
        least = int(torch.randint(20, 72, (1,), generator=generator, device=device))
        return cls(
            warp, border, gain * exposure[:, None], offset, blur, noise, chance(0.05), chance(0.08), min(least, side)
        )

    def degrade(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) crops in 0..255 with borders of grey, blur and low resolution."""
        side = images.shape[2]
        at = torch.arange(side, device=images.device)
        left, top, right, bottom = (edge[:, None] for edge in self.border.unbind(1))
        columns, rows = (at >= left) & (at < side - right), (at >= top) & (at < side - bottom)
        images = torch.where((rows[:, :, None] & columns[:, None, :])[:, None], images, _GREY)
        chosen = (self.blur > 0).nonzero()[:, 0]
        if len(chosen):
            images[chosen] = _blur(images[chosen], self.blur[chosen])
        chosen = self.low_resolution.nonzero()[:, 0]
        if len(chosen):
            small = functional.interpolate(images[chosen], size=(self.side, self.side), mode="area")
            images[chosen] = functional.interpolate(small, size=(side, side), mode="bilinear")
        return images

    def view(self, images: Tensor, view: NetworkView, generator: torch.Generator) -> Tensor:
        """(B, S, S, 3) uint8: the view of (B, 3, H, H) crops in 0..255."""
        warped = functional.grid_sample(images - _GREY, self._grid(view), align_corners=False) + _GREY
        grey = (warped * warped.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        warped = torch.where(self.grayscale[:, None, None, None], grey, warped)
        warped = (warped - 127.5) * self.gain[:, :, None, None] + (127.5 + self.offset)[:, None, None, None]
        chosen = (self.noise > 0).nonzero()[:, 0]
        if len(chosen):
            noise = torch.randn(warped[chosen].shape, generator=generator, device=warped.device)
            warped[chosen] += noise * self.noise[chosen][:, None, None, None]
        return warped.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def view_occlusion(self, occlusions: Tensor, view: NetworkView) -> Tensor:
        """(B, S, S) in 0..1: the view of (B, H, H) uint8 occlusions."""
        maps = occlusions[:, None].float() / 255
        return functional.grid_sample(maps, self._grid(view), align_corners=False)[:, 0]

    def _grid(self, view: NetworkView) -> Tensor:
        left, top, right, bottom = (2 * edge - 1 for edge in view.preprocessing.crop_box)
        steps = (torch.arange(view.size, device=self.warp.device) + 0.5) / view.size
        x, y = left + steps * (right - left), top + steps * (bottom - top)
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points = torch.stack([columns, rows, torch.ones_like(rows)])
        return torch.einsum("bij,jyx->byxi", self.warp, points)


def _blur(images: Tensor, std: Tensor) -> Tensor:
    """(B, C, S, S) images under a Gaussian of (B,) pixels each."""
    reach = 6
    at = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (at / std[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)[:, None]
    rows = images.flatten(0, 1)[None]
    padded = functional.pad(rows, (reach,) * 4, mode="replicate")
    padded = functional.conv2d(padded, kernel[:, :, None, :], groups=len(kernel))
    return functional.conv2d(padded, kernel[:, :, :, None], groups=len(kernel))[0].view_as(images)
