import subprocess
import sys

import numpy as np
import pytest

from oamface.errors import ModelError
from oamface.runtime import OnnxRuntime, load


def test_a_file_by_its_ending(untrained_model, tmp_path) -> None:
    network, digest = load(untrained_model, threads=1)
    assert len(digest) == 64
    assert network.description().startswith("{")
    values = network(np.zeros((2, 3, 32, 32), np.float32))
    assert [len(value) for value in values] == [2] * len(network.outputs)
    (tmp_path / "text.onnx").write_text("text")
    for path, reason in ((tmp_path / "text.onnx", "no ONNX model"), (tmp_path / "gone.onnx", "cannot be read")):
        with pytest.raises(ModelError, match=reason) as told:
            load(path)
        assert str(path) in str(told.value)
    with pytest.raises(ModelError, match="no ONNX model"):
        OnnxRuntime(b"")


def test_help_waits_for_no_network() -> None:
    """Neither numpy nor a runtime is loaded to print what commands there are."""
    code = "import sys, oamface.cli.app; print({'numpy', 'onnxruntime', 'cv2', 'rich', 'torch'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
