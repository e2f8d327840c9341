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


def test_everything_comes_back(tmp_path) -> None:
    model, optimizer = trained()
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, optimizer, {"step": 7})
    other, fresh = trained()
    assert load_checkpoint(tmp_path / "a.safetensors", {"model": other}, fresh) == {"step": 7}
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    for one, two in zip(optimizer.state_dict()["state"].values(), fresh.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_other_files(tmp_path) -> None:
    model, _ = trained()
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, None, {})
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:60])
    (tmp_path / "text.safetensors").write_text("text")
    for name in ("half", "text", "missing"):
        with pytest.raises(ModelError, match=name):
            load_checkpoint(tmp_path / f"{name}.safetensors", {"model": model})
    with pytest.raises(ModelError, match="no checkpoint of this run"):
        load_checkpoint(tmp_path / "a.safetensors", {"model": nn.Linear(5, 5)})
    with pytest.raises(ModelError):
        load_network(tmp_path / "a.safetensors")


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileError):
        save_checkpoint(tmp_path / "missing/a.safetensors", {"model": trained()[0]}, None, {})


def test_the_runs_that_led_to_a_checkpoint(tmp_path) -> None:
    model, _ = trained()
    before = "scratch"
    for name in ("one", "two"):
        run = {"recipe": {"name": name, "pretrained": before}, "data": {}, "step": 3, "steps": 3, "identity": "x"}
        save_checkpoint(tmp_path / f"{name}.safetensors", {"model": model}, None, run)
        before = str(tmp_path / f"{name}.safetensors")
    assert [run["recipe"]["name"] for run in history(tmp_path / "two.safetensors")] == ["one", "two"]
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(ModelError, match="two"):
        history(tmp_path / "two.safetensors")


def test_weights_of_others_have_no_past(tmp_path) -> None:
    model, _ = trained()
    save_file(model.state_dict(), tmp_path / "resnet.safetensors")
    run = {"recipe": {"pretrained": str(tmp_path / "resnet.safetensors")}, "data": {}, "step": 3, "steps": 3}
    save_checkpoint(tmp_path / "a.safetensors", {"model": model}, None, run)
    assert history(tmp_path / "a.safetensors") == [run]
