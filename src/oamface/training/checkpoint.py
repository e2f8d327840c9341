"""A training run on disk: one safetensors file with every tensor, and the run's progress as JSON in its header."""

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
from oamface.models.backbones import RESNET50
from oamface.models.oam_cnn import OamCnn
from oamface.models.onnx_import import is_model_file, load_from_onnx, read_metadata
from oamface.zoo import teacher_names

EMA_MODEL = "ema_model"  # the module of a checkpoint that is exported
BEST_MODEL = "best_model"  # or this one, of a run that stops early
_ERRORS = (OSError, SafetensorError, KeyError, ValueError, RuntimeError)


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None, progress: dict[str, Any]
) -> None:
    """Write modules (by name), the optimizer's state and the progress (JSON), whole or not at all.

    Raises FileError: it cannot be written; the last checkpoint then is still there.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(path, save(on_cpu, {"progress": json.dumps(progress)}))


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Load modules and optimizer from a checkpoint and return its progress. Raises ModelError: another file."""
    try:
        progress, tensors = _read(path)
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        if optimizer is not None:
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimizer/"):
                    _, index, name = key.split("/")
                    state.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except _ERRORS as error:
        raise ModelError(f"{path}: not a checkpoint of this run ({str(error).splitlines()[0]})") from error
    return progress


def load_network(path: Path) -> tuple[OamCnn, dict[str, Any]]:
    """The EMA model of a checkpoint, or its best epoch's, in evaluation mode, and the checkpoint's progress.

    path: of a checkpoint; or a model file, with the last of its training runs as the progress. Raises ModelError.
    """
    if is_model_file(str(path)):
        return load_from_onnx(str(path)), read_metadata(str(path))["training"][-1]
    progress = read_progress(path)
    recipe = progress.get("recipe", {})
    model = OamCnn(
        backbone=recipe.get("backbone", RESNET50),
        backbone_stages=recipe.get("backbone_stages", ()),
        tasks=recipe.get("tasks", tuple(TASKS)),
        attention=recipe.get("attention", True),
        crop_box=recipe.get("crop_box", ()),
    )
    load_checkpoint(path, {BEST_MODEL if progress.get("best") else EMA_MODEL: model})
    return model.eval(), progress


def history(path: Path) -> list[dict[str, Any]]:
    """The runs that led to a checkpoint or a model file, oldest first: recipe, data, step and steps of each.

    They are found by the `pretrained` and `teachers` of the recipes. Raises ModelError: one of them is missing.
    """
    if is_model_file(str(path)):
        return list(read_metadata(str(path))["training"])
    try:
        progress = read_progress(path)
        run = {key: progress[key] for key in ("recipe", "data", "step", "steps")}
        pretrained, teachers = progress["recipe"]["pretrained"], teacher_names(progress["recipe"])
        earlier = [pretrained] if is_model_file(pretrained) or _is_checkpoint(pretrained) else []
    except _ERRORS as error:
        raise ModelError(f"{path}: not a checkpoint with a history ({error})") from error
    runs: list[dict[str, Any]] = []
    for name in dict.fromkeys([*earlier, *teachers]):  # often both are one
        runs += [other for other in history(Path(name)) if other not in runs]
    return [*runs, run]


def read_progress(path: Path) -> dict[str, Any]:
    """The progress of a checkpoint. Raises ModelError."""
    try:
        return _read(path, tensors=False)[0]
    except _ERRORS as error:
        raise ModelError(f"{path}: not a checkpoint of oamface ({error})") from error


def _is_checkpoint(pretrained: str) -> bool:
    if pretrained in ("scratch", "hub", "package"):
        return False
    with safe_open(pretrained, "pt") as file:
        return "progress" in (file.metadata() or {})


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        names = file.keys() if tensors else []
        return json.loads(metadata["progress"]), {name: file.get_tensor(name) for name in names}
