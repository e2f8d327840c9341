"""A run's log: one JSON object a line, and the curves that are drawn from it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oamface.atomic import append_line, write_whole

LOG = "log.jsonl"
CURVES = "curves.png"
DRAW_EVERY = 30.0  # seconds; drawing takes the time of several short epochs
_NOT_A_LOSS = {"time", "event", "step", "epoch", "image_size", "lr", "samples"}

OnEvent = Callable[[dict[str, Any]], None]


class RunLog:
    """Appends events to the log in a folder and passes them to a callback."""

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self.folder, self.on_event = folder, on_event
        self._drawn = time.monotonic()

    def write(self, event: str, step: int, **values: Any) -> None:
        """Raises FileError: the log cannot be written."""
        line = {"time": round(time.time(), 1), "event": event, "step": step, **values}
        append_line(self.folder / LOG, json.dumps(line))
        self.on_event(line)

    def update_curves(self) -> None:
        """`draw_curves`, unless they were drawn within the last DRAW_EVERY seconds."""
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self.draw_curves()

    def draw_curves(self) -> None:
        """Draw losses and validation metrics by epoch into curves.png beside the log."""
        from matplotlib.figure import Figure

        lines = [json.loads(line) for line in (self.folder / LOG).read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "step"]
        epochs = [line for line in lines if line["event"] == "epoch"]
        if len(epochs) < 2 and not steps:
            return
        figure = Figure(figsize=(15, 4.5), layout="constrained")
        losses, years, accuracy = figure.subplots(1, 3)
        last_steps, numbers = [0, *(line["step"] for line in epochs)], [0, *(line["epoch"] + 1 for line in epochs)]
        for name in dict.fromkeys(key for line in steps for key in line if key not in _NOT_A_LOSS):
            points = [(np.interp(line["step"], last_steps, numbers), line[name]) for line in steps if name in line]
            losses.plot(*zip(*points, strict=True), label=name, linewidth=0.8)
        _plot_metrics(losses, epochs, {"valid_loss": "all labels, calibration split"})
        losses.set(xlabel="epoch", ylabel="loss, unweighted", yscale="log")
        _plot_metrics(years, epochs, {"valid_age_mae": "age"})
        years.set(xlabel="epoch", ylabel="mean absolute error, years")
        _plot_metrics(
            accuracy, epochs, {f"valid_{task}": task for task in ("age", "gender", "race", "mask")}, scale=100
        )
        accuracy.set(xlabel="epoch", ylabel="accuracy on clean calibration faces, %")
        for axes in (losses, years, accuracy):
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=7, ncols=2)
        write_whole(self.folder / CURVES, lambda file: figure.savefig(file, format="png", dpi=110))
        self._drawn = time.monotonic()


def _plot_metrics(axes: Any, epochs: list[dict[str, Any]], labels: dict[str, str], scale: float = 1) -> None:
    """A curve for every metric that the log's lines have; labels: by its name."""
    for name, label in labels.items():
        points = [(line["epoch"] + 1, scale * line[name]) for line in epochs if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o", markersize=3)
