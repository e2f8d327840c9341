"""Chips to head outputs. Reads all it needs to know from the model file itself."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.align import CHIP_SIZE, MARGIN, template
from oamface.errors import ImageError, ModelError
from oamface.labels import TASKS
from oamface.runtime import FloatArray, load
from oamface.weights import WEIGHTS, weights_file

Pixels = npt.NDArray[Any]  # what is cut alike: chips of uint8, maps of float32

FORMAT = "oamface-model/2"
BATCH = 32  # chips of one pass; more gain no speed on a CPU and cost memory
OUTPUTS = (*TASKS, "attention")
WHOLE = (0.0, 0.0, 1.0, 1.0)  # a window that leaves nothing out


@dataclass(frozen=True)
class Framing:
    """What a network sees of a chip. window: left, top, right, bottom as shares of the chip's side; a square.

    mean, deviation: of each colour in 0..1, subtracted and divided by.
    """

    window: tuple[float, float, float, float]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def cut(self, chip: Pixels, size: int) -> Pixels:
        """The window of a square chip at size x size pixels, the same way in training and in use."""
        if self.window == WHOLE:
            return shrink(chip, size)
        left, top, right, bottom = (round(edge * chip.shape[0]) for edge in self.window)
        return shrink(chip[top:bottom, left:right], size)

    def over_chip(self, attention: FloatArray) -> FloatArray:
        """Maps over the window, (N, h, w), as maps over the chip, on a grid whose cells are about as large.

        Outside the window the nearest cell's value stands.
        """
        if self.window == WHOLE or not len(attention):
            return attention
        left, top, right, bottom = self.window
        height, width = attention.shape[1:]
        rows, columns = round(height / (bottom - top)), round(width / (right - left))
        y = (((np.arange(rows) + 0.5) / rows - top) / (bottom - top) * height - 0.5).astype(np.float32)
        x = (((np.arange(columns) + 0.5) / columns - left) / (right - left) * width - 0.5).astype(np.float32)
        across, down = np.meshgrid(x, y)
        maps: Any = attention
        return np.stack(
            [cv2.remap(one, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in maps]
        )


@dataclass(frozen=True)
class Answers:
    """What the network says of N faces.

    probabilities: task to (N, classes) float32, rows sum to 1. attention: (N, h, w) float32 in 0..1 over the chip, 1
    where the face is taken to be bare.
    """

    probabilities: dict[str, FloatArray]
    attention: FloatArray

    @property
    def years(self) -> FloatArray:
        """(N,): the age distribution's mean."""
        ages = self.probabilities["age"]
        return (ages @ np.arange(ages.shape[1])).astype(np.float32)

    def age_bounds(self, quantiles: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N,) each: the first and the last year that the answer does not rule out, and at least the mean itself.

        quantiles: (101,), or (N, 101) of each face, how many of (the distribution's deviation + 1) the mean may lie off
        that year, from the calibration part: label-conditional conformal prediction (Vovk, 2012).
        """
        ages, means = self.probabilities["age"], self.years
        years = np.arange(ages.shape[1], dtype=np.float32)
        reach = np.asarray(quantiles, np.float32) * (age_deviation(ages)[:, None] + 1)
        possible = np.abs(means[:, None] - years) <= reach
        low = np.where(possible, years, np.inf).min(1, initial=np.inf)
        high = np.where(possible, years, -np.inf).max(1, initial=-np.inf)
        return np.minimum(low, means), np.maximum(high, means)

    def visibility(self) -> FloatArray:
        """(N,) in 0..1: the attention's mean over the face's oval."""
        oval = face_oval(*self.attention.shape[1:])
        return np.clip((self.attention * oval).sum((1, 2)) / oval.sum(), 0, 1)


def age_deviation(ages: FloatArray) -> FloatArray:
    """(N, 101) probabilities to the distributions' standard deviation (N,), years."""
    years = np.arange(ages.shape[1], dtype=np.float32)
    mean = ages @ years
    return np.sqrt(np.maximum(ages @ years**2 - mean**2, 0)).astype(np.float32)


def face_oval(height: int, width: int) -> FloatArray:
    """(height, width): the share of every cell of a chip's grid that the aligned face's oval fills."""
    fine = 8
    marks = template(1)
    middle = marks[:2].mean(0) * 0.4 + marks[3:].mean(0) * 0.6
    radius = (0.30, 0.40)  # from one side of the head to the other, from the brows to the chin
    y = (np.arange(height * fine) + 0.5)[:, None] / (height * fine)
    x = (np.arange(width * fine) + 0.5) / (width * fine)
    inside = ((x - middle[0]) / radius[0]) ** 2 + ((y - middle[1]) / radius[1]) ** 2 <= 1
    return inside.reshape(height, fine, width, fine).mean((1, 3)).astype(np.float32)


class Engine:
    """A model file, ready to answer. Safe to share between threads.

    weights: the name of one of the package's own (WEIGHTS), or an exported .onnx or .xml file. threads: of the CPU, 0
    for all.
    description: what the file says of itself (size, temperatures, intervals, training, figures). digest: its SHA-256.
    quantiles, undetected: for `Answers.age_bounds`, the second where no face was detected; infinite (no year is ruled
    out) where the file holds none.
    Raises ModelError: no such file, no model, or not one of ours.
    """

    def __init__(self, weights: str | Path = WEIGHTS[0], *, threads: int = 0) -> None:
        self.path = weights_file(weights)
        self._network, self.digest = load(self.path, threads)
        self.description = _description(self.path, self._network.description(), self._network.outputs)
        intervals = self.description["intervals"]
        self.quantiles = np.array(intervals["quantiles"], np.float32)
        self.undetected = np.array(intervals.get("undetected", [np.inf] * len(TASKS["age"])), np.float32)
        taken = self.description["input"]
        self.size: int = taken["size"]
        self.framing = Framing(tuple(taken.get("window", WHOLE)), tuple(taken["mean"]), tuple(taken["deviation"]))
        self._mean = np.array(self.framing.mean, np.float32) * 255
        self._scale = 1 / (np.array(self.framing.deviation, np.float32) * 255)

    def answer(self, chips: npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]) -> Answers:
        """Answer for (N, S, S, 3) uint8 RGB chips, or a sequence of N, as `align` cuts them at any S; N may be 0.

        Raises ImageError for arrays of another kind.
        """
        chips = list(chips)
        for chip in chips:
            if chip.dtype != np.uint8 or chip.ndim != 3 or chip.shape[2] != 3 or chip.shape[0] != chip.shape[1]:
                raise ImageError(f"expected square RGB chips of uint8, got {chip.dtype} {chip.shape}")
        parts = [self.run(self.pictures(chips[start : start + BATCH])) for start in range(0, len(chips), BATCH)]
        if not parts:
            empty = {task: np.zeros((0, len(classes)), np.float32) for task, classes in TASKS.items()}
            return Answers(empty, np.zeros((0, 1, 1), np.float32))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
        temperatures = self.description["temperatures"]
        probabilities = {task: _softmax((joined[task] / temperatures[task]).astype(np.float32)) for task in TASKS}
        return Answers(probabilities, self.framing.over_chip(joined["attention"][:, 0]))

    def pictures(self, chips: Sequence[npt.NDArray[np.uint8]]) -> FloatArray:
        """N square chips of uint8 RGB as the network takes them: cut, normalised, (N, 3, size, size)."""
        scaled = np.stack([self.framing.cut(chip, self.size) for chip in chips])
        pictures = ((scaled.astype(np.float32) - self._mean) * self._scale).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pictures, np.float32)

    def run(self, pictures: FloatArray) -> dict[str, FloatArray]:
        """The network alone: (N, 3, size, size) from `pictures` to its OUTPUTS, before any temperature."""
        return dict(zip(self._network.outputs, self._network(pictures), strict=True))


def shrink(chip: Pixels, size: int) -> Pixels:
    """A square chip at another size, the same way in training and in use."""
    if chip.shape[0] == size:
        return chip
    method = cv2.INTER_AREA if size < chip.shape[0] else cv2.INTER_LINEAR
    scaled: Pixels = cv2.resize(chip, (size, size), interpolation=method)
    return scaled


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: FloatArray = powers / powers.sum(1, keepdims=True)
    return shares


def _description(path: Path, text: str | None, outputs: Sequence[str]) -> dict[str, Any]:
    """The file's own description, checked against what this version can use."""
    if text is None:
        raise ModelError(f"{path}: a model, but not one that oamface exported")
    try:
        description: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: its description is damaged ({error}); export it again") from error
    lacking = {"format", "tasks", "chip", "input", "temperatures", "thresholds", "intervals"} - description.keys()
    if lacking:
        raise ModelError(f"{path}: its description lacks {', '.join(sorted(lacking))}; export it again")
    wanted = {"format": FORMAT, "tasks": {task: list(classes) for task, classes in TASKS.items()}}
    for key, value in wanted.items():
        if description.get(key) != value:
            raise ModelError(f"{path}: its {key} is not this version's; export it again")
    if description["chip"] != {"size": CHIP_SIZE, "margin": MARGIN}:
        raise ModelError(f"{path}: was trained on chips of another geometry; export it again")
    if not set(OUTPUTS) <= set(outputs):
        raise ModelError(f"{path}: lacks the outputs {', '.join(sorted(set(OUTPUTS) - set(outputs)))}")
    return description
