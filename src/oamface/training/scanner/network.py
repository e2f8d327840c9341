"""The network of `FaceScanner`: a backbone of separable convolutions and a feature pyramid with three heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from oamface.face_scanner import STRIDES

CHANNELS = (16, 32, 48, 64, 96)  # after strides of 2, 4, 8, 16 and 32
BLOCKS = (1, 3, 3, 3)  # of one stride, after each of strides 4 to 32
WIDTH = 48  # of the feature pyramid
OUTPUTS = 4  # of a cell: logit of the score, log side, x, y
_LOGIT = -4.0  # of every cell before training: few show a face


class SeparableConvolution(nn.Module):
    """A depthwise 3 x 3 and a pointwise convolution, with a shortcut where the shape stays."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = _convolution(channels, channels, 3, stride, groups=channels)
        self.pointwise = nn.Sequential(_convolution(channels, out_channels, 1), nn.ReLU())
        self.shortcut = channels == out_channels and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.pointwise(self.depthwise(features))
        return features + output if self.shortcut else output


class ScannerNetwork(nn.Module):
    """(N, 3, H, W) RGB of 0..255, sides multiples of 32, to three maps (N, OUTPUTS, H / stride, W / stride)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, CHANNELS[0], 3, 2), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                SeparableConvolution(channels, out_channels, 2),
                *(SeparableConvolution(out_channels, out_channels) for _ in range(blocks)),
            )
            for channels, out_channels, blocks in zip(CHANNELS[:-1], CHANNELS[1:], BLOCKS, strict=True)
        )
        self.laterals = nn.ModuleList(_convolution(channels, WIDTH, 1) for channels in CHANNELS[2:])
        self.smooth = nn.ModuleList(SeparableConvolution(WIDTH, WIDTH) for _ in STRIDES)
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, OUTPUTS, 1) for _ in STRIDES)
        for head in self.heads:
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
            nn.init.constant_(head.bias[:1], _LOGIT)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.stem(images * (1 / 128) - 1)
        levels = []
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if number > 0:
                levels.append(self.laterals[number - 1](features))
        levels[2] = functional.relu(levels[2])
        for upper in (1, 0):
            levels[upper] = functional.relu(levels[upper] + functional.interpolate(levels[upper + 1], scale_factor=2.0))
        return tuple(head(smooth(level)) for head, smooth, level in zip(self.heads, self.smooth, levels, strict=True))


class ExportedScanner(nn.Module):
    """The network as `FaceScanner` runs it: (N, H, W, 3) uint8 in, scores of 0..1 instead of logits out."""

    def __init__(self, network: ScannerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.network(images.permute(0, 3, 1, 2).float())
        return tuple(torch.cat([torch.sigmoid(one[:, :1]), one[:, 1:]], 1) for one in maps)


def _convolution(channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
