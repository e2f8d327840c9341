import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from oamface.benchmark import run_benchmark, tables
from oamface.datasets.store import Store
from oamface.errors import DeviceError, ModelError, OptionError
from oamface.export import openvino as openvino_export
from oamface.export.exporter import export
from oamface.predictor import Predictor

pytest.importorskip("openvino", reason="needs oamface[openvino]")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    output = tmp_path_factory.mktemp("openvino") / "oam.xml"
    export("oam", [], output)
    return output


def test_predictions_and_description_are_those_of_the_onnx_file(converted, store_folder) -> None:
    one, other = Predictor("oam"), Predictor(converted, threads=1)
    assert one.description == other.description
    assert one.digest != other.digest
    crops = list(Store.open(store_folder).crops[:34])  # more than a batch
    expected, predictions = one.predict(crops), other.predict(crops)
    for task, probabilities in expected.probabilities.items():
        assert np.abs(probabilities - predictions.probabilities[task]).max() < 0.01
    assert np.abs(expected.attention - predictions.attention).max() < 0.01
    assert converted.with_suffix(".bin").stat().st_size < 13e6


def test_export_calibrates_on_stores(untrained_model, store_folder, tmp_path) -> None:
    description = export(untrained_model, [Store.open(store_folder)], tmp_path / "model.xml")
    assert Predictor(tmp_path / "model.xml").description == description
    assert description["figures"]["data_sets"]["utkface"]["faces"] == 12


def test_file_that_differs_from_the_onnx_file_is_not_written(untrained_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(openvino_export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="differ"):
        export(untrained_model, [], tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())


def test_eight_bits_are_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match="convert a float16 file"):
        export("oam-small", [], tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())


def test_predictor_rejects_other_devices_and_threads(converted) -> None:
    with pytest.raises(DeviceError, match="always runs in OpenVINO"):
        Predictor(converted, device="cuda")
    for options in ({"device": "tpu"}, {"threads": -3}):
        with pytest.raises(OptionError):
            Predictor(converted, **options)


def test_predictor_rejects_damaged_files(converted, tmp_path) -> None:
    alone = tmp_path / "alone.xml"
    shutil.copy(converted, alone)
    with pytest.raises(ModelError, match=r"alone\.bin"):
        Predictor(alone)
    alone.write_text("<net/>")
    alone.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no OpenVINO model"):
        Predictor(alone)


def test_benchmark_of_an_openvino_file(converted) -> None:
    results = run_benchmark([str(converted)], threads=(1,), rounds=1)
    one, batch = results["networks"]
    assert one["multiply_adds"] is batch["peak_share"] is results["single_task"] is None  # only of ONNX files
    assert one["megabytes"] > 10  # includes the .bin file
    assert "oam.xml (float16)" in json.dumps(tables(results))


def test_openvino_sends_no_telemetry(converted, tmp_path) -> None:
    """Importing it as published writes an identifier into the home folder and sends an event."""
    code = f"import sys; from oamface.predictor import Predictor; Predictor({str(converted)!r}); "
    code += "sys.exit(any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], env={"HOME": str(tmp_path)}, check=True)
    assert not (tmp_path / "intel").exists()


def test_predictor_names_the_extra_when_openvino_is_missing(converted, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"oamface\[openvino\]"):
        Predictor(converted)
