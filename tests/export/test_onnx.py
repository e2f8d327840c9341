import numpy as np
import onnx
import onnxruntime
import pytest

from oamface.errors import FileError
from oamface.export.onnx import MIN_FLOAT16, to_float32, write_model
from oamface.predictor import OUTPUTS


def test_inputs_outputs_and_precision_of_a_model_file(untrained_model) -> None:
    model = onnx.load(untrained_model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(untrained_model.read_bytes(), providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["images"]
    assert session.get_inputs()[0].shape[1:] == [3, 32, 32]
    assert isinstance(session.get_inputs()[0].shape[0], str)
    assert [item.name for item in session.get_outputs()] == list(OUTPUTS)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= MIN_FLOAT16]
    assert all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in large)
    assert untrained_model.stat().st_size < 24e6


def test_write_model_into_a_missing_folder_fails(untrained_model, tmp_path) -> None:
    with pytest.raises(FileError):
        write_model(tmp_path / "missing/model.onnx", onnx.load(untrained_model), {})


def test_to_float32_undoes_float16(untrained_model, tmp_path) -> None:
    graph = to_float32(onnx.load(untrained_model))
    assert all(tensor.data_type != onnx.TensorProto.FLOAT16 for tensor in graph.graph.initializer)
    assert "Cast" not in {node.op_type for node in graph.graph.node}
    onnx.save(graph, tmp_path / "float32.onnx")
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    one, other = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": images})
        for path in (untrained_model, tmp_path / "float32.onnx")
    )
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))
