from functools import partial

import numpy as np
import pytest

from helpers.drawn import SMALL_STUDY
from oamface.datasets.store import Store
from oamface.evaluation.conditions import CONDITIONS
from oamface.labels import WITH_MASK
from oamface.paper import benchmark, quick
from oamface.paper.quick import quick_report, render_store

pytestmark = pytest.mark.slow


def test_rendered_stores_are_labelled_and_do_not_depend_on_workers(tmp_path, head_model) -> None:
    render_store(tmp_path / "one", "utkface", 12, head_model, workers=0)
    render_store(tmp_path / "other", "utkface", 12, head_model, workers=2)
    one, other = (Store.open(tmp_path / name, size=128) for name in ("one", "other"))
    assert (one.crops == other.crops).all()
    assert one.labels == other.labels
    assert {"train", "test"} <= set(one.splits)
    assert all(label.age[0] == label.age[1] for label in one.labels)
    assert len({crop.tobytes() for crop in one.crops}) == 12


def test_rendered_stores_use_classes_of_their_data_set(tmp_path, head_model) -> None:
    render_store(tmp_path / "fairface", "fairface", 12, head_model, workers=0)
    assert all(label.age[1] - label.age[0] in (2, 6, 9, 30) for label in Store.open(tmp_path / "fairface").labels)
    render_store(tmp_path / "masks", "masks", 12, head_model, workers=0)
    store = Store.open(tmp_path / "masks")
    assert sum(label.mask == WITH_MASK for label in store.labels) == 6
    mouths = np.array([crop[80:110, 40:90].mean() for crop in store.crops])
    assert mouths[1::2].mean() != pytest.approx(mouths[::2].mean(), abs=5)


def test_quick_report_runs_all_stages(tmp_path, monkeypatch, untrained_model, head_model) -> None:
    study = tmp_path / "quick.toml"
    study.write_text(SMALL_STUDY)
    monkeypatch.setattr(quick, "COUNTS", {"utkface": 50, "fairface": 24, "masks": 50})
    monkeypatch.setattr(quick, "RESAMPLES", 10)
    monkeypatch.setattr(quick, "HeadModel", lambda: head_model)
    monkeypatch.setattr(quick, "render_store", partial(render_store, workers=0))
    few = {name: condition for name, condition in CONDITIONS.items() if condition.corruption in ("", "snow")}
    monkeypatch.setattr(benchmark, "CONDITIONS", few)
    monkeypatch.setattr(quick, "STUDY", study)
    stages = set()
    summary = quick_report(
        tmp_path / "out", weights=untrained_model, on_progress=lambda stage, done, total: stages.add(stage)
    )
    assert {"render", "full-0", "benchmark", "report"} <= stages
    assert summary["main"] == "oam-cnn"
    for name in ("index.html", "README.md"):
        assert "synthetic faces" in (tmp_path / "out" / name).read_text().lower()
