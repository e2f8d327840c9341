"""A run's log: one JSON object a line, and the curves that are drawn from it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oamface.atomic import append_line, write_whole

LOG = "log.jsonl"
CURVES = "curves.png"
_NOT_A_LOSS = {"time", "event", "step", "epoch", "image_size", "lr", "samples"}

OnEvent = Callable[[dict[str, Any]], None]


class RunLog:
    """Appends events to the log in a folder and passes them to a callback."""

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self.folder, self.on_event = folder, on_event

    def write(self, event: str, step: int, **values: Any) -> None:
        """Raises FileError: the log cannot be written."""
        line = {"time": round(time.time(), 1), "event": event, "step": step, **values}
        append_line(self.folder / LOG, json.dumps(line))
        self.on_event(line)

    def draw_curves(self) -> None:
        """Draw losses and validation metrics into curves.png beside the log."""
        from matplotlib.figure import Figure

        lines = [json.loads(line) for line in (self.folder / LOG).read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "step"]
        epochs = [line for line in lines if line["event"] == "epoch"]
        if not steps or not epochs:
            return
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name in [key for key in steps[-1] if key not in _NOT_A_LOSS]:
            points = [(line["step"], line[name]) for line in steps if name in line]
            left.plot(*zip(*points, strict=True), label=name, linewidth=0.8)
        left.set(xlabel="step", ylabel="loss, unweighted", yscale="log")
        left.legend(fontsize=7, ncols=2)
        for task in ("gender", "race", "mask"):
            points = [(line["step"], 100 * line[f"valid_{task}"]) for line in epochs if f"valid_{task}" in line]
            if points:
                right.plot(*zip(*points, strict=True), label=task, marker="o")
        right.set(xlabel="step", ylabel="accuracy on clean calibration faces, %")
        right.legend(fontsize=7)
        write_whole(self.folder / CURVES, lambda file: figure.savefig(file, format="png", dpi=110))
