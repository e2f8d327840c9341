import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from oamface.benchmark import bench, tables
from oamface.datasets.store import Store
from oamface.errors import DataError, ModelError
from oamface.export import openvino as module
from oamface.export.exporter import export
from oamface.predictor import Predictor

pytest.importorskip("openvino", reason="needs oamface[openvino]")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    out = tmp_path_factory.mktemp("openvino") / "oam.xml"
    export("oam", [], out, to="openvino")
    return out


def test_the_same_answers_calibration_and_figures(converted, store_folder) -> None:
    one, other = Predictor("oam"), Predictor(converted, threads=1)
    assert one.description == other.description
    assert one.digest != other.digest
    crops = list(Store.open(store_folder).crops[:34])  # more than go into one pass
    wanted, found = one.answer(crops), other.answer(crops)
    for task, shares in wanted.probabilities.items():
        assert np.abs(shares - found.probabilities[task]).max() < 0.01
    assert np.abs(wanted.attention - found.attention).max() < 0.01
    assert converted.with_suffix(".bin").stat().st_size < 13e6


def test_a_checkpoint_or_file_calibrated_on_stores(untrained_model, store_folder, tmp_path) -> None:
    description = export(untrained_model, [Store.open(store_folder)], tmp_path / "own.xml", to="openvino")
    assert Predictor(tmp_path / "own.xml").description == description
    assert description["figures"]["data_sets"]["utkface"]["faces"] == 12


def test_what_cannot_be_converted(untrained_model, tmp_path, monkeypatch) -> None:
    with pytest.raises(ModelError, match="two files"):
        export(untrained_model, [], tmp_path / "model.onnx", to="openvino")
    with pytest.raises(DataError, match="--store"):
        export(untrained_model, [], tmp_path / "model.onnx")
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="off those of"):
        export(untrained_model, [], tmp_path / "model.xml", to="openvino")
    assert not list(tmp_path.iterdir())


def test_damaged_files(converted, tmp_path) -> None:
    alone = tmp_path / "alone.xml"
    shutil.copy(converted, alone)
    with pytest.raises(ModelError, match=r"alone\.bin: cannot be read"):
        Predictor(alone)
    alone.write_text("<net/>")
    alone.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no OpenVINO model"):
        Predictor(alone)


def test_it_is_timed_like_others(converted) -> None:
    measured = bench([str(converted)], threads=(1,), rounds=1)
    one, many = measured["networks"]
    assert one["multiply_adds"] is many["peak_share"] is measured["single_task"] is None  # it cannot be taken apart
    assert one["megabytes"] > 10  # with its weights, which lie in a file of their own
    assert "oam.xml (float16)" in json.dumps(tables(measured))


def test_openvino_reports_to_nobody(converted, tmp_path) -> None:
    """Importing it as published writes an identifier into the home folder and sends an event."""
    code = f"import sys; from oamface.predictor import Predictor; Predictor({str(converted)!r}); "
    code += "sys.exit(any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], env={"HOME": str(tmp_path)}, check=True)
    assert not (tmp_path / "intel").exists()


def test_without_openvino(converted, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"oamface\[openvino\]"):
        Predictor(converted)
