"""From a folder of results to the report: HTML, JSON and Markdown, or one clear error."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from oamface.atomic import check_output, make_folder, write_text
from oamface.datasets.store import Store
from oamface.errors import FileError, ResultError
from oamface.evaluation.predictions import face_names
from oamface.paper.claims import VERDICTS, Judged, judge, load_claims
from oamface.paper.figures import draw_all
from oamface.paper.findings import Findings, absent
from oamface.paper.page import data_uri, shown, write_page

FORMAT = "oamface-report/1"
WRITTEN = ("index.html", "report.json", "README.md")


def report(
    results: Path,
    out: Path,
    *,
    main: str | None = None,
    logs: Sequence[Path] = (),
    faces_of: Sequence[Store] = (),
    drawn: bool = False,
) -> dict[str, Any]:
    """Write index.html, report.json and README.md into `out`; returns the JSON.

    results: folder of a benchmark. main: the model that the report is about. logs: of its training, oldest first.
    faces_of: local stores whose worst faces are shown; none are otherwise. drawn: say that no real face took part.
    Raises ResultError: results that do not fit together, or a claim without measurement and reason.
    """
    check_report(out)
    findings, claims = Findings.read(results, main), load_claims()
    judged = judge(claims, findings.figures, absent(findings))
    for log in logs:
        if not log.is_file():
            raise ResultError(f"{log}: no log of a training run")
    first = {claim.measure: claim.value for claim in claims.claims if claim.table == "1"}
    figures = draw_all(findings, logs=logs, claimed=first)
    page = write_page(findings, claims, judged, figures, drawn=drawn, faces=_faces(findings, faces_of))
    summary = _summary(findings, judged)
    make_folder(out)
    write_text(out / "index.html", page)
    write_text(out / "report.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_text(out / "README.md", _markdown(judged, summary["verdicts"], drawn=drawn))
    return summary


def check_report(out: Path) -> None:
    """Make sure that a report can be written there, and that it replaces nothing but a report; nothing is touched.

    Raises FileError.
    """
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and "report.json" not in there:
        raise FileError(f"{out / there[0]}: is there already and of no report; name another folder")
    for name in there:
        check_output(out / name)


def _summary(findings: Findings, judged: Sequence[Judged]) -> dict[str, Any]:
    result = findings.results[findings.main]
    return {
        "schema": FORMAT,
        "main": findings.main,
        "protocol": result["protocol"],
        "stores": result["stores"],
        "interval": result["interval"],
        "verdicts": {name: sum(item.verdict == name for item in judged) for name in VERDICTS},
        "claims": [
            {
                **{key: value for key, value in vars(item.claim).items() if value != ""},
                "measured": None
                if item.measured is None
                else {key: item.measured[key] for key in ("value", "low", "high")},
                "verdict": item.verdict,
                "also_claimed": list(item.others),
                "reason": item.reason,
            }
            for item in judged
        ],
        "results": {
            name: {key: other[key] for key in ("predictor", "conditions", "speed", "measured", "scenarios", "fairness")}
            if name == findings.main
            else {key: other[key] for key in ("predictor", "conditions", "speed")}
            | {"measured": _short(other["measured"])}
            for name, other in findings.results.items()
        },
        "tests": findings.tests,
    }


def _short(measured: dict[str, Any]) -> dict[str, Any]:
    """Other predictors' figures, without their tables and curves."""
    return {
        data_set: {
            condition: {task: entry for task, entry in sheet.items() if not task.endswith(("_classes", "_calibration"))}
            for condition, sheet in sheets.items()
        }
        for data_set, sheets in measured.items()
    }


def _markdown(judged: Sequence[Judged], verdicts: dict[str, int], *, drawn: bool) -> str:
    """The docs page: what was claimed, measured and found, as tables."""
    lines = ["# Claims and measurements", ""]
    if drawn:
        lines += ["**Drawn faces of nobody: these figures say nothing about people.**", ""]
    lines += [
        "Written by `oamface report`: [index.html](index.html) has figures, [report.json](report.json) all numbers.",
        "",
        ", ".join(f"{count} {name}" for name, count in verdicts.items()) + ".",
        "",
        "| table | claim | claimed | measured (95 % interval) | verdict |",
        "|---|---|---|---|---|",
    ]
    for item in judged:
        claim = item.claim
        also = f" (also {', '.join(f'{value:g}' for value in item.others)})" if item.others else ""
        measured = shown(item.measured, claim.unit) if item.measured else item.reason
        lines.append(f"| {claim.table} | {claim.what} | {claim.claimed}{also} | {measured} | {item.verdict} |")
    return "\n".join(lines) + "\n"


def _faces(findings: Findings, stores: Sequence[Store]) -> list[dict[str, str]]:
    """The worst faces, as the error analysis names them, out of local stores."""
    crops = {
        (store.card["data_set"], name): crop
        for store in stores
        for name, crop in zip(face_names(store), store.crops, strict=True)
    }
    found = []
    for row in findings.results[findings.main]["mistakes"]["worst"]:
        crop = crops.get((row["data_set"], row["face"]))
        if crop is not None:
            _, png = cv2.imencode(".png", crop[..., ::-1])
            text = f"{row['task']}: {row['true']}, answered {row['answered']}"
            found.append({"image": data_uri(png.tobytes()), "text": text})
    return found
