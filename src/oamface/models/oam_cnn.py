"""OAM-CNN: a backbone, occlusion-aware attention and one head for each of the four tasks.

The paper's backbone is a ResNet-50 cut after its third stage (11.4 M parameters in all); the shipped weights use
dlib's face network.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.images import RGBImage
from oamface.labels import TASKS
from oamface.models.attention import OcclusionAttention, pooling_weights
from oamface.models.backbones import RESNET50, Stages, build_backbone
from oamface.preprocessing import Preprocessing


class Outputs(NamedTuple):
    """The network's outputs for B faces of H x W pixels; h and w are about H / 16 and W / 16.

    logits: task to (B, classes).
    attention: (B, 1, h, w) logits; their sigmoid is 1 where the face is visible. Zeros without attention.
    embedding: (B, C), the input of all heads; C is 1024 with a ResNet-50, 256 with dlib's network.
    """

    logits: dict[str, Tensor]
    attention: Tensor
    embedding: Tensor


class Head(nn.Sequential):
    """Embeddings (B, C) to the logits (B, classes) of one task."""

    def __init__(self, channels: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )


class OamCnn(nn.Module):
    """Age, gender, race and mask of a face in one forward pass.

    Age is a distribution over the years 0..100 whose mean is the estimate, as in DEX (Rothe et al., 2015). For
    comparison the network can have fewer tasks, down to none, and no attention, as a plain multi-task CNN.

    backbone: "resnet50", "face-resnet" or the name of another timm network. backbone_stages: of the face network, see
    FaceResNet; dlib's own by default. crop_box: what the network sees of a crop, see Preprocessing; the backbone's own
    by default. Raises OamfaceError, see `build_backbone`.
    """

    def __init__(
        self,
        *,
        backbone: str = RESNET50,
        backbone_stages: Stages = (),
        tasks: Sequence[str] = tuple(TASKS),
        attention: bool = True,
        crop_box: Sequence[float] = (),
        hidden: int = 640,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        built = build_backbone(backbone, backbone_stages)
        self.backbone_name, self.backbone_stages, self.preprocessing = backbone, built.stages, built.preprocessing
        if crop_box:
            left, top, right, bottom = crop_box
            self.preprocessing = replace(built.preprocessing, crop_box=(left, top, right, bottom))
        self.backbone, self.neck = built.early, built.late
        self.attention_channels, self.channels = built.attention_channels, built.channels
        self.attention = OcclusionAttention(self.attention_channels) if attention else None
        self.heads = nn.ModuleDict({task: Head(self.channels, hidden, len(TASKS[task]), dropout) for task in tasks})

    def forward(self, images: Tensor) -> Outputs:
        """images: (B, 3, H, W) float, as `normalise` makes them; H and W from 32 pixels, see also `min_image_size`."""
        features = self._backbone_features(images)
        if self.attention is None:
            attention = torch.zeros_like(features[:, :1])
        else:
            features, attention = self.attention(features)
            features = features * pooling_weights(attention)
        embedding = self.neck(features).mean((2, 3)).float()
        return Outputs({task: head(embedding) for task, head in self.heads.items()}, attention, embedding)

    def _backbone_features(self, images: Tensor) -> Tensor:
        features: Tensor | list[Tensor] = self.backbone(images)
        if isinstance(features, list):  # a timm network
            features = features[-1]
            if features.shape[1] != self.attention_channels:  # some transformers put channels last
                features = features.permute(0, 3, 1, 2)
        return features


def parameter_count(model: nn.Module) -> int:
    """The number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, S, S, 3) uint8 RGB, cropped already, to the (B, 3, S, S) float that the network takes."""
    mean, std = _mean_and_std(preprocessing, images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@cache  # a copy to the GPU at every batch would wait for it
def _mean_and_std(preprocessing: Preprocessing, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(preprocessing.mean, device=device) * 255, torch.tensor(preprocessing.std, device=device) * 255


def resize_batch(images: Tensor, size: int) -> Tensor:
    """(B, C, S, S) images or maps at size x size, bilinear, antialiased where that is smaller."""
    if images.shape[2] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=size < images.shape[2])


def preprocess_batch(
    crops: Iterable[RGBImage], preprocessing: Preprocessing, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """B square crops of uint8 RGB as the network takes them: cut to the crop box, normalised, (B, 3, size, size)."""
    extracted = np.stack([preprocessing.extract(crop, size) for crop in crops])
    return normalise(torch.from_numpy(extracted).to(device), preprocessing)
