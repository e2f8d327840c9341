"""ONNX graph rewrites that compute the same with operators that are fast in 8 bits."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import IdentityEliminationPass
from onnxscript.rewriter import pattern, rewrite

_BLOCK = 2  # pixels on each side that become channels


def fuse_shortcuts(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the same outputs, up to rounding, and fewer operators that would run in float between 8-bit ones.

    A shortcut's average pooling and zero-padded channels become one convolution; a Pad that adds nothing is removed.
    """
    return _rewrite(graph, _PooledShortcut, _EmptyPad)


def space_to_depth_stem(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a quantised graph with exactly the same outputs; its first convolution reads 2 x 2 pixels as channels.

    A 7 x 7 kernel of stride 2 over 3 channels becomes one of 4 x 4 over 12 channels (SpaceToDepth), its eighth row and
    column zero. The runtime gathers a kernel's inputs pixel by pixel: 16 times 12 bytes are faster than 49 times 3.
    Images with odd sides stay as they are.
    """
    return _rewrite(graph, _SpaceToDepthStem)


def _rewrite(graph: onnx.ModelProto, *rules: type[pattern.RewriteRuleClassBase]) -> onnx.ModelProto:
    model = rewrite(ir.from_proto(graph), pattern_rewrite_rules=[rule.rule() for rule in rules])
    IdentityEliminationPass()(model)
    return ir.to_proto(model)


class _PooledShortcut(pattern.RewriteRuleClassBase):  # type: ignore[misc]
    def pattern(self, op: Any, features: Any, pads: Any) -> Any:
        return op.Pad(op.AveragePool(features, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]), pads)

    def check(self, context: Any, features: Any, pads: Any) -> bool:
        sizes = _pad_sizes(pads)
        only_channels = len(sizes) == 8 and sizes[5] > 0 and np.count_nonzero(sizes) == 1
        return features.shape is not None and bool(only_channels)

    def rewrite(self, op: Any, features: Any, pads: Any) -> Any:
        channels = features.shape[1]
        kernel = np.zeros((channels + int(_pad_sizes(pads)[5]), channels, 2, 2), np.float32)
        kernel[range(channels), range(channels)] = 1 / 4
        weight = op.initializer(ir.tensor(kernel), f"{features.name}.mean")
        return op.Conv(features, weight, strides=[2, 2], pads=[0, 0, 0, 0])


class _EmptyPad(pattern.RewriteRuleClassBase):  # type: ignore[misc]
    def pattern(self, op: Any, features: Any, pads: Any) -> Any:
        return op.Pad(features, pads)

    def check(self, context: Any, features: Any, pads: Any) -> bool:
        return pads.const_value is not None and not _pad_sizes(pads).any()

    def rewrite(self, op: Any, features: Any, pads: Any) -> Any:
        return op.Identity(features)


class _SpaceToDepthStem(pattern.RewriteRuleClassBase):  # type: ignore[misc]
    def pattern(
        self, op: Any, images: Any, scale: Any, zero: Any, weight: Any, scales: Any, zeros: Any, bias: Any
    ) -> Any:
        quantised = op.DequantizeLinear(op.QuantizeLinear(images, scale, zero), scale, zero)
        kernel = op.DequantizeLinear(weight, scales, zeros, axis=0)
        return op.Conv(quantised, kernel, bias, strides=[_BLOCK, _BLOCK], pads=[0, 0, 0, 0])

    def check(self, context: Any, images: Any, weight: Any, **_: Any) -> bool:
        return bool(
            images.is_graph_input()
            and weight.const_value is not None
            and all(isinstance(side, int) and side % _BLOCK == 0 for side in images.shape[2:])
            and all(side % _BLOCK for side in weight.shape[2:])
        )

    def rewrite(
        self, op: Any, images: Any, scale: Any, zero: Any, weight: Any, scales: Any, zeros: Any, bias: Any
    ) -> Any:
        kernel = np.pad(weight.const_value.numpy(), ((0, 0), (0, 0), (0, 1), (0, 1)))
        filters, channels, height, width = kernel.shape
        blocks = kernel.reshape(filters, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        blocks = blocks.transpose(0, 3, 5, 1, 2, 4).reshape(filters, -1, height // _BLOCK, width // _BLOCK)
        # Quantised last: before 1.26 ONNX Runtime has SpaceToDepth for floats alone.
        pixels = op.QuantizeLinear(op.SpaceToDepth(images, blocksize=_BLOCK), scale, zero)
        smaller = op.initializer(ir.tensor(np.ascontiguousarray(blocks)), f"{weight.name}.blocks")
        return op.Conv(
            op.DequantizeLinear(pixels, scale, zero),
            op.DequantizeLinear(smaller, scales, zeros, axis=0),
            bias,
            strides=[1, 1],
            pads=[0, 0, 0, 0],
        )


def _pad_sizes(pads: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A Pad's constant sizes, before and then after each axis; empty when the graph computes them."""
    return np.zeros(0, np.int64) if pads.const_value is None else pads.const_value.numpy()
