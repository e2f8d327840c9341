import pytest
import torch

from oamface.labels import TASKS
from oamface.models.backbones import FACE_RESNET
from oamface.models.oam_cnn import OamCnn, normalise, parameter_count


@pytest.fixture(scope="module")
def model() -> OamCnn:
    torch.manual_seed(0)
    return OamCnn().eval()


def test_resnet50_has_the_papers_size(model) -> None:
    assert 11.3e6 < parameter_count(model) < 11.5e6
    assert parameter_count(model) * 4 / 2**20 <= 43.5


@pytest.mark.parametrize("size", [32, 64, 96, 112, 128])
def test_outputs_at_any_image_size(model, size) -> None:
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, size, size))
    assert {task: logits.shape for task, logits in outputs.logits.items()} == {
        task: (2, len(classes)) for task, classes in TASKS.items()
    }
    assert outputs.attention.shape == (2, 1, size // 16, size // 16)
    assert outputs.embedding.shape == (2, 1024)


def test_outputs_do_not_depend_on_the_rest_of_the_batch(model) -> None:
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = model(images).embedding, model(images[1:2]).embedding
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_normalise_maps_grey_near_zero() -> None:
    for backbone in ("resnet50", FACE_RESNET):
        images = normalise(torch.full((1, 4, 6, 3), 116, dtype=torch.uint8), OamCnn(backbone=backbone).preprocessing)
        assert images.shape == (1, 3, 4, 6)
        assert images.abs().max() < 0.3


@pytest.mark.parametrize(
    ("backbone", "size", "grid"), [(FACE_RESNET, 150, 8), ("mobilenetv3_small_050", 96, 6), ("fastvit_t8", 96, 6)]
)
def test_other_backbones_have_all_outputs(backbone, size, grid) -> None:
    model = OamCnn(backbone=backbone).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, size, size))
    assert {task: logits.shape[1] for task, logits in outputs.logits.items()} == {
        task: len(classes) for task, classes in TASKS.items()
    }
    assert outputs.attention.shape == (2, 1, grid, grid)
    assert outputs.embedding.shape == (2, model.channels)
