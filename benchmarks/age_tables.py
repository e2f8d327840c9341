"""The tables of docs/age-thresholds.md, from docs/results/age-thresholds.json and docs/results/quality.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from oamface.evaluation.tables import markdown_table, rate_text
from oamface.quality import LEAST_QUALITY

THRESHOLDS = ("summary", "thresholds", "by-age", "by-group", "operating-points", "referral")


def quality(results: Mapping[str, Any]) -> str:
    """Errors by quality, and quality by group, of what benchmarks/quality.py measured."""

    def cell(values: Sequence[float], form: str) -> str:
        if values[0] is None:
            return "-"
        value, low, high = (format(one, form) for one in values)
        return f"{value} ({low} to {high})"

    rows, group_rows = [], []
    for name, table in results["fifths"].items():
        for number, one in enumerate(table, 1):
            place = {1: "1, worst", 5: "5, best"}.get(number, str(number))
            errors = (cell(one["error"], ".2f"), cell(one["relative"], ".2f"), cell(one["coverage"], ".1%"))
            rows.append((f"{name}, {one['n']}", place, f"{one['score']:.2f}", *errors))
    for name, one in results["groups"].items():
        group_rows.append((name, f"{one['score']:.3f}", f"{one['below']:.1%}", str(one["n"])))
    headings = ("faces", "fifth by score", "mean score", "MAE, years", "relative error", "in the 90 % interval")
    group_headings = ("natural faces", "mean score", f"below {LEAST_QUALITY}", "n")
    return f"{markdown_table(headings, rows)}\n\n{markdown_table(group_headings, group_rows)}"


def thresholds(results: Mapping[str, Any]) -> dict[str, str]:
    """Name to table of what benchmarks/age_thresholds.py measured."""
    main = results["models"][results["model"]]
    grid = [
        (str(one["age"]), str(one["challenge"]), rate_text(one["accepted"]), rate_text(one["refused"]))
        for one in main["grid"]
    ]
    by_age = [(name, rate_text(one["18"]), rate_text(one["25"])) for name, one in main["by_age"].items()]
    by_group = [
        (
            f"{name}, {one['n']}",
            f"{one['error']:.1%}",
            rate_text(one["accepted"]),
            rate_text(one["refused"]),
        )
        for name, one in main["by_group"].items()
    ]
    points = [
        (name, f"{one['wanted']:.1%}", str(one["challenge"]), rate_text(one["accepted"]), rate_text(one["passed"]))
        for name, model in results["models"].items()
        for one in model["operating_points"]
    ]
    refer = main["referral"]
    rules = {
        "estimated at 18 or more": refer["plain"],
        f"`age=18,max_false_accept={refer['max_false_accept']}`, refers a fifth": refer["referring"],
        f"estimated at {refer['challenge']} or more": refer["plain, as many of all adults pass"],
    }
    referred = [
        (name, *(rate_text(one) for one in (accepted, answered, passed, adults)))
        for name, (_, adults, accepted, passed, answered) in rules.items()
    ]
    mae = main["mae_18_30"]
    summary = f"{results['model']}, {main['faces']} test faces; MAE at 18 to 30: {mae['value']:.2f} years"
    younger, older = "accepted, of those up to five years younger", "refused, of 25 and more"
    return {
        "summary": f"{summary} (n = {mae['n']}).",
        "thresholds": markdown_table(("at least", "challenge", younger, older), grid),
        "by-age": markdown_table(("age", "estimated at 18 or more", "estimated at 25 or more"), by_age),
        "by-group": markdown_table(
            ("test faces", "calibration error at 18", "13-17 accepted, Challenge 25", "25 and more refused"), by_group
        ),
        "operating-points": markdown_table(
            ("model", "false accepts wanted", "challenge", "13-17 accepted", "25 and more who pass"), points
        ),
        "referral": markdown_table(
            ("rule", "13-17 accepted", "25+ passed, of those answered", "25+ passed, of all", "25+ referred"), referred
        ),
    }
