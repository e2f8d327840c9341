import numpy as np
import pytest
import torch

from oamface.alignment import crop_face
from oamface.benchmark import PERSON
from oamface.detection import Detector
from oamface.errors import OamfaceError
from oamface.images import read_image
from oamface.models.oam_cnn import OamCnn, parameter_count, preprocess_batch, resized
from oamface.models.onnx_import import restore
from oamface.models.pruning import prune


@pytest.fixture(scope="module")
def model():
    return restore("oam")


@pytest.fixture(scope="module")
def images(model):
    """One synthetic person, moved, turned, scaled and lit in many ways."""
    person, rng = read_image(PERSON), np.random.default_rng(0)
    landmarks = Detector(threads=1).detect(person)[0].landmarks
    size = np.linalg.norm(landmarks[0] - landmarks[1])
    crops = []
    for _ in range(96):
        turn = np.exp(rng.normal(0, 0.15) + 1j * rng.normal(0, 0.25))
        points = (landmarks - landmarks.mean(0)) @ [1, 1j] * turn
        moved = np.stack([points.real, points.imag], 1) + landmarks.mean(0) + rng.normal(0, 0.15 * size, 2)
        crop = crop_face(person, moved).astype(np.float32)
        crops.append(np.clip(crop * rng.uniform(0.4, 1.5, 3), 0, 255).astype(np.uint8))
    return preprocess_batch(crops, model.preprocessing, 150)


def answers(network, images):
    with torch.no_grad():
        logits = network(images).logits
    return {task: values.softmax(1) for task, values in logits.items()}


def apart(model, network, images, seen) -> float:
    one, other = answers(model, images), answers(network, seen)
    return float(np.mean([float((one[task] - other[task]).abs().sum(1).mean()) for task in one]))


HALF = ((16, 3), (32, 4), (64, 3), (128, 3), (128, 1))
SHALLOW = ((32, 1), (64, 2), (128, 3), (256, 2))


@pytest.mark.parametrize(("backbone_stages", "size"), [(HALF, 150), (SHALLOW, 150), (SHALLOW, 100)])
def test_less_of_a_network_answers_much_as_all_of_it(model, images, backbone_stages, size) -> None:
    small = prune(model, backbone_stages, images[:80], size)
    assert parameter_count(small) < 0.6 * parameter_count(model)
    assert small.backbone_stages == backbone_stages
    torch.manual_seed(0)
    untrained = OamCnn(backbone="face-resnet", backbone_stages=backbone_stages).eval()
    held_out = images[80:]
    seen = resized(held_out, size)
    assert apart(model, small, held_out, seen) < 0.5 * apart(model, untrained, held_out, seen)


def test_more_channels_answer_more_alike(model, images) -> None:
    wider = tuple((channels * 3 // 2, blocks) for channels, blocks in HALF)
    small, large = (prune(model, backbone_stages, images[:80], 150) for backbone_stages in (HALF, wider))
    held_out = images[80:]
    assert apart(model, large, held_out, held_out) < apart(model, small, held_out, held_out)


def test_all_of_it_is_the_same_network(model, images) -> None:
    whole = prune(model, model.backbone_stages, images[:80], 150)
    half = prune(model, HALF, images[:80], 150)
    held_out = images[80:]
    assert apart(model, whole, held_out, held_out) < 0.5 * apart(model, half, held_out, held_out)


def test_only_a_whole_network_of_its_kind_with_as_much(model, images) -> None:
    more = ((32, 3), (64, 5), (128, 3), (256, 3))
    for network, backbone_stages in (
        (model, more),
        (model, (*model.backbone_stages, (256, 1))),
        (OamCnn(backbone="resnet18"), SHALLOW),
    ):
        with pytest.raises(OamfaceError, match="can be pruned"):
            prune(network, backbone_stages, images, 150)
    with pytest.raises(OamfaceError, match="can have other backbone_stages"):
        OamCnn(backbone="resnet18", backbone_stages=SHALLOW)
