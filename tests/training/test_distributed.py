"""Several real processes on this machine, with gloo."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from helpers.drawn import write_store
from oamface.errors import TrainError
from oamface.training.checkpoint import load_network
from oamface.training.distributed import CpuSyncBatchNorm
from oamface.training.run_log import LOG
from oamface.training.trainer import CHECKPOINT

pytestmark = pytest.mark.slow
RECIPE = """
{backbone}
precision = "32-true"
lr = 3e-4
dropout = 0.0
loss_balancing = "{balancing}"
loss_weights = {{ features = 0.5, kd = 1.0 }}

[[phases]]
image_size = {size}
epochs = {epochs}
batch_size = {batch}
"""
FACE_RESNET = 'backbone = "face-resnet"\nbackbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1]]'
RESNET18 = 'backbone = "resnet18"'
# Logs every step.
TRAIN = "from oamface.training import trainer; trainer.LOG_EVERY = 1; from oamface.cli.app import main; main()"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "features", features=6)


def write_recipe(folder, *, backbone=FACE_RESNET, size=64, epochs=7, batch=12, balancing="fixed"):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(backbone=backbone, size=size, epochs=epochs, batch=batch, balancing=balancing))
    return path


def arguments(recipe, store, out):
    return [str(value) for value in ("train", recipe, "--store", store, "--output", out, "--workers", "0")]


def launch(processes, recipe, store, out):
    """One process, or several under torchrun."""
    (program := recipe.parent / "program.py").write_text(TRAIN)
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(program), *arguments(recipe, store, out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(processes, recipe, store, out):
    run = launch(processes, recipe, store, out)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors[-3000:]
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def losses(log):
    other = {"time", "event", "step", "epoch", "image_size", "lr", "samples"}
    steps = [line for line in log if line["event"] == "step"]
    return [{key: value for key, value in line.items() if key not in other} for line in steps]


@pytest.mark.parametrize(("backbone", "size"), [(FACE_RESNET, 64), (RESNET18, 32)])
def test_two_processes_have_the_losses_of_one_with_the_same_batch(store, tmp_path, backbone, size) -> None:
    recipe = write_recipe(tmp_path, backbone=backbone, size=size)
    one, two = (losses(train(count, recipe, store, tmp_path / str(count))) for count in (1, 2))
    assert len(one) == len(two) == 21
    for step, other in zip(one[:20], two[:20], strict=True):
        assert step.keys() == other.keys()
        for name, value in step.items():
            assert other[name] == pytest.approx(value, rel=1e-2, abs=1e-2), (name, step, other)


def test_run_resumes_with_fewer_processes(store, tmp_path) -> None:
    recipe, out = write_recipe(tmp_path, epochs=200, balancing="pcgrad"), tmp_path / "run"
    run = launch(2, recipe, store, out)
    end = time.monotonic() + 120
    while not (out / CHECKPOINT).exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    run.terminate()
    run.communicate(timeout=120)
    step = load_network(out / CHECKPOINT)[1]["step"]
    assert step >= 3
    run = launch(1, recipe, store, out)
    while len(starts := [line for line in (out / LOG).read_text().splitlines() if '"start"' in line]) < 2:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.kill()
    run.communicate(timeout=60)
    assert json.loads(starts[1])["step"] >= step


def test_lost_process_ends_the_others_with_one_line(store, tmp_path) -> None:
    recipe, out = write_recipe(tmp_path, epochs=200), tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    rendezvous |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    runs = []
    for rank in ("0", "1"):
        environment = {**os.environ, **rendezvous, "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, "-m", "oamface", *arguments(recipe, store, out)]
        runs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    end = time.monotonic() + 120
    while not (out / CHECKPOINT).exists():
        assert time.monotonic() < end and runs[0].poll() is None
        time.sleep(0.05)
    runs[1].send_signal(signal.SIGKILL)
    _, errors = runs[0].communicate(timeout=120)
    runs[1].communicate(timeout=60)
    assert runs[0].returncode != 0
    assert "another process of this run was lost" in errors
    assert "Traceback" not in errors
    assert load_network(out / CHECKPOINT)[1]["step"] >= 3


def test_batch_too_small_for_the_processes(store, tmp_path) -> None:
    run = launch(2, write_recipe(tmp_path, batch=3), store, tmp_path / "run")
    _, errors = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "give each at least 2 faces" in errors


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
