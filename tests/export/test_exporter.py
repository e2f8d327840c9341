import json

import numpy as np
import onnx
import pytest
import torch

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError, FileError, ModelError, OptionError
from oamface.export import calibration, exporter
from oamface.export import onnx as onnx_export
from oamface.export.exporter import export
from oamface.export.model_card import model_card
from oamface.export.onnx import write_model
from oamface.labels import TASKS
from oamface.models.oam_cnn import OamCnn, preprocess_batch
from oamface.models.onnx_import import read_model
from oamface.predictor import Predictor
from oamface.training.checkpoint import EMA_MODEL, load_network, save_checkpoint

pytestmark = pytest.mark.slow

STAGES = ((32, 1), (64, 1), (128, 1), (256, 3))


@pytest.fixture(scope="module", autouse=True)
def one_trace_per_network():
    """Each of the same few networks is exported to a graph once, which takes seconds."""
    graphs = {}

    def trace(model, size):
        key = (size, sum(float(tensor.double().sum()) for tensor in model.state_dict().values()))
        if key not in graphs:
            graphs[key] = onnx_export.trace(model, size)
        copy = onnx.ModelProto()
        copy.CopyFrom(graphs[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "trace", trace)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    phase = {"image_size": 64, "epochs": 2, "batch_size": 8}
    recipe = {"name": "tiny", "phases": [phase], "repeat": {"utkface": 2}, "occlusion_probability": 0.5}
    recipe |= {
        "backbone": "face-resnet",
        "backbone_stages": STAGES,
        "pretrained": "scratch",
        "teachers": (),
        "loss_weights": {"features": 0.5, "kd": 0.0},
    }
    data = {"utkface": {"train": 40, "near_duplicates_excluded": 1, "with_features": 30, "source": "drawn 0"}}
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    model = OamCnn(backbone="face-resnet", backbone_stages=STAGES)
    save_checkpoint(path, {EMA_MODEL: model}, None, {"recipe": recipe, "data": data, "step": 5, "steps": 5})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, store_folder, tmp_path_factory):
    """A model file and its description."""
    output = tmp_path_factory.mktemp("model") / "model.onnx"
    progress = []
    description = export(
        checkpoint, [Store.open(store_folder)], output, on_progress=lambda *step: progress.append(step)
    )
    assert progress[-1] == ("evaluate", 48, 48)
    return output, description


def test_description_of_an_exported_file(exported) -> None:
    output, description = exported
    assert json.loads(json.dumps(description)) == Predictor(output).description
    assert description["input"]["size"] == 64
    assert description["parameters"] == 4_301_050
    assert [run["recipe"]["name"] for run in description["training"]] == ["tiny"]
    assert description["temperatures"]["age"] == 1  # another one would move the mean
    assert description["intervals"]["level"] == 0.9
    assert len(description["intervals"]["quantiles"]) == 101
    assert min(description["intervals"]["quantiles"]) > 0
    assert description["thresholds"] == {"gender": 0.75, "race": pytest.approx(4 / 7), "mask": pytest.approx(2 / 3)}
    assert description["figures"]["data_sets"]["utkface"]["faces"] == 12
    assert "model" not in description["figures"]  # a file cannot hold its own digest
    assert output.stat().st_size < 10e6


def test_exported_file_predicts_as_the_network(exported, checkpoint, store_folder) -> None:
    output, description = exported
    model, predictor = load_network(checkpoint)[0], Predictor(output)
    crops = np.array(Store.open(store_folder).crops[:40])
    with torch.no_grad():
        outputs = model(preprocess_batch(crops, model.preprocessing, 64))
    for count in (1, 3, 40):
        predictions = predictor.predict(crops[:count])
        for task, probabilities in predictions.probabilities.items():
            expected = (outputs.logits[task][:count] / description["temperatures"][task]).softmax(1)
            assert np.allclose(probabilities, expected, atol=0.01)
        expected = model.preprocessing.attention_over_crop(outputs.attention.sigmoid()[:count, 0].numpy())
        assert np.allclose(predictions.attention, expected, atol=0.01)


def test_file_that_differs_from_the_network_is_not_written(checkpoint, store_folder, tmp_path, monkeypatch) -> None:
    trace = exporter.trace

    def wrong_weights(model, size):
        graph = trace(model, size)
        large = [tensor for tensor in graph.graph.initializer if np.prod(tensor.dims) > 1024]
        for tensor in large[-8:]:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(-3 * array, tensor.name))
        return graph

    monkeypatch.setattr(exporter, "trace", wrong_weights)
    with pytest.raises(ModelError, match="from the network's"):
        export(checkpoint, [Store.open(store_folder)], tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("from_file", [False, True])
def test_int8_predicts_nearly_the_same(exported, checkpoint, store_folder, tmp_path, monkeypatch, from_file) -> None:
    float16, _ = exported
    monkeypatch.setattr(exporter, "MAX_INT8_COST", dict.fromkeys(TASKS, 100.0))
    int8 = tmp_path / "int8.onnx"
    source = float16 if from_file else checkpoint
    description = export(source, [Store.open(store_folder)], int8, precision="int8")
    assert int8.stat().st_size < 0.65 * float16.stat().st_size
    assert description["stored"] == Predictor(int8).description["stored"] == "int8"
    assert set(description["quantisation"]["utkface"]) == {"age", "gender", "race", "mask"}
    assert "weights in int8" in model_card(description)
    crops = np.array(Store.open(store_folder).crops[:40])
    one, other = (Predictor(path).predict(crops) for path in (float16, int8))
    # The network is untrained: its predictions differ little between faces.
    for task in ("gender", "race", "mask"):
        assert np.abs(one.probabilities[task] - other.probabilities[task]).max() < 0.1
    assert np.abs(one.attention - other.attention).max() < 0.05


def test_int8_that_costs_too_much_accuracy_is_not_written(exported, store_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporter, "MAX_INT8_COST", dict.fromkeys(TASKS, -1.0))
    with pytest.raises(ModelError, match="int8 costs more"):
        export(exported[0], [Store.open(store_folder)], tmp_path / "model.onnx", precision="int8")
    assert not (tmp_path / "model.onnx").exists()


def test_int8_file_cannot_be_exported_again(store_folder, tmp_path) -> None:
    with pytest.raises(ModelError, match="weights are int8"):
        export("oam-int8", [Store.open(store_folder)], tmp_path / "model.onnx")


def test_export_rejects_unknown_precisions_and_outputs(exported, store_folder, tmp_path) -> None:
    stores = [Store.open(store_folder)]
    with pytest.raises(OptionError, match="float16, int8"):
        export(exported[0], stores, tmp_path / "model.onnx", precision="int4")
    with pytest.raises(OptionError, match="OpenVINO"):
        export(exported[0], stores, tmp_path / "model.xml", precision="int8")
    with pytest.raises(FileError):
        export(exported[0], stores, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_export_rejects_other_files(store_folder, tmp_path) -> None:
    for name in ("text.onnx", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes(b"x" * 100)
        with pytest.raises(ModelError, match=name):
            export(tmp_path / name, [Store.open(store_folder)], tmp_path / "model.onnx")


def test_export_needs_a_store_with_a_calibration_split(checkpoint, tmp_path) -> None:
    with pytest.raises(DataError, match="--store"):
        export(checkpoint, [], tmp_path / "model.onnx")
    store = Store.open(write_store(tmp_path / "store", splits={"train": 5, "test": 5}))
    with pytest.raises(DataError, match="calibration"):
        export(checkpoint, [store], tmp_path / "model.onnx")


def test_model_file_is_calibrated_anew(exported, store_folder, tmp_path) -> None:
    output, description = exported
    again = export(output, [Store.open(store_folder)], tmp_path / "again.onnx")
    for key in ("temperatures", "intervals", "training"):
        assert again[key] == description[key]
    crops = np.array(Store.open(store_folder).crops[:5])
    one, other = (Predictor(path).predict(crops).probabilities["age"] for path in (output, tmp_path / "again.onnx"))
    assert (one == other).all()


def test_kept_calibration_is_named_until_there_are_enough_faces(exported, store_folder, tmp_path, monkeypatch) -> None:
    graph, description = read_model(str(exported[0]))
    run = description["training"][0]
    description["training"].append({**run, "recipe": {**run["recipe"], "pretrained": str(exported[0])}})
    description["fine_tuned_from"] = {"weights": exported[0].name}
    tuned, stores = tmp_path / "tuned.onnx", [Store.open(store_folder)]
    write_model(tuned, graph, description)
    few = tmp_path / "few.onnx"
    assert export(tuned, stores, few)["kept"]["ages"] == 101
    assert "model.onnx is kept" in model_card(Predictor(few).description)
    monkeypatch.setattr(calibration, "MIN_FACES", 0)
    assert "kept" not in export(few, stores, tmp_path / "enough.onnx")
    assert "is kept" not in model_card(Predictor(tmp_path / "enough.onnx").description)


def test_undetected_faces_are_calibrated_where_the_store_has_them(exported, tmp_path) -> None:
    output, description = exported
    assert "undetected" not in description["intervals"]
    assert "not calibrated" in model_card(description)
    folder = write_store(tmp_path / "store")
    write_store(folder / "undetected", splits={"calibrate": 20, "undetected": 5}, seed=1)
    again = export(output, [Store.open(folder)], tmp_path / "again.onnx")
    quantiles = Predictor(tmp_path / "again.onnx").undetected_quantiles
    assert np.isfinite(quantiles).all()
    assert quantiles.shape == (101,)
    assert again["intervals"]["quantiles"] == description["intervals"]["quantiles"]
    assert again["intervals"]["undetected"] == pytest.approx(quantiles.tolist())
    assert "not calibrated" not in model_card(again)


def test_model_card_shows_the_description(exported) -> None:
    card = model_card(exported[1])
    assert "4,301,050 parameters" in card
    assert "non-commercial research only" in card
    assert "40 training faces (1 left out as near-duplicates of test faces)" in card
    assert "30 with embeddings of a frozen teacher" in card
    assert "Recipe `tiny`, from random weights: 5 steps at 64 px in batches of 8, 50% of the faces occluded" in card
    assert "utkface: 3 of 15 test images" in card
    assert "| utkface | 12 | masks | occlusion_drop | age_mae |" in card
    assert "## Fairness" in card
    assert "| utkface | age mae |" in card


def test_model_card_needs_a_training_recipe(untrained_model) -> None:
    with pytest.raises(ModelError, match="how it was trained"):
        model_card(Predictor(untrained_model).description)
