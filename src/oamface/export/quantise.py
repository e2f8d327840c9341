"""Eight bits in place of thirty-two: post-training quantisation of the trunk (Jacob et al., 2018)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from oamface.export.model_file import widen
from oamface.runtime import FloatArray

QUANTISED = ("Conv", "Add", "Relu", "MaxPool", "AveragePool", "Pad")
_FLOAT = "model.attention."  # what stays in float besides the heads: its sigmoid and division want more than 8 bits
_TOGETHER = 16


def quantise(graph: onnx.ModelProto, pictures: FloatArray) -> onnx.ModelProto:
    """A copy of a model file's graph whose trunk computes in 8-bit integers; heads and attention stay in float.

    Weights have a scale for each output channel and are symmetric, in -64..63: a processor without VNNI adds pairs of
    products in 16 bits, which wider ones would overflow. Activations are 0..255 between the least and the largest
    value that `pictures` (N, 3, S, S), as the network takes them, give.
    """
    plain = widen(graph)
    weights = {tensor.name for tensor in plain.graph.initializer if tensor.name.startswith(_FLOAT)}
    kept = [node.name for node in plain.graph.node if weights & set(node.input)]
    logging.getLogger().addFilter(_quiet)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                plain,
                out,
                _Pictures(pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=kept,
            )
        finally:
            logging.getLogger().removeFilter(_quiet)
        return onnx.load(out)


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """The pictures in the form that onnxruntime asks for them."""

    def __init__(self, pictures: FloatArray) -> None:
        self._batches: Iterator[FloatArray] = iter(
            [pictures[start : start + _TOGETHER] for start in range(0, len(pictures), _TOGETHER)]
        )

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pictures": np.ascontiguousarray(batch)}


def _quiet(record: logging.LogRecord) -> bool:
    """Leave out the advice to pre-process, which our graph does not need."""
    return "pre-processing" not in record.getMessage()
