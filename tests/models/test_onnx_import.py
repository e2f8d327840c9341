import numpy as np
import pytest
import torch

from oamface.datasets.store import Store
from oamface.errors import ModelError
from oamface.models.oam_cnn import preprocess_batch
from oamface.models.onnx_import import is_model_file, load_from_onnx, recalibrate_batchnorm
from oamface.predictor import Predictor
from oamface.training.checkpoint import history, load_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crops(store_folder):
    return [np.array(crop) for crop in Store.open(store_folder).crops[:48]]


@pytest.fixture(scope="module")
def images(crops):
    return preprocess_batch(crops, load_from_onnx("oam").preprocessing, 150)


def logits(model, images):
    with torch.no_grad():
        return model(images).logits


def test_load_from_onnx_predicts_like_the_file(crops, images) -> None:
    predictor = Predictor("oam")
    expected = predictor.predict(crops).probabilities
    for task, values in logits(load_from_onnx("oam"), images).items():
        probabilities = (values / predictor.description["temperatures"][task]).softmax(1).numpy()
        assert np.abs(probabilities - expected[task]).max() < 1e-3


def test_recalibrate_batchnorm_keeps_outputs_in_evaluation_and_training(images) -> None:
    model, recalibrated = load_from_onnx("oam"), load_from_onnx("oam")
    recalibrate_batchnorm(recalibrated, [images[:24], images[24:]])
    before, after = logits(model, images), logits(recalibrated, images)
    for task in before:
        assert torch.allclose(before[task], after[task], atol=1e-3)

    def change_in_training(network) -> float:
        for head in network.heads.values():
            head[3].p = 0.0  # no dropout
        network.train()
        return float((logits(network, images)["age"].softmax(1) - before["age"].softmax(1)).abs().mean())

    assert change_in_training(recalibrated) < 0.3 * change_in_training(model)


def test_model_file_is_loaded_like_a_checkpoint() -> None:
    model, run = load_network("oam")
    assert not model.training
    assert run["recipe"]["phases"][-1]["image_size"] == 150
    assert [past["recipe"]["name"] for past in history("oam")][-2:] == ["oam-open-wide", "oam"]


def test_load_from_onnx_rejects_other_files(untrained_model, tmp_path) -> None:
    (tmp_path / "text.onnx").write_text("text")
    for name in (str(untrained_model), str(tmp_path / "text.onnx"), str(tmp_path / "missing.onnx"), "oam-int8"):
        with pytest.raises(ModelError):
            load_from_onnx(name)


def test_is_model_file() -> None:
    assert is_model_file("oam")
    assert is_model_file("mine.onnx")
    assert not is_model_file("package")
