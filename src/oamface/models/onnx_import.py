"""A model file back into a network that can teach and be trained on."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from oamface.errors import ModelError
from oamface.models.oam_cnn import FACE, OamCnn
from oamface.runtime import METADATA
from oamface.weights import WEIGHTS, weights_file

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def is_model_file(name: str) -> bool:
    """Whether a recipe's start or teacher names one of the package's own weights or an exported file."""
    return name in WEIGHTS or name.endswith(".onnx")


def read_model(name: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A model file's graph as it is stored, and its description. Raises ModelError: not one of ours."""
    path = weights_file(name)
    try:
        graph = onnx.load(path)
        description = json.loads({entry.key: entry.value for entry in graph.metadata_props}[METADATA])
        description["training"][-1]["recipe"]
    except Exception as error:  # protobuf raises errors of its own on anything that is no model
        raise ModelError(f"{path}: no model file of ours ({str(error).splitlines()[0]})") from error
    return graph, description


def described(name: str) -> dict[str, Any]:
    """What a model file says of itself. Raises ModelError: not one of ours."""
    return read_model(name)[1]


def restore(name: str) -> OamCnn:
    """The network of a model file, ready to answer as the file does but for float16's rounding.

    Export folds batch normalisation into the layers before it; here it comes back as one that changes nothing.
    Raises ModelError: no model file of ours, one in int8, or one whose backbone is not the face network.
    """
    graph, description = read_model(name)
    recipe, stored = description["training"][-1]["recipe"], description.get("stored", "float16")
    backbone = recipe.get("backbone", "")
    if backbone != FACE or stored != "float16":
        raise ModelError(
            f"{name}: only a file in float16 with the backbone {FACE!r} can be trained on, not {stored}, {backbone!r}"
        )
    tensors = {
        tensor.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in graph.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    model = OamCnn(backbone=FACE, backbone_stages=recipe.get("backbone_stages", ()))
    assert model.attention is not None
    norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, _NORMS)}
    for layer in norms.values():
        assert layer.running_mean is not None and layer.running_var is not None
        nn.init.zeros_(layer.running_mean)
        nn.init.constant_(layer.running_var, 1 - layer.eps)
    state, missing = model.state_dict(), []
    for key in state:
        if key.rsplit(".", 1)[0] in norms:
            continue
        found = tensors.get(f"model.{key}")
        if found is None or found.shape != state[key].shape:
            missing.append(key)
        else:
            state[key] = found
    # The attention's convolution has no bias of its own, so that the norm's became one.
    shift = tensors.get("model.attention.map.0.weight_bias")
    if missing or shift is None:
        raise ModelError(
            f"{name}: lacks weights, such as {', '.join(missing[:3]) or 'the attention norm'}; export it again"
        )
    state["attention.map.1.bias"] = shift
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def settle(model: OamCnn, batches: Iterable[Tensor]) -> None:
    """Give every batch normalisation the mean and deviation of what reaches it, without changing what it answers.

    Training normalises by the batch at hand: from an identity, the network's answers would jump. batches: images as
    the network takes them, (B, 3, S, S) each.
    """
    model.eval()
    norms = [layer for layer in model.modules() if isinstance(layer, _NORMS)]
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in norms}

    def see(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen[layer].append(given[0].detach().float().transpose(0, 1).flatten(1).mT)

    hooks = [layer.register_forward_hook(see) for layer in norms]
    for images in batches:
        model(images)
    for hook in hooks:
        hook.remove()
    for layer in norms:
        values = torch.cat(seen[layer])
        mean, variance = values.mean(0), values.var(0)
        assert layer.running_mean is not None and layer.running_var is not None
        # What it did: gain and shift of an identity in all but name.
        gain = layer.weight / (layer.running_var + layer.eps).sqrt()
        shift = layer.bias - gain * layer.running_mean
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        layer.weight.copy_(gain * (variance + layer.eps).sqrt())
        layer.bias.copy_(shift + gain * mean)
