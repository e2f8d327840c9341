"""OAM-CNN: a backbone, occlusion-aware attention, four heads.

The paper's backbone is a ResNet-50 cut after its third phase (11.4 M parameters in all). Others can stand in its place:
dlib's face network, and any of timm's that gives a map at a sixteenth of the image.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import OamfaceError
from oamface.images import RGBImage
from oamface.labels import TASKS
from oamface.models import face_resnet
from oamface.models.attention import OcclusionAttention, visible_share
from oamface.models.face_resnet import DLIB_STAGES, FaceResNet, Stages, load_dlib
from oamface.preprocessing import WHOLE_CROP, Preprocessing

RESNET, FACE = "resnet50", "face-resnet"
STARTS = ("scratch", "hub", "package")  # a run's start that is no file, see load_start
STRIDE = 16  # of the map that a backbone of timm's ends in
# ImageNet's, which timm's pretrained backbones expect; RGB in 0..1.
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

    backbone: "resnet50", "face-resnet", or the name of another of timm's. Its preprocessing says which part of a crop it sees.
    backbone_stages: of the face network, see FaceResNet; none are dlib's own. Raises OamfaceError: no such backbone, one without a
    map at stride 16, or backbone_stages that are none or of a backbone that has only its own.
    """

    def __init__(
        self,
        *,
        backbone: str = RESNET,
        backbone_stages: Stages = (),
        tasks: Sequence[str] = tuple(TASKS),
        attention: bool = True,
        hidden: int = 640,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.backbone_name, self.preprocessing = backbone, Preprocessing(WHOLE_CROP, MEAN, STD)
        self.backbone: nn.Module
        self.neck: nn.Module = nn.Identity()  # what follows attention
        if backbone == FACE:
            self.backbone_stages: Stages = tuple(
                (channels, blocks) for channels, blocks in backbone_stages or DLIB_STAGES
            )
            network = FaceResNet(self.backbone_stages)
            self.backbone, self.neck = network.early, network.late
            self.preprocessing = Preprocessing(face_resnet.WINDOW, face_resnet.MEAN, face_resnet.STD)
            mapped, self.channels = (self.backbone_stages[at][0] for at in (face_resnet.ATTENDED - 1, -1))
        else:
            if backbone_stages:
                raise OamfaceError(f"backbone {backbone!r}: only {FACE!r} can have other backbone_stages")
            self.backbone_stages = ()
            self.backbone, mapped = _timm_backbone(backbone)
            self.channels = mapped
        self.mapped = mapped
        self.attention = OcclusionAttention(mapped) if attention else None
        self.heads = nn.ModuleDict({task: Head(self.channels, hidden, len(TASKS[task]), dropout) for task in tasks})

    def forward(self, images: Tensor) -> Outputs:
        """images: (B, 3, H, W) float, as `normalise` makes them.

        H and W from 32 pixels; those of the face network from `face_resnet.least_side`.
        """
        ((z, attention),) = self.embed([images])
        return Outputs(self.answer(z), attention, z)

    def embed(self, parts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The backbone and the attention alone, of a batch in parts: z (B, C) and attention's logits (B, 1, h, w) of each.

        Every part is computed by itself, so that gradients are sums over parts. More than one takes an attention whose
        batch normalisation sees them all, see `OcclusionAttention.parts`.
        """
        maps = [self._map(images) for images in parts]
        if self.attention is None:
            return [(self.neck(features).mean((2, 3)), torch.zeros_like(features[:, :1])) for features in maps]
        attended = self.attention.parts(maps) if len(maps) > 1 else [self.attention(*maps)]
        return [(self.neck(features * visible_share(shown)).mean((2, 3)), shown) for features, shown in attended]

    def _map(self, images: Tensor) -> Tensor:
        """The backbone's last map."""
        features: Tensor | list[Tensor] = self.backbone(images)
        if isinstance(features, list):
            features = features[-1]
            if features.shape[1] != self.mapped:  # some transformers put channels last
                features = features.permute(0, 3, 1, 2)
        return features

    def answer(self, z: Tensor) -> dict[str, Tensor]:
        """The heads alone: z (B, C) to task -> (B, classes) logits."""
        return {task: head(z) for task, head in self.heads.items()}


def _timm_backbone(name: str) -> tuple[nn.Module, int]:
    """One of timm's networks up to its last map at stride 16, and that map's channels."""
    import timm  # takes seconds to import; the face network needs none of it

    try:
        with torch.device("meta"):  # only its plan; building it costs memory and time
            whole: Any = timm.create_model(name, features_only=True)
        strides = whole.feature_info.reduction()
        if STRIDE not in strides:
            raise ValueError(f"its maps are at strides {strides}, none at {STRIDE}")
        last = len(strides) - 1 - strides[::-1].index(STRIDE)
        backbone: Any = timm.create_model(name, features_only=True, out_indices=(last,))
    except Exception as error:  # timm raises whatever its networks do
        raise OamfaceError(f"backbone {name!r}: not one to build on ({error})") from error
    return backbone, backbone.feature_info.channels()[-1]


def load_start(model: OamCnn, pretrained: str) -> None:
    """Start from "scratch" (as it is), "hub" (the backbone from timm's ImageNet weights), "package" (the face network from
    the installed face-recognition-models) or a local safetensors file.

    A file holds timm's weights of the whole backbone network, of which what is not needed is left out, or a checkpoint of
    our own training, of whose averaged network every part is taken that this network has too.
    Raises OamfaceError: no network, no such file, or weights of another architecture.
    """
    if pretrained == "scratch":
        return
    if pretrained == "package":
        if model.backbone_stages != DLIB_STAGES:
            raise OamfaceError(f'pretrained "package" is for the backbone {FACE!r} with all its backbone_stages')
        network = FaceResNet()
        load_dlib(network)
        model.backbone.load_state_dict(network.early.state_dict())
        model.neck.load_state_dict(network.late.state_dict())
        return
    try:
        if pretrained == "hub":
            import timm

            weights = timm.create_model(model.backbone_name, pretrained=True).state_dict()
        else:
            from safetensors.torch import load_file

            weights = load_file(Path(pretrained))
        own = {name.removeprefix(AVERAGED): value for name, value in weights.items() if name.startswith(AVERAGED)}
        if own:
            state = model.state_dict()
            wanted = [name for name in state if name in own or name.startswith(("backbone.", "neck."))]
            model.load_state_dict(state | {name: own[name] for name in wanted})
            return
        model.backbone.load_state_dict({name: weights[name] for name in model.backbone.state_dict()})
    except KeyError as error:
        raise OamfaceError(f"{pretrained}: no weights of a {model.backbone_name}, {error} is missing") from error
    except Exception as error:  # huggingface_hub, safetensors and torch share no exception of their own
        raise OamfaceError(f"{pretrained}: cannot start from these weights ({error})") from error


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, S, S, 3) uint8 RGB, cut by the preprocessing, to the (B, 3, S, S) float that the network takes."""
    shift, scale = _mean_and_std(preprocessing, images.device)
    return ((images.float() - shift) / scale).permute(0, 3, 1, 2)


@cache  # a copy to a GPU would wait for it at every batch
def _mean_and_std(preprocessing: Preprocessing, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(preprocessing.mean, device=device) * 255, torch.tensor(preprocessing.std, device=device) * 255


def resized(images: Tensor, size: int) -> Tensor:
    """(B, C, S, S) images or maps at size x size, by bilinear interpolation over all that a new pixel covers."""
    if images.shape[2] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=size < images.shape[2])


def preprocess_batch(
    crops: Iterable[RGBImage], preprocessing: Preprocessing, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """B square crops of uint8 RGB as the network takes them: cut by the preprocessing, normalised, (B, 3, size, size)."""
    seen = np.stack([preprocessing.extract(crop, size) for crop in crops])
    return normalise(torch.from_numpy(seen).to(device), preprocessing).contiguous(memory_format=torch.channels_last)
