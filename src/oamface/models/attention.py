"""Occlusion-aware attention: which channels matter, and where the face is bare."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class OcclusionAttention(nn.Module):
    """A channel gate, and a spatial map that is near 1 where the face shows and near 0 where it is covered.

    The channel gate is squeeze-and-excitation (Hu et al., 2018), in the order channel, then space of CBAM (Woo et al.,
    2018). The map is learned from coverage maps of drawn occluders, not left to emerge.
    """

    def __init__(self, channels: int, *, squeeze: int = 64, hidden: int = 24) -> None:
        super().__init__()
        opening, showing = nn.Linear(squeeze, channels), nn.Conv2d(hidden, 1, 3, padding=1)
        self.gate = nn.Sequential(nn.Linear(channels, squeeze), nn.ReLU(inplace=True), opening, nn.Sigmoid())
        self.map = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), showing
        )
        # Wide open and even at first, so that a pretrained backbone is not disturbed.
        for layer, bias in ((opening, 3.0), (showing, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.get_parameter("bias"), bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) features to gated features of the same shape and the map's logits (B, 1, h, w)."""
        gated = self._gated(features)
        return gated, self.map(gated)

    def parts(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """What `forward` gives, of every part of one batch, in training.

        Its batch normalisation, which sees all of them, is one that takes parts (`train.team.SyncedBatchNorm2d`).
        """
        gated = [self._gated(part) for part in features]
        norm: Any = self.map[1]
        entry, rest = self.map[0], self.map[2:]
        normed = norm.parts([entry(part) for part in gated])
        return [(part, rest(entered)) for part, entered in zip(gated, normed, strict=True)]

    def _gated(self, features: Tensor) -> Tensor:
        gated: Tensor = features * self.gate(features.mean((2, 3)))[:, :, None, None]
        return gated


def visible_share(attention: Tensor) -> Tensor:
    """The map's logits (B, 1, h, w) as weights of a mean of 1 over each face.

    Divided by the attention's own mean, so that a half-covered face gives a vector as long as a bare one's.
    """
    share = attention.sigmoid()
    return share / share.mean((2, 3), keepdim=True).clamp_min(1e-3)
