"""What the paper claims, from claims.toml, and the verdict on each number."""

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from oamface.errors import ResultError

Figure = Mapping[str, float]  # value, low, high

REPRODUCED, EXCEEDED, MISSED = "reproduced", "exceeded", "not reached"
UNMEASURED, CONTRADICTED = "cannot be measured", "contradicts itself"
VERDICTS = (REPRODUCED, EXCEEDED, MISSED, UNMEASURED, CONTRADICTED)


@dataclass(frozen=True)
class Claim:
    """One number of the paper; claims.toml says what the fields mean."""

    table: str
    what: str
    value: float
    unit: str
    better: str
    quantity: str
    measure: str = ""
    test: str = ""
    note: str = ""
    reason: str = ""

    @property
    def claimed(self) -> str:
        """The number as the paper would print it: "91.7 %", "> 0 years"."""
        sign = {"above": "> ", "below": "< "}.get(self.test, "")
        return f"{sign}{self.value:g} {self.unit}".strip()


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured, None if nothing was; others: different values the paper gives for the same."""

    claim: Claim
    measured: Figure | None
    verdict: str
    reason: str
    others: tuple[float, ...]


@dataclass(frozen=True)
class Claims:
    """The paper's numbers, and its tables and figures in its order, each with a title."""

    claims: tuple[Claim, ...]
    tables: dict[str, str]
    figures: dict[str, dict[str, Any]]


def load_claims() -> Claims:
    """The package's claims. Raises ResultError: an entry of an unknown table, or with neither measure nor reason."""
    data = tomllib.loads((files("oamface") / "paper" / "claims.toml").read_text())
    reasons, tables = data["reasons"], {table["id"]: table["title"] for table in data["tables"]}
    claims = []
    for entry in data["claims"]:
        claim = Claim(**{**entry, "reason": reasons.get(entry.get("reason", ""), entry.get("reason", ""))})
        if claim.table not in tables or not (claim.measure or claim.reason):
            raise ResultError(f"claims.toml: {claim.what!r} of table {claim.table} has neither measure nor reason")
        claims.append(claim)
    return Claims(tuple(claims), tables, {figure["id"]: figure for figure in data["figures"]})


def judge(claims: Claims, figures: Mapping[str, Figure], absent: Mapping[str, str]) -> list[Judged]:
    """Every claim with its verdict. figures: address to figure. absent: start of an address to why it has no figure.

    The interval decides: a claimed value inside it is reproduced. Raises ResultError for claims that have neither a
    figure nor a reason: nothing is passed over in silence.
    """
    values: dict[str, set[float]] = defaultdict(set)
    for claim in claims.claims:
        values[claim.quantity].add(claim.value)
    judged, lost = [], []
    for claim in claims.claims:
        others = tuple(sorted(values[claim.quantity] - {claim.value}))
        figure, reason = figures.get(claim.measure), claim.reason
        if figure is None and not reason:
            reason = next((why for start, why in absent.items() if claim.measure.startswith(start)), "")
            if not reason:
                lost.append(f"{claim.what} (table {claim.table}, {claim.measure})")
        without = CONTRADICTED if others else UNMEASURED
        verdict = without if figure is None else _verdict(claim, figure)
        judged.append(Judged(claim, figure, verdict, reason, others))
    if lost:
        raise ResultError(f"{len(lost)} claims have neither a measurement nor a reason: {'; '.join(lost[:5])}")
    return judged


def _verdict(claim: Claim, figure: Figure) -> str:
    scale = 100 if claim.unit == "%" else 1
    low, high = figure["low"] * scale, figure["high"] * scale
    if claim.test == "above":
        return REPRODUCED if low > claim.value else MISSED
    if claim.test == "below":
        return REPRODUCED if high < claim.value else MISSED
    if low <= claim.value <= high:
        return REPRODUCED
    above = low > claim.value
    return EXCEEDED if above == (claim.better == "higher") else MISSED
