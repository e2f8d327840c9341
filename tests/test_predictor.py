import threading

import numpy as np
import onnx
import pytest

from oamface.alignment import face_oval
from oamface.errors import ImageError, ModelError
from oamface.labels import TASKS
from oamface.predictor import Predictions, Predictor, age_std
from oamface.preprocessing import WHOLE_CROP, Preprocessing, resize
from oamface.runtime import METADATA


@pytest.fixture(scope="module")
def predictor(untrained_model) -> Predictor:
    return Predictor(untrained_model)


def crops(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("count", [0, 1, 33])
def test_predict_takes_any_number_of_crops(predictor, count) -> None:
    answers = predictor.predict(crops(count))
    for task, classes in TASKS.items():
        assert answers.probabilities[task].shape == (count, len(classes))
        assert np.allclose(answers.probabilities[task].sum(1), 1, atol=1e-5)
    assert answers.years.shape == answers.visibility().shape == (count,)
    assert len(answers.attention) == count


def test_predict_gives_the_same_for_a_batch_as_for_each_crop(predictor) -> None:
    together = predictor.predict(crops(5)).probabilities["race"]
    alone = np.concatenate([predictor.predict([crop]).probabilities["race"] for crop in crops(5)])
    assert np.allclose(together, alone, atol=1e-4)


def test_predict_resizes_crops_of_another_size(predictor) -> None:
    large = np.repeat(np.repeat(crops(2), 4, 1), 4, 2)
    assert np.allclose(predictor.predict(large).years, predictor.predict(crops(2)).years, atol=1e-3)


@pytest.mark.parametrize(
    "crop", [np.zeros((32, 32), np.uint8), np.zeros((32, 30, 3), np.uint8), np.zeros((32, 32, 3), np.float32)]
)
def test_predict_rejects_other_arrays(predictor, crop) -> None:
    with pytest.raises(ImageError, match="square RGB crops"):
        predictor.predict([crop])


def test_threads_share_a_predictor(predictor) -> None:
    wanted, found = predictor.predict(crops(8)).years, []
    threads = [threading.Thread(target=lambda: found.append(predictor.predict(crops(8)).years)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.allclose(years, wanted, atol=1e-3) for years in found)


def test_predictor_rejects_files_that_are_no_model(untrained_model, tmp_path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Predictor(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ModelError, match="no ONNX model"):
        Predictor(tmp_path / "text.onnx")
    (tmp_path / "half.onnx").write_bytes(untrained_model.read_bytes()[:50_000])
    with pytest.raises(ModelError, match="no ONNX model"):
        Predictor(tmp_path / "half.onnx")


@pytest.mark.parametrize(
    ("was", "becomes", "reason"),
    [
        ('"format": "oamface-model/3"', '"format": "oamface-model/9"', "its format"),
        ('"Indian"', '"Martian"', "its tasks"),
        ('"margin": 0.8', '"margin": 0.5', "another geometry"),
        ('"temperatures"', '"heat"', "lacks"),
        ('{"format"', '"format"', "damaged"),
    ],
)
def test_predictor_rejects_other_metadata(untrained_model, tmp_path, was, becomes, reason) -> None:
    model = onnx.load(untrained_model)
    text = model.metadata_props[0].value
    assert was in text
    model.metadata_props[0].value = text.replace(was, becomes, 1)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=reason):
        Predictor(tmp_path / "other.onnx")


def test_predictor_rejects_models_without_metadata(untrained_model, tmp_path) -> None:
    model = onnx.load(untrained_model)
    assert model.metadata_props[0].key == METADATA
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "stranger.onnx")
    with pytest.raises(ModelError, match="not one that oamface exported"):
        Predictor(tmp_path / "stranger.onnx")


def test_age_bounds_widen_with_the_standard_deviation() -> None:
    ages = np.zeros((2, 101), np.float32)
    ages[0, 40] = 1
    ages[1, [20, 60]] = 0.5
    answers = Predictions({"age": ages}, np.ones((2, 2, 2), np.float32))
    assert np.allclose(age_std(ages), [0, 20])
    low, high = answers.age_bounds(np.full(101, 1.5))
    assert np.allclose(low, [39, 9])  # whole years within 1.5 and 31.5
    assert np.allclose(high, [41, 71])
    assert (answers.age_bounds(np.full(101, 100))[1] == 100).all()
    late = np.where(np.arange(101) > 40, 10, 0)  # only years above the mean are ever missed by so much
    assert [list(bound[:1]) for bound in answers.age_bounds(late)] == [[40], [50]]
    assert [list(bound[:1]) for bound in answers.age_bounds(np.full(101, -1))] == [[40], [40]]


def test_age_bounds_take_quantiles_by_face() -> None:
    ages = np.zeros((2, 101), np.float32)
    ages[:, 40] = 1
    answers = Predictions({"age": ages}, np.ones((2, 2, 2), np.float32))
    low, high = answers.age_bounds(np.stack([np.full(101, 2.0), np.full(101, np.inf)]))
    assert [list(low), list(high)] == [[38, 0], [42, 100]]


def test_undetected_quantiles_are_infinite_where_the_file_has_none(predictor, untrained_model, tmp_path) -> None:
    assert np.isinf(predictor.undetected_quantiles).all()
    model = onnx.load(untrained_model)
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"quantiles"', f'"undetected": {[3.0] * 101}, "quantiles"', 1)
    onnx.save(model, tmp_path / "calibrated.onnx")
    assert (Predictor(tmp_path / "calibrated.onnx").undetected_quantiles == 3).all()


def test_visibility_counts_the_face_oval_alone() -> None:
    attention = np.ones((1, 8, 8), np.float32)
    attention[:, :, 0] = 0
    attention[:, 0] = 0
    ages = {"age": np.zeros((1, 101), np.float32)}
    assert Predictions(ages, attention).visibility()[0] > 0.98
    attention[:, 4:] = 0
    assert 0.2 < Predictions(ages, attention).visibility()[0] < 0.5


def test_face_oval_holds_the_landmarks() -> None:
    oval = face_oval(16, 16)
    assert oval[8, 8] == 1
    assert oval[0].max() == oval[:, 0].max() == 0
    assert 0.3 < oval.mean() < 0.5


def test_resize() -> None:
    crop = crops(1)[0]
    assert resize(crop, 32) is crop
    assert resize(crop, 8).shape == (8, 8, 3)
    assert resize(crop, 64).shape == (64, 64, 3)


def test_extract_shows_the_crop_box() -> None:
    preprocessing = Preprocessing((0.25, 0.5, 0.75, 1.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[16:, 8:24] = 200
    assert preprocessing.extract(crop, 16).min() == 200
    assert preprocessing.extract(crop, 8).shape == (8, 8, 3)
    assert preprocessing.extract(crop[..., 0].astype(np.float32), 40).shape == (40, 40)


def test_attention_over_crop_lies_where_the_crop_box_is() -> None:
    preprocessing = Preprocessing((0.25, 0.5, 0.75, 1.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    maps = np.ones((2, 8, 8), np.float32)
    maps[1, :, :4] = 0
    over = preprocessing.attention_over_crop(maps)
    assert over.shape == (2, 16, 16)
    assert (over[0] == 1).all()
    assert (over[1, :, :8] == 0).all()
    assert (over[1, :, 8:] == 1).all()
    whole = Preprocessing(WHOLE_CROP, preprocessing.mean, preprocessing.std)
    assert whole.attention_over_crop(maps) is maps
    assert preprocessing.attention_over_crop(maps[:0]).shape[0] == 0
