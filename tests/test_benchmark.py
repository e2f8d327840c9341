import json

import pytest

from oamface.benchmark import PERSON, Timing, multiply_adds, run_benchmark, tables, time_calls
from oamface.errors import ModelError
from oamface.images import read_image
from oamface.weights import weights_file


def test_time_calls_warms_up_and_takes_turns() -> None:
    order = []
    times = time_calls({"one": lambda: order.append(1), "two": lambda: order.append(2)}, rounds=3)
    assert order == [1, 1, 2, 2, 1, 2, 1, 2, 1, 2]
    assert all(isinstance(timing, Timing) and 0 <= timing.median <= timing.p95 for timing in times.values())


def test_multiply_adds_are_the_sum_of_the_layers(untrained_model) -> None:
    """dlib's network at 150 px: side of a convolution's output, its inputs and outputs; the heads are below 1 %."""
    layers = [(72, 147, 32), *[(35, 9 * 32, 32)] * 6, (17, 9 * 32, 64), *[(17, 9 * 64, 64)] * 7, (8, 9 * 64, 128)]
    layers += [*[(8, 9 * 128, 128)] * 5, (3, 9 * 128, 256), (3, 9 * 256, 256), *[(4, 9 * 256, 256)] * 4]
    expected = sum(side**2 * inputs * outputs for side, inputs, outputs in layers)
    assert multiply_adds(weights_file("oam")) == pytest.approx(expected, rel=0.01)
    small = multiply_adds(untrained_model)  # a ResNet-18 cut after its third stage, at 32 px
    assert small == pytest.approx(1.4e9 * (32 / 224) ** 2, rel=0.1)


def test_person_is_a_640_x_480_image() -> None:
    assert read_image(PERSON).shape == (480, 640, 3)


@pytest.mark.slow
def test_run_benchmark_measures_networks_stages_and_starts(untrained_model) -> None:
    measured = run_benchmark(["oam", str(untrained_model)], threads=(1,), rounds=2)
    json.dumps(measured)
    assert len(measured["networks"]) == 4
    for row in measured["networks"]:
        assert row["median_ms"] > 0
        assert 0 < row["peak_share"] < 2
        assert row["memory_megabytes"] > 1
    assert measured["single_task"]["ratio"] > 1.5
    stages = measured["stages"]
    assert stages["all"]["median_ms"] > 0.5 * (stages["detect"]["median_ms"] + stages["predict"]["median_ms"])
    text = json.dumps(tables(measured))
    for name in ("oam (float16)", "four networks", "detect", "oamface --help"):
        assert name in text


def test_run_benchmark_rejects_a_missing_model_before_it_measures() -> None:
    with pytest.raises(ModelError):
        run_benchmark(["oam", "missing.onnx"], on_progress=lambda *_: pytest.fail("measured"))
