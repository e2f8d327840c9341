import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from oamface.export.graph_rewrites import folded, joined
from oamface.export.onnx import trace
from oamface.models.oam_cnn import OamCnn
from oamface.runtime import OnnxRuntime


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trace(OamCnn(backbone="face-resnet", backbone_stages=((8, 1), (16, 1), (32, 1), (64, 1), (64, 1))), 110)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(0, 0.3, (4, 3, 110, 110)).astype(np.float32)


def test_joined_operations_answer_the_same(network, images) -> None:
    fewer = joined(network)
    for before, after in zip(answers(network, images), answers(fewer, images), strict=True):
        assert np.allclose(before, after, atol=1e-5)
    had, has = kinds(network), kinds(fewer)
    assert (had.count("Pad"), had.count("AveragePool")) == (8, 4)
    assert (has.count("Pad"), has.count("AveragePool"), has.count("Identity")) == (2, 1, 0)
    assert kinds(network) == had  # what was given is left as it was


def test_a_folded_first_convolution_gives_the_very_same_sums(images, tmp_path) -> None:
    plain = quantised(stem(side=110), images, tmp_path)
    fold = folded(plain)
    assert kinds(fold).count("SpaceToDepth") == 1
    assert np.array_equal(answers(plain, images)[0], answers(fold, images)[0])


def test_odd_sides_are_not_folded(images, tmp_path) -> None:
    odd = np.ascontiguousarray(images[:, :, :109, :109])
    plain = quantised(stem(side=109), odd, tmp_path)
    assert "SpaceToDepth" not in kinds(folded(plain))


class Once(CalibrationDataReader):
    def __init__(self, images) -> None:
        self.given = [{"images": images}]

    def get_next(self):
        return self.given.pop() if self.given else None


def stem(side: int) -> onnx.ModelProto:
    """A 7 x 7 convolution by twos, and one behind it that no rule is for."""
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
    # Of 7 bits: wider products overflow on a processor without VNNI, each order of them in its own way.
    kind = {"quant_format": QuantFormat.QDQ, "per_channel": True, "reduce_range": True}
    out = folder / "int8.onnx"
    quantize_static(graph, out, Once(images), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **kind)
    return onnx.load(out)


def kinds(graph) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def answers(graph, images):
    return OnnxRuntime(graph.SerializeToString())(images)
