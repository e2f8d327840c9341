import numpy as np
import pytest
import torch

from oamface.align import cut_chip
from oamface.bench import PERSON
from oamface.detect import Detector
from oamface.errors import OamfaceError
from oamface.imaging import read_image
from oamface.model.oam_cnn import OamCnn, parameter_count, pictures_of, resized
from oamface.train.prune import prune
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


def apart(model, network, pictures, seen) -> float:
    one, other = answers(model, pictures), answers(network, seen)
    return float(np.mean([float((one[task] - other[task]).abs().sum(1).mean()) for task in one]))


HALF = ((16, 3), (32, 4), (64, 3), (128, 3), (128, 1))
SHALLOW = ((32, 1), (64, 2), (128, 3), (256, 2))


@pytest.mark.parametrize(("levels", "size"), [(HALF, 150), (SHALLOW, 150), (SHALLOW, 100)])
def test_less_of_a_network_answers_much_as_all_of_it(model, pictures, levels, size) -> None:
    small = prune(model, levels, pictures[:80], size)
    assert parameter_count(small) < 0.6 * parameter_count(model)
    assert small.levels == levels
    torch.manual_seed(0)
    untrained = OamCnn(trunk="face-resnet", levels=levels).eval()
    held_out = pictures[80:]
    seen = resized(held_out, size)
    assert apart(model, small, held_out, seen) < 0.5 * apart(model, untrained, held_out, seen)


def test_more_channels_answer_more_alike(model, pictures) -> None:
    wider = tuple((channels * 3 // 2, blocks) for channels, blocks in HALF)
    small, large = (prune(model, levels, pictures[:80], 150) for levels in (HALF, wider))
    held_out = pictures[80:]
    assert apart(model, large, held_out, held_out) < apart(model, small, held_out, held_out)


def test_all_of_it_is_the_same_network(model, pictures) -> None:
    whole = prune(model, model.levels, pictures[:80], 150)
    half = prune(model, HALF, pictures[:80], 150)
    held_out = pictures[80:]
    assert apart(model, whole, held_out, held_out) < 0.5 * apart(model, half, held_out, held_out)


def test_only_a_whole_network_of_its_kind_with_as_much(model, pictures) -> None:
    more = ((32, 3), (64, 5), (128, 3), (256, 3))
    for network, levels in ((model, more), (model, (*model.levels, (256, 1))), (OamCnn(trunk="resnet18"), SHALLOW)):
        with pytest.raises(OamfaceError, match="can be pruned"):
            prune(network, levels, pictures, 150)
    with pytest.raises(OamfaceError, match="can have other levels"):
        OamCnn(trunk="resnet18", levels=SHALLOW)
