import errno
import json
import multiprocessing
import shutil
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.drawn import write_store
from oamface import atomic
from oamface.errors import FileError, ModelError, TrainError
from oamface.training import device_batches
from oamface.training import trainer as module
from oamface.training.checkpoint import history, load_network
from oamface.training.config import LossWeights, Phase, Recipe, TeacherRef
from oamface.training.learner import Learner, lr_factor
from oamface.training.run_log import CURVES, LOG
from oamface.training.trainer import CHECKPOINT, Trainer

pytestmark = pytest.mark.slow
TRAINED = "training_model/model."


def tiny_recipe(**changes) -> Recipe:
    stages = ((8, 1), (16, 1), (32, 1), (64, 1), (64, 1))
    settings = {"phases": (Phase(103, 1, 8), Phase(112, 1, 8)), "precision": "32-true"}
    return Recipe(**({"name": "tiny", "backbone": "face-resnet", "backbone_stages": stages} | settings | changes))


def train(store, out, *, workers=0, compiled=False, **changes):
    return Trainer(tiny_recipe(**changes), [store], out, workers=workers, compiled=compiled).train()


def tensors(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / CHECKPOINT)


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def equal(one, other, atol=1e-5) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(value.float(), other[key].float(), atol=atol) for key, value in one.items()
    )


def interrupt_after(monkeypatch, steps: int) -> None:
    """Interrupt the run in place of a step, with a checkpoint after every one before."""
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    real, count = Learner.step, []

    def step(self, batch, number):
        count.append(number)
        if len(count) > steps:
            raise KeyboardInterrupt
        return real(self, batch, number)

    monkeypatch.setattr(Learner, "step", step)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "features", features=6)


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    return train(store, tmp_path_factory.mktemp("run")).parent


def test_stores_of_one_data_set_are_one(store, tmp_path) -> None:
    other = write_store(tmp_path / "other", splits={"train": 9}, seed=1)
    run, swapped = (Trainer(tiny_recipe(), order, tmp_path / "run") for order in ([store, other], [other, store]))
    assert run.identity == swapped.identity
    assert run.data["utkface"]["train"] == len(run.faces) == 49
    assert run.data["utkface"]["with_features"] == 40
    assert len({run.faces.crop(row)[0].tobytes() for row in range(49)}) == 49


def test_run_writes_checkpoint_log_and_curves(finished) -> None:
    network, progress = load_network(finished / CHECKPOINT)
    assert progress["step"] == progress["steps"] == 10
    assert progress["recipe"]["name"] == "tiny"
    assert network(torch.zeros(1, 3, 103, 103)).logits["age"].shape == (1, 101)
    assert [line["event"] for line in log(finished)] == ["start", "epoch", "epoch"]
    assert {"valid_gender", "valid_race", "valid_mask", "valid_age_mae"} <= set(log(finished)[-1])


def test_curves_are_drawn_from_the_log(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    train(store, tmp_path, phases=(Phase(103, 1, 8),))
    assert (tmp_path / CURVES).read_bytes().startswith(b"\x89PNG")
    steps = [line for line in log(tmp_path) if line["event"] == "step"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    assert {"age", "age_mean", "gender", "race", "mask", "attention", "consistency"} <= steps[0].keys()
    assert {"features", "kd_age", "kd_gender", "kd_race", "lr", "samples"} <= steps[0].keys()


def test_interrupted_run_resumes_to_the_same_weights(store, finished, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(patched, 7)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path)
    assert load_network(tmp_path / CHECKPOINT)[1]["step"] == 7
    train(store, tmp_path)
    assert equal(tensors(finished), tensors(tmp_path), atol=0)


@pytest.mark.parametrize(("steps", "same"), [(6, True), (5, False), (8, False)])
def test_ema_starts_again_in_every_phase(store, tmp_path, monkeypatch, steps, same) -> None:
    """An epoch and phase has five steps: after the sixth the EMA is the trained network."""
    interrupt_after(monkeypatch, steps)
    with pytest.raises(KeyboardInterrupt):
        train(store, tmp_path)
    kept = tensors(tmp_path)
    trained = {key.removeprefix(TRAINED): value for key, value in kept.items() if key.startswith(TRAINED)}
    assert all(torch.equal(value, kept[f"ema_model/{key}"]) for key, value in trained.items()) is same


def test_finished_run_is_left_as_it_is(store, finished) -> None:
    before = (finished / CHECKPOINT).stat().st_mtime_ns
    train(store, finished)
    assert (finished / CHECKPOINT).stat().st_mtime_ns == before


def test_run_rejects_another_recipe_or_other_data(store, finished, tmp_path) -> None:
    with pytest.raises(TrainError, match="another recipe"):
        train(store, finished, seed=1)
    with pytest.raises(TrainError, match="other data"):
        train(write_store(tmp_path / "other", features=6, seed=9), finished)


def test_full_disk_leaves_the_last_checkpoint(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    real, calls = atomic.os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        train(store, tmp_path)
    assert load_network(tmp_path / CHECKPOINT)[1]["step"] >= 1
    assert not list(tmp_path.glob(".oamface-*"))


def test_loss_that_is_not_finite_ends_the_run(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    monkeypatch.setattr(Learner, "step", lambda self, batch, step: {"age": torch.tensor(float("nan"))})
    with pytest.raises(TrainError, match="not finite"):
        train(store, tmp_path)


def test_out_of_gpu_memory_is_explained(store, tmp_path, monkeypatch) -> None:
    def step(self, batch, step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "step", step)
    with pytest.raises(TrainError, match="smaller batch_size"):
        train(store, tmp_path)


@pytest.mark.parametrize("method", ["uncertainty", "gradnorm", "pcgrad"])
def test_every_loss_balancing_trains(store, tmp_path, method) -> None:
    train(store, tmp_path, loss_balancing=method, phases=(Phase(103, 1, 20),), precision="bf16-mixed")
    assert all(torch.isfinite(value.float()).all() for value in tensors(tmp_path).values())


@pytest.mark.parametrize("changes", [{"tasks": (), "attention": False}, {"tasks": ("age",)}])
def test_network_with_fewer_tasks_trains(store, tmp_path, changes) -> None:
    path = train(store, tmp_path, phases=(Phase(103, 1, 20),), **changes)
    assert tuple(load_network(path)[0].heads) == changes["tasks"]


def test_teacher_predicts_every_view_and_mixup_repeat(store, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    changes = {
        "teachers": (TeacherRef(str(finished / CHECKPOINT)),),
        "distill_every_view": True,
        "phases": (Phase(103, 1, 20),),
    }
    plain = train(store, tmp_path / "plain", dropout=0.0, lr=1e-12, **changes)
    mixed = train(store, tmp_path / "mixed", dropout=0.0, lr=1e-12, mixup_repeats=3, **changes)
    assert not list(tmp_path.glob("*/teacher-*"))  # nothing is predicted in advance
    assert {run["recipe"]["name"] for run in history(mixed)} == {"tiny"}
    one, other = tensors(plain.parent), tensors(mixed.parent)
    assert [int(kept["optimizer/0/step"]) for kept in (one, other)] == [2, 8]
    # Mixed images leave the statistics of batch norms as they are, but train the network.
    statistics = [key for key in one if key.startswith(TRAINED) and "running_" in key]
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in statistics)
    assert {"features", "kd_age", "kd_gender", "kd_race", "kd_mask"} <= log(mixed.parent)[1].keys()


@pytest.mark.parametrize("labels", [0.0, 1.0])
def test_labels_have_no_effect_with_weight_0(store, finished, tmp_path, labels) -> None:
    teacher = {
        "teachers": (TeacherRef(str(finished / CHECKPOINT)),),
        "distill_every_view": True,
        "phases": (Phase(103, 1, 20),),
    }
    recipe = tiny_recipe(**teacher, loss_weights=LossWeights(labels=labels))
    runs = [Trainer(recipe, [store], tmp_path / name, workers=0) for name in ("right", "wrong")]
    candidates = runs[1].faces.candidates
    wrong = {task: np.roll(table, 1, axis=1) for task, table in candidates.items() if task != "mask"}
    runs[1].faces = replace(runs[1].faces, candidates=candidates | wrong)
    one, other = (tensors(run.train().parent) for run in runs)
    same = [torch.equal(one[key], other[key]) for key in one if key.startswith(f"{TRAINED}heads.gender.")]
    assert all(same) is (labels == 0)


DEVICE = {"device_augmentation": True, "clean_pair_probability": 0.0, "phases": (Phase(103, 2, 8),)}


@pytest.fixture
def small_pool(monkeypatch) -> None:
    for name, value in (("CHUNK", 16), ("MIN_POOL", 32)):
        monkeypatch.setattr(device_batches, name, value)


@pytest.mark.parametrize("workers", [0, 1])
def test_device_augmentation_trains_and_goes_on(store, tmp_path, monkeypatch, small_pool, workers) -> None:
    before = multiprocessing.active_children()
    with monkeypatch.context() as patched:
        interrupt_after(patched, 7)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path, workers=workers, **DEVICE)
    assert multiprocessing.active_children() == before
    interrupted, progress = load_network(tmp_path / CHECKPOINT)
    assert progress["step"] == 7
    path = train(store, tmp_path, workers=workers, **DEVICE)
    assert multiprocessing.active_children() == before
    network, progress = load_network(path)
    assert progress["step"] == progress["steps"] == 10
    assert not torch.equal(network.heads["age"][0].weight, interrupted.heads["age"][0].weight)
    assert all(torch.isfinite(value.float()).all() for value in tensors(tmp_path).values())


def test_interrupted_run_on_the_device_takes_the_same_steps(store, tmp_path, monkeypatch, small_pool) -> None:
    """Without occlusions, since the faces that workers have drawn are not kept."""
    changes = {**DEVICE, "occlusion_probability": 0.0}
    train(store, tmp_path / "whole", **changes)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 7)
        with pytest.raises(KeyboardInterrupt):
            train(store, tmp_path / "parts", **changes)
    train(store, tmp_path / "parts", **changes)
    assert equal(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"), atol=0)


def test_device_augmentation_in_phases_with_a_wider_teacher(store, finished, tmp_path, small_pool) -> None:
    before = multiprocessing.active_children()
    changes = {
        "crop_box": (0.25, 0.25, 0.75, 0.75),
        "teachers": (TeacherRef(str(finished / CHECKPOINT)),),
        "distill_every_view": True,
        "mixup_repeats": 1,
        "phases": (Phase(103, 1, 20), Phase(112, 1, 20)),
    }
    path = train(store, tmp_path, workers=1, **{**DEVICE, **changes})
    assert multiprocessing.active_children() == before
    assert load_network(path)[0].preprocessing.crop_box == (0.25, 0.25, 0.75, 0.75)
    assert [line["image_size"] for line in log(tmp_path) if line["event"] == "epoch"] == [103, 112]
    assert int(tensors(tmp_path)["optimizer/0/step"]) == 8


def test_error_in_training_ends_the_workers(store, tmp_path, monkeypatch, small_pool) -> None:
    before = multiprocessing.active_children()
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    monkeypatch.setattr(Learner, "step", lambda self, batch, step: {"age": torch.tensor(float("nan"))})
    with pytest.raises(TrainError, match="not finite"):
        train(store, tmp_path, workers=1, **DEVICE)
    assert multiprocessing.active_children() == before


def test_teacher_with_another_crop_box_needs_device_augmentation(store, finished, tmp_path) -> None:
    teacher = {"teachers": (TeacherRef(str(finished / CHECKPOINT)),), "distill_every_view": True}
    with pytest.raises(ModelError, match="preprocessing differs"):
        train(store, tmp_path, crop_box=(0.0, 0.0, 1.0, 1.0), **teacher)


def test_run_of_some_minutes_ends_by_the_clock(store, tmp_path, monkeypatch) -> None:
    """By a clock on which every step takes a second, and nothing else any time."""
    now, real = [100.0], Learner.step

    def step(self, batch, number):
        now[0] += 1
        return real(self, batch, number)

    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    recipe = tiny_recipe(phases=(Phase(103, 50, 4), Phase(112, 50, 4)), occlusion_probability=0.0)
    path = Trainer(recipe, [store], tmp_path, workers=0, minutes=0.4).train()
    progress = load_network(path)[1]
    assert progress["step"] == progress["steps"] == 24  # of 1000
    lines = log(tmp_path)
    assert [line["minutes"] for line in lines if line["event"] == "estimate"] == [0.2]
    assert [line["step"] for line in lines if line["event"] == "epoch"] == [10, 20, 24]
    lrs = [line["lr"] for line in lines if line["event"] == "step"]
    assert max(lrs) > 0.5 * recipe.lr and all(one > other for one, other in pairwise(lrs[11:]))
    assert lrs[-1] < 0.05 * recipe.lr


@pytest.mark.parametrize(("minutes", "changes"), [(None, DEVICE), (1.0, {})])
def test_device_augmentation_and_minutes_are_for_one_process(store, tmp_path, monkeypatch, minutes, changes) -> None:
    monkeypatch.setattr(module, "launch", lambda precision: SimpleNamespace(world_size=2))
    with pytest.raises(TrainError, match="for one process"):
        Trainer(tiny_recipe(**changes), [store], tmp_path, workers=0, minutes=minutes).train()


def test_age_balance_adjusts_the_loss_of_ages(tmp_path, monkeypatch) -> None:
    """All are of one age: by its frequency alone an untrained network predicts it."""
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    store = write_store(tmp_path / "store", ages=(30, 30))
    for balance in (0.0, 1.0):
        train(store, tmp_path / str(balance), age_balance=balance, phases=(Phase(103, 1, 40),))
    plain, balanced = (log(tmp_path / str(balance))[1] for balance in (0.0, 1.0))
    assert balanced["age"] < plain["age"] - 1 and balanced["age_mean"] < plain["age_mean"]
    assert balanced["gender"] == plain["gender"]


def test_compiled_run_takes_the_same_steps(store, finished, tmp_path) -> None:
    with torch.compiler.set_stance("force_eager"):  # the compiler itself takes minutes here
        out = train(store, tmp_path, compiled=True).parent
    assert equal(tensors(finished), tensors(out))


@pytest.mark.parametrize("changes", [{}, {"device_augmentation": True, "clean_pair_probability": 0.0}])
def test_training_learns(store, tmp_path, small_pool, changes) -> None:
    """Drawn men are dark, women bright: a few epochs suffice, with occlusion too."""
    train(store, tmp_path, phases=(Phase(103, 8, 20),), lr=4e-3, ema_decay=0.9, **changes)
    assert [line["valid_gender"] for line in log(tmp_path) if line["event"] == "epoch"][-1] > 0.85


def test_lr_warms_up_and_decays() -> None:
    factors = [lr_factor(step, 0.1, 100) for step in range(1, 101)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert all(one >= other for one, other in pairwise(factors[9:]))
    assert factors[54] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.002)


def test_folder_with_foreign_files_is_an_error_and_stays_as_it_is(store, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("ours")
    with pytest.raises(TrainError, match=r"thesis\.tex"):
        train(store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_finished_run_goes_on_beside_other_files(store, finished, tmp_path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/notes.txt").write_text("ours")
    assert train(store, tmp_path / "run") == tmp_path / "run" / CHECKPOINT


def test_stores_without_training_faces(tmp_path) -> None:
    store = write_store(tmp_path / "store", splits={"test": 5})
    with pytest.raises(TrainError, match="no face"):
        Trainer(tiny_recipe(), [store], tmp_path / "run")
