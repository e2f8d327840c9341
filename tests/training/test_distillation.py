import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers.drawn import serialised, write_store
from oamface.datasets.store import Store
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.face_resnet import MEAN, SIDE, STD, WIDTH, WINDOW, FaceResNet, load_dlib
from oamface.models.oam_cnn import OamCnn, normalise
from oamface.preprocessing import Preprocessing, resize
from oamface.training.checkpoint import load_network, save_checkpoint
from oamface.training.dataset import batches, gather
from oamface.training.distillation import TAUGHT, Standard, Teacher, answers_of, face_features, kd


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """120 faces whose first feature tells the gender and the rest nothing; every tenth has no features."""
    folder = write_store(tmp_path_factory.mktemp("stores") / "taught", splits={"train": 120}, features=8)
    features = np.load(folder / "teacher.npy")
    features[:, 0] = np.where(np.arange(120) % 2, 2.0, -2.0)
    features[::10] = np.nan
    np.save(folder / "teacher.npy", features)
    return Store.open(folder)


def test_what_the_features_tell_and_no_more(store) -> None:
    faces = gather([store], "train", repeat={})
    soft = kd(faces, passes=30)
    known = np.isfinite(faces.features).all(1)
    assert soft.keys() == set(TAUGHT)
    for task, table in soft.items():
        assert table.shape == (120, len(TASKS[task]))
        assert np.allclose(table[known].sum(1), 1, atol=1e-4)
        assert np.isnan(table[~known]).all()
    gender = faces.members["gender"][known].argmax(1)
    assert (soft["gender"][known].argmax(1) == gender).mean() > 0.95
    # Cross-fitted answers cannot know a label that the features do not tell.
    race = faces.members["race"][known]
    assert race[np.arange(len(race)), soft["race"][known].argmax(1)].mean() < 0.6


def test_no_features_no_soft_labels(store_folder) -> None:
    assert kd(gather([Store.open(store_folder)], "train", repeat={})) == {}


def test_a_networks_answers_are_those_of_the_bare_face_and_its_mirror_image(store, tmp_path) -> None:
    torch.manual_seed(1)
    model, path = OamCnn(), tmp_path / "checkpoint.safetensors"
    recipe = {"phases": [{"size": 64, "passes": 1, "batch": 8}]}
    save_checkpoint(path, {"averaged": model}, None, {"recipe": recipe})
    faces = gather([store], "train", repeat={})
    said, vectors = answers_of(path, faces)
    crop = resize(np.array(store.crops[70]), 64)
    both = normalise(torch.from_numpy(np.stack([crop, crop[:, ::-1]])), model.preprocessing)
    with torch.no_grad():
        logits, _, z = model.eval()(both)
    for task in TAUGHT:
        assert said[task].shape == (120, len(TASKS[task]))
        assert np.allclose(said[task][70], logits[task].softmax(1).mean(0), atol=0.02)
    assert vectors.shape == (120, model.channels)
    assert np.allclose(vectors[70], z.mean(0), atol=0.02)


def test_a_network_that_lacks_a_task_cannot_teach(store, tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    recipe = {"phases": [{"size": 64, "passes": 1, "batch": 8}], "tasks": ["age", "mask"]}
    save_checkpoint(path, {"averaged": OamCnn(tasks=("age", "mask"))}, None, {"recipe": recipe})
    with pytest.raises(ModelError, match="does not answer gender, race"):
        answers_of(path, gather([store], "train", repeat={}))


@pytest.mark.parametrize("size", [64, 48])
def test_a_consistent_teacher_answers_what_the_network_sees(store, tmp_path, size) -> None:
    path, device = tmp_path / "checkpoint.safetensors", torch.device("cpu")
    phases = [{"size": 64, "passes": 1, "batch": 8}]
    save_checkpoint(path, {"averaged": OamCnn()}, None, {"recipe": {"phases": phases}})
    model = load_network(path)[0]
    faces = gather([store], "train", repeat={})
    settings = {"batch": 8, "seed": 0, "number": 0, "skip": 0, "occluded": 0.5, "paired": 1.0, "workers": 0}
    batch = next(batches(faces, size=size, preprocessing=model.preprocessing, **settings))
    images = normalise(batch.crops, model.preprocessing)
    told = Teacher(path, model.preprocessing, device).answer(batch, images)
    known = functional.interpolate(images, size=(64, 64), mode="bilinear")  # the size that it was trained at
    with torch.no_grad():
        (logits, _, z), (turned, _, turned_z) = model(known), model(known.flip(3))
    assert told.soft.keys() == set(TASKS)
    for task, said in told.soft.items():
        assert torch.allclose(said, (logits[task].softmax(1) + turned[task].softmax(1)) / 2, atol=1e-4)
    assert torch.allclose(told.features, (z + turned_z) / 2, atol=1e-4)
    assert torch.equal(told.crops, batch.crops) and told.members is batch.members
    with pytest.raises(ModelError, match="frames otherwise"):
        Teacher(path, Preprocessing(WINDOW, MEAN, STD), device)
    save_checkpoint(path, {"averaged": OamCnn(tasks=("age",))}, None, {"recipe": {"tasks": ["age"], "phases": phases}})
    with pytest.raises(ModelError, match="does not answer gender, race, mask"):
        Teacher(path, model.preprocessing, device)


def test_standardised_by_all_rows_that_came() -> None:
    rows, standard = torch.randn(60, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, -20.0, 3.0]), Standard(3)
    for part in rows.split([7, 30, 23]):
        last = standard(part)
    expected = (rows - rows.mean(0)) / rows.std(0, unbiased=False)
    assert torch.allclose(last, expected[-23:], atol=1e-3)


def test_the_face_networks_features_are_those_of_the_face_and_its_mirror_image(store, tmp_path) -> None:
    path, network, done = tmp_path / "network.dat", FaceResNet(), []
    path.write_bytes(serialised(network, np.random.default_rng(4))[0])
    features = face_features(store, weights=path, on_progress=lambda *step: done.append(step))
    assert features.shape == (120, WIDTH)
    assert done[-1] == (120, 120)
    load_dlib(network, path)
    preprocessing = Preprocessing(WINDOW, MEAN, STD)
    seen = preprocessing.extract(np.array(store.crops[70]), SIDE)
    with torch.no_grad():
        sides = network(normalise(torch.from_numpy(np.stack([seen, seen[:, ::-1]])), preprocessing))
    assert np.allclose(features[70], sides.mean(0), rtol=0.01, atol=0.01 * float(sides.abs().max()))


def test_the_same_seed_gives_the_same(store) -> None:
    faces = gather([store], "train", repeat={})
    one, other = kd(faces, passes=2), kd(faces, passes=2)
    assert all(np.array_equal(one[task], other[task], equal_nan=True) for task in TAUGHT)
