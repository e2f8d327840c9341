from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.drawn import serialised
from oamface.errors import ModelError, OamfaceError
from oamface.models.face_resnet import DLIB_STAGES, MEAN, SIDE, STD, FaceResNet, least_side, load_dlib


def test_weights_are_read_and_their_normalisation_folded_in(tmp_path) -> None:
    network = FaceResNet()
    data, written = serialised(network, np.random.default_rng(0))
    path = tmp_path / "network.dat"
    path.write_bytes(data)
    load_dlib(network, path)
    kernel, bias, scale, shift = (torch.tensor(part, dtype=torch.float32) for part in written[0])
    images = torch.randn(1, 3, 40, 40)
    plain = nn.functional.conv2d(images, kernel, bias, 2) * scale[:, None, None] + shift[:, None, None]
    assert torch.allclose(network.early[0](images), plain, atol=1e-4)
    last = list(network.modules())[-1]
    assert isinstance(last, nn.Conv2d)
    assert torch.allclose(last.bias, torch.tensor(written[-1][1] * written[-1][2] + written[-1][3]).float(), atol=1e-5)


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_file_that_ends_early(tmp_path, share) -> None:
    data, _ = serialised(FaceResNet(), np.random.default_rng(0))
    path = tmp_path / "cut.dat"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"cut\.dat: not dlib's face network"):
        load_dlib(FaceResNet(), path)


def test_no_such_file() -> None:
    with pytest.raises(ModelError, match="nowhere"):
        load_dlib(FaceResNet(), Path("nowhere.dat"))


def test_the_parts_make_the_whole() -> None:
    network, images = FaceResNet().eval(), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        middle = network.early(images)
        assert middle.shape == (2, 128, 8, 8)
        assert torch.equal(network.late(middle).mean((2, 3)), network(images))


def test_normalisation_is_dlibs() -> None:
    grey = (torch.tensor([122.782, 117.001, 104.298]) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert grey.abs().max() < 1e-6
    assert STD[0] * 255 == pytest.approx(256)


@pytest.mark.parametrize("side", [103, 112, 128, 150, 160])
def test_other_sizes_from_103_pixels_work_too(side) -> None:
    assert FaceResNet().eval()(torch.zeros(1, 3, side, side)).shape == (1, 256)


@pytest.mark.parametrize("backbone_stages", [DLIB_STAGES, ((8, 2), (8, 1), (16, 3), (24, 1)), ((8, 1),) * 6])
def test_levels_make_the_network_and_the_smallest_picture_that_it_takes(backbone_stages) -> None:
    network, least = FaceResNet(backbone_stages).eval(), least_side(len(backbone_stages))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * sum(blocks for _, blocks in backbone_stages)
    assert network.early(torch.zeros(1, 3, least, least)).shape[1] == backbone_stages[2][0]
    assert network(torch.zeros(1, 3, least, least)).shape == (1, backbone_stages[-1][0])
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, least - 1, least - 1))


@pytest.mark.parametrize(
    "backbone_stages", [(), DLIB_STAGES[:3], ((8, 1), (4, 1), (8, 1), (8, 1)), ((8, 1), (8, 0), (8, 1), (8, 1))]
)
def test_levels_that_make_none(backbone_stages) -> None:
    with pytest.raises(OamfaceError, match="backbone_stages"):
        FaceResNet(backbone_stages)
