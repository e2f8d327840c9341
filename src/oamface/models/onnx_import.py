"""Reads a model file back into a torch network, to train on from or to distil."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from oamface.errors import ModelError
from oamface.models.backbones import FACE_RESNET
from oamface.models.oam_cnn import OamCnn
from oamface.runtime import METADATA
from oamface.weights import WEIGHTS, weights_file

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def is_model_file(name: str) -> bool:
    """Whether the name of a recipe's network is one of the package's weights or an exported file."""
    return name in WEIGHTS or name.endswith(".onnx")


def read_model(name: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A model file's graph as it is stored, and its metadata. Raises ModelError: not a model file of oamface."""
    path = weights_file(name)
    try:
        graph = onnx.load(path)
        metadata = json.loads({item.key: item.value for item in graph.metadata_props}[METADATA])
        metadata["training"][-1]["recipe"]
    except Exception as error:  # protobuf raises errors of its own on anything that is no model
        raise ModelError(f"{path}: not a model file of oamface ({str(error).splitlines()[0]})") from error
    return graph, metadata


def read_metadata(name: str) -> dict[str, Any]:
    """A model file's metadata. Raises ModelError: not a model file of oamface."""
    return read_model(name)[1]


def load_from_onnx(name: str) -> OamCnn:
    """The network of a model file, in evaluation mode; its outputs are the file's up to the rounding of float16.

    Export folds batch normalisation into the layers before it, so here it is an identity: see `recalibrate_batchnorm`.
    Raises ModelError: not a model file of oamface, one in int8, or one with a backbone other than the face network.
    """
    graph, metadata = read_model(name)
    recipe, stored = metadata["training"][-1]["recipe"], metadata.get("stored", "float16")
    backbone = recipe.get("backbone", "")
    if backbone != FACE_RESNET or stored != "float16":
        raise ModelError(
            f"{name}: its weights are {stored} and its backbone is {backbone!r}; only a float16 file with the backbone "
            f"{FACE_RESNET!r} can be trained, such as oam or oam-open"
        )
    tensors = {
        _parameter_name(tensor.name): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in graph.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    model = OamCnn(
        backbone=FACE_RESNET,
        backbone_stages=recipe.get("backbone_stages", ()),
        crop_box=metadata["input"]["crop_box"],
    )
    batch_norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, _BATCH_NORMS)}
    for layer in batch_norms.values():
        assert layer.running_mean is not None and layer.running_var is not None
        nn.init.zeros_(layer.running_mean)
        nn.init.constant_(layer.running_var, 1 - layer.eps)
    state, missing = model.state_dict(), []
    for key in state:
        if key.rsplit(".", 1)[0] in batch_norms:
            continue
        tensor = tensors.get(key)
        if tensor is None or tensor.shape != state[key].shape:
            missing.append(key)
        else:
            state[key] = tensor
    # The attention's first convolution has no bias, so export gave it the batch norm's.
    bias = tensors.get("attention.map.0.weight_bias")
    if missing or bias is None:
        names = ", ".join(missing[:3]) or "the attention's batch norm"
        raise ModelError(f"{name}: lacks weights, such as {names}; export it again")
    state["attention.map.1.bias"] = bias
    model.load_state_dict(state)
    return model.eval()


def _parameter_name(initializer: str) -> str:
    """The name of an initializer's tensor in the network; older files name the backbone differently."""
    part, _, name = initializer.removeprefix("model.").removesuffix(".half").partition(".")
    return f"{part if part in ('attention', 'neck', 'heads') else 'backbone'}.{name}"


@torch.no_grad()
def recalibrate_batchnorm(model: OamCnn, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's running mean and variance to those of its inputs, without changing the model's outputs.

    Training normalises by each batch; from an identity, the outputs would jump. batches: images as the network takes
    them, (B, 3, S, S) each.
    """
    model.eval()
    layers = [layer for layer in model.modules() if isinstance(layer, _BATCH_NORMS)]
    inputs: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}

    def record(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        inputs[layer].append(arguments[0].detach().float().transpose(0, 1).flatten(1).mT)

    hooks = [layer.register_forward_hook(record) for layer in layers]
    for images in batches:
        model(images)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        values = torch.cat(inputs[layer])
        mean, variance = values.mean(0), values.var(0)
        assert layer.running_mean is not None and layer.running_var is not None
        # The affine function that the layer was before, now around another mean and variance.
        gain = layer.weight / (layer.running_var + layer.eps).sqrt()
        shift = layer.bias - gain * layer.running_mean
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        layer.weight.copy_(gain * (variance + layer.eps).sqrt())
        layer.bias.copy_(shift + gain * mean)
