import numpy as np
import pytest
import torch

from oamface.datasets.store import Store
from oamface.errors import ModelError, TrainError
from oamface.models.oam_cnn import preprocess_batch
from oamface.models.onnx_import import is_model_file, restore, settle
from oamface.predictor import Predictor
from oamface.training import trainer as loop
from oamface.training.checkpoint import history, load_network
from oamface.training.config import LossWeights, Phase, Recipe
from oamface.training.trainer import Run

SMALL = ((8, 1), (16, 1), (32, 1), (64, 1))


@pytest.fixture(scope="module")
def images(store_folder):
    model = restore("oam")
    crops = [np.array(crop) for crop in Store.open(store_folder).crops[:48]]
    return crops, preprocess_batch(crops, model.preprocessing, 150)


def answers(model, images):
    with torch.no_grad():
        return {task: logits for task, logits in model(images).logits.items()}


def test_a_model_file_comes_back_as_the_network_it_was(images) -> None:
    crops, given = images
    predictor = Predictor("oam")
    wanted = predictor.predict(crops).probabilities
    for task, logits in answers(restore("oam"), given).items():
        found = (logits / predictor.description["temperatures"][task]).softmax(1).numpy()
        assert np.abs(found - wanted[task]).max() < 1e-3


def test_settling_changes_nothing_that_is_answered_and_training_starts_from_there(images) -> None:
    _, given = images
    model, settled = restore("oam"), restore("oam")
    settle(settled, [given[:24], given[24:]])
    before, after = answers(model, given), answers(settled, given)
    for task in before:
        assert torch.allclose(before[task], after[task], atol=1e-3)

    def jump(network) -> float:
        for head in network.heads.values():
            head[3].p = 0.0  # dropout, which has nothing to do with it
        network.train()
        return float((answers(network, given)["age"].softmax(1) - before["age"].softmax(1)).abs().mean())

    assert jump(settled) < 0.3 * jump(model)


def test_it_can_be_asked_for_its_network_and_past_like_a_checkpoint() -> None:
    model, run = load_network("oam")
    assert not model.training
    assert run["recipe"]["phases"][-1]["size"] == 150
    assert [past["recipe"]["name"] for past in history("oam")][:2] == ["oam-open", "oam"]


def test_a_run_starts_from_it_and_is_taught_by_it(store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SETTLED", 200)  # faces; 4,000 take half a minute
    phase = Phase(size=112, passes=1, batch=20)
    weights = LossWeights(features=0.0)
    recipe = Recipe(
        "tuned", (phase,), weights, backbone="face-resnet", pretrained="oam", teacher="oam-open", precision="32-true"
    )
    lines = []
    path = Run(recipe, [store_folder], tmp_path, workers=0, on_event=lines.append).train()
    past = [run["recipe"]["name"] for run in history(path)]
    assert past[-1] == "tuned"
    assert {"oam", "oam-open", "oam-open-taught"} <= set(past)
    start, tuned = restore("oam"), load_network(path)[0]
    both = zip(start.parameters(), tuned.parameters(), strict=True)
    moved = [float((one - two).abs().max()) for one, two in both if one.ndim > 1]  # settling moves the norms' own
    assert 0 < max(moved) < 0.05


def test_a_start_that_is_none_is_told_before_a_teacher_is_asked(store_folder, tmp_path) -> None:
    values = {"backbone": "face-resnet", "pretrained": str(tmp_path / "missing.onnx"), "teacher": "oam"}
    lines = []
    with pytest.raises(ModelError, match="missing"):
        recipe = Recipe("wrong", (Phase(size=112, passes=1, batch=20),), **values)
        Run(recipe, [store_folder], tmp_path / "run", workers=0, on_event=lines.append).train()
    assert lines == []
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("changed", [{"backbone": "resnet50"}, {"tasks": ("age",)}, {"attention": False}])
def test_only_a_whole_network_of_its_kind_starts_from_it(store_folder, tmp_path, changed) -> None:
    values = {"backbone": "face-resnet", "pretrained": "oam", **changed}
    recipe = Recipe("wrong", (Phase(size=112, passes=1, batch=20),), **values)
    with pytest.raises(TrainError, match="whole network"):
        Run(recipe, [store_folder], tmp_path, workers=0).train()


def test_a_smaller_run_starts_from_what_is_left_of_it(store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SETTLED", 200)
    phase = Phase(size=64, passes=1, batch=20)
    weights = LossWeights(features=0.0, kd=0.0)
    start = {"backbone": "face-resnet", "backbone_stages": SMALL, "pretrained": "oam"}
    recipe = Recipe("small", (phase,), weights, precision="32-true", **start)
    network, _ = load_network(Run(recipe, [store_folder], tmp_path, workers=0).train())
    assert network.backbone_stages == SMALL
    assert [run["recipe"]["name"] for run in history(tmp_path / "checkpoint.safetensors")][-2:] == [
        "oam-taught-twice",
        "small",
    ]


def test_files_that_cannot_be_trained_on(untrained_model, tmp_path) -> None:
    (tmp_path / "text.onnx").write_text("text")
    for name in (str(untrained_model), str(tmp_path / "text.onnx"), str(tmp_path / "missing.onnx")):
        with pytest.raises(ModelError):
            restore(name)
    assert is_model_file("oam")
    assert is_model_file("mine.onnx")
    assert not is_model_file("package")
