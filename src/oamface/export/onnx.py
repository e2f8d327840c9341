"""The model file: one ONNX file with its description in the metadata, from a network and what is known about it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from oamface.alignment import CROP_SIZE, MARGIN
from oamface.atomic import write_bytes
from oamface.errors import ModelError
from oamface.labels import TASKS
from oamface.models.oam_cnn import OamCnn, parameter_count
from oamface.predictor import FORMAT, OUTPUTS
from oamface.runtime import METADATA

OPSET = 18
TOLERANCE = 0.02  # how much a probability may differ between a network and its file, whose weights are float16
MIN_FLOAT16 = 1024  # values; smaller tensors stay in float32


class _ExportedNetwork(nn.Module):
    """The network with the file's outputs: logits of every task, attention in 0..1."""

    def __init__(self, model: OamCnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(images)
        return *(outputs.logits[task] for task in TASKS), outputs.attention.sigmoid()


def describe(model: OamCnn, size: int, training: list[dict[str, Any]]) -> dict[str, Any]:
    """The description of an uncalibrated model file: temperatures of 1, intervals of level 0, no figures.

    size: side of the input images. training: the runs that led to the network, oldest first, with recipe and data.
    """
    return {
        "format": FORMAT,
        "tasks": {task: list(classes) for task, classes in TASKS.items()},
        "crop": {"size": CROP_SIZE, "margin": MARGIN},
        "input": {"size": size, **{name: list(value) for name, value in asdict(model.preprocessing).items()}},
        "parameters": parameter_count(model),
        "stored": "float16",
        "temperatures": dict.fromkeys(TASKS, 1.0),
        # A class below its threshold is reported as uncertain: half-way from a guess among all classes to certainty.
        "thresholds": {task: (1 + 1 / len(TASKS[task])) / 2 for task in TASKS if task != "age"},
        "intervals": {"level": 0.0, "quantiles": [0.0] * len(TASKS["age"])},
        "at_least": [],
        "training": training,
        "figures": None,
    }


def trace(model: OamCnn, size: int) -> onnx.ModelProto:
    """The network as an ONNX graph: `images` (N, 3, size, size) float32 to OUTPUTS.

    Raises ModelError: a network without attention or with fewer than all tasks.
    """
    if set(model.heads) != set(TASKS) or model.attention is None:
        raise ModelError("a model file holds a network with attention and all four tasks; this one has fewer")
    program = torch.onnx.export(
        _ExportedNetwork(model.float()).cpu().eval(),
        (torch.zeros(2, 3, size, size),),
        input_names=["images"],
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: torch.export.Dim("faces")},),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def write_model(path: Path, graph: onnx.ModelProto, description: dict[str, Any]) -> None:
    """Write graph and description, large weights as float16, whole or not at all. Raises FileError."""
    model = _to_float16(graph)
    helper.set_model_props(model, {METADATA: json.dumps(description)})
    write_bytes(path, model.SerializeToString())


def to_float32(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with all weights in float32: undoes `_to_float16`."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    halves = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            halves[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _to_float16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with large float32 tensors as float16, each cast to float32, which the runtime does once on loading."""
    model, casts = onnx.ModelProto(), []
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_FLOAT16:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.widen", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    return model
