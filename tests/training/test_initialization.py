from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from helpers.drawn import drawn_faces
from oamface.datasets.store import Store
from oamface.errors import ModelError, OamfaceError, TrainError
from oamface.export.onnx import describe, trace, write_model
from oamface.labels import TASKS
from oamface.models.backbones import DLIB_PREPROCESSING, Stages
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.models.onnx_import import load_from_onnx
from oamface.training import initialization
from oamface.training.checkpoint import history, load_network, save_checkpoint
from oamface.training.config import LossWeights, Phase, Recipe, TeacherRef
from oamface.training.dataset import load_faces
from oamface.training.initialization import initial_model, load_pretrained
from oamface.training.trainer import Trainer

STAGES = ((8, 1), (16, 1), (32, 1), (64, 1))
PHASE = Phase(image_size=112, epochs=1, batch_size=20)


def test_pretrained_package_is_for_the_face_network() -> None:
    with pytest.raises(OamfaceError, match="face-resnet"):
        load_pretrained(OamCnn(), "package")


def test_pretrained_from_timm_weights(tmp_path) -> None:
    torch.manual_seed(1)
    resnet = timm.create_model("resnet50")
    save_file(resnet.state_dict(), tmp_path / "resnet50.safetensors")
    model = OamCnn()
    load_pretrained(model, str(tmp_path / "resnet50.safetensors"))
    assert torch.equal(model.backbone.conv1.weight, resnet.conv1.weight)
    assert torch.equal(model.backbone.layer3[5].conv3.weight, resnet.layer3[5].conv3.weight)


def test_pretrained_from_a_checkpoint_loads_the_whole_network(tmp_path) -> None:
    torch.manual_seed(0)
    model, other = OamCnn(), OamCnn()
    save_file({f"ema_model/{name}": value for name, value in model.state_dict().items()}, tmp_path / "a.safetensors")
    load_pretrained(other, str(tmp_path / "a.safetensors"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


def test_pretrained_rejects_other_files(tmp_path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    for name in ("other.safetensors", "text.safetensors", "missing.safetensors"):
        with pytest.raises(OamfaceError, match=name):
            load_pretrained(OamCnn(), str(tmp_path / name))


@pytest.mark.slow
def test_run_starts_from_a_model_file_with_another_as_its_teacher(store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(initialization, "RECALIBRATION_FACES", 200)  # 4,000 take half a minute
    names = {"backbone": "face-resnet", "pretrained": "oam", "teachers": (TeacherRef("oam-open"),)}
    recipe = Recipe("tuned", (PHASE,), LossWeights(features=0.0), precision="32-true", **names)
    path = Trainer(recipe, [store_folder], tmp_path, workers=0).train()
    names = [run["recipe"]["name"] for run in history(path)]
    assert names[-1] == "tuned"
    assert {run["recipe"]["name"] for name in ("oam", "oam-open") for run in history(name)} <= set(names)
    initial, tuned = load_from_onnx("oam"), load_network(path)[0]
    # Recalibration changes the weights of batch norms.
    pairs = [pair for pair in zip(initial.parameters(), tuned.parameters(), strict=True) if pair[0].ndim > 1]
    differences = [float((one - two).detach().abs().max()) for one, two in pairs]
    assert 0 < max(differences) < 0.05


@pytest.mark.slow
def test_run_starts_from_a_pruned_model_file(store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(initialization, "RECALIBRATION_FACES", 200)
    phase, weights = Phase(image_size=64, epochs=1, batch_size=20), LossWeights(features=0.0, kd=0.0)
    names = {"backbone": "face-resnet", "backbone_stages": STAGES, "pretrained": "oam"}
    recipe = Recipe("small", (phase,), weights, precision="32-true", **names)
    path = Trainer(recipe, [store_folder], tmp_path, workers=0).train()
    assert load_network(path)[0].backbone_stages == STAGES
    runs = [run["recipe"]["name"] for run in history(path)]
    assert runs == [*(run["recipe"]["name"] for run in history("oam")), "small"]


def network_checkpoint(path: Path, stages: Stages, *, tasks: tuple[str, ...] = tuple(TASKS)) -> OamCnn:
    """A face network that was not trained, with predictions that differ between faces."""
    torch.manual_seed(2)
    model = OamCnn(backbone="face-resnet", backbone_stages=stages, tasks=tasks).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head[-1].weight, std=0.3)
    recipe = {"name": "large", "phases": [{"image_size": 64}], "backbone": "face-resnet", "backbone_stages": stages}
    save_checkpoint(path, {"ema_model": model}, None, {"recipe": {**recipe, "tasks": tasks}})
    return model


def predictions(model: OamCnn, crops: np.ndarray) -> torch.Tensor:
    """(N, classes of all tasks) probabilities."""
    with torch.no_grad():
        logits = model.eval()(preprocess_batch(crops, model.preprocessing, 64)).logits
    return torch.cat([values.softmax(1) for values in logits.values()], 1)


def test_run_starts_from_a_pruned_checkpoint(store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(initialization, "RECALIBRATION_FACES", 200)
    faces = load_faces([Store.open(store_folder)], "train", repeat={})
    large = network_checkpoint(tmp_path / "large.safetensors", ((12, 2), (20, 1), (40, 1), (64, 1)))
    settings = {"backbone": "face-resnet", "backbone_stages": ((12, 1), (16, 1), (32, 1), (64, 1))}
    recipe = Recipe("small", (Phase(64, 1, 20),), pretrained=str(tmp_path / "large.safetensors"), **settings)
    small = initial_model(recipe, faces)
    assert small.backbone_stages == recipe.backbone_stages
    crops = drawn_faces(40, seed=5)
    one, other = predictions(large, crops), predictions(small, crops)
    unlike = predictions(initial_model(replace(recipe, pretrained="scratch"), faces), crops)

    def distance(these: torch.Tensor, those: torch.Tensor) -> float:
        return float((these - those).abs().sum(1).mean())

    assert distance(one, other) < 0.25 * distance(one, unlike)
    assert distance(one, other) < 0.7 * distance(one, one.mean(0))  # it tells the faces apart as the large one does
    same = initial_model(replace(recipe, backbone_stages=large.backbone_stages), faces)
    assert torch.equal(predictions(same, crops), one)
    larger = replace(recipe, backbone_stages=((16, 2), (20, 1), (40, 1), (64, 1)))
    with pytest.raises(OamfaceError, match="pruned"):
        initial_model(larger, faces)


def test_crop_box_of_recipe_checkpoint_and_model_file(store_folder, tmp_path) -> None:
    box, faces = (0.125, 0.125, 0.875, 0.875), load_faces([Store.open(store_folder)], "train", repeat={})
    recipe = Recipe("close", (Phase(64, 1, 20),), backbone="face-resnet", backbone_stages=STAGES, crop_box=box)
    assert initial_model(replace(recipe, crop_box=()), faces).preprocessing == DLIB_PREPROCESSING
    model = initial_model(recipe, faces)
    assert model.preprocessing == replace(DLIB_PREPROCESSING, crop_box=box)
    save_checkpoint(tmp_path / "a.safetensors", {"ema_model": model}, None, {"recipe": recipe.to_dict()})
    assert load_network(tmp_path / "a.safetensors")[0].preprocessing == model.preprocessing
    for parameter in model.parameters():  # export merges tensors of zeros
        torch.nn.init.normal_(parameter)
    path, run = tmp_path / "close.onnx", {"recipe": recipe.to_dict(), "data": {}, "step": 0, "steps": 0}
    write_model(path, trace(model, 64), describe(model, 64, [run]))
    assert load_from_onnx(str(path)).preprocessing == model.preprocessing


def test_wrong_pretrained_fails_before_the_teacher_predicts(store_folder, tmp_path) -> None:
    names = {"backbone": "face-resnet", "pretrained": str(tmp_path / "missing.onnx"), "teachers": (TeacherRef("oam"),)}
    events: list[dict] = []
    with pytest.raises(ModelError, match="missing"):
        recipe = Recipe("wrong", (PHASE,), **names)
        Trainer(recipe, [store_folder], tmp_path / "run", workers=0, on_event=events.append).train()
    assert events == []
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("changes", [{"backbone": "resnet50"}, {"tasks": ("age",)}, {"attention": False}])
def test_model_file_is_for_a_complete_face_network(store_folder, tmp_path, changes) -> None:
    recipe = Recipe("wrong", (PHASE,), **{"backbone": "face-resnet", "pretrained": "oam", **changes})
    with pytest.raises(TrainError, match="all tasks"):
        Trainer(recipe, [store_folder], tmp_path, workers=0).train()
