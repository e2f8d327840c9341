"""The attribute network: aligned crops to predictions. All it needs to know it reads from the model file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.alignment import CROP_SIZE, MARGIN, face_oval
from oamface.errors import ImageError, ModelError
from oamface.labels import TASKS
from oamface.preprocessing import Preprocessing
from oamface.results import FloatArray
from oamface.runtime import load
from oamface.weights import WEIGHTS, weights_file

FORMAT = "oamface-model/3"
BATCH = 32  # crops of one pass; more gain no speed on a CPU and cost memory
OUTPUTS = (*TASKS, "attention")


@dataclass(frozen=True)
class Predictions:
    """The network's results for N faces.

    probabilities: task to (N, classes) float32, rows sum to 1. attention: (N, h, w) float32 in 0..1 over the crop, 1
    where the face is visible. measures: (N, 6) float32 of `quality.measure`, None where quality is not asked for.
    """

    probabilities: dict[str, FloatArray]
    attention: FloatArray
    measures: FloatArray | None = None

    @property
    def years(self) -> FloatArray:
        """(N,) float32: the mean of the age distribution."""
        ages = self.probabilities["age"]
        return (ages @ np.arange(ages.shape[1])).astype(np.float32)

    def age_bounds(self, quantiles: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N,) each: the first and last year of the age interval, which always holds the mean.

        quantiles: (101,), or (N, 101) by face: how far the mean may lie from that year, in units of the distribution's
        standard deviation + 1; fitted on the calibration split by label-conditional conformal prediction (Vovk, 2012).
        """
        ages, means = self.probabilities["age"], self.years
        years = np.arange(ages.shape[1], dtype=np.float32)
        reach = np.asarray(quantiles, np.float32) * (age_std(ages)[:, None] + 1)
        possible = np.abs(means[:, None] - years) <= reach
        low = np.where(possible, years, np.inf).min(1, initial=np.inf)
        high = np.where(possible, years, -np.inf).max(1, initial=-np.inf)
        return np.minimum(low, means), np.maximum(high, means)

    def visibility(self) -> FloatArray:
        """(N,) in 0..1: the mean attention over the oval of the face."""
        oval = face_oval(*self.attention.shape[1:])
        return np.clip((self.attention * oval).sum((1, 2)) / oval.sum(), 0, 1)


def age_std(ages: FloatArray) -> FloatArray:
    """(N, 101) probabilities to the standard deviation (N,) of each distribution, years."""
    years = np.arange(ages.shape[1], dtype=np.float32)
    mean = ages @ years
    return np.sqrt(np.maximum(ages @ years**2 - mean**2, 0)).astype(np.float32)


class Predictor:
    """A model file, ready to predict. Safe to share between threads.

    weights: the name of one of the package's own (WEIGHTS), or an exported .onnx or .xml file. device: one of
    `devices.DEVICES`. threads: of the CPU, 0 for all.
    description: the file's metadata (size, temperatures, intervals, training, figures). digest: its SHA-256.
    at_least: the parameters of `calibrated_tails`, empty where the file has none.
    quantiles, undetected_quantiles: for `Predictions.age_bounds`, the second for faces that were not detected; infinite
    (no year is excluded) where the file holds none.
    Raises ModelError: no such file, no model, or not one of oamface's; DeviceError: a device that is not there.
    """

    def __init__(self, weights: str | Path = WEIGHTS[0], *, device: str = "auto", threads: int = 0) -> None:
        self.path = weights_file(weights)
        self._network, self.digest = load(self.path, device, threads)
        self.description = _description(self.path, self._network.description(), self._network.outputs)
        intervals = self.description["intervals"]
        self.quantiles = np.array(intervals["quantiles"], np.float32)
        self.undetected_quantiles = np.array(intervals.get("undetected", [np.inf] * len(TASKS["age"])), np.float32)
        self.at_least = np.array(self.description.get("at_least", []), np.float64)
        given = self.description["input"]
        self.size: int = given["size"]
        self.preprocessing = Preprocessing(tuple(given["crop_box"]), tuple(given["mean"]), tuple(given["std"]))

    def predict(self, crops: npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]) -> Predictions:
        """Predictions for (N, S, S, 3) uint8 RGB crops, or N of any sizes S, as `crop_face` makes them; N may be 0.

        Raises ImageError for arrays of another kind.
        """
        crops = list(crops)
        for crop in crops:
            if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1]:
                raise ImageError(f"expected square RGB crops of uint8, got {crop.dtype} {crop.shape}")
        batches = [self.run(self.preprocess(crops[start : start + BATCH])) for start in range(0, len(crops), BATCH)]
        if not batches:
            empty = {task: np.zeros((0, len(classes)), np.float32) for task, classes in TASKS.items()}
            return Predictions(empty, np.zeros((0, 1, 1), np.float32))
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in OUTPUTS}
        temperatures = self.description["temperatures"]
        probabilities = {task: _softmax((joined[task] / temperatures[task]).astype(np.float32)) for task in TASKS}
        return Predictions(probabilities, self.preprocessing.attention_over_crop(joined["attention"][:, 0]))

    def preprocess(self, crops: Sequence[npt.NDArray[np.uint8]]) -> FloatArray:
        """N square crops of uint8 RGB as the network takes them, (N, 3, size, size) float32; see Preprocessing."""
        return self.preprocessing.batch(crops, self.size)

    def run(self, images: FloatArray) -> dict[str, FloatArray]:
        """The network's raw OUTPUTS for (N, 3, size, size) from `preprocess`, before temperature scaling."""
        return dict(zip(self._network.outputs, self._network(images), strict=True))


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: FloatArray = powers / powers.sum(1, keepdims=True)
    return shares


def _description(path: Path, text: str | None, outputs: Sequence[str]) -> dict[str, Any]:
    """The metadata of a model file, checked against what this version can use."""
    if text is None:
        raise ModelError(f"{path}: a model, but not one that oamface exported")
    try:
        description: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: its metadata is damaged ({error}); export it again") from error
    lacking = {"format", "tasks", "crop", "input", "temperatures", "thresholds", "intervals"} - description.keys()
    if lacking:
        raise ModelError(f"{path}: its metadata lacks {', '.join(sorted(lacking))}; export it again")
    wanted = {"format": FORMAT, "tasks": {task: list(classes) for task, classes in TASKS.items()}}
    for key, value in wanted.items():
        if description.get(key) != value:
            raise ModelError(f"{path}: its {key} is not this version's; export it again")
    if description["crop"] != {"size": CROP_SIZE, "margin": MARGIN}:
        raise ModelError(f"{path}: was trained on crops of another geometry; export it again")
    if not set(OUTPUTS) <= set(outputs):
        raise ModelError(f"{path}: lacks the outputs {', '.join(sorted(set(OUTPUTS) - set(outputs)))}")
    return description
