"""Early stopping: a run ends when the calibration split gains no more, and keeps the weights of its best epoch."""

from copy import deepcopy
from typing import Any

from oamface.models.oam_cnn import OamCnn


class EarlyStopping:
    """The best weights of a run so far.

    model: the initial network, which counts as epoch -1; it is copied. patience: see Recipe.
    best: plain values for the checkpoint: the best epoch's number from 0, and its loss; None before any is known.
    """

    def __init__(self, model: OamCnn, patience: int) -> None:
        self.model, self.patience = deepcopy(model), patience
        self.best: dict[str, Any] | None = None

    def update(self, model: OamCnn, epoch: int, loss: float) -> None:
        """Keep a copy of the network if it is the best one."""
        if self.best is None or loss < self.best["loss"]:
            self.model.load_state_dict(model.state_dict())
            self.best = {"epoch": epoch, "loss": loss}

    def is_over(self, epoch: int) -> bool:
        """Whether the run ends before this epoch."""
        return self.best is not None and epoch - 1 - self.best["epoch"] >= self.patience
