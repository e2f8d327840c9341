import pytest

from oamface import selection as module
from oamface.benchmark import Timing
from oamface.errors import ModelError
from oamface.selection import fit


def test_the_most_accurate_within_the_budget(monkeypatch) -> None:
    times = {"oam": 8.0, "oam-open": 2.0}
    monkeypatch.setattr(module, "timed", lambda works, **_: {name: Timing(times[name], 9.0) for name in works})
    best, candidates = fit(10, ("oam", "oam-open"))
    assert best is not None and best.weights == "oam"
    assert [one.weights for one in candidates] == ["oam-open", "oam"]
    assert 0.7 < candidates[0].accuracy < candidates[1].accuracy < 1
    best, _ = fit(3, ("oam", "oam-open"))
    assert best is not None and best.weights == "oam-open"
    assert fit(1, ("oam", "oam-open"))[0] is None


def test_it_measures_this_machine() -> None:
    best, (one,) = fit(10_000, ["oam"], rounds=2)
    assert best == one
    assert 0.1 < one.timing.median < 10_000
    assert one.multiply_adds == pytest.approx(0.3e9, rel=0.2)


def test_what_cannot_be_compared(untrained_model) -> None:
    with pytest.raises(ModelError, match="no data set in common"):
        fit(5, ["oam", str(untrained_model)], rounds=2)
    with pytest.raises(ModelError, match="more than 0"):
        fit(0)
