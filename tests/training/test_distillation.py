import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers.drawn import serialised, write_store
from oamface.datasets.store import Store
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.backbones import (
    DLIB_CHANNELS,
    DLIB_IMAGE_SIZE,
    DLIB_PREPROCESSING,
    FaceResNet,
    load_dlib_weights,
)
from oamface.models.oam_cnn import OamCnn, normalise
from oamface.preprocessing import resize
from oamface.training.checkpoint import load_network, save_checkpoint
from oamface.training.config import Phase, Recipe
from oamface.training.dataset import epoch_batches, load_faces
from oamface.training.distillation import DISTILLED, Teacher, extract_features, soft_labels_from_features
from oamface.training.learner import TrainingModel

CPU = torch.device("cpu")
PHASES = [{"image_size": 64, "epochs": 1, "batch_size": 8}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """120 faces; the first feature gives the gender and the rest nothing; every tenth face has none."""
    folder = write_store(tmp_path_factory.mktemp("stores") / "features", splits={"train": 120}, features=8)
    features = np.load(folder / "features.npy")
    features[:, 0] = np.where(np.arange(120) % 2, 2.0, -2.0)
    features[::10] = np.nan
    np.save(folder / "features.npy", features)
    return Store.open(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    save_checkpoint(path, {"ema_model": OamCnn()}, None, {"recipe": {"phases": PHASES}})
    return path


def test_soft_labels_hold_what_the_features_give(store) -> None:
    faces = load_faces([store], "train", repeat={})
    soft_labels = soft_labels_from_features(faces, epochs=30)
    has_features = np.isfinite(faces.features).all(1)
    assert soft_labels.keys() == set(DISTILLED)
    for task, table in soft_labels.items():
        assert table.shape == (120, len(TASKS[task]))
        assert np.allclose(table[has_features].sum(1), 1, atol=1e-4)
        assert np.isnan(table[~has_features]).all()
    gender = faces.candidates["gender"][has_features].argmax(1)
    assert (soft_labels["gender"][has_features].argmax(1) == gender).mean() > 0.95
    # Cross-fitted, they cannot repeat a label that the features do not give.
    race = faces.candidates["race"][has_features]
    assert race[np.arange(len(race)), soft_labels["race"][has_features].argmax(1)].mean() < 0.6


def test_no_soft_labels_without_features(store_folder) -> None:
    assert soft_labels_from_features(load_faces([Store.open(store_folder)], "train", repeat={})) == {}


def test_soft_labels_are_reproducible(store) -> None:
    faces = load_faces([store], "train", repeat={})
    one, other = (soft_labels_from_features(faces, epochs=2) for _ in range(2))
    assert all(np.array_equal(one[task], other[task], equal_nan=True) for task in DISTILLED)


def test_label_faces_averages_crop_and_mirror_image(store, checkpoint) -> None:
    faces = load_faces([store], "train", repeat={})
    teacher = Teacher(checkpoint, DISTILLED, CPU)
    soft_labels, embeddings = teacher.label_faces(faces)
    crop = resize(np.array(store.crops[70]), 64)
    images = normalise(torch.from_numpy(np.stack([crop, crop[:, ::-1]])), teacher.model.preprocessing)
    with torch.no_grad():
        logits, _, embedding = teacher.model(images)
    assert soft_labels.keys() == set(DISTILLED)
    for task, table in soft_labels.items():
        assert table.shape == (120, len(TASKS[task]))
        assert np.allclose(table[70], logits[task].softmax(1).mean(0), atol=0.02)
    assert embeddings.shape == (120, teacher.model.channels)
    assert np.allclose(embeddings[70], embedding.mean(0), atol=0.02)


@pytest.mark.parametrize("size", [64, 48])
def test_label_predicts_the_augmented_images(store, checkpoint, size) -> None:
    model = load_network(checkpoint)[0]
    recipe = Recipe("test", (Phase(size, 1, 8),), clean_pair_probability=1.0)
    faces = load_faces([store], "train", repeat={})
    batch = next(epoch_batches(faces, recipe, recipe.phases[0], 0, model.preprocessing))
    images = normalise(batch.images, model.preprocessing)
    labelled = Teacher(checkpoint, tuple(TASKS), CPU).label(batch, images)
    resized = functional.interpolate(images, size=(64, 64), mode="bilinear")  # the size that it was trained at
    with torch.no_grad():
        (logits, _, embedding), (mirrored, _, mirrored_embedding) = model(resized), model(resized.flip(3))
    assert labelled.soft_labels.keys() == set(TASKS)
    for task, soft_labels in labelled.soft_labels.items():
        expected = (logits[task].softmax(1) + mirrored[task].softmax(1)) / 2
        assert torch.allclose(soft_labels, expected, atol=1e-4)
    assert torch.allclose(labelled.features, (embedding + mirrored_embedding) / 2, atol=1e-4)
    assert torch.equal(labelled.images, batch.images) and labelled.candidates is batch.candidates


def test_teacher_rejects_network_without_a_task(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    recipe = {"phases": PHASES, "tasks": ["age", "mask"]}
    save_checkpoint(path, {"ema_model": OamCnn(tasks=("age", "mask"))}, None, {"recipe": recipe})
    with pytest.raises(ModelError, match="gender, race"):
        Teacher(path, DISTILLED, CPU)


def test_teacher_rejects_another_preprocessing(checkpoint) -> None:
    teacher = Teacher(checkpoint, tuple(TASKS), CPU)
    teacher.check_preprocessing(teacher.model.preprocessing)
    with pytest.raises(ModelError, match="preprocessing"):
        teacher.check_preprocessing(DLIB_PREPROCESSING)


def test_features_of_every_view_are_standardised_over_all_batches() -> None:
    torch.manual_seed(0)
    recipe = Recipe("test", (Phase(64, 1, 8),), teacher="oam", distill_every_view=True)
    model = TrainingModel(OamCnn(tasks=()), recipe, 3)
    rows = torch.randn(600, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, -20.0, 3.0])
    for batch in rows.split(200):
        last = model.standardise_features(batch)
    expected = (rows - rows.mean(0)) / rows.std(0)
    assert torch.allclose(last, expected[-200:], atol=0.05)
    plain = TrainingModel(OamCnn(tasks=()), Recipe("test", (Phase(64, 1, 8),)), 3)
    assert torch.equal(plain.standardise_features(rows), rows)


def test_extract_features_averages_face_and_mirror_image(store, tmp_path) -> None:
    path, network, progress = tmp_path / "network.dat", FaceResNet(), []
    path.write_bytes(serialised(network, np.random.default_rng(4))[0])
    features = extract_features(store, weights=path, on_progress=lambda *step: progress.append(step))
    assert features.shape == (120, DLIB_CHANNELS)
    assert progress[-1] == (120, 120)
    load_dlib_weights(network, path)
    image = DLIB_PREPROCESSING.extract(np.array(store.crops[70]), DLIB_IMAGE_SIZE)
    with torch.no_grad():
        both = network(normalise(torch.from_numpy(np.stack([image, image[:, ::-1]])), DLIB_PREPROCESSING))
    assert np.allclose(features[70], both.mean(0), rtol=0.01, atol=0.01 * float(both.abs().max()))
