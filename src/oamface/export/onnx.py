"""The model file: one ONNX that describes itself, from a network and what is known about it."""

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
TOLERANCE = 0.02  # by which a probability may differ between a network and its files, whose weights are float16
HALVED = 1024  # values from which a tensor is stored in float16


class _Answering(nn.Module):
    """The network as the file holds it: logits of every task, and the attention as shares."""

    def __init__(self, model: OamCnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(images)
        return *(outputs.logits[task] for task in TASKS), outputs.attention.sigmoid()


def describe(model: OamCnn, size: int, training: list[dict[str, Any]]) -> dict[str, Any]:
    """What every file says of itself, still without calibration: temperatures of 1, empty intervals.

    size: pixels of the crops it takes. training: the runs that led to it, oldest first, each with its recipe and data.
    """
    return {
        "format": FORMAT,
        "tasks": {task: list(classes) for task, classes in TASKS.items()},
        "crop": {"size": CROP_SIZE, "margin": MARGIN},
        "input": {"size": size, **{name: list(value) for name, value in asdict(model.preprocessing).items()}},
        "parameters": parameter_count(model),
        "stored": "float16",
        "temperatures": dict.fromkeys(TASKS, 1.0),
        # Calibrated answers below it are nearer to a guess among all classes than to certainty.
        "thresholds": {task: (1 + 1 / len(TASKS[task])) / 2 for task in TASKS if task != "age"},
        "intervals": {"level": 0.0, "quantiles": [0.0] * len(TASKS["age"])},
        "training": training,
        "figures": None,
    }


def trace(model: OamCnn, size: int) -> onnx.ModelProto:
    """The network as ONNX: (N, 3, size, size) float32 `images` to OUTPUTS.

    Raises ModelError for a network that does not do all tasks with attention.
    """
    if set(model.heads) != set(TASKS) or model.attention is None:
        raise ModelError("a model file holds a network with attention and all four tasks; this one has fewer")
    answering = _Answering(model.float()).cpu().eval()
    example = torch.zeros(2, 3, size, size)
    program = torch.onnx.export(
        answering,
        (example,),
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
    stored = _halved(graph)
    helper.set_model_props(stored, {METADATA: json.dumps(description)})
    data = stored.SerializeToString()
    write_bytes(path, data)


def widen(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are all float32: what `write_model` stored as float16 and its Casts are undone."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    halves = {tensor.name: tensor for tensor in copy.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in copy.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            halves[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _halved(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with large float32 tensors as float16, each widened by a Cast that the runtime folds away on loading."""
    model, casts = onnx.ModelProto(), []
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < HALVED:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.widen", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    return model
