"""Occlusion-aware attention: a channel gate, then a spatial map of where the face is visible."""

from torch import Tensor, nn


class OcclusionAttention(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018), then a spatial attention map, in the order of CBAM (Woo et al., 2018).

    The map's sigmoid is near 1 where the face is visible and near 0 where it is occluded. It is supervised by the
    occlusion masks of synthetic occluders.
    """

    def __init__(self, channels: int, *, squeeze: int = 64, hidden: int = 24) -> None:
        super().__init__()
        gate_output, map_output = nn.Linear(squeeze, channels), nn.Conv2d(hidden, 1, 3, padding=1)
        self.gate = nn.Sequential(nn.Linear(channels, squeeze), nn.ReLU(inplace=True), gate_output, nn.Sigmoid())
        self.map = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), map_output
        )
        # Nearly an identity at first, so that a pretrained backbone is not disturbed.
        for layer, bias in ((gate_output, 3.0), (map_output, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.get_parameter("bias"), bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) features to gated features of the same shape and attention logits (B, 1, h, w)."""
        gated = features * self.gate(features.mean((2, 3)))[:, :, None, None]
        return gated, self.map(gated)


def pooling_weights(attention: Tensor) -> Tensor:
    """Attention logits (B, 1, h, w) to weights whose mean over each face is 1.

    So the embedding of a half-occluded face is about as long as that of the clean one.
    """
    weights = attention.sigmoid()
    return weights / weights.mean((2, 3), keepdim=True).clamp_min(1e-3)
