from dataclasses import replace
from pathlib import Path

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
from oamface.training.config import Phase, Recipe, TeacherRef
from oamface.training.dataset import Batch, NetworkView, epoch_batches, load_faces
from oamface.training.device_batches import DeviceBatches
from oamface.training.distillation import (
    DISTILLED,
    Ensemble,
    Teacher,
    extract_features,
    label_faces,
    soft_labels_from_features,
)
from oamface.training.learner import TrainingModel

CPU = torch.device("cpu")
STAGES = ((8, 1), (16, 1), (32, 1), (64, 1))
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
    soft_labels, embeddings = teacher.label_faces(faces, mirrored=True)
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
    labelled = Ensemble([TeacherRef(str(checkpoint))], model.preprocessing, CPU).label(batch, images)
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


def small_teacher(path: Path, *, size: int = 64, seed: int = 0, crop_box: tuple[float, ...] = ()) -> TeacherRef:
    torch.manual_seed(seed)
    model = OamCnn(backbone="face-resnet", backbone_stages=STAGES, crop_box=crop_box)
    for head in model.heads.values():  # so that predictions differ
        torch.nn.init.normal_(head[-1].weight)
    network = {"backbone": "face-resnet", "backbone_stages": STAGES, "crop_box": crop_box}
    recipe = {"phases": [{"image_size": size, "epochs": 1, "batch_size": 8}], **network}
    save_checkpoint(path, {"ema_model": model}, None, {"recipe": recipe})
    return TeacherRef(str(path))


def predict(teacher: TeacherRef, images: torch.Tensor):
    """Probabilities and embeddings of (N, S, S, 3) uint8 images."""
    network = load_network(Path(teacher.checkpoint))[0]
    with torch.no_grad():
        logits, _, embedding = network(normalise(images, network.preprocessing))
    return {task: values.softmax(1) for task, values in logits.items()}, embedding


def device_batch(store, *views: NetworkView) -> Batch:
    recipe = Recipe("test", (Phase(64, 1, 8),), occlusion_probability=0.0)
    return next(DeviceBatches(load_faces([store], "train", repeat={}), recipe, views, CPU, pool=64).epoch(0, 8))


def test_ensemble_averages_the_teachers_of_each_task(store, tmp_path) -> None:
    first = replace(small_teacher(tmp_path / "one.safetensors"), tasks=("age", "gender", "mask"))
    second = replace(small_teacher(tmp_path / "two.safetensors", seed=1), tasks=("gender", "race"))
    ensemble = Ensemble([first, second], DLIB_PREPROCESSING, CPU)
    assert ensemble.views == [] and ensemble.channels == STAGES[-1][0]
    batch = device_batch(store, NetworkView(DLIB_PREPROCESSING, 64))
    labelled = ensemble.label(batch, normalise(batch.images, DLIB_PREPROCESSING))
    (one, embedding), (other, _) = (predict(teacher, batch.images) for teacher in (first, second))
    expected = {**one, "race": other["race"], "gender": (one["gender"] + other["gender"]) / 2}
    assert not torch.allclose(one["gender"], other["gender"], atol=0.01)
    assert labelled.soft_labels.keys() == expected.keys()
    for task, values in labelled.soft_labels.items():
        assert torch.allclose(values, expected[task], atol=1e-4), task
    assert torch.allclose(labelled.features, embedding, atol=1e-4)


def test_label_faces_averages_the_teachers_of_each_task(store, tmp_path) -> None:
    first = replace(small_teacher(tmp_path / "one.safetensors"), tasks=("age", "gender", "mask"))
    second = replace(
        small_teacher(tmp_path / "two.safetensors", seed=1, crop_box=(0.0, 0.0, 1.0, 1.0)), tasks=("gender", "race")
    )
    faces = load_faces([store], "train", repeat={})
    soft_labels, embeddings = label_faces([first, second], faces, CPU)
    crop = np.array(store.crops[70])
    (one, embedding), (other, _) = (
        predict(
            teacher, torch.from_numpy(load_network(Path(teacher.checkpoint))[0].preprocessing.extract(crop, 64))[None]
        )
        for teacher in (first, second)
    )
    expected = {"age": one["age"], "gender": (one["gender"] + other["gender"]) / 2, "race": other["race"]}
    assert soft_labels.keys() == expected.keys() == set(DISTILLED)
    for task, table in soft_labels.items():
        assert np.allclose(table[70], expected[task][0], atol=1e-3), task
    assert np.allclose(embeddings[70], embedding[0], atol=1e-3)


def test_ensemble_needs_a_teacher_for_every_task(tmp_path) -> None:
    teacher = replace(small_teacher(tmp_path / "one.safetensors"), tasks=("age", "gender"))
    with pytest.raises(ModelError, match="race, mask"):
        Ensemble([teacher], DLIB_PREPROCESSING, CPU)


def test_teacher_with_another_crop_box_gets_its_own_view(store, tmp_path) -> None:
    close = small_teacher(tmp_path / "close.safetensors", size=72, crop_box=(0.25, 0.25, 0.75, 0.75))
    others = [small_teacher(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    wide = replace(DLIB_PREPROCESSING, crop_box=(0.0, 0.0, 1.0, 1.0))
    with pytest.raises(ModelError, match="preprocessing differs"):
        Ensemble([close], wide, CPU)
    ensemble = Ensemble([close, *others], wide, CPU, device_augmentation=True)
    # The two others are alike, so they share a view.
    assert ensemble.views == [NetworkView(load_network(Path(close.checkpoint))[0].preprocessing, 72)] + [
        NetworkView(DLIB_PREPROCESSING, 64)
    ]
    batch = device_batch(store, NetworkView(wide, 64), *ensemble.views)
    labelled = ensemble.label(batch, normalise(batch.images, wide))
    seen = [batch.teacher_images[0], batch.teacher_images[1], batch.teacher_images[1]]
    predicted = [predict(*pair) for pair in zip([close, *others], seen, strict=True)]
    for task, values in labelled.soft_labels.items():
        expected = torch.stack([probabilities[task] for probabilities, _ in predicted]).mean(0)
        assert torch.allclose(values, expected, atol=1e-4), task
    assert torch.allclose(labelled.features, predicted[0][1], atol=1e-4)


def test_features_of_every_view_are_standardised_over_all_batches() -> None:
    torch.manual_seed(0)
    recipe = Recipe("test", (Phase(64, 1, 8),), teachers=(TeacherRef("oam"),), distill_every_view=True)
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
