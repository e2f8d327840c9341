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


def make_claim(value=90.0, unit="%", better="higher", quantity="accuracy", key="a/b", **fields) -> Claim:
    return Claim("1", "accuracy", value, quantity, unit, better, key, **fields)


def make_claims(*claims: Claim) -> Claims:
    return Claims(claims, {"1": ""}, [])


@pytest.mark.parametrize(
    ("claim", "low", "high", "verdict"),
    [
        (make_claim(), 0.88, 0.92, REPRODUCED),
        (make_claim(), 0.91, 0.95, EXCEEDED),
        (make_claim(), 0.80, 0.89, MISSED),
        (make_claim(5.0, "years", "lower"), 4.5, 5.5, REPRODUCED),
        (make_claim(5.0, "years", "lower"), 5.1, 5.5, MISSED),
        (make_claim(5.0, "years", "lower"), 4.1, 4.5, EXCEEDED),
        (make_claim(0.0, "years", test="above"), 0.1, 0.5, REPRODUCED),
        (make_claim(0.0, "years", test="above"), -0.1, 0.5, MISSED),
        (make_claim(0.01, "", "lower", test="below"), 0.001, 0.001, REPRODUCED),
        (make_claim(0.01, "", "lower", test="below"), 0.2, 0.2, MISSED),
    ],
)
def test_verdict_follows_from_interval(claim, low, high, verdict) -> None:
    estimates = {"a/b": {"value": (low + high) / 2, "low": low, "high": high}}
    assert judge(make_claims(claim), estimates, {})[0].verdict == verdict


def test_judge_lists_other_claimed_values_of_same_quantity() -> None:
    claims = make_claims(make_claim(), make_claim(95.0), make_claim(7.0, quantity="other"))
    estimates = {"a/b": {"value": 0.9, "low": 0.88, "high": 0.92}}
    assert [item.others for item in judge(claims, estimates, {})] == [(95.0,), (90.0,), ()]


def test_unmeasured_claims_need_a_reason() -> None:
    unnamed = make_claim(key="", reason="names no system")
    assert judge(make_claims(unnamed), {}, {})[0].verdict == UNMEASURED
    contradiction = make_claims(unnamed, make_claim(95.0, key="", reason="no"))
    assert judge(contradiction, {}, {})[0].verdict == CONTRADICTED
    (missing,) = judge(make_claims(make_claim()), {}, {"a/": "a was not benchmarked"})
    assert (missing.verdict, missing.reason) == (UNMEASURED, "a was not benchmarked")
    with pytest.raises(ResultError, match=r"accuracy \(table 1, a/b\)"):
        judge(make_claims(make_claim()), {}, {"b/": "no"})


def test_claims_cover_all_tables_and_figures_of_paper() -> None:
    claims = load_claims()
    assert set(claims.tables) == {"1", "1b", "2", "3", "5", "6", "7", "8", "9", "10", "11", "12", "text"}
    assert {claim.table for claim in claims.claims} == set(claims.tables)
    assert len(claims.claims) == 213
    for entry in claims.figures:
        assert entry["shown"]
        assert set(entry["shown"]) <= set(FIGURES)
    assert {"5", "6", "7", "8", "9", "11", "12", "13", "14", "15", "16", "17"} <= {
        item["id"] for item in claims.figures
    }


def test_claims_are_unique_and_every_reason_is_used() -> None:
    data = tomllib.loads((files("oamface") / "paper" / "claims.toml").read_text())
    assert set(data["reasons"]) <= {quantity.get("reason") for quantity in data["quantities"]}
    keys = [(claim.table, claim.name) for claim in load_claims().claims]
    assert len(set(keys)) == len(keys)
    names = [quantity["name"] for quantity in data["quantities"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("table", "field"), [("1", ""), ("2", ', key = "a"')])
def test_load_claims_rejects_claim_without_key_or_table(tmp_path, monkeypatch, table, field) -> None:
    quantity = f'{{ name = "x", unit = "", better = "higher"{field}, claims = [["{table}", 1.0]] }}'
    (tmp_path / "paper").mkdir()
    text = f'quantities = [{quantity}]\nfigures = []\n[tables]\n1 = "t"\n[reasons]\n'
    (tmp_path / "paper" / "claims.toml").write_text(text)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(ResultError, match=f"table {table}"):
        load_claims()
