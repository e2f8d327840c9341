import numpy as np
import onnx
import onnxruntime
import pytest

from oamface.errors import FileError
from oamface.export.onnx import write_model
from oamface.predictor import OUTPUTS


def test_inputs_outputs_and_storage(untrained_model) -> None:
    model = onnx.load(untrained_model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(untrained_model.read_bytes(), providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["images"]
    assert session.get_inputs()[0].shape[1:] == [3, 32, 32]
    assert isinstance(session.get_inputs()[0].shape[0], str)
    assert [item.name for item in session.get_outputs()] == list(OUTPUTS)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 1024]
    assert all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in large)
    assert untrained_model.stat().st_size < 24e6


def test_nowhere_to_write(untrained_model, tmp_path) -> None:
    with pytest.raises(FileError):
        write_model(tmp_path / "missing/model.onnx", onnx.load(untrained_model), {})
