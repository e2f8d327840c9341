import pytest

from oamface import selection
from oamface.benchmark import Timing
from oamface.errors import ModelError, OptionError
from oamface.selection import select_model


@pytest.mark.parametrize(("budget_ms", "expected"), [(10, "oam"), (3, "oam-open"), (1, None)])
def test_select_model_takes_the_most_accurate_within_the_budget(monkeypatch, budget_ms: float, expected) -> None:
    times = {"oam": 8.0, "oam-open": 2.0}
    monkeypatch.setattr(selection, "time_calls", lambda calls, **_: {name: Timing(times[name], 9.0) for name in calls})
    best, candidates = select_model(budget_ms, ("oam", "oam-open"))
    assert (best and best.weights) == expected
    assert [candidate.weights for candidate in candidates] == ["oam-open", "oam"]
    assert 0.7 < candidates[0].accuracy < candidates[1].accuracy < 1


def test_select_model_measures_this_machine() -> None:
    best, (candidate,) = select_model(10_000, ["oam"], rounds=2)
    assert best == candidate
    assert 0.1 < candidate.timing.median < 10_000
    assert candidate.multiply_adds == pytest.approx(0.3e9, rel=0.2)


def test_select_model_rejects_models_without_common_data_sets_and_budgets_of_0(untrained_model) -> None:
    with pytest.raises(ModelError, match="no data set in common"):
        select_model(5, ["oam", str(untrained_model)], rounds=2)
    with pytest.raises(ModelError, match="no model"):
        select_model(5, [])
    with pytest.raises(OptionError):
        select_model(0)
