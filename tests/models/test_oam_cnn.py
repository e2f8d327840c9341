import pytest
import timm
import torch
from safetensors.torch import save_file

from oamface.errors import OamfaceError
from oamface.labels import TASKS
from oamface.models.oam_cnn import FACE, OamCnn, load_start, normalise, parameter_count


@pytest.fixture(scope="module")
def model() -> OamCnn:
    torch.manual_seed(0)
    return OamCnn().eval()


def test_size_is_the_papers(model) -> None:
    assert 11.3e6 < parameter_count(model) < 11.5e6
    assert parameter_count(model) * 4 / 2**20 <= 43.5


@pytest.mark.parametrize("size", [32, 64, 96, 112, 128])
def test_one_pass_gives_all_answers_at_any_size(model, size) -> None:
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, size, size))
    assert {task: logits.shape for task, logits in outputs.logits.items()} == {
        task: (2, len(classes)) for task, classes in TASKS.items()
    }
    assert outputs.attention.shape == (2, 1, size // 16, size // 16)
    assert outputs.z.shape == (2, 1024)


def test_faces_of_a_batch_do_not_see_each_other(model) -> None:
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = model(images).z, model(images[1:2]).z
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_normalised_grey_is_near_zero() -> None:
    for backbone in ("resnet50", FACE):
        images = normalise(torch.full((1, 4, 6, 3), 116, dtype=torch.uint8), OamCnn(backbone=backbone).preprocessing)
        assert images.shape == (1, 3, 4, 6)
        assert images.abs().max() < 0.3


@pytest.mark.parametrize(("backbone", "grid"), [(FACE, 8), ("mobilenetv3_small_050", 6), ("fastvit_t8", 6)])
def test_other_trunks_answer_all_tasks_too(backbone, grid) -> None:
    model = OamCnn(backbone=backbone).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, 150 if backbone == FACE else 96, 150 if backbone == FACE else 96))
    assert {task: logits.shape[1] for task, logits in outputs.logits.items()} == {
        task: len(classes) for task, classes in TASKS.items()
    }
    assert outputs.attention.shape == (2, 1, grid, grid)
    assert outputs.z.shape == (2, model.channels)


def test_a_trunk_that_timm_does_not_know() -> None:
    with pytest.raises(OamfaceError, match="no-such-network"):
        OamCnn(backbone="no-such-network")


def test_only_the_face_network_starts_from_the_package() -> None:
    with pytest.raises(OamfaceError, match="face-resnet"):
        load_start(OamCnn(), "package")


def test_a_local_file_starts_the_trunk(tmp_path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("resnet50")
    save_file(whole.state_dict(), tmp_path / "resnet50.safetensors")
    model = OamCnn()
    load_start(model, str(tmp_path / "resnet50.safetensors"))
    assert torch.equal(model.backbone.conv1.weight, whole.conv1.weight)
    assert torch.equal(model.backbone.layer3[5].conv3.weight, whole.layer3[5].conv3.weight)


def test_files_that_are_no_resnet(tmp_path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("other.safetensors", "text.safetensors", "missing.safetensors"):
        with pytest.raises(OamfaceError, match=name):
            load_start(OamCnn(), str(tmp_path / name))


def test_a_checkpoint_of_our_own_starts_the_whole_network(model, tmp_path) -> None:
    tensors = {f"averaged/{name}": value for name, value in model.state_dict().items()}
    save_file(tensors, tmp_path / "checkpoint.safetensors")
    other = OamCnn()
    load_start(other, str(tmp_path / "checkpoint.safetensors"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
