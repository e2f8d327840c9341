"""OAM-CNN: a trunk, occlusion-aware attention, four heads.

The paper's trunk is a ResNet-50 cut after its third stage (11.4 M parameters in all). Others can stand in its place:
dlib's face network, and any of timm's that gives a map at a sixteenth of the picture.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.engine import WHOLE, Framing
from oamface.errors import OamfaceError
from oamface.imaging import RGBImage
from oamface.labels import TASKS
from oamface.model import face_resnet
from oamface.model.attention import OcclusionAttention, bare_share
from oamface.model.face_resnet import LEVELS, FaceResNet, Levels, load_dlib

RESNET, FACE = "resnet50", "face-resnet"
STARTS = ("scratch", "hub", "package")  # a run's start that is no file, see load_start
STRIDE = 16  # of the map that a trunk of timm's ends in
# ImageNet's, which timm's pretrained trunks expect; RGB in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
AVERAGED = "averaged/"  # what the averaged network's tensors are called in a checkpoint


class Outputs(NamedTuple):
    """What one pass gives for B faces of H x W pixels; h and w are about H / 16 and W / 16.

    logits: task to (B, classes). attention: (B, 1, h, w) logits; their sigmoid is 1 where the face is bare. A network
    without attention gives zeros.
    z: (B, C), the face's vector that all heads read; C is 1024 with a ResNet-50, 256 with the face network.
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

    trunk: "resnet50", "face-resnet", or the name of another of timm's. Its framing says which part of a chip it sees.
    levels: of the face network, see FaceResNet; none are dlib's own. Raises OamfaceError: no such trunk, one without a
    map at stride 16, or levels that are none or of a trunk that has only its own.
    """

    def __init__(
        self,
        *,
        trunk: str = RESNET,
        levels: Levels = (),
        tasks: Sequence[str] = tuple(TASKS),
        attention: bool = True,
        hidden: int = 640,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.trunk_name, self.framing = trunk, Framing(WHOLE, MEAN, STD)
        self.trunk: nn.Module
        self.neck: nn.Module = nn.Identity()  # what follows attention
        if trunk == FACE:
            self.levels: Levels = tuple((channels, blocks) for channels, blocks in levels or LEVELS)
            network = FaceResNet(self.levels)
            self.trunk, self.neck = network.early, network.late
            self.framing = Framing(face_resnet.WINDOW, face_resnet.MEAN, face_resnet.STD)
            mapped, self.channels = (self.levels[at][0] for at in (face_resnet.ATTENDED - 1, -1))
        else:
            if levels:
                raise OamfaceError(f"trunk {trunk!r}: only {FACE!r} can have other levels")
            self.levels = ()
            self.trunk, mapped = _timm_trunk(trunk)
            self.channels = mapped
        self.mapped = mapped
        self.attention = OcclusionAttention(mapped) if attention else None
        self.heads = nn.ModuleDict({task: Head(self.channels, hidden, len(TASKS[task]), dropout) for task in tasks})

    def forward(self, pictures: Tensor) -> Outputs:
        """pictures: (B, 3, H, W) float, as `normalise` makes them.

        H and W from 32 pixels; those of the face network from `face_resnet.least_side`.
        """
        ((z, attention),) = self.embed([pictures])
        return Outputs(self.answer(z), attention, z)

    def embed(self, parts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The trunk and the attention alone, of a batch in parts: z (B, C) and attention's logits (B, 1, h, w) of each.

        Every part is computed by itself, so that gradients are sums over parts. More than one takes an attention whose
        batch normalisation sees them all, see `OcclusionAttention.parts`.
        """
        maps = [self._map(pictures) for pictures in parts]
        if self.attention is None:
            return [(self.neck(features).mean((2, 3)), torch.zeros_like(features[:, :1])) for features in maps]
        attended = self.attention.parts(maps) if len(maps) > 1 else [self.attention(*maps)]
        return [(self.neck(features * bare_share(shown)).mean((2, 3)), shown) for features, shown in attended]

    def _map(self, pictures: Tensor) -> Tensor:
        """The trunk's last map."""
        features: Tensor | list[Tensor] = self.trunk(pictures)
        if isinstance(features, list):
            features = features[-1]
            if features.shape[1] != self.mapped:  # some transformers put channels last
                features = features.permute(0, 3, 1, 2)
        return features

    def answer(self, z: Tensor) -> dict[str, Tensor]:
        """The heads alone: z (B, C) to task -> (B, classes) logits."""
        return {task: head(z) for task, head in self.heads.items()}


def _timm_trunk(name: str) -> tuple[nn.Module, int]:
    """One of timm's networks up to its last map at stride 16, and that map's channels."""
    import timm  # takes seconds to import; the face network needs none of it

    try:
        with torch.device("meta"):  # only its plan; building it costs memory and time
            whole: Any = timm.create_model(name, features_only=True)
        strides = whole.feature_info.reduction()
        if STRIDE not in strides:
            raise ValueError(f"its maps are at strides {strides}, none at {STRIDE}")
        last = len(strides) - 1 - strides[::-1].index(STRIDE)
        trunk: Any = timm.create_model(name, features_only=True, out_indices=(last,))
    except Exception as error:  # timm raises whatever its networks do
        raise OamfaceError(f"trunk {name!r}: not one to build on ({error})") from error
    return trunk, trunk.feature_info.channels()[-1]


def load_start(model: OamCnn, pretrained: str) -> None:
    """Start from "scratch" (as it is), "hub" (the trunk from timm's ImageNet weights), "package" (the face network from
    the installed face-recognition-models) or a local safetensors file.

    A file holds timm's weights of the whole trunk network, of which what is not needed is left out, or a checkpoint of
    our own training, of whose averaged network every part is taken that this network has too.
    Raises OamfaceError: no network, no such file, or weights of another architecture.
    """
    if pretrained == "scratch":
        return
    if pretrained == "package":
        if model.levels != LEVELS:
            raise OamfaceError(f'pretrained "package" is for the trunk {FACE!r} with all its levels')
        network = FaceResNet()
        load_dlib(network)
        model.trunk.load_state_dict(network.early.state_dict())
        model.neck.load_state_dict(network.late.state_dict())
        return
    try:
        if pretrained == "hub":
            import timm

            weights = timm.create_model(model.trunk_name, pretrained=True).state_dict()
        else:
            from safetensors.torch import load_file

            weights = load_file(Path(pretrained))
        own = {name.removeprefix(AVERAGED): value for name, value in weights.items() if name.startswith(AVERAGED)}
        if own:
            state = model.state_dict()
            wanted = [name for name in state if name in own or name.startswith(("trunk.", "neck."))]
            model.load_state_dict(state | {name: own[name] for name in wanted})
            return
        model.trunk.load_state_dict({name: weights[name] for name in model.trunk.state_dict()})
    except KeyError as error:
        raise OamfaceError(f"{pretrained}: no weights of a {model.trunk_name}, {error} is missing") from error
    except Exception as error:  # huggingface_hub, safetensors and torch share no exception of their own
        raise OamfaceError(f"{pretrained}: cannot start from these weights ({error})") from error


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())


def normalise(pictures: Tensor, framing: Framing) -> Tensor:
    """(B, S, S, 3) uint8 RGB, cut by the framing, to the (B, 3, S, S) float that the network takes."""
    shift, scale = _levels(framing, pictures.device)
    return ((pictures.float() - shift) / scale).permute(0, 3, 1, 2)


@cache  # a copy to a GPU would wait for it at every batch
def _levels(framing: Framing, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(framing.mean, device=device) * 255, torch.tensor(framing.deviation, device=device) * 255


def resized(pictures: Tensor, size: int) -> Tensor:
    """(B, C, S, S) pictures or maps at size x size, by bilinear interpolation over all that a new pixel covers."""
    if pictures.shape[2] == size:
        return pictures
    return functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=size < pictures.shape[2])


def pictures_of(chips: Iterable[RGBImage], framing: Framing, size: int, device: torch.device | str = "cpu") -> Tensor:
    """B square chips of uint8 RGB as the network takes them: cut by the framing, normalised, (B, 3, size, size)."""
    seen = np.stack([framing.cut(chip, size) for chip in chips])
    return normalise(torch.from_numpy(seen).to(device), framing).contiguous(memory_format=torch.channels_last)
