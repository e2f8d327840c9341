import numpy as np
import pytest
import torch

from oamface.align import cut_chip
from oamface.bench import PERSON
from oamface.detect import Detector
from oamface.errors import OamfaceError
from oamface.imaging import read_image
from oamface.model.oam_cnn import OamCnn, parameter_count, pictures_of
from oamface.train.narrow import narrow
from oamface.train.restore import restore


@pytest.fixture(scope="module")
def model():
    return restore("oam")


@pytest.fixture(scope="module")
def pictures(model):
    """One synthetic person, moved, turned, scaled and lit in many ways."""
    person, rng = read_image(PERSON), np.random.default_rng(0)
    marks = Detector(threads=1).detect(person)[0].landmarks
    size = np.linalg.norm(marks[0] - marks[1])
    chips = []
    for _ in range(96):
        turn = np.exp(rng.normal(0, 0.15) + 1j * rng.normal(0, 0.25))
        points = (marks - marks.mean(0)) @ [1, 1j] * turn
        moved = np.stack([points.real, points.imag], 1) + marks.mean(0) + rng.normal(0, 0.15 * size, 2)
        chip = cut_chip(person, moved).astype(np.float32)
        chips.append(np.clip(chip * rng.uniform(0.4, 1.5, 3), 0, 255).astype(np.uint8))
    return pictures_of(chips, model.framing, 150)


def answers(network, pictures):
    with torch.no_grad():
        logits = network(pictures).logits
    return {task: values.softmax(1) for task, values in logits.items()}


def apart(model, network, pictures) -> float:
    one, other = answers(model, pictures), answers(network, pictures)
    return float(np.mean([float((one[task] - other[task]).abs().sum(1).mean()) for task in one]))


def test_half_the_channels_answer_much_as_all_of_them(model, pictures) -> None:
    small = narrow(model, 0.5, pictures[:80])
    assert parameter_count(small) < 0.3 * parameter_count(model)
    assert small.width == 0.5
    torch.manual_seed(0)
    untrained = OamCnn(trunk="face-resnet", width=0.5).eval()
    held_out = pictures[80:]
    assert apart(model, small, held_out) < 0.5 * apart(model, untrained, held_out)
    wider = narrow(model, 0.75, pictures[:80])
    assert apart(model, wider, held_out) < apart(model, small, held_out)


def test_only_a_whole_wider_network_of_its_kind(model, pictures) -> None:
    for network, width in ((model, 1.0), (OamCnn(trunk="resnet18"), 0.5)):
        with pytest.raises(OamfaceError, match="can be narrowed"):
            narrow(network, width, pictures)
    with pytest.raises(OamfaceError, match="has no width"):
        OamCnn(trunk="resnet18", width=0.5)
