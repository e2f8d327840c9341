import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from oamface.export.graph_rewrites import fuse_shortcuts, space_to_depth_stem
from oamface.export.onnx import trace
from oamface.models.oam_cnn import OamCnn
from oamface.runtime import OnnxRuntime

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trace(OamCnn(backbone="face-resnet", backbone_stages=((8, 1), (16, 1), (32, 1), (64, 1), (64, 1))), 110)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(0, 0.3, (4, 3, 110, 110)).astype(np.float32)


def test_fuse_shortcuts_keeps_the_outputs_with_fewer_operators(network, images) -> None:
    fused = fuse_shortcuts(network)
    for one, other in zip(outputs(network, images), outputs(fused, images), strict=True):
        assert np.allclose(one, other, atol=1e-5)
    before, after = op_types(network), op_types(fused)
    assert (before.count("Pad"), before.count("AveragePool")) == (8, 4)
    assert (after.count("Pad"), after.count("AveragePool"), after.count("Identity")) == (2, 1, 0)
    assert op_types(network) == before  # the argument is unchanged


def test_space_to_depth_stem_gives_exactly_the_same_outputs(images, tmp_path) -> None:
    graph = quantised(stem(side=110), images, tmp_path)
    rewritten = space_to_depth_stem(graph)
    assert op_types(rewritten).count("SpaceToDepth") == 1
    assert np.array_equal(outputs(graph, images)[0], outputs(rewritten, images)[0])


def test_space_to_depth_stem_leaves_odd_sides_as_they_are(images, tmp_path) -> None:
    odd = np.ascontiguousarray(images[:, :, :109, :109])
    graph = quantised(stem(side=109), odd, tmp_path)
    assert "SpaceToDepth" not in op_types(space_to_depth_stem(graph))


class SingleBatch(CalibrationDataReader):
    def __init__(self, images) -> None:
        self.batches = [{"images": images}]

    def get_next(self):
        return self.batches.pop() if self.batches else None


def stem(side: int) -> onnx.ModelProto:
    """A 7 x 7 convolution of stride 2, and one after it that no rule matches."""
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.normal(size=(8, 3, 7, 7)),
        "bias": rng.normal(size=8),
        "second": rng.normal(size=(4, 8, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["images", "first", "bias"], ["middle"], strides=[2, 2], pads=[0] * 4),
        helper.make_node("Conv", ["middle", "second"], ["last"], strides=[2, 2], pads=[0] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["faces", 3, side, side])],
        [helper.make_tensor_value_info("last", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def quantised(graph, images, folder):
    # 7 bits: without VNNI wider products overflow, differently in every order of summation.
    options = {"quant_format": QuantFormat.QDQ, "per_channel": True, "reduce_range": True}
    path = folder / "int8.onnx"
    quantize_static(
        graph, path, SingleBatch(images), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options
    )
    return onnx.load(path)


def op_types(graph) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def outputs(graph, images):
    return OnnxRuntime(graph.SerializeToString())(images)
