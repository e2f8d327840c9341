import functools

import numpy as np
import pytest
import torch

from oamface.alignment import crop_face
from oamface.benchmark import PERSON
from oamface.errors import OamfaceError
from oamface.face_detector import FaceDetector
from oamface.images import read_image
from oamface.models.oam_cnn import OamCnn, parameter_count, preprocess_batch, resize_batch
from oamface.models.onnx_import import load_from_onnx
from oamface.models.pruning import prune

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return load_from_onnx("oam")


@pytest.fixture(scope="module")
def images(model):
    """One synthetic person, moved, turned, scaled and lit in many ways."""
    person, rng = read_image(PERSON), np.random.default_rng(0)
    landmarks = FaceDetector(threads=1).detect(person)[0].landmarks
    size = np.linalg.norm(landmarks[0] - landmarks[1])
    crops = []
    for _ in range(96):
        turn = np.exp(rng.normal(0, 0.15) + 1j * rng.normal(0, 0.25))
        points = (landmarks - landmarks.mean(0)) @ [1, 1j] * turn
        moved = np.stack([points.real, points.imag], 1) + landmarks.mean(0) + rng.normal(0, 0.15 * size, 2)
        crop = crop_face(person, moved).astype(np.float32)
        crops.append(np.clip(crop * rng.uniform(0.4, 1.5, 3), 0, 255).astype(np.uint8))
    return preprocess_batch(crops, model.preprocessing, 150)


def probabilities(network, images):
    with torch.no_grad():
        logits = network(images).logits
    return {task: values.softmax(1) for task, values in logits.items()}


def distance(model, network, images, network_images) -> float:
    """The mean L1 distance of the predicted distributions."""
    one, other = probabilities(model, images), probabilities(network, network_images)
    return float(np.mean([float((one[task] - other[task]).abs().sum(1).mean()) for task in one]))


@pytest.fixture(scope="module")
def pruned(model, images):
    """The pruned network by its stages and size, each made once."""
    return functools.cache(lambda stages, size=150: prune(model, stages, images[:80], size))


HALF = ((16, 3), (32, 4), (64, 3), (128, 3), (128, 1))
SHALLOW = ((32, 1), (64, 2), (128, 3), (256, 2))


@pytest.mark.parametrize(("backbone_stages", "size"), [(HALF, 150), (SHALLOW, 150), (SHALLOW, 100)])
def test_pruned_network_predicts_like_the_original(model, pruned, images, backbone_stages, size) -> None:
    small = pruned(backbone_stages, size)
    assert parameter_count(small) < 0.6 * parameter_count(model)
    assert small.backbone_stages == backbone_stages
    torch.manual_seed(0)
    untrained = OamCnn(backbone="face-resnet", backbone_stages=backbone_stages).eval()
    held_out = images[80:]
    smaller = resize_batch(held_out, size)
    assert distance(model, small, held_out, smaller) < 0.5 * distance(model, untrained, held_out, smaller)


def test_pruning_to_the_same_stages_changes_little(model, pruned, images) -> None:
    whole = pruned(model.backbone_stages)
    held_out = images[80:]
    assert distance(model, whole, held_out, held_out) < 0.5 * distance(model, pruned(HALF), held_out, held_out)


def test_prune_rejects_larger_stages_and_other_backbones(model, images) -> None:
    more = ((32, 3), (64, 5), (128, 3), (256, 3))
    for network, backbone_stages in (
        (model, more),
        (model, (*model.backbone_stages, (256, 1))),
        (OamCnn(backbone="resnet18"), SHALLOW),
    ):
        with pytest.raises(OamfaceError, match="can be pruned"):
            prune(network, backbone_stages, images, 150)
