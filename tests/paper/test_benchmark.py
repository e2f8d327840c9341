import json

import numpy as np
import pytest

from helpers.drawn import write_store
from oamface import atomic
from oamface.datasets.store import Store
from oamface.errors import DataError, FileError, ResultError
from oamface.paper import benchmark as module
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.predictors import ModelPredictor
from oamface.paper.benchmark import analyse, benchmark, protocol, read_result
from oamface.predictor import Predictor


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store.open(write_store(tmp_path_factory.mktemp("stores") / "one"))


@pytest.fixture(scope="module")
def done(untrained_model, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    engine = Predictor(untrained_model)
    benchmark([ModelPredictor(engine), ModelPredictor(engine, "again")], [store], out, core=True, resamples=20)
    return out


def test_a_result_says_what_of_and_by_which_protocol(done, untrained_model) -> None:
    result = read_result(done / "oam-cnn.json")
    assert result["predictor"]["digest"] == Predictor(untrained_model).digest
    assert result["protocol"] == protocol()
    assert result["stores"]["utkface"]["faces"] == 12
    assert result["conditions"] == ["clean", "masks", "masks_worn_wrongly", "objects"]
    assert result["speed"]["alone_ms"] > 0
    assert np.array(result["attention"]["utkface"]["masks"]["map"]).shape == (2, 2)


def test_every_figure_follows_from_the_predictions_beside_it(done) -> None:
    result = read_result(done / "oam-cnn.json")
    again = json.loads(json.dumps(analyse(PredictionTable.read(done / "oam-cnn.parquet"), resamples=20)))
    assert {key: result[key] for key in again} == again


def test_models_timed_together_share_a_run(done) -> None:
    one, other = (read_result(done / f"{name}.json") for name in ("oam-cnn", "again"))
    assert one["speed"]["run"] == other["speed"]["run"]
    assert one["measured"] == other["measured"]


def test_what_is_there_is_kept(done, store, untrained_model, monkeypatch) -> None:
    def refuse(*arguments, **named):
        raise AssertionError("asked again")

    monkeypatch.setattr(module, "predict", refuse)
    before = (done / "oam-cnn.json").read_bytes()
    benchmark([ModelPredictor(Predictor(untrained_model))], [store], done, core=True, resamples=20)
    assert (done / "oam-cnn.json").read_bytes() == before


def test_other_faces_in_the_folder_are_refused(done, untrained_model, tmp_path) -> None:
    other = Store.open(write_store(tmp_path / "other", seed=5))
    with pytest.raises(ResultError, match="other faces"):
        benchmark([ModelPredictor(Predictor(untrained_model))], [other], done, core=True)


def test_changed_chips_and_labels_change_the_digest(store, tmp_path) -> None:
    folder = write_store(tmp_path / "other")
    crops = np.load(folder / "crops.npy")
    crops[-1, 0, 0, 0] ^= 1
    np.save(folder / "crops.npy", crops)
    digests = {module._about(item)["digest"] for item in (store, Store.open(folder))}
    assert len(digests) == 2


def test_errors(store, untrained_model, tmp_path, monkeypatch) -> None:
    predictor = ModelPredictor(Predictor(untrained_model))
    with pytest.raises(ResultError, match="called alike"):
        benchmark([predictor, predictor], [store], tmp_path)
    empty = Store.open(write_store(tmp_path / "empty", splits={"train": 12}))
    with pytest.raises(DataError, match="no face"):
        benchmark([predictor], [empty], tmp_path / "results")
    for text in ("{", "[]", '{"schema": "oamface-result/0"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ResultError):
            read_result(tmp_path / "x.json")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        benchmark([predictor], [store], tmp_path / "full", core=True, resamples=2)
