"""Backbones: dlib's face-recognition network, and every timm network with a feature map at stride 16.

dlib's network has 29 convolutions and was trained by Davis King to tell three million faces apart. Its weights
(`dlib_face_recognition_resnet_model_v1`, CC0) come with the PyPI package `face-recognition-models`; without them it is
a small residual network to train from scratch. Its batch normalisation is folded into the convolutions.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import ModelError, OamfaceError
from oamface.preprocessing import WHOLE_CROP, Preprocessing

RESNET50, FACE_RESNET = "resnet50", "face-resnet"
Stages = tuple[tuple[int, int], ...]  # of every stage its channels and blocks
DLIB_STAGES: Stages = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
DLIB_CHANNELS = DLIB_STAGES[-1][0]
DLIB_IMAGE_SIZE = 150  # pixels of the images that its weights were trained on
# dlib's crop box: the eyes 0.35 of its width apart, at 31 % of its height.
DLIB_PREPROCESSING = Preprocessing(
    (18 / 128, 31 / 128, 110 / 128, 123 / 128),
    (122.782 / 255, 117.001 / 255, 104.298 / 255),
    (256 / 255,) * 3,
)
IMAGENET_PREPROCESSING = Preprocessing(WHOLE_CROP, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STAGES_BEFORE_ATTENTION = 3
STRIDE = 16  # of the timm feature map that is used

_PACKAGE, _FILE = "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"


class Backbone(NamedTuple):
    """A backbone in two parts, with attention between them.

    early: images (B, 3, H, W) to features (B, attention_channels, h, w). late: these to (B, channels, h', w').
    stages: of the face network only.
    """

    early: nn.Module
    late: nn.Module
    attention_channels: int
    channels: int
    preprocessing: Preprocessing
    stages: Stages = ()


def build_backbone(name: str, stages: Stages = ()) -> Backbone:
    """The untrained backbone "face-resnet" with the given stages (dlib's by default), or a timm network.

    Raises OamfaceError: no such network, one without a feature map at stride 16, or stages that it cannot have.
    """
    if name == FACE_RESNET:
        stages = tuple((channels, blocks) for channels, blocks in stages or DLIB_STAGES)
        network = FaceResNet(stages)
        attention_channels = stages[STAGES_BEFORE_ATTENTION - 1][0]
        return Backbone(network.early, network.late, attention_channels, stages[-1][0], DLIB_PREPROCESSING, stages)
    if stages:
        raise OamfaceError(f"backbone {name!r}: only {FACE_RESNET!r} can have other backbone_stages")
    features, channels = _timm_features(name)
    return Backbone(features, nn.Identity(), channels, channels, IMAGENET_PREPROCESSING)


def _timm_features(name: str) -> tuple[nn.Module, int]:
    """A timm network up to its last feature map at stride 16, and that map's channels."""
    import timm  # takes seconds to import; the face network does not need it

    try:
        with torch.device("meta"):  # only the structure; building it costs memory and time
            whole: Any = timm.create_model(name, features_only=True)
        strides = whole.feature_info.reduction()
        if STRIDE not in strides:
            raise ValueError(f"its feature maps are at strides {strides}, none at {STRIDE}")
        last = len(strides) - 1 - strides[::-1].index(STRIDE)
        network: Any = timm.create_model(name, features_only=True, out_indices=(last,))
    except Exception as error:  # timm raises whatever its networks do
        raise OamfaceError(f"backbone {name!r}: cannot be used ({error})") from error
    return network, network.feature_info.channels()[-1]


class Block(nn.Module):
    """A residual block of two convolutions; `down` halves the map and may add channels, the shortcut's being zeros."""

    def __init__(self, channels: int, out_channels: int, *, down: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out_channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.down = down

    def forward(self, features: Tensor) -> Tensor:
        residual = self.second(functional.relu(self.first(features)))
        return functional.relu(self.add(features, residual))

    def add(self, features: Tensor, residual: Tensor) -> Tensor:
        """The shortcut of the block's input plus the convolutions' output."""
        if self.down:
            features = functional.avg_pool2d(features, 2)
            # dlib pads the smaller of the two with zeros, at the right and the bottom.
            height, width = (max(residual.shape[side], features.shape[side]) for side in (2, 3))
            channels = residual.shape[1]
            features, residual = (
                functional.pad(maps, (0, width - maps.shape[3], 0, height - maps.shape[2], 0, channels - maps.shape[1]))
                for maps in (features, residual)
            )
        return features + residual


class _StemConv(nn.Conv2d):
    """A convolution of RGB images. On a GPU five channels of zeros are added: cuDNN has fast kernels for eight."""

    def forward(self, input: Tensor) -> Tensor:
        if not input.is_cuda:
            return super().forward(input)
        padding = (0, 0, 0, 0, 0, 8 - self.in_channels)
        padded = functional.pad(input, padding).contiguous(memory_format=torch.channels_last)
        return functional.conv2d(padded, functional.pad(self.weight, padding), self.bias, self.stride)


class FaceResNet(nn.Module):
    """dlib's network, or one like it with other stages. Both parts have their convolutions in dlib's order.

    early: (B, 3, 150, 150) to (B, 128, 8, 8). late: that to (B, 256, 2, 2), whose mean dlib's descriptor is computed
    from. Images can be of any size from `min_image_size` on. stages: channels and blocks of each; every stage but
    the first halves the map. Raises OamfaceError: invalid stages, see `stages_problem`.
    """

    def __init__(self, stages: Stages = DLIB_STAGES) -> None:
        super().__init__()
        if problem := stages_problem(stages):
            raise OamfaceError(problem)
        blocks = [self._stage(stages, number) for number in range(len(stages))]
        channels = stages[0][0]
        stem = (_StemConv(3, channels, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2))
        self.early = nn.Sequential(*stem, *(block for stage in blocks[:STAGES_BEFORE_ATTENTION] for block in stage))
        self.late = nn.Sequential(*(block for stage in blocks[STAGES_BEFORE_ATTENTION:] for block in stage))

    @staticmethod
    def _stage(stages: Stages, number: int) -> list[Block]:
        channels, blocks = stages[number]
        in_channels = stages[max(0, number - 1)][0]
        return [Block(in_channels, channels, down=number > 0), *(Block(channels, channels) for _ in range(blocks - 1))]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to pooled features (B, 256)."""
        features: Tensor = self.late(self.early(images)).mean((2, 3))
        return features


def stages_problem(stages: Sequence[Sequence[int]]) -> str:
    """What is wrong with the stages of a face network; "" if nothing."""
    are_pairs = isinstance(stages, (list, tuple)) and all(isinstance(stage, (list, tuple)) for stage in stages)
    if not are_pairs or any([type(value) for value in stage] != [int, int] or min(stage) < 1 for stage in stages):
        return f"backbone_stages {stages!r}: each is two whole numbers from 1, channels and blocks"
    channels = [stage[0] for stage in stages]
    if len(stages) <= STAGES_BEFORE_ATTENTION or channels != sorted(channels):  # shortcuts can only add channels
        least = STAGES_BEFORE_ATTENTION + 1
        return f"backbone_stages {stages!r}: at least {least}, none with fewer channels than the one before"
    return ""


def min_image_size(stage_count: int) -> int:
    """The smallest image, in pixels, that a face network can read: 103 for dlib's five stages, 55 for four."""
    size = 1
    for _ in range(stage_count - 1):
        size = max(3, 2 * size)  # a convolution needs three, and a shortcut halves
    return 4 * size + 7  # the stem halves twice


def load_dlib_weights(network: FaceResNet, path: Path | None = None) -> None:
    """Fill a network with dlib's weights: from their file, or from the installed package when None.

    Raises ModelError: the package is not installed, or the file is another one.
    """
    path = path or _package_file()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    offset = 0
    with torch.no_grad():
        for layer in network.modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            shape, channels = layer.weight.shape, layer.out_channels
            values, offset = _read_tensor(path, data, offset, layer.weight.numel() + channels)
            affine, offset = _read_tensor(path, data, offset, 2 * channels)
            weight, bias = values[:-channels].reshape(shape), values[-channels:]
            gain, shift = affine[:channels], affine[channels:]  # the folded batch normalisation
            layer.weight.copy_(weight * gain[:, None, None, None])
            assert layer.bias is not None
            layer.bias.copy_(bias * gain + shift)


def _package_file() -> Path:
    spec = find_spec(_PACKAGE)  # importing the package would need setuptools' pkg_resources, which is gone
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("dlib's face network is not installed here: uv pip install face-recognition-models")
    return Path(spec.submodule_search_locations[0]) / _FILE


def _read_tensor(path: Path, data: bytes, offset: int, count: int) -> tuple[Tensor, int]:
    """The next column of `count` numbers in dlib's serialisation from byte `offset` on, and where it ends.

    A tensor is its version (2), its four dimensions and its float32s; an integer is its length in bytes, then these.
    """
    size = count.to_bytes((count.bit_length() + 7) // 8, "little")
    header = b"\x01\x02" + bytes([len(size)]) + size + b"\x01\x01" * 3
    start = data.find(header, offset) + len(header)
    end = start + 4 * count
    if start < len(header) or end > len(data):
        raise ModelError(f"{path}: not dlib's face network; a tensor of {count} numbers is missing")
    return torch.from_numpy(np.frombuffer(data, "<f4", count, start).copy()), end
