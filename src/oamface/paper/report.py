"""From a folder of benchmark results to the report as HTML, JSON and Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from oamface.atomic import check_output, make_folder, write_text
from oamface.datasets.store import Store
from oamface.errors import FileError
from oamface.evaluation.inference import face_names
from oamface.evaluation.tables import markdown_table
from oamface.paper.claims import VERDICTS, JudgedClaim, judge, load_claims
from oamface.paper.estimates import all_estimates, missing_reasons
from oamface.paper.figures import draw_all
from oamface.paper.findings import Findings
from oamface.paper.names import estimate_text
from oamface.paper.page import data_uri, render_page
from oamface.paper.study_figures import read_logs

FORMAT = "oamface-report/2"
FILES = ("index.html", "report.json", "README.md")


def report(
    results: Path,
    out: Path,
    *,
    main: str | None = None,
    logs: Sequence[Path] = (),
    faces_of: Sequence[Store] = (),
    synthetic: bool = False,
) -> dict[str, Any]:
    """Write index.html, report.json and README.md into `out`; returns the JSON.

    results: folder of a benchmark. main: name of the model that the report is about, None for the only model file.
    logs: log.jsonl of its training runs, oldest first. faces_of: local stores whose worst faces the page shows.
    synthetic: warn that the faces are. Raises ResultError (results that do not fit together, a claim with neither
    measurement nor reason, no log), FileError.
    """
    check_report(out)
    findings, claims = Findings.read(results, main), load_claims()
    judged = judge(claims, all_estimates(findings), missing_reasons(findings))
    claimed = {claim.key: claim.value for claim in claims.claims if claim.table == "1"}
    figures = draw_all(findings, log=read_logs(logs), claimed=claimed)
    page = render_page(
        findings, claims, judged, figures, synthetic=synthetic, faces=_worst_faces(findings.result, faces_of)
    )
    summary = _summary(findings, judged)
    make_folder(out)
    write_text(out / "index.html", page)
    write_text(out / "report.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_text(out / "README.md", _markdown(judged, summary["verdicts"], synthetic=synthetic))
    return summary


def check_report(out: Path) -> None:
    """Raise FileError unless a report can be written to `out` and replaces nothing but a report. Writes nothing."""
    existing = [name for name in FILES if (out / name).exists()]
    if existing and "report.json" not in existing:
        raise FileError(f"{out / existing[0]}: exists and is not part of a report; name another folder")
    for name in existing:
        check_output(out / name)


def _summary(findings: Findings, judged: Sequence[JudgedClaim]) -> dict[str, Any]:
    result = findings.result
    main_keys = ("predictor", "conditions", "speed", "measured", "scenarios", "fairness")
    return {
        "schema": FORMAT,
        "main": findings.main,
        **{key: result[key] for key in ("protocol", "stores", "interval")},
        "verdicts": {name: sum(item.verdict == name for item in judged) for name in VERDICTS},
        "claims": [_claim(item) for item in judged],
        "results": {
            name: {key: other[key] for key in main_keys} if name == findings.main else _short(other)
            for name, other in findings.results.items()
        },
        "tests": findings.tests,
    }


def _claim(item: JudgedClaim) -> dict[str, Any]:
    measured = None if item.measured is None else {key: item.measured[key] for key in ("value", "low", "high")}
    fields = {key: value for key, value in vars(item.claim).items() if value != ""}
    others = {"also_claimed": list(item.others), "reason": item.reason}
    return {**fields, "measured": measured, "verdict": item.verdict, **others}


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """A result without fairness, per-class tables and calibration curves."""
    measured = {
        data_set: {
            condition: {
                task: values for task, values in tasks.items() if not task.endswith(("_classes", "_calibration"))
            }
            for condition, tasks in conditions.items()
        }
        for data_set, conditions in result["measured"].items()
    }
    return {**{key: result[key] for key in ("predictor", "conditions", "speed")}, "measured": measured}


def _markdown(judged: Sequence[JudgedClaim], verdicts: dict[str, int], *, synthetic: bool) -> str:
    rows = []
    for item in judged:
        claim = item.claim
        also = f" (also {', '.join(f'{value:g}' for value in item.others)})" if item.others else ""
        measured = estimate_text(item.measured, claim.unit) if item.measured else item.reason
        rows.append((claim.table, claim.name, f"{claim.text}{also}", measured, item.verdict))
    warning = "**Synthetic faces: these numbers say nothing about real people.**\n\n" if synthetic else ""
    return (
        f"# Claims and measurements\n\n{warning}"
        "Written by `oamface paper report`: [index.html](index.html) has figures, [report.json](report.json) all"
        f" numbers.\n\n{', '.join(f'{count} {name}' for name, count in verdicts.items())}.\n\n"
        + markdown_table(("table", "claim", "claimed", "measured (95 % interval)", "verdict"), rows)
        + "\n"
    )


def _worst_faces(result: dict[str, Any], stores: Sequence[Store]) -> list[dict[str, str]]:
    """Crops of the faces with the largest errors, from local stores, each with its error."""
    crops = {
        (store.data_set, name): crop
        for store in stores
        for name, crop in zip(face_names(store), store.crops, strict=True)
    }
    faces = []
    for row in result["error_analysis"]["worst_faces"]:
        crop = crops.get((row["data_set"], row["face"]))
        if crop is not None:
            _, png = cv2.imencode(".png", crop[..., ::-1])
            text = f"{row['task']}: {row['true']}, predicted {row['predicted']}"
            faces.append({"image": data_uri(png.tobytes()), "text": text})
    return faces
