"""Tables in the guide are those that its benchmarks make of the committed results."""

import hashlib
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from oamface.weights import weights_file

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/age-thresholds.md"


@pytest.fixture
def benchmark(monkeypatch) -> "type[ModuleType]":
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for name in ("age_faces", "quality", "age_thresholds"):
        sys.modules.pop(name, None)


def digest(weights: str) -> str:
    return hashlib.sha256(weights_file(weights).read_bytes()).hexdigest()


def test_quality_table_is_that_of_the_results(benchmark) -> None:
    quality, faces = benchmark("quality"), benchmark("age_faces")
    results = json.loads(quality.RESULTS.read_text())
    assert faces.generated(GUIDE.read_text(), "quality") == quality.markdown(results)
    assert results["sha256"] == digest("oam-int8")


def test_threshold_tables_are_those_of_the_results(benchmark) -> None:
    thresholds, faces = benchmark("age_thresholds"), benchmark("age_faces")
    results = json.loads(thresholds.RESULTS.read_text())
    for name, table in thresholds.tables(results).items():
        assert faces.generated(GUIDE.read_text(), name) == table
    for weights, figures in results["models"].items():
        assert figures["sha256"] == digest(weights)
    assert thresholds.FIGURE.stat().st_size < 60_000
