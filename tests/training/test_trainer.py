import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from helpers.drawn import write_store
from oamface import atomic
from oamface.errors import FileError, TrainError
from oamface.training import trainer as loop
from oamface.training.checkpoint import history, load_network
from oamface.training.config import LossWeights, Phase, Recipe
from oamface.training.trainer import CHECKPOINT, LOG, Run


def recipe(**changes) -> Recipe:
    backbone = {
        "backbone": "face-resnet",
        "backbone_stages": ((8, 1), (16, 1), (32, 1), (64, 1), (64, 1)),
    }  # a small one
    settings = {"name": "tiny", "phases": (Phase(103, 1, 8), Phase(112, 1, 8)), "precision": "32-true", **backbone}
    return Recipe(**(settings | changes))


def tensors(folder) -> dict[str, torch.Tensor]:
    with safe_open(folder / CHECKPOINT, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "taught", features=6)


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    Run(recipe(), [store], out, workers=0).train()
    return out


def test_the_shards_of_a_data_set_are_trained_on_as_one(store, tmp_path) -> None:
    other = write_store(tmp_path / "other", splits={"train": 9}, seed=1)
    run, turned = (Run(recipe(), order, tmp_path / "run") for order in ([store, other], [other, store]))
    assert run.identity == turned.identity
    assert run.data["utkface"]["train"] == len(run.faces) == 49
    assert run.data["utkface"]["with_features"] == 40
    assert len({run.faces.crop(row)[0].tobytes() for row in range(49)}) == 49


def test_a_run_leaves_a_network_a_log_and_curves(finished) -> None:
    network, progress = load_network(finished / CHECKPOINT)
    assert progress["step"] == progress["steps"] == 10
    assert progress["recipe"]["name"] == "tiny"
    assert network(torch.zeros(1, 3, 103, 103)).logits["age"].shape == (1, 101)
    lines = [json.loads(line) for line in (finished / LOG).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "pass", "pass"]
    assert {"valid_gender", "valid_race", "valid_mask", "valid_years"} <= set(lines[-1])


def test_killed_it_goes_on_to_the_same_weights(store, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    real, steps = Run._step, []

    def killed(self, batch):
        steps.append(len(batch.crops))
        if len(steps) == 8:
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(recipe(), [store], tmp_path, workers=0).train()
    Run(recipe(), [store], tmp_path, workers=0).train()
    one, other = tensors(finished), tensors(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[key].float(), other[key].float(), atol=1e-5) for key in one)


def test_another_image_size_starts_the_average_anew(store, tmp_path, monkeypatch) -> None:
    """After the first step of the second phase the averaged network is the trained one; later it is not."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)

    def gap(steps: int) -> float:
        real, taken = Run._step, []

        def stop(self, batch):
            taken.append(len(batch.crops))
            if len(taken) > steps:
                raise KeyboardInterrupt
            return real(self, batch)

        with monkeypatch.context() as patched:
            patched.setattr(Run, "_step", stop)
            with pytest.raises(KeyboardInterrupt):
                Run(recipe(), [store], tmp_path / str(steps), workers=0).train()
        kept = tensors(tmp_path / str(steps))
        return max(
            float((kept[key].float() - kept[key.replace("model/", "averaged/", 1)].float()).abs().max())
            for key in kept
            if key.startswith("model/")
        )

    assert gap(6) == 0  # a pass has five steps
    assert gap(5) > 0
    assert gap(8) > 0


def test_a_finished_run_is_left_as_it_is(store, finished) -> None:
    before = (finished / CHECKPOINT).stat().st_mtime_ns
    Run(recipe(), [store], finished, workers=0).train()
    assert (finished / CHECKPOINT).stat().st_mtime_ns == before


def test_another_recipe_or_other_data_do_not_go_on(store, finished, tmp_path) -> None:
    with pytest.raises(TrainError, match="another recipe"):
        Run(recipe(seed=1), [store], finished, workers=0).train()
    other = write_store(tmp_path / "other", features=6, seed=9)
    with pytest.raises(TrainError, match="other data"):
        Run(recipe(), [other], finished, workers=0).train()


def test_a_full_disk_leaves_the_last_checkpoint(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    real, calls = atomic.os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        Run(recipe(), [store], tmp_path, workers=0).train()
    assert load_network(tmp_path / CHECKPOINT)[1]["step"] >= 1
    assert not list(tmp_path.glob("*.draft"))


@pytest.mark.parametrize("balance", ["uncertainty", "gradnorm", "pcgrad"])
def test_every_balance_trains(store, tmp_path, balance) -> None:
    phases = (Phase(103, 1, 20),)
    Run(recipe(balance=balance, phases=phases), [store], tmp_path, workers=0).train()
    assert all(torch.isfinite(value.float()).all() for value in tensors(tmp_path).values())


def test_a_consistent_teacher_is_asked_at_every_step_and_echo(store, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    taught = {
        "teacher": str(finished / CHECKPOINT),
        "distill_every_view": True,
        "phases": (Phase(103, 1, 20),),
        "dropout": 0.0,
    }
    plain = Run(recipe(**taught, lr=1e-12), [store], tmp_path / "plain", workers=0).train()
    echoed = Run(recipe(**taught, lr=1e-12, mixup_repeats=3), [store], tmp_path / "echoed", workers=0).train()
    assert not list(tmp_path.glob("*/teacher-*"))  # nothing is asked beforehand
    assert {past["recipe"]["name"] for past in history(echoed)} == {"tiny"}
    one, other = tensors(plain.parent), tensors(echoed.parent)
    assert [int(kept["optimizer/0/step"]) for kept in (one, other)] == [2, 8]
    # Mixed faces leave batch normalisation's statistics as they are, and teach all the same.
    statistics = [key for key in one if key.startswith("model/") and "running_" in key]
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in statistics)
    line = json.loads((echoed.parent / LOG).read_text().splitlines()[1])
    assert {"features", "soft_age", "soft_gender", "soft_race", "soft_mask"} <= line.keys()


@pytest.mark.parametrize("labels", [0.0, 1.0])
def test_a_teacher_alone_is_listened_to_where_labels_count_nothing(store, finished, tmp_path, labels) -> None:
    taught = {"teacher": str(finished / CHECKPOINT), "distill_every_view": True, "phases": (Phase(103, 1, 20),)}
    runs = [
        Run(recipe(**taught, loss_weights=LossWeights(labels=labels)), [store], tmp_path / name)
        for name in ("as", "turned")
    ]
    turned = {task: np.roll(table, 1, axis=1) for task, table in runs[1].faces.members.items() if task != "mask"}
    runs[1].faces = replace(runs[1].faces, members=runs[1].faces.members | turned)
    one, other = (tensors(run.train().parent) for run in runs)
    same = [torch.equal(one[key], other[key]) for key in one if key.startswith("model/heads.gender.")]
    assert all(same) if labels == 0 else not all(same)


def test_a_compiled_run_takes_the_same_steps(store, finished, tmp_path) -> None:
    with torch.compiler.set_stance("force_eager"):  # the compiler itself takes minutes here
        out = Run(recipe(), [store], tmp_path, workers=0, compiled=True).train().parent
    one, other = tensors(finished), tensors(out)
    assert all(torch.allclose(one[key].float(), other[key].float(), atol=1e-5) for key in one)


def test_it_learns(store, tmp_path) -> None:
    """Drawn men are dark, women bright: a few passes suffice, and covering the face does not undo it."""
    slow = recipe(phases=(Phase(103, 16, 20),), lr=2e-3, ema_decay=0.9)
    Run(slow, [store], tmp_path, workers=0).train()
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["valid_gender"] for line in lines if line["event"] == "pass"][-1] > 0.85


def test_stores_without_training_faces(tmp_path) -> None:
    store = write_store(tmp_path / "store", splits={"test": 5})
    with pytest.raises(TrainError, match="no face"):
        Run(recipe(), [store], tmp_path / "run")
