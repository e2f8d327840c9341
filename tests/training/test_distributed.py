"""Several real processes on this machine, with gloo."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from helpers.drawn import write_store
from helpers.program import start_ranks
from oamface.errors import TrainError
from oamface.training import trainer
from oamface.training.checkpoint import load_network
from oamface.training.config import load_recipe
from oamface.training.distributed import CpuSyncBatchNorm
from oamface.training.run_log import LOG
from oamface.training.trainer import CHECKPOINT, Trainer

pytestmark = pytest.mark.slow
RECIPE = """
backbone = "face-resnet"
backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1]]
precision = "32-true"
lr = 3e-4
dropout = 0.0
loss_balancing = "{balancing}"
loss_weights = {{ features = 0.5, kd = 1.0 }}

[[phases]]
image_size = 64
epochs = {epochs}
batch_size = {batch}
"""
# Logs every step.
TRAIN = "from oamface.training import trainer; trainer.LOG_EVERY = 1; from oamface.cli.app import main; main()"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "features", features=6)


def write_recipe(folder, *, epochs=7, batch=12, balancing="fixed"):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(epochs=epochs, batch=batch, balancing=balancing))
    return path


def arguments(recipe, store, out):
    return [str(value) for value in ("train", recipe, "--store", store, "--output", out, "--workers", "0")]


def run_two(recipe, store, out):
    """Train in two processes under torchrun, with every step in the log."""
    (program := recipe.parent / "program.py").write_text(TRAIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", program]
    command += arguments(recipe, store, out)
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def losses(out):
    other = {"time", "event", "step", "epoch", "image_size", "lr", "samples"}
    log = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    steps = [line for line in log if line["event"] == "step"]
    return [{key: value for key, value in line.items() if key not in other} for line in steps]


def test_two_processes_have_the_losses_of_one_with_the_same_batch(store, tmp_path, monkeypatch) -> None:
    recipe = write_recipe(tmp_path)
    run_two(recipe, store, tmp_path / "two")
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    Trainer(load_recipe(recipe), [store], tmp_path / "one", workers=0).train()
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 21
    for step, other in zip(one[:20], two[:20], strict=True):
        assert step.keys() == other.keys()
        for name, value in step.items():
            assert other[name] == pytest.approx(value, rel=1e-2, abs=1e-2), (name, step, other)


def start(count, recipe, store, out):
    """The processes, once they have written a checkpoint."""
    processes = start_ranks(count, recipe.parent / "errors.txt", *arguments(recipe, store, out))
    end = time.monotonic() + 120
    while not (out / CHECKPOINT).exists():
        assert time.monotonic() < end and processes[0].is_alive(), (recipe.parent / "errors.txt").read_text()
        time.sleep(0.05)
    return processes


def join(processes):
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_run_resumes_with_fewer_processes(store, tmp_path) -> None:
    recipe, out = write_recipe(tmp_path, epochs=200, balancing="pcgrad"), tmp_path / "run"
    processes = start(2, recipe, store, out)
    for process in processes:
        process.terminate()
    assert join(processes) == [130, 130]
    step = load_network(out / CHECKPOINT)[1]["step"]
    assert step >= 3
    (process,) = start_ranks(1, tmp_path / "errors.txt", *arguments(recipe, store, out))
    while len(starts := [line for line in (out / LOG).read_text().splitlines() if '"start"' in line]) < 2:
        assert process.is_alive()
        time.sleep(0.05)
    process.kill()
    join([process])
    assert json.loads(starts[1])["step"] >= step


def test_lost_process_ends_the_others_with_one_line(store, tmp_path) -> None:
    recipe, out = write_recipe(tmp_path, epochs=200), tmp_path / "run"
    processes = start(2, recipe, store, out)
    processes[1].kill()
    assert join(processes) == [2, -signal.SIGKILL]
    errors = (tmp_path / "errors.txt").read_text()
    assert "another process of this run was lost" in errors
    assert "Traceback" not in errors
    assert load_network(out / CHECKPOINT)[1]["step"] >= 3


def test_batch_too_small_for_the_processes(store, tmp_path) -> None:
    errors = tmp_path / "errors.txt"
    assert join(start_ranks(2, errors, *arguments(write_recipe(tmp_path, batch=3), store, tmp_path / "run"))) == [2, 2]
    assert "give each at least 2 faces" in errors.read_text()


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3, 4)])
def test_cpu_sync_batchnorm_is_batchnorm_in_one_process(shape, monkeypatch) -> None:
    monkeypatch.setattr("oamface.training.distributed._sum", lambda tensor: tensor)
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True)]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    plain = torch.nn.BatchNorm1d(5) if len(shape) == 2 else torch.nn.BatchNorm2d(5)
    torch.nn.init.uniform_(plain.weight)
    synced = CpuSyncBatchNorm.copy(plain)
    outputs = [layer(values) for layer, values in zip((plain, synced), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        (output**3).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value)
    torch.testing.assert_close(synced.eval()(inputs[0]), plain.eval()(inputs[0]))


def test_cpu_sync_batchnorm_rejects_other_layers() -> None:
    with pytest.raises(TrainError, match="BatchNorm3d"):
        CpuSyncBatchNorm.copy(torch.nn.BatchNorm3d(2))
