from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from oamface.errors import FileError, ModelError
from oamface.training.checkpoint import history, load_checkpoint, load_network, save_checkpoint


def trained() -> tuple[nn.Linear, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_load_checkpoint_restores_modules_optimizer_and_progress(tmp_path) -> None:
    model, optimizer = trained()
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, optimizer, {"step": 7})
    other, other_optimizer = trained()
    assert load_checkpoint(tmp_path / "a.safetensors", {"model": other}, other_optimizer) == {"step": 7}
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    states = (optimizer.state_dict()["state"].values(), other_optimizer.state_dict()["state"].values())
    for one, two in zip(*states, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_load_checkpoint_rejects_other_files(tmp_path) -> None:
    model, _ = trained()
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, None, {})
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:60])
    (tmp_path / "text.safetensors").write_text("text")
    for name in ("half", "text", "missing"):
        with pytest.raises(ModelError, match=name):
            load_checkpoint(tmp_path / f"{name}.safetensors", {"model": model})
    with pytest.raises(ModelError, match="of this run"):
        load_checkpoint(tmp_path / "a.safetensors", {"model": nn.Linear(5, 5)})
    with pytest.raises(ModelError):
        load_network(tmp_path / "a.safetensors")


def test_save_checkpoint_into_missing_folder(tmp_path) -> None:
    with pytest.raises(FileError):
        save_checkpoint(tmp_path / "missing/a.safetensors", {"model": trained()[0]}, None, {})


def test_history_lists_earlier_runs_first(tmp_path) -> None:
    model, _ = trained()
    pretrained = "scratch"
    for name in ("one", "two"):
        run = {"recipe": {"name": name, "pretrained": pretrained}, "data": {}, "step": 3, "steps": 3, "identity": "x"}
        save_checkpoint(tmp_path / f"{name}.safetensors", {"model": model}, None, run)
        pretrained = str(tmp_path / f"{name}.safetensors")
    assert [run["recipe"]["name"] for run in history(tmp_path / "two.safetensors")] == ["one", "two"]
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(ModelError, match="two"):
        history(tmp_path / "two.safetensors")


def test_history_lists_the_runs_of_all_teachers(tmp_path) -> None:
    """Older recipes name one `teacher`."""
    model, files = trained()[0], {name: str(tmp_path / f"{name}.safetensors") for name in ("one", "two", "both", "old")}
    teachers = {"both": {"teachers": [{"checkpoint": files[name], "tasks": ["age"]} for name in ("one", "two")]}}
    teachers["old"] = {"teachers": [], "teacher": files["two"]}
    for name, path in files.items():
        recipe = {"name": name, "pretrained": files["one"] if name == "both" else "scratch", **teachers.get(name, {})}
        save_checkpoint(Path(path), {"model": model}, None, {"recipe": recipe, "data": {}, "step": 3, "steps": 3})
    assert [run["recipe"]["name"] for run in history(Path(files["both"]))] == ["one", "two", "both"]
    assert [run["recipe"]["name"] for run in history(Path(files["old"]))] == ["two", "old"]


def test_history_ends_at_weights_that_are_not_a_checkpoint(tmp_path) -> None:
    model, _ = trained()
    save_file(model.state_dict(), tmp_path / "resnet.safetensors")
    run = {"recipe": {"pretrained": str(tmp_path / "resnet.safetensors")}, "data": {}, "step": 3, "steps": 3}
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, None, run)
    assert history(tmp_path / "a.safetensors") == [run]
