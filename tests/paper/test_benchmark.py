import json

import numpy as np
import pytest

from helpers.drawn import write_store
from oamface import atomic
from oamface.datasets.store import Store
from oamface.errors import DataError, FileError, ResultError
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.predictors import ModelPredictor
from oamface.paper import benchmark as module
from oamface.paper.benchmark import benchmark, compute_results, protocol, read_result
from oamface.predictor import Predictor


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store.open(write_store(tmp_path_factory.mktemp("stores") / "one"))


@pytest.fixture
def model(untrained_model) -> ModelPredictor:
    return ModelPredictor(Predictor(untrained_model))


@pytest.fixture(scope="module")
def out(untrained_model, store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    predictor = Predictor(untrained_model)
    models = [ModelPredictor(predictor), ModelPredictor(predictor, "again")]
    benchmark(models, [store], folder, core=True, resamples=20)
    return folder


def test_result_describes_model_faces_and_protocol(out, untrained_model) -> None:
    result = read_result(out / "oam-cnn.json")
    assert result["predictor"]["digest"] == Predictor(untrained_model).digest
    assert result["protocol"] == protocol()
    assert result["stores"]["utkface"]["faces"] == 12
    assert result["conditions"] == ["clean", "masks", "masks_worn_wrongly", "objects"]
    assert result["speed"]["latency_ms"] > 0
    assert np.array(result["attention"]["utkface"]["masks"]["attention"]).shape == (2, 2)


def test_metrics_follow_from_table_of_predictions(out) -> None:
    result = read_result(out / "oam-cnn.json")
    again = json.loads(json.dumps(compute_results(PredictionTable.read(out / "oam-cnn.parquet"), resamples=20)))
    assert {key: result[key] for key in again} == again


def test_models_of_one_benchmark_are_timed_in_one_run(out) -> None:
    one, other = (read_result(out / f"{name}.json") for name in ("oam-cnn", "again"))
    assert one["speed"]["run"] == other["speed"]["run"]
    assert one["measured"] == other["measured"]


def test_existing_results_are_kept(out, store, model, monkeypatch) -> None:
    def fail(*arguments, **named):
        raise AssertionError("predicted again")

    monkeypatch.setattr(module, "run_predictors", fail)
    before = (out / "oam-cnn.json").read_bytes()
    benchmark([model], [store], out, core=True, resamples=20)
    assert (out / "oam-cnn.json").read_bytes() == before


def test_benchmark_rejects_folder_with_results_of_other_faces(out, model, tmp_path) -> None:
    other = Store.open(write_store(tmp_path / "other", seed=5))
    with pytest.raises(ResultError, match="other faces"):
        benchmark([model], [other], out, core=True)


def test_digest_of_faces_depends_on_crops(store, tmp_path) -> None:
    folder = write_store(tmp_path / "other")
    assert module._describe_faces(Store.open(folder))["digest"] == module._describe_faces(store)["digest"]
    crops = np.load(folder / "crops.npy")
    crops[-1, 0, 0, 0] ^= 1
    np.save(folder / "crops.npy", crops)
    assert module._describe_faces(Store.open(folder))["digest"] != module._describe_faces(store)["digest"]


def test_benchmark_rejects_equal_names_and_stores_without_test_faces(store, model, tmp_path) -> None:
    with pytest.raises(ResultError, match="same name"):
        benchmark([model, model], [store], tmp_path)
    empty = Store.open(write_store(tmp_path / "empty", splits={"train": 12}))
    with pytest.raises(DataError, match="no face"):
        benchmark([model], [empty], tmp_path / "results")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "oamface-result/0"}'])
def test_read_result_rejects_other_files(tmp_path, text) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ResultError, match=r"x\.json"):
        read_result(tmp_path / "x.json")


def test_full_disk_is_a_file_error(store, model, tmp_path, monkeypatch) -> None:
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        benchmark([model], [store], tmp_path / "full", core=True, resamples=2)
