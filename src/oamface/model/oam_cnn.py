"""OAM-CNN: a ResNet-50 trunk cut after its third stage, occlusion-aware attention, four heads (11.4 M parameters)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from oamface.errors import OamfaceError
from oamface.labels import TASKS
from oamface.model.attention import OcclusionAttention, attended_mean

TRUNK = "resnet50"
STRIDE = 16
AVERAGED = "averaged/"  # what the averaged network's tensors are called in a checkpoint


class Outputs(NamedTuple):
    """What one pass gives for B faces of H x W pixels; h = ceil(H / 16), w = ceil(W / 16).

    logits: task to (B, classes). attention: (B, 1, h, w) logits; their sigmoid is 1 where the face is bare. A network
    without attention gives zeros.
    z: (B, 1024), the face's vector that all heads read.
    """

    logits: dict[str, Tensor]
    attention: Tensor
    z: Tensor


class Head(nn.Sequential):
    """z to the logits of one task."""

    def __init__(self, channels: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )


class OamCnn(nn.Module):
    """Four answers about a face in one pass.

    Age is a distribution over the years 0..100 whose mean is the estimate, as in DEX (Rothe et al., 2015).
    For comparison it can be built for fewer tasks, down to none, and without attention, as a plain multi-task CNN.
    """

    def __init__(
        self, *, tasks: Sequence[str] = tuple(TASKS), attention: bool = True, hidden: int = 640, dropout: float = 0.3
    ) -> None:
        super().__init__()
        trunk: Any = timm.create_model(TRUNK, features_only=True, out_indices=(3,))
        channels: int = trunk.feature_info.channels()[-1]
        self.trunk, self.channels = trunk, channels
        self.attention = OcclusionAttention(channels) if attention else None
        self.heads = nn.ModuleDict({task: Head(channels, hidden, len(TASKS[task]), dropout) for task in tasks})

    def forward(self, pictures: Tensor) -> Outputs:
        """pictures: (B, 3, H, W) float, normalised with MEAN and STD; H and W of 32 pixels or more."""
        z, attention = self.embed(pictures)
        return Outputs(self.answer(z), attention, z)

    def embed(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk and the attention alone: z (B, 1024) and the attention's logits (B, 1, h, w)."""
        features = self.trunk(pictures)[0]
        if self.attention is None:
            return features.mean((2, 3)), torch.zeros_like(features[:, :1])
        features, attention = self.attention(features)
        return attended_mean(features, attention.sigmoid()), attention

    def answer(self, z: Tensor) -> dict[str, Tensor]:
        """The heads alone: (B, 1024) to task -> (B, classes) logits."""
        return {task: head(z) for task, head in self.heads.items()}


def load_start(model: OamCnn, pretrained: str) -> None:
    """Start from "scratch" (as it is), "hub" (the trunk from timm's ImageNet weights) or a local safetensors file.

    A file holds a timm ResNet-50, whose fourth stage and classifier are left out, or a checkpoint of our own training,
    of whose averaged network every part is taken that this network has too.
    Raises OamfaceError: no network, no such file, or weights of another architecture.
    """
    if pretrained == "scratch":
        return
    try:
        if pretrained == "hub":
            weights = timm.create_model(TRUNK, pretrained=True).state_dict()
        else:
            from safetensors.torch import load_file

            weights = load_file(Path(pretrained))
        own = {name.removeprefix(AVERAGED): value for name, value in weights.items() if name.startswith(AVERAGED)}
        if own:
            state = model.state_dict()
            wanted = [name for name in state if name in own or name.startswith("trunk.")]
            model.load_state_dict(state | {name: own[name] for name in wanted})
            return
        wanted = model.trunk.state_dict()
        model.trunk.load_state_dict({name: weights[name] for name in wanted})
    except KeyError as error:
        raise OamfaceError(f"{pretrained}: no ResNet-50 of timm's, {error} is missing") from error
    except Exception as error:  # huggingface_hub, safetensors and torch share no exception of their own
        raise OamfaceError(f"{pretrained}: cannot start from these weights ({error})") from error


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())


# ImageNet's, which timm's pretrained trunks expect; RGB in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(chips: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 RGB to the (B, 3, S, S) float that the network takes."""
    scale = torch.tensor(STD, device=chips.device) * 255
    shift = torch.tensor(MEAN, device=chips.device) * 255
    return ((chips.float() - shift) / scale).permute(0, 3, 1, 2)
