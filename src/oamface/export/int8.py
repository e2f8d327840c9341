"""Post-training quantisation of the backbone to 8 bits (Jacob et al., 2018)."""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from sklearn.linear_model import Ridge

from oamface.export.graph_rewrites import fuse_shortcuts, space_to_depth_stem
from oamface.export.onnx import to_float32
from oamface.results import FloatArray
from oamface.runtime import OnnxRuntime

QUANTISED_OPS = ("Conv", "Add", "Relu", "MaxPool", "AveragePool", "Pad")
_ATTENTION = "model.attention."  # stays in float: its sigmoid and division need more than 8 bits
_HEAD_INPUT = re.compile(r"model\.heads\.\w+\.0\.weight")  # of the layers that read the embedding
_RIDGE = 0.01  # regularisation of the embedding's correction, relative to the embedding's variance
_MOMENTUM = 0.01  # weight of a batch in the moving average of activation ranges
_BATCH = 16


def quantise(graph: onnx.ModelProto, images: FloatArray) -> onnx.ModelProto:
    """A copy of a model file's graph whose backbone computes in 8-bit integers; heads and attention stay in float.

    images: (N, 3, S, S) as the network takes them, from which the ranges of activations are estimated. Weights are
    symmetric, with a scale for each output channel, in -64..63: without VNNI a processor adds pairs of products in 16
    bits, which wider ones would overflow. Activations are 0..255.
    """
    float32 = to_float32(graph)
    fused = fuse_shortcuts(float32)  # a copy, which quantize_static changes
    weights = {tensor.name for tensor in fused.graph.initializer if tensor.name.startswith(_ATTENTION)}
    excluded = [node.name for node in fused.graph.node if weights & set(node.input)]
    logging.getLogger().addFilter(_no_preprocessing_advice)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                fused,
                path,
                _ImageReader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED_OPS),
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": _MOMENTUM},
                nodes_to_exclude=excluded,
            )
        finally:
            logging.getLogger().removeFilter(_no_preprocessing_advice)
        return _correct_heads(space_to_depth_stem(onnx.load(path)), float32, images)


def _correct_heads(quantised: onnx.ModelProto, float32: onnx.ModelProto, images: FloatArray) -> onnx.ModelProto:
    """The quantised graph with heads that undo the linear part of the quantisation error of the embedding.

    The error has a mean (corrected by Nagel et al., 2019) and depends on the embedding: a ridge regression from the
    quantised embeddings of `images` to the float ones, regularised to the identity, is folded into the heads.
    """
    first_layers = [node for node in quantised.graph.node if any(_HEAD_INPUT.fullmatch(name) for name in node.input)]
    (embedding,) = {node.input[0] for node in first_layers}
    inputs, targets = (_tensor_values(graph, embedding, images).astype(np.float64) for graph in (quantised, float32))
    regression = Ridge(_RIDGE * len(inputs) * inputs.var(0).mean()).fit(inputs, targets - inputs)
    matrix, shift = np.eye(len(regression.coef_)) + regression.coef_, regression.intercept_
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    for node in first_layers:
        weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in node.input[1:])
        for name, values in zip(node.input[1:], (weight @ matrix, bias + weight @ shift), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return quantised


def _tensor_values(graph: onnx.ModelProto, name: str, images: FloatArray) -> FloatArray:
    """The values of one tensor of the graph for every image."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    network = OnnxRuntime(copy.SerializeToString())
    return np.concatenate([network(batch)[0] for batch in _batches(images)])


class _ImageReader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the images to onnxruntime batch by batch."""

    def __init__(self, images: FloatArray) -> None:
        self._batches = iter(_batches(images))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.ascontiguousarray(batch)}


def _batches(images: FloatArray) -> list[FloatArray]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _no_preprocessing_advice(record: logging.LogRecord) -> bool:
    """Leaves out onnxruntime's advice to pre-process the model, which this graph does not need."""
    return "pre-processing" not in record.getMessage()
