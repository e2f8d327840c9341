"""A training run on disk: one safetensors file with every tensor, and its progress as JSON in the file's header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from oamface.atomic import write_bytes
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.oam_cnn import RESNET, STARTS, OamCnn
from oamface.models.onnx_import import described, is_model_file, restore


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None, progress: dict[str, Any]
) -> None:
    """Write modules (by name), the optimizer's state and plain progress, whole or not at all.

    Raises FileError when the disk refuses; the last checkpoint then still stands.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    data = save(plain, {"progress": json.dumps(progress)})
    write_bytes(path, data)


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Fill modules and optimizer from a checkpoint and return its progress. Raises ModelError: not one of these."""
    try:
        progress, tensors = _read(path)
        for name, module in modules.items():
            module.load_state_dict(
                {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            )
        if optimizer is not None:
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimizer/"):
                    _, index, part = key.split("/")
                    state.setdefault(int(index), {})[part] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: no checkpoint of this run ({str(error).splitlines()[0]})") from error
    return progress


def load_network(path: Path) -> tuple[OamCnn, dict[str, Any]]:
    """The averaged network of a checkpoint, ready to answer, and the checkpoint's progress; or that of a model file,
    with the last run of its past. Raises ModelError."""
    if is_model_file(str(path)):
        return restore(str(path)), described(str(path))["training"][-1]
    recipe = progress_of(path).get("recipe", {})
    model = OamCnn(
        backbone=recipe.get("backbone", RESNET),
        backbone_stages=recipe.get("backbone_stages", ()),
        tasks=recipe.get("tasks", tuple(TASKS)),
        attention=recipe.get("attention", True),
    )
    progress = load_checkpoint(path, {"averaged": model})
    return model.eval(), progress


def history(path: Path) -> list[dict[str, Any]]:
    """The runs that led to a checkpoint or a model file, oldest first: recipe, data, step and steps of each.

    A run that started from another checkpoint, or was taught by one, names it in its recipe. Raises ModelError: one of
    them is missing.
    """
    if is_model_file(str(path)):
        return list(described(str(path))["training"])
    try:
        progress = progress_of(path)
        run = {key: progress[key] for key in ("recipe", "data", "step", "steps")}
        start, teacher = progress["recipe"]["pretrained"], progress["recipe"].get("teacher", "")
        before = [start] if is_model_file(start) or (start not in STARTS and _is_checkpoint(Path(start))) else []
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: no checkpoint whose past can be told ({error})") from error
    runs: list[dict[str, Any]] = []
    for earlier in dict.fromkeys([*before, *([teacher] if teacher else [])]):  # often both are one
        runs += [past for past in history(Path(earlier)) if past not in runs]
    return [*runs, run]


def progress_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says of its run, without its tensors. Raises ModelError."""
    try:
        return _read(path, tensors=False)[0]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: no checkpoint of ours ({error})") from error


def _is_checkpoint(path: Path) -> bool:
    with safe_open(path, "pt") as file:
        return "progress" in (file.metadata() or {})


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        names = file.keys() if tensors else []
        return json.loads(metadata["progress"]), {name: file.get_tensor(name) for name in names}
