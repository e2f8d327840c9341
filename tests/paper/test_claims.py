import tomllib
from importlib.resources import files

import pytest

from oamface.errors import ResultError
from oamface.paper import claims as module
from oamface.paper.claims import (
    CONTRADICTED,
    EXCEEDED,
    MISSED,
    REPRODUCED,
    UNMEASURED,
    Claim,
    Claims,
    judge,
    load_claims,
)
from oamface.paper.figures import FIGURES


def claim(value=90.0, unit="%", better="higher", quantity="accuracy", **named) -> Claim:
    return Claim("1", "accuracy", value, unit, better, quantity, **{"measure": "a/b", **named})


def verdict(one: Claim, low: float, high: float) -> str:
    figures = {"a/b": {"value": (low + high) / 2, "low": low, "high": high}}
    return judge(Claims((one,), {"1": ""}, {}), figures, {})[0].verdict


@pytest.mark.parametrize(
    ("one", "low", "high", "wanted"),
    [
        (claim(), 0.88, 0.92, REPRODUCED),
        (claim(), 0.91, 0.95, EXCEEDED),
        (claim(), 0.80, 0.89, MISSED),
        (claim(5.0, "years", "lower"), 4.5, 5.5, REPRODUCED),
        (claim(5.0, "years", "lower"), 5.1, 5.5, MISSED),
        (claim(5.0, "years", "lower"), 4.1, 4.5, EXCEEDED),
        (claim(0.0, "years", test="above"), 0.1, 0.5, REPRODUCED),
        (claim(0.0, "years", test="above"), -0.1, 0.5, MISSED),
        (claim(0.01, "", "lower", test="below"), 0.001, 0.001, REPRODUCED),
        (claim(0.01, "", "lower", test="below"), 0.2, 0.2, MISSED),
    ],
)
def test_the_interval_decides(one, low, high, wanted) -> None:
    assert verdict(one, low, high) == wanted


def test_other_values_of_one_quantity_stand_beside_a_claim() -> None:
    both = Claims((claim(), claim(95.0), claim(7.0, quantity="other")), {"1": ""}, {})
    figures = {"a/b": {"value": 0.9, "low": 0.88, "high": 0.92}}
    judged = judge(both, figures, {})
    assert [item.others for item in judged] == [(95.0,), (90.0,), ()]


def test_without_a_figure_there_has_to_be_a_reason() -> None:
    unnamed = claim(measure="", reason="names no system")
    assert judge(Claims((unnamed,), {"1": ""}, {}), {}, {})[0].verdict == UNMEASURED
    pair = Claims((unnamed, claim(95.0, measure="", reason="no")), {"1": ""}, {})
    assert judge(pair, {}, {})[0].verdict == CONTRADICTED
    absent = judge(Claims((claim(),), {"1": ""}, {}), {}, {"a/": "a took no part"})[0]
    assert (absent.verdict, absent.reason) == (UNMEASURED, "a took no part")
    with pytest.raises(ResultError, match=r"1 claims have neither .*accuracy \(table 1, a/b\)"):
        judge(Claims((claim(),), {"1": ""}, {}), {}, {"b/": "no"})


def test_all_twelve_tables_and_every_figure_have_their_counterpart() -> None:
    loaded = load_claims()
    tables = set(loaded.tables) - {"text"}
    assert tables == {"1", "1b", "2", "3", "5", "6", "7", "8", "9", "10", "11", "12"}
    assert {item.table for item in loaded.claims} == set(loaded.tables)
    for entry in loaded.figures.values():
        assert entry["shown"]
        assert set(entry["shown"]) <= set(FIGURES)
    assert {"5", "6", "7", "8", "9", "11", "12", "13", "14", "15", "16", "17"} <= set(loaded.figures)


def test_no_reason_is_unused_and_no_claim_is_there_twice() -> None:
    data = tomllib.loads((files("oamface") / "paper" / "claims.toml").read_text())
    used = {entry.get("reason") for entry in data["claims"]}
    assert set(data["reasons"]) <= used
    keys = [(entry["table"], entry["what"]) for entry in data["claims"]]
    assert len(set(keys)) == len(keys)


def test_an_entry_without_measure_and_reason_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "report").mkdir()
    entry = '{ table = "1", what = "x", value = 1.0, unit = "", better = "higher", quantity = "x" }'
    text = f'claims = [{entry}]\n[reasons]\n[[tables]]\nid = "1"\ntitle = "t"\n[[figures]]\nid = "5"\nshown = []\n'
    (tmp_path / "paper" / "claims.toml").write_text(text)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(ResultError, match="neither measure nor reason"):
        load_claims()
