from pathlib import Path

import pytest
import torch

from helpers.drawn import write_store
from oamface.errors import RecipeError
from oamface.paper.study import checkpoints, load_study, run_study
from oamface.training.checkpoint import load_network, read_progress

pytestmark = pytest.mark.slow

STUDY = """
seeds = 2
[pretraining]
backbone = "face-resnet"
backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1], [64, 1]]
tasks = []
attention = false
loss_weights = { features = 1.0 }
phases = [{ image_size = 103, epochs = 1, batch_size = 8 }]
[common]
backbone = "face-resnet"
backbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1], [64, 1]]
samples_per_epoch = 16
loss_weights = { features = 0.0, kd = 0.0, attention = 0.0 }
phases = [{ image_size = 103, epochs = 1, batch_size = 8 }]
[variants.plain]
attention = false
[variants.gender]
seeds = 1
tasks = ["gender"]
loss_weights = { attention = 0.5 }
"""


def write(tmp_path: Path, text: str = STUDY) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_load_study_orders_runs_by_seed_after_pretraining(tmp_path) -> None:
    runs = load_study(write(tmp_path), tmp_path / "out")
    assert list(runs) == ["pretraining", "plain-0", "gender-0", "plain-1"]
    assert runs["pretraining"].tasks == ()
    assert runs["plain-1"].seed == 1
    assert (
        runs["plain-0"].pretrained
        == runs["gender-0"].pretrained
        == str(tmp_path / "out/pretraining/checkpoint.safetensors")
    )
    assert (runs["gender-0"].loss_weights.attention, runs["gender-0"].loss_weights.features) == (0.5, 0)
    assert runs["plain-0"].loss_weights.attention == 0


@pytest.mark.parametrize("path", [Path("recipes/paper/ablation.toml"), Path("src/oamface/paper/quick.toml")], ids=str)
def test_shipped_studies_have_equal_budgets(path) -> None:
    runs = {name: recipe for name, recipe in load_study(path, Path("out")).items() if name != "pretraining"}
    assert len({(recipe.samples_per_epoch, recipe.phases, recipe.lr) for recipe in runs.values()}) == 1
    assert {name for name in runs if name.endswith("-0")} >= {f"{name}-0" for name in ("base", "attention", "full")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "unknown keys"),
        ("[common]", "no \\[variants.NAME\\]"),
        ("[variants]", "no \\[variants.NAME\\]"),
        ("seeds = 0\n[variants.a]", "seeds"),
        ("variants = 3", "no \\[variants.NAME\\]"),
        ("variants = { a = 3 }", "no \\[variants.NAME\\]"),
        ("[variants.a]", "a: .*no phase"),
        ("[variants.a]\nsides = 3", "unknown key 'sides'"),
        ("not toml", "cannot be read"),
    ],
)
def test_load_study_rejects_invalid_files(tmp_path, text, message) -> None:
    with pytest.raises(RecipeError, match=message):
        load_study(write(tmp_path, text), tmp_path)


def test_run_study_trains_every_run_once(tmp_path) -> None:
    store = write_store(tmp_path / "store", features=4)
    events = []
    paths = run_study(write(tmp_path), [store], tmp_path / "out", on_event=lambda *event: events.append(event))
    assert [path.parent.name for path in paths] == ["pretraining", "plain-0", "gender-0", "plain-1"]
    assert {event[0] for event in events} == {"pretraining", "plain-0", "gender-0", "plain-1"}
    network, _ = load_network(tmp_path / "out/gender-0/checkpoint.safetensors")
    assert set(network(torch.zeros(2, 3, 103, 103)).logits) == {"gender"}
    plain, _ = load_network(tmp_path / "out/plain-0/checkpoint.safetensors")
    assert plain.attention is None
    assert [path.parent.name for path in checkpoints(tmp_path / "out")] == ["gender-0", "plain-0", "plain-1"]
    assert read_progress(paths[0])["recipe"]["tasks"] == []
    before = [path.stat().st_mtime_ns for path in paths]
    run_study(write(tmp_path), [store], tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_checkpoints_rejects_folder_without_study(tmp_path) -> None:
    with pytest.raises(RecipeError, match="no finished run"):
        checkpoints(tmp_path)
