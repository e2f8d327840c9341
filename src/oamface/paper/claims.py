"""The numbers that the paper claims (claims.toml), and a verdict on each from what was measured."""

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from oamface.errors import ResultError
from oamface.evaluation.bootstrap import Estimate

REPRODUCED, EXCEEDED, MISSED = "reproduced", "exceeded", "not reached"
UNMEASURED, CONTRADICTED = "cannot be measured", "contradicts itself"
VERDICTS = (REPRODUCED, EXCEEDED, MISSED, UNMEASURED, CONTRADICTED)


@dataclass(frozen=True)
class Claim:
    """One number of one table of the paper; claims.toml describes the fields."""

    table: str
    name: str
    value: float
    quantity: str
    unit: str
    better: str
    key: str = ""
    test: str = ""
    note: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """The number as the paper would print it: "91.7 %", "> 0 years"."""
        sign = {"above": "> ", "below": "< "}.get(self.test, "")
        return f"{sign}{self.value:g} {self.unit}".strip()


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what was measured, None if nothing was. others: different values the paper gives for the quantity."""

    claim: Claim
    measured: Estimate | None
    verdict: str
    reason: str
    others: tuple[float, ...]


@dataclass(frozen=True)
class Claims:
    """All claims, table by table, and the titles of the paper's tables and figures."""

    claims: tuple[Claim, ...]
    tables: dict[str, str]
    figures: list[dict[str, Any]]


def load_claims() -> Claims:
    """The claims of claims.toml. Raises ResultError: a claim of an unknown table, or with neither key nor reason."""
    data = tomllib.loads((files("oamface") / "paper" / "claims.toml").read_text())
    reasons, tables = data["reasons"], list(data["tables"])
    claims = []
    for quantity in data["quantities"]:
        name, reason = quantity["name"], quantity.get("reason", "")
        common = {key: quantity.get(key, "") for key in ("unit", "better", "key", "test", "note")}
        for table, value, *renamed in quantity["claims"]:
            claim = Claim(
                table, renamed[0] if renamed else name, value, name, reason=reasons.get(reason, reason), **common
            )
            if table not in tables or not (claim.key or claim.reason):
                raise ResultError(
                    f"claims.toml: {claim.name!r}, table {table}: unknown table, or neither key nor reason"
                )
            claims.append(claim)
    claims.sort(key=lambda claim: tables.index(claim.table))
    return Claims(tuple(claims), data["tables"], data["figures"])


def judge(claims: Claims, estimates: Mapping[str, Estimate], reasons: Mapping[str, str]) -> list[JudgedClaim]:
    """Every claim with its verdict: a claimed value inside the measured interval is reproduced.

    estimates: key to estimate. reasons: start of a key to why it has no estimate. Raises ResultError: a claim with
    neither an estimate nor a reason.
    """
    values: dict[str, set[float]] = defaultdict(set)
    for claim in claims.claims:
        values[claim.quantity].add(claim.value)
    judged, unexplained = [], []
    for claim in claims.claims:
        others = tuple(sorted(values[claim.quantity] - {claim.value}))
        estimate, reason = estimates.get(claim.key), claim.reason
        if estimate is not None:
            verdict = _verdict(claim, estimate)
        else:
            verdict = CONTRADICTED if others else UNMEASURED
            reason = reason or next((why for start, why in reasons.items() if claim.key.startswith(start)), "")
            if not reason:
                unexplained.append(f"{claim.name} (table {claim.table}, {claim.key})")
        judged.append(JudgedClaim(claim, estimate, verdict, reason, others))
    if unexplained:
        raise ResultError(f"{len(unexplained)} claims have neither estimate nor reason: {'; '.join(unexplained[:5])}")
    return judged


def _verdict(claim: Claim, estimate: Estimate) -> str:
    scale = 100 if claim.unit == "%" else 1
    low, high = estimate["low"] * scale, estimate["high"] * scale
    if claim.test == "above":
        return REPRODUCED if low > claim.value else MISSED
    if claim.test == "below":
        return REPRODUCED if high < claim.value else MISSED
    if low <= claim.value <= high:
        return REPRODUCED
    return EXCEEDED if (low > claim.value) == (claim.better == "higher") else MISSED
