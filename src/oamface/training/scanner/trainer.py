"""Trains the scanner's network by the clock and writes its model file."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from oamface.atomic import write_bytes
from oamface.face_scanner import STRIDES
from oamface.images import RGBImage
from oamface.training.scanner.faces import FaceImage
from oamface.training.scanner.network import ExportedScanner, ScannerNetwork
from oamface.training.scanner.scenes import SIDE, SMALLEST, SceneArtist, SceneFace

BATCH_SIZE, LR, WARMUP, EMA_DECAY = 16, 3e-3, 300, 0.998  # scenes; peak; steps; of the weights that are exported
FACE_SIDES = ((8, 44), (36, 112), (90, 420))  # pixels of faces that the map of each stride answers for
LAST_LR = 0.01  # of the peak
OnProgress = Callable[[float, int, float, float], None]  # minutes, step, score loss, geometry loss
Targets = tuple[Tensor, ...]  # for each stride score, ignored, geometry, weight


class SceneStream(IterableDataset[tuple[Tensor, tuple[Targets, ...]]]):
    """Endless scenes with their targets."""

    def __init__(self, images: Sequence[FaceImage], backgrounds: Sequence[RGBImage], seed: int) -> None:
        self._images, self._backgrounds, self._seed = images, backgrounds, seed

    def __iter__(self) -> Iterator[tuple[Tensor, tuple[Targets, ...]]]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, 0 if worker is None else worker.id])
        artist = SceneArtist(self._images, self._backgrounds, rng)
        while True:
            pixels, faces = artist.draw()
            image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
            yield image, tuple(targets(faces, stride, sides) for stride, sides in zip(STRIDES, FACE_SIDES, strict=True))


def targets(faces: Sequence[SceneFace], stride: int, sides: tuple[int, int]) -> Targets:
    """What one map should be: score (h, w), ignored cells (h, w), geometry (3, h, w) and weight (h, w).

    Cells near the middle of a face of fitting size are 1; cells around them, and other faces, are ignored. The weights
    of a face's cells sum to 1.
    """
    cells = SIDE // stride
    score, weight = torch.zeros(cells, cells), torch.zeros(cells, cells)
    ignored, geometry = torch.zeros(cells, cells, dtype=torch.bool), torch.zeros(3, cells, cells)
    grid = (torch.arange(cells) + 0.5) * stride
    for face in sorted(faces, key=lambda face: -face.side):
        x, y = face.x - grid[None, :], face.y - grid[:, None]
        distance = torch.maximum(x.abs(), y.abs())
        ignored |= distance < max(0.55 * face.side, 0.75 * stride)
        if not face.required or face.side < SMALLEST or not sides[0] <= face.side <= sides[1]:
            continue
        near = distance < max(0.18 * face.side, 0.5001 * stride)
        if not near.any():
            continue
        values = (math.log(face.side / stride), x / stride, y / stride)
        for channel, value in zip(geometry, values, strict=True):
            channel[near] = torch.as_tensor(value, dtype=torch.float32).expand(cells, cells)[near]
        score[near], weight[near] = 1.0, 1 / float(near.sum())
    return score, ignored & (score == 0), geometry, weight


def losses(maps: Sequence[Tensor], wanted: Sequence[Targets]) -> tuple[Tensor, Tensor]:
    """Focal loss of the scores (Lin et al., 2017) and mean absolute error of the geometry, by face."""
    score_loss = geometry_loss = torch.zeros(())
    count = torch.zeros(())
    for one, (score, ignored, geometry, weight) in zip(maps, wanted, strict=True):
        logit, probability = one[:, 0], torch.sigmoid(one[:, 0])
        faces = 1.5 * weight * (1 - probability) ** 2 * functional.softplus(-logit)
        others = 0.25 * probability**2 * functional.softplus(logit) * ~ignored
        score_loss = score_loss + torch.where(score > 0, faces, others).sum()
        geometry_loss = geometry_loss + ((one[:, 1:] - geometry).abs() * weight[:, None]).sum()
        count = count + weight.sum()
    count = count.clamp_min(1)
    return 4 * score_loss / count, geometry_loss / count


def train_scanner(
    images: Sequence[FaceImage],
    backgrounds: Sequence[RGBImage],
    minutes: float,
    *,
    seed: int = 0,
    workers: int = 1,
    on_progress: OnProgress = lambda minute, step, score, geometry: None,
) -> ScannerNetwork:
    """Train by the clock; the moving average of the weights, ready to export. backgrounds: without faces."""
    torch.manual_seed(seed)
    network = ScannerNetwork()
    network.to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=1e-4)
    scenes = DataLoader(SceneStream(images, backgrounds, seed), BATCH_SIZE, num_workers=workers)
    started = time.monotonic()
    for step, (batch, wanted) in enumerate(scenes):
        minute = (time.monotonic() - started) / 60
        if minute >= minutes:
            break
        rate = LR * min(1.0, (step + 1) / WARMUP) * max(LAST_LR, 0.5 * (1 + math.cos(math.pi * minute / minutes)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        maps = network(batch.float().to(memory_format=torch.channels_last))
        score_loss, geometry_loss = losses(maps, wanted)
        optimizer.zero_grad()
        (score_loss + geometry_loss).backward()
        clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        average.update_parameters(network)
        on_progress(minute, step + 1, score_loss.item(), geometry_loss.item())
    averaged = average.module
    assert isinstance(averaged, ScannerNetwork)
    return averaged.eval()


def export_scanner(network: ScannerNetwork, path: Path) -> None:
    """Write the network as `FaceScanner` reads it. Raises FileError."""
    example = torch.zeros(2, SIDE, 2 * SIDE, 3, dtype=torch.uint8)
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height_32", "width_32"))
    program = torch.onnx.export(
        ExportedScanner(network).eval(),
        (example,),
        input_names=["images"],
        output_names=[f"maps_{stride}" for stride in STRIDES],
        dynamic_shapes=((batch, 32 * height, 32 * width, None),),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.optimize()
    model = program.model_proto
    model.graph.ClearField("value_info")
    for part in (model, model.graph, *model.graph.node):
        part.ClearField("metadata_props")  # where each line of Python came from: a third of the file
    write_bytes(path, model.SerializeToString())
