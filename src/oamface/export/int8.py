"""Eight bits in place of thirty-two: post-training quantisation of the backbone (Jacob et al., 2018)."""

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

from oamface.export.graph_rewrites import folded, joined
from oamface.export.onnx import widen
from oamface.runtime import FloatArray, OnnxRuntime

QUANTISED = ("Conv", "Add", "Relu", "MaxPool", "AveragePool", "Pad")
_FLOAT = "model.attention."  # what stays in float besides the heads: its sigmoid and division want more than 8 bits
_READS = re.compile(r"model\.heads\.\w+\.0\.weight")  # of the layers that read the face's vector
_RIDGE = 0.01  # how hard the correction is drawn to none, in mean squares of what it is fitted on
_MOVING = 0.01  # what a batch counts in that average
_TOGETHER = 16


def quantise(graph: onnx.ModelProto, images: FloatArray) -> onnx.ModelProto:
    """A copy of a model file's graph whose backbone computes in 8-bit integers; heads and attention stay in float.

    Weights have a scale for each output channel and are symmetric, in -64..63: a processor without VNNI adds pairs of
    products in 16 bits, which wider ones would overflow. Activations are 0..255 between the least and the largest
    value that batches of `images` (N, 3, S, S), as the network takes them, give: the moving average over all batches.
    """
    whole = widen(graph)
    plain = joined(whole)  # a copy, which quantize_static changes
    weights = {tensor.name for tensor in plain.graph.initializer if tensor.name.startswith(_FLOAT)}
    kept = [node.name for node in plain.graph.node if weights & set(node.input)]
    logging.getLogger().addFilter(_quiet)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                plain,
                out,
                _Images(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": _MOVING},
                nodes_to_exclude=kept,
            )
        finally:
            logging.getLogger().removeFilter(_quiet)
        return _corrected(folded(onnx.load(out)), whole, images)


def _corrected(quantised: onnx.ModelProto, plain: onnx.ModelProto, images: FloatArray) -> onnx.ModelProto:
    """The quantised graph with heads that undo what 8 bits do to the vector they read, as far as that is linear.

    Errors of rounding have a mean (which Nagel et al., 2019, correct) and follow the vector; a ridge regression from
    the quantised vectors of `images` to the true ones, drawn to the identity, is folded into the heads.
    """
    readers = [node for node in quantised.graph.node if any(_READS.fullmatch(name) for name in node.input)]
    (vector,) = {node.input[0] for node in readers}
    seen, wanted = (_values(graph, vector, images).astype(np.float64) for graph in (quantised, plain))
    error = Ridge(_RIDGE * len(seen) * seen.var(0).mean()).fit(seen, wanted - seen)
    turn, shift = np.eye(len(error.coef_)) + error.coef_, error.intercept_
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    for node in readers:
        weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in node.input[1:])
        for name, value in zip(node.input[1:], (weight @ turn, bias + weight @ shift), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return quantised


def _values(graph: onnx.ModelProto, name: str, images: FloatArray) -> FloatArray:
    """What a tensor of the graph is for every image."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    network = OnnxRuntime(copy.SerializeToString())
    return np.concatenate([network(batch)[0] for batch in _batches(images)])


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """The images in the form that onnxruntime asks for them."""

    def __init__(self, images: FloatArray) -> None:
        self._batches = iter(_batches(images))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.ascontiguousarray(batch)}


def _batches(images: FloatArray) -> list[FloatArray]:
    return [images[start : start + _TOGETHER] for start in range(0, len(images), _TOGETHER)]


def _quiet(record: logging.LogRecord) -> bool:
    """Leave out the advice to pre-process, which our graph does not need."""
    return "pre-processing" not in record.getMessage()
