import numpy as np
import pytest

from helpers.drawn import SMALL_STUDY
from oamface.datasets.store import Store
from oamface.labels import WITH_MASK
from oamface.paper import quick
from oamface.paper.quick import draw_store, quick_report


def test_drawn_stores_are_whole_labelled_and_repeatable(tmp_path, shapes) -> None:
    draw_store(tmp_path / "one", "utkface", 30, shapes, workers=0)
    draw_store(tmp_path / "other", "utkface", 30, shapes, workers=2)
    one, other = (Store.open(tmp_path / name, size=128) for name in ("one", "other"))
    assert (one.crops == other.crops).all()
    assert one.labels == other.labels
    assert {"train", "test"} <= set(one.splits)
    assert all(label.age[0] == label.age[1] for label in one.labels)
    assert len({crop.tobytes() for crop in one.crops}) == 30


def test_the_drawn_sets_speak_in_their_own_classes(tmp_path, shapes) -> None:
    draw_store(tmp_path / "fairface", "fairface", 30, shapes, workers=0)
    assert all(label.age[1] - label.age[0] in (2, 6, 9, 30) for label in Store.open(tmp_path / "fairface").labels)
    draw_store(tmp_path / "masks", "masks", 30, shapes, workers=0)
    store = Store.open(tmp_path / "masks")
    assert sum(label.mask == WITH_MASK for label in store.labels) == 15
    lower = np.array([crop[80:110, 40:90].mean() for crop in store.crops])
    assert lower[1::2].mean() != pytest.approx(lower[::2].mean(), abs=5)


def test_the_whole_of_it_in_miniature(tmp_path, monkeypatch, untrained_model, shapes) -> None:
    small = tmp_path / "quick.toml"
    small.write_text(SMALL_STUDY)
    monkeypatch.setattr(quick, "COUNTS", {"utkface": 80, "fairface": 60, "masks": 60})
    monkeypatch.setattr(quick, "RESAMPLES", 10)
    monkeypatch.setattr(quick, "Shapes", lambda: shapes)
    monkeypatch.setattr(quick, "STUDY", small)
    said = []
    summary = quick_report(tmp_path / "out", weights=untrained_model, on_progress=lambda *what: said.append(what[0]))
    assert {"draw", "full-0", "benchmark", "write"} <= set(said)
    assert summary["main"] == "oam-cnn"
    text = (tmp_path / "out" / "index.html").read_text()
    assert "drawn faces of nobody" in text
    assert "drawn faces of nobody" in (tmp_path / "out" / "README.md").read_text().lower()
