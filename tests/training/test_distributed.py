"""Several real processes on this machine, started by torchrun, with gloo."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from helpers.drawn import write_store
from oamface.training.checkpoint import load_network
from oamface.training.distributed import Layout, SyncedBatchNorm2d
from oamface.training.trainer import CHECKPOINT, LOG

RECIPE = """
{backbone}
precision = "32-true"
loss_balancing = "pcgrad"
lr = 3e-4
dropout = 0.2
loss_weights = {{ features = 0.5, kd = 1.0 }}

[[phases]]
image_size = {size}
epochs = {epochs}
batch_size = {batch}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "taught", features=6)


FACE = 'backbone = "face-resnet"\nlevels = [[8, 1], [16, 1], [32, 1], [64, 1]]'


def recipe(folder, *, backbone='backbone = "resnet18"', size=32, epochs=7, batch=12):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(backbone=backbone, size=size, epochs=epochs, batch=batch))
    return path


def start(processes, recipe, store, out):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    run = [sys.executable, *(torchrun if processes > 1 else [])]
    train = ["-m", "oamface", "train", recipe, "--store", store, "--out", out, "--workers", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*run, *train], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trained(processes, *arguments):
    run = start(processes, *arguments)
    _, wrong = run.communicate(timeout=300)
    assert run.returncode == 0, wrong[-3000:]
    return [json.loads(line) for line in (arguments[-1] / LOG).read_text().splitlines()]


def curve(lines):
    """The losses in the log, and after each pass the years that the network is off; shares of few faces would jump."""
    kept = ("valid_years", "age", "gender", "race", "mask", "attention", "recovery", "years", "soft_", "features")
    return [
        {key: value for key, value in line.items() if key.startswith(kept)}
        for line in lines
        if line["event"] in ("step", "pass")
    ]


def test_two_processes_learn_what_one_does(store, tmp_path) -> None:
    given = recipe(tmp_path)
    one, two = (curve(trained(count, given, store, tmp_path / str(count))) for count in (1, 2))
    assert len(one) == len(two) == 8  # a line every 20 steps, and one for each of 7 passes
    for step, other in zip(one, two, strict=True):
        assert step.keys() == other.keys()
        for name, value in step.items():
            assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-3), (name, step, other)


def test_two_processes_train_the_face_network_to_the_same_bits(store, tmp_path) -> None:
    given = recipe(tmp_path, backbone=FACE, size=64, batch=13)
    one, two = (curve(trained(count, given, store, tmp_path / str(count))) for count in (1, 2))
    for line in one + two:
        line.pop("valid_years", None)  # a mean over other groups of faces
    assert one == two
    single, shared = (load_file(tmp_path / str(count) / CHECKPOINT) for count in (1, 2))
    assert single.keys() == shared.keys()
    assert [name for name, value in single.items() if not torch.equal(value, shared[name])] == []


def test_a_lost_process_ends_it_and_fewer_go_on(store, tmp_path) -> None:
    given = recipe(tmp_path, epochs=200)
    out = tmp_path / "run"
    run = start(2, given, store, out)
    end = time.monotonic() + 120
    while not (out / CHECKPOINT).exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    run.communicate(timeout=120)
    assert run.returncode != 0
    step = load_network(out / CHECKPOINT)[1]["step"]
    assert step >= 1
    again = start(1, given, store, out)
    time.sleep(0.1)
    while not [line for line in (out / LOG).read_text().splitlines() if '"start"' in line][1:]:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.kill()
    again.communicate(timeout=60)
    assert json.loads([line for line in (out / LOG).read_text().splitlines() if '"start"' in line][1])["step"] >= step


def test_more_processes_than_faces_in_a_batch(store, tmp_path) -> None:
    given = recipe(tmp_path, batch=3)
    run = start(2, given, store, tmp_path / "run")
    _, wrong = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "give each at least 2 faces" in wrong


def test_every_row_has_its_place() -> None:
    layout = Layout((3, 2), (1, 2))
    assert layout.rows(0) == [0, 1, 2, 5]
    assert layout.rows(1) == [3, 4, 6, 7]


def test_parts_are_normalised_as_the_batch_that_they_make() -> None:
    torch.manual_seed(0)
    whole = torch.randn(7, 5, 3, 4, requires_grad=True)
    parted = whole.detach().clone().requires_grad_()
    plain, synced = torch.nn.BatchNorm2d(5), SyncedBatchNorm2d(5)
    expected, given = plain(whole), torch.cat(synced.parts(parted.split([4, 3])))
    torch.testing.assert_close(given, expected)
    for norms in (expected, given):
        (norms**3).sum().backward()
    torch.testing.assert_close(parted.grad, whole.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value)
    torch.testing.assert_close(synced.eval()(whole), plain.eval()(whole))
