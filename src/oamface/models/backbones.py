"""dlib's face-recognition network as a backbone: 29 convolutions, trained by Davis King to tell three million faces apart.

Its weights (`dlib_face_recognition_resnet_model_v1`, CC0) come with the PyPI package `face-recognition-models`; without
them it is a small residual network that starts from scratch. Batch normalisation is folded into the convolutions.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.errors import ModelError, OamfaceError

# The part of our crop that dlib cuts: eyes 0.35 of the width apart, at 31 % of the height. Left, top, right, bottom.
WINDOW = (18 / 128, 31 / 128, 110 / 128, 123 / 128)
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
STD = (256 / 255,) * 3
Stages = tuple[tuple[int, int], ...]
DLIB_STAGES: Stages = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # dlib's: channels and blocks of each
ATTENDED = 3  # backbone_stages before attention acts
WIDTH = DLIB_STAGES[-1][0]
SIDE = 150  # pixels that it was trained at

_PACKAGE, _FILE = "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"


class Block(nn.Module):
    """Two convolutions beside a shortcut; `down` halves the map and may widen it, the shortcut padded with zeros."""

    def __init__(self, channels: int, width: int, *, down: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.down = down

    def forward(self, features: Tensor) -> Tensor:
        added = self.second(functional.relu(self.first(features)))
        return functional.relu(self.join(features, added))

    def join(self, features: Tensor, added: Tensor) -> Tensor:
        """The shortcut of what came in plus what the convolutions made of it."""
        if self.down:
            features = functional.avg_pool2d(features, 2)
            # dlib pads the smaller of the two with zeros, at the right and the bottom.
            height, width = (max(added.shape[side], features.shape[side]) for side in (2, 3))
            channels = added.shape[1]
            features, added = (
                functional.pad(part, (0, width - part.shape[3], 0, height - part.shape[2], 0, channels - part.shape[1]))
                for part in (features, added)
            )
        return features + added


class _First(nn.Conv2d):
    """A convolution of three channels. On a GPU it gets five more of zeros: cuDNN has fast kernels for eight."""

    def forward(self, input: Tensor) -> Tensor:
        if not input.is_cuda:
            return super().forward(input)
        spare = (0, 0, 0, 0, 0, 8 - self.in_channels)
        padded = functional.pad(input, spare).contiguous(memory_format=torch.channels_last)
        return functional.conv2d(padded, functional.pad(self.weight, spare), self.bias, self.stride)


class FaceResNet(nn.Module):
    """The layers in two parts, so that attention can act between them; both have their convolutions in dlib's order.

    early: (B, 3, 150, 150) to (B, 128, 8, 8). late: that to (B, 256, 2, 2), whose mean dlib's descriptor is read from.
    Other sizes work too, from `least_side` on. backbone_stages: channels and blocks of each; every one but the first halves the
    map. Raises OamfaceError: backbone_stages that `stages_problem` knows something against.
    """

    def __init__(self, backbone_stages: Stages = DLIB_STAGES) -> None:
        super().__init__()
        if problem := stages_problem(backbone_stages):
            raise OamfaceError(problem)
        parts = [self._stage(backbone_stages, number) for number in range(len(backbone_stages))]
        first = backbone_stages[0][0]
        stem = (_First(3, first, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2))
        self.early = nn.Sequential(*stem, *(block for part in parts[:ATTENDED] for block in part))
        self.late = nn.Sequential(*(block for part in parts[ATTENDED:] for block in part))

    @staticmethod
    def _stage(backbone_stages: Stages, number: int) -> list[Block]:
        channels, blocks = backbone_stages[number]
        before = backbone_stages[max(0, number - 1)][0]
        return [Block(before, channels, down=number > 0), *(Block(channels, channels) for _ in range(blocks - 1))]

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), normalised with MEAN and STD, to the (B, 256) that dlib pools."""
        features: Tensor = self.late(self.early(images)).mean((2, 3))
        return features


def stages_problem(backbone_stages: Sequence[Sequence[int]]) -> str:
    """What speaks against a network of such backbone_stages; "" where nothing does."""
    pairs = isinstance(backbone_stages, (list, tuple)) and all(
        isinstance(stage, (list, tuple)) for stage in backbone_stages
    )
    if not pairs or any([type(value) for value in stage] != [int, int] or min(stage) < 1 for stage in backbone_stages):
        return f"backbone_stages {backbone_stages!r}: each is two whole numbers from 1, channels and blocks"
    channels = [stage[0] for stage in backbone_stages]
    if len(backbone_stages) <= ATTENDED or channels != sorted(channels):  # shortcuts can only add channels
        return f"backbone_stages {backbone_stages!r}: at least {ATTENDED + 1}, none with fewer channels than the one before"
    return ""


def least_side(backbone_stages: int) -> int:
    """The smallest image, in pixels, of which so many backbone_stages leave something: 103 of dlib's five, 55 of four."""
    side = 1
    for _ in range(backbone_stages - 1):
        side = max(3, 2 * side)  # a convolution needs three, and a shortcut halves
    return 4 * side + 7  # the stem halves twice


def load_dlib(network: FaceResNet, path: Path | None = None) -> None:
    """Fill a network with dlib's weights: from their file, or from the installed package when None.

    Raises ModelError: the package is not installed, or the file is another one.
    """
    path = path or _packaged()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    at = 0
    with torch.no_grad():
        for layer in network.modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            shape, width = layer.weight.shape, layer.out_channels
            values, at = _tensor(path, data, at, layer.weight.numel() + width)
            affine, at = _tensor(path, data, at, 2 * width)
            kernel, bias = values[:-width].reshape(shape), values[-width:]
            scale, shift = affine[:width], affine[width:]  # the folded batch normalisation
            layer.weight.copy_(kernel * scale[:, None, None, None])
            assert layer.bias is not None
            layer.bias.copy_(bias * scale + shift)


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)  # importing the package would take setuptools' pkg_resources, which is gone
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("dlib's face network is not installed here: uv pip install face-recognition-models")
    return Path(spec.submodule_search_locations[0]) / _FILE


def _tensor(path: Path, data: bytes, at: int, count: int) -> tuple[Tensor, int]:
    """The next column of `count` numbers in dlib's serialisation from byte `at` on, and where it ends.

    A tensor is its version (2), its four sides and its float32s; an integer is its length in bytes, then these.
    """
    size = count.to_bytes((count.bit_length() + 7) // 8, "little")
    head = b"\x01\x02" + bytes([len(size)]) + size + b"\x01\x01" * 3
    start = data.find(head, at) + len(head)
    end = start + 4 * count
    if start < len(head) or end > len(data):
        raise ModelError(f"{path}: not dlib's face network; a tensor of {count} numbers is missing")
    return torch.from_numpy(np.frombuffer(data, "<f4", count, start).copy()), end
