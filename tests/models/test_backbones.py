from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.drawn import serialised
from oamface.errors import ModelError, OamfaceError
from oamface.models.backbones import (
    DLIB_IMAGE_SIZE,
    DLIB_PREPROCESSING,
    DLIB_STAGES,
    FaceResNet,
    build_backbone,
    load_dlib_weights,
    min_image_size,
)


def test_load_dlib_weights_folds_batch_normalisation(tmp_path) -> None:
    network = FaceResNet()
    data, written = serialised(network, np.random.default_rng(0))
    path = tmp_path / "network.dat"
    path.write_bytes(data)
    load_dlib_weights(network, path)
    kernel, bias, scale, shift = (torch.tensor(values, dtype=torch.float32) for values in written[0])
    images = torch.randn(1, 3, 40, 40)
    expected = nn.functional.conv2d(images, kernel, bias, 2) * scale[:, None, None] + shift[:, None, None]
    assert torch.allclose(network.early[0](images), expected, atol=1e-4)
    last = list(network.modules())[-1]
    assert isinstance(last, nn.Conv2d)
    assert torch.allclose(last.bias, torch.tensor(written[-1][1] * written[-1][2] + written[-1][3]).float(), atol=1e-5)


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_load_dlib_weights_rejects_truncated_file(tmp_path, share) -> None:
    data, _ = serialised(FaceResNet(), np.random.default_rng(0))
    path = tmp_path / "cut.dat"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"cut\.dat: not dlib's face network"):
        load_dlib_weights(FaceResNet(), path)


def test_load_dlib_weights_rejects_missing_file() -> None:
    with pytest.raises(ModelError, match="nowhere"):
        load_dlib_weights(FaceResNet(), Path("nowhere.dat"))


def test_early_and_late_are_the_whole_network() -> None:
    network, images = FaceResNet().eval(), torch.randn(2, 3, DLIB_IMAGE_SIZE, DLIB_IMAGE_SIZE)
    with torch.no_grad():
        middle = network.early(images)
        assert middle.shape == (2, 128, 8, 8)
        assert torch.equal(network.late(middle).mean((2, 3)), network(images))


def test_preprocessing_is_dlibs() -> None:
    grey = (torch.tensor([122.782, 117.001, 104.298]) / 255 - torch.tensor(DLIB_PREPROCESSING.mean)) / torch.tensor(
        DLIB_PREPROCESSING.std
    )
    assert grey.abs().max() < 1e-6
    assert DLIB_PREPROCESSING.std[0] * 255 == pytest.approx(256)


@pytest.mark.parametrize("side", [103, 112, 128, 150, 160])
def test_face_resnet_takes_images_from_103_pixels(side) -> None:
    assert FaceResNet().eval()(torch.zeros(1, 3, side, side)).shape == (1, 256)


@pytest.mark.parametrize("stages", [DLIB_STAGES, ((8, 2), (8, 1), (16, 3), (24, 1)), ((8, 1),) * 6])
def test_stages_define_network_and_min_image_size(stages) -> None:
    network, smallest = FaceResNet(stages).eval(), min_image_size(len(stages))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * sum(blocks for _, blocks in stages)
    assert network.early(torch.zeros(1, 3, smallest, smallest)).shape[1] == stages[2][0]
    assert network(torch.zeros(1, 3, smallest, smallest)).shape == (1, stages[-1][0])
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize(
    "stages", [(), DLIB_STAGES[:3], ((8, 1), (4, 1), (8, 1), (8, 1)), ((8, 1), (8, 0), (8, 1), (8, 1))]
)
def test_face_resnet_rejects_invalid_stages(stages) -> None:
    with pytest.raises(OamfaceError, match="backbone_stages"):
        FaceResNet(stages)


def test_build_backbone_rejects_unknown_names_and_stages() -> None:
    with pytest.raises(OamfaceError, match="no-such-network"):
        build_backbone("no-such-network")
    with pytest.raises(OamfaceError, match="can have other backbone_stages"):
        build_backbone("resnet18", DLIB_STAGES)
