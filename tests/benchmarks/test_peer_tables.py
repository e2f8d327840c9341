import re

import pytest
from peer_tables import README_ROWS, TABLES, tables


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value * 0.9, "high": value * 1.1}


@pytest.fixture
def results() -> dict:
    ages = {"age": {"mae": figure(5.0), "balanced_mae": figure(7.0)}, "gender": {"accuracy": figure(0.9)}}
    groups = {"age_group": {"accuracy": figure(0.6)}, "gender": {"accuracy": figure(0.8)}}
    groups["race"] = {"accuracy": figure(0.7)}
    measured = {name: {"clean": metrics, "masks": metrics} for name, metrics in (("utkface", ages), ("aaf", ages))}
    facts = {"engine": "runtime", "install": "`pip install it`", "version": "1.2", "weights_mb": 7.66, "package_mb": 50}
    facts |= {"code_licence": "MIT", "asset_licence": "CC0"}
    accuracy = {name: measured | {"fairface": {"clean": groups, "masks": groups}} for name in README_ROWS}
    accuracy["ages only"] = {key: {c: {"age": ages["age"]} for c in ("clean", "masks")} for key in measured}
    accuracy["ages only"]["fairface"] = {c: {"age_group": groups["age_group"]} for c in ("clean", "masks")}
    return {
        "accuracy": accuracy,
        "networks": {name: facts | {"title": f"network {name}"} for name in accuracy},
        "speed": {name: {"ms": 4.44, "p95_ms": 6.0, "peak_mb": 120} for name in accuracy},
        "date": "2026-01-02",
        "faces": {"test": 321, "calibrate": 12},
        "machine": {"processor": "some processor", "python": "3.11.1", "node": "v20.0.0"},
        "crops": {"ages only": "aligned 0.75"},
        "published": [{"name": "other", "figures": "age MAE 4", "source": "https://example.org/other"}],
    }


def cells(table: str, row: str) -> list[str]:
    return [
        cell.strip() for line in table.splitlines() if line.startswith(f"| {row} |") for cell in line.split("|")[2:-1]
    ]


def test_tables_show_figures_with_intervals(results) -> None:
    made = tables(results)
    assert cells(made["peers"], "network oam-int8")[:2] == ["5.0 (4.5-5.5)", "90.0 % (81.0-99.0)"]
    assert cells(made["peers-balanced"], "network oam-int8")[0] == "7.0 (6.3-7.7)"
    assert cells(made["peers-fairface"], "network oam-int8")[2] == "70.0 % (63.0-77.0)"
    assert cells(made["peers-speed"], "network face-api") == ["runtime", "4.4", "6.0", "120"]
    assert cells(made["peers-install"], "network face-api") == ["1.2", "`pip install it`", "7.7", "50.0", "MIT", "CC0"]
    assert cells(made["peers-crops"], "network ages only") == ["aligned 0.75"]
    assert cells(made["peers-published"], "[other](https://example.org/other)") == ["age MAE 4"]


def test_line_names_what_was_measured_where(results) -> None:
    line = tables(results)["peers-run"]
    assert all(part in line for part in ("2026-01-02", "321 random faces", "12 faces", "some processor", "Node 20.0.0"))


def test_peer_that_was_left_out_is_left_out_of_the_readme_table(results) -> None:
    del results["accuracy"]["face-api"]
    assert cells(tables(results)["peers-readme"], "network face-api") == []


def test_task_that_a_network_lacks_is_an_empty_cell(results) -> None:
    made = tables(results)
    assert cells(made["peers"], "network ages only")[:2] == ["5.0 (4.5-5.5)", ""]
    assert cells(made["peers-fairface"], "network ages only")[1:3] == ["", ""]


def test_readme_table_is_short(results) -> None:
    made = tables(results)["peers-readme"]
    assert 2 + len(README_ROWS) == len(made.splitlines()) <= 2 + 8
    assert cells(made, "network oam-int8") == ["5.0", "5.0", "80.0 %", "80.0 %", "4", "7.7"]


def test_every_row_has_a_cell_for_each_heading(results) -> None:
    for table in (table for table in tables(results).values() if table.startswith("|")):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_every_table_is_named(results) -> None:
    assert set(tables(results)) == set(TABLES)
