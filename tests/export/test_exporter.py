import json

import numpy as np
import onnx
import pytest
import torch

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError, ModelError
from oamface.export import exporter as export_module
from oamface.export.exporter import export
from oamface.export.model_card import model_card
from oamface.models.oam_cnn import OamCnn, normalise
from oamface.predictor import Predictor
from oamface.training.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    stage = {"size": 48, "passes": 2, "batch": 8}
    recipe = {"name": "tiny", "stages": [stage], "repeat": {"utkface": 2}, "occluded": 0.5, "pretrained": "scratch"}
    recipe |= {"teacher": "", "weights": {"features": 0.5, "kd": 0.0}}
    data = {"utkface": {"train": 40, "near_duplicates_excluded": 1, "with_features": 30, "source": "drawn 0"}}
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    save_checkpoint(path, {"averaged": OamCnn()}, None, {"recipe": recipe, "data": data, "step": 5, "steps": 5})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, store_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model.onnx"
    progress = []
    description = export(checkpoint, [Store.open(store_folder)], out, on_progress=lambda *step: progress.append(step))
    assert progress[-1][1:] == (48, 48)
    return out, description


def test_the_file_says_all_about_itself(exported) -> None:
    out, description = exported
    assert json.loads(json.dumps(description)) == Predictor(out).description
    assert description["input"]["size"] == 48
    assert description["parameters"] == 11_401_850
    assert [run["recipe"]["name"] for run in description["training"]] == ["tiny"]
    assert description["temperatures"]["age"] == 1  # or the mean would move
    assert description["intervals"]["level"] == 0.9
    assert len(description["intervals"]["quantiles"]) == 101
    assert min(description["intervals"]["quantiles"]) > 0
    assert description["thresholds"] == {"gender": 0.75, "race": pytest.approx(4 / 7), "mask": pytest.approx(2 / 3)}
    assert description["figures"]["data_sets"]["utkface"]["faces"] == 12
    assert out.stat().st_size < 24e6


def test_any_number_of_faces_is_answered_as_the_network_does(exported, checkpoint, store_folder) -> None:
    out, description = exported
    model, predictor = export_module.load_network(checkpoint)[0], Predictor(out)
    crops = np.array(Store.open(store_folder).crops[:40, 40:88, 40:88])
    with torch.no_grad():
        outputs = model(normalise(torch.from_numpy(crops), model.preprocessing))
    for count in (1, 3, 40):
        answers = predictor.predict(crops[:count])
        for task, shares in answers.probabilities.items():
            wanted = (outputs.logits[task][:count] / description["temperatures"][task]).softmax(1)
            assert np.allclose(shares, wanted, atol=0.01)
        assert np.allclose(answers.attention, outputs.attention.sigmoid()[:count, 0], atol=0.01)


def test_a_file_that_answers_otherwise_is_not_written(checkpoint, store_folder, tmp_path, monkeypatch) -> None:
    real = export_module.trace

    def wrong(model, size):
        graph = real(model, size)
        large = [tensor for tensor in graph.graph.initializer if np.prod(tensor.dims) > 1024]
        for tensor in large[-8:]:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(-3 * array, tensor.name))
        return graph

    monkeypatch.setattr(export_module, "trace", wrong)
    with pytest.raises(ModelError, match="off the network's"):
        export(checkpoint, [Store.open(store_folder)], tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


ANYTHING = {"share": 1.0, "years": 100.0}


@pytest.mark.parametrize("from_file", [False, True])
def test_eight_bits_answer_nearly_the_same(
    exported, checkpoint, store_folder, tmp_path, monkeypatch, from_file
) -> None:
    plain, _ = exported
    monkeypatch.setattr(export_module, "ALLOWED", ANYTHING)
    small = tmp_path / "int8.onnx"
    description = export(plain if from_file else checkpoint, [Store.open(store_folder)], small, to="int8")
    assert small.stat().st_size < 0.65 * plain.stat().st_size
    assert description["stored"] == Predictor(small).description["stored"] == "int8"
    assert set(description["quantisation"]["utkface"]) == {"age", "gender", "race", "mask"}
    assert "stored in int8" in model_card(description)
    crops = np.array(Store.open(store_folder).crops[:40])
    one, other = (Predictor(path).answer(crops) for path in (plain, small))
    # Of an untrained network, whose answers differ little from face to face.
    for task in ("gender", "race", "mask"):
        assert np.abs(one.probabilities[task] - other.probabilities[task]).max() < 0.1
    assert np.abs(one.attention - other.attention).max() < 0.05


def test_eight_bits_that_cost_too_much_are_not_written(exported, store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "ALLOWED", {"share": -1.0, "years": -1.0})
    with pytest.raises(ModelError, match="8 bits cost more"):
        export(exported[0], [Store.open(store_folder)], tmp_path / "model.onnx", to="int8")
    assert not (tmp_path / "model.onnx").exists()


def test_forms_and_sources_are_checked(exported, store_folder, tmp_path, monkeypatch) -> None:
    stores = [Store.open(store_folder)]
    with pytest.raises(ModelError, match="known are onnx, int8"):
        export(exported[0], stores, tmp_path / "model.onnx", to="gguf")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match="no model file of ours"):
        export(tmp_path / "text.onnx", stores, tmp_path / "model.onnx")
    monkeypatch.setattr(export_module, "ALLOWED", ANYTHING)
    export(exported[0], stores, tmp_path / "int8.onnx", to="int8")
    with pytest.raises(ModelError, match="is stored in int8"):
        export(tmp_path / "int8.onnx", stores, tmp_path / "model.onnx")


def test_a_model_file_can_be_calibrated_anew(exported, store_folder, tmp_path) -> None:
    plain, description = exported
    again = export(plain, [Store.open(store_folder)], tmp_path / "again.onnx")
    for key in ("temperatures", "intervals", "training"):
        assert again[key] == description[key]
    crops = np.array(Store.open(store_folder).crops[:5])
    one, other = (Predictor(path).answer(crops).probabilities["age"] for path in (plain, tmp_path / "again.onnx"))
    assert (one == other).all()


def test_undetected_faces_are_calibrated_where_the_store_holds_them(exported, tmp_path) -> None:
    plain, description = exported
    assert "undetected" not in description["intervals"]
    assert "not calibrated" in model_card(description)
    folder = write_store(tmp_path / "store")
    write_store(folder / "undetected", splits={"calibrate": 20, "undetected": 5}, seed=1)
    again = export(plain, [Store.open(folder)], tmp_path / "again.onnx")
    table = Predictor(tmp_path / "again.onnx").undetected
    assert np.isfinite(table).all()
    assert table.shape == (101,)
    assert again["intervals"]["quantiles"] == description["intervals"]["quantiles"]
    assert again["intervals"]["undetected"] == pytest.approx(table.tolist())
    assert "not calibrated" not in model_card(again)


def test_stores_without_a_calibration_part(checkpoint, tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"train": 5, "test": 5}))
    with pytest.raises(DataError, match="calibration"):
        export(checkpoint, [store], tmp_path / "model.onnx")


def test_something_else_than_a_checkpoint(store_folder, tmp_path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="no checkpoint"):
        export(tmp_path / "checkpoint.safetensors", [Store.open(store_folder)], tmp_path / "model.onnx")


def test_the_card_has_the_files_own_figures(exported) -> None:
    card = model_card(exported[1])
    assert "11,401,850 parameters" in card
    assert "non-commercial research only" in card
    assert "40 training faces (1 left out as copies of test faces)" in card
    assert "30 with features of a frozen teacher" in card
    assert "Recipe `tiny`, from random weights: " in card
    assert "160 image-passes" in card
    assert "utkface: 3 of 15 test images" in card
    assert "| utkface | 12 | masks | loss | age_mae |" in card
    assert "## Groups" in card
    assert "| utkface | age mae |" in card
