"""From a folder of benchmark results to the report as HTML, JSON and Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from oamface.atomic import check_output, make_folder, write_text
from oamface.datasets.store import Store
from oamface.errors import FileError
from oamface.evaluation.inference import face_names
from oamface.evaluation.tables import markdown_table
from oamface.paper.claims import VERDICTS, JudgedClaim, judge, load_claims
from oamface.paper.compact import compact_json, compact_result
from oamface.paper.estimates import all_estimates, missing_reasons
from oamface.paper.figures import draw_all
from oamface.paper.findings import BASELINE, Findings
from oamface.paper.names import estimate_text
from oamface.paper.page import data_uri, render_page
from oamface.paper.study_figures import read_logs

FORMAT = "oamface-report/3"
ROBUSTNESS_FORMAT = "oamface-robustness/1"
FILES = ("index.html", "report.json", "README.md")


def report(
    results: Path,
    out: Path,
    *,
    main: str | None = None,
    study: Path | None = None,
    compact: Path | None = None,
    logs: Sequence[Path] = (),
    faces_of: Sequence[Store] = (),
    synthetic: bool = False,
) -> dict[str, Any]:
    """Write index.html, report.json and README.md into `out`; returns the JSON.

    results: folder of a benchmark. main: name of the model that the report is about, None for the only model file.
    study: see Findings.read. compact: folder for results small enough to be committed: NAME.json of every model,
    robustness.json and, without `study`, study.json. logs: log.jsonl of its training runs, oldest first.
    faces_of: local stores whose worst faces the page shows.
    synthetic: warn that the faces are. Raises ResultError (results that do not fit together, a claim with neither
    measurement nor reason, no log), FileError.
    """
    check_report(out)
    findings, claims = Findings.read(results, main, study), load_claims()
    log = read_logs(logs)
    judged = judge(claims, all_estimates(findings, log), missing_reasons(findings))
    claimed = {claim.key: claim.value for claim in claims.claims if claim.table == "1"}
    figures = draw_all(findings, log=log, claimed=claimed)
    page = render_page(
        findings, claims, judged, figures, synthetic=synthetic, faces=_worst_faces(findings.result, faces_of)
    )
    summary = _summary(findings, judged, synthetic=synthetic)
    make_folder(out)
    write_text(out / "index.html", page)
    text = compact_json(summary)
    write_text(out / "report.json", text)
    write_text(out / "README.md", claims_markdown(json.loads(text)))  # with its digits
    if compact is not None:
        _write_compact(findings, compact, with_study=study is None)
    return summary


def _write_compact(findings: Findings, folder: Path, *, with_study: bool) -> None:
    make_folder(folder)
    for name, result in findings.results.items():
        write_text(folder / f"{name}.json", compact_json(compact_result(result)))
    if findings.robustness:
        models = {name: findings.results[name]["predictor"]["digest"] for name in (findings.main, BASELINE)}
        about = {"schema": ROBUSTNESS_FORMAT, "models": models, "protocol": findings.result["protocol"]}
        write_text(folder / "robustness.json", compact_json({**about, "rows": findings.robustness}))
    if with_study:
        findings.study.write(folder / "study.json")


def check_report(out: Path) -> None:
    """Raise FileError unless a report can be written to `out` and replaces nothing but a report. Writes nothing."""
    existing = [name for name in FILES if (out / name).exists()]
    if existing and "report.json" not in existing:
        raise FileError(f"{out / existing[0]}: exists and is not part of a report; name another folder")
    for name in existing:
        check_output(out / name)


def _summary(findings: Findings, judged: Sequence[JudgedClaim], *, synthetic: bool) -> dict[str, Any]:
    result = findings.result
    return {
        "schema": FORMAT,
        "main": findings.main,
        "models": {name: other["predictor"].get("digest", "") for name, other in findings.results.items()},
        "synthetic": synthetic,
        **{key: result[key] for key in ("protocol", "stores", "interval")},
        "verdicts": {name: sum(item.verdict == name for item in judged) for name in VERDICTS},
        "claims": [_claim(item) for item in judged],
    }


def _claim(item: JudgedClaim) -> dict[str, Any]:
    claim = item.claim
    measured = None if item.measured is None else {key: item.measured[key] for key in ("value", "low", "high")}
    fields = {
        key: getattr(claim, key) for key in ("table", "name", "value", "unit", "key", "note") if getattr(claim, key)
    }
    fields |= {"claimed": claim.text, "measured": measured, "verdict": item.verdict}
    more = {"also_claimed": list(item.others), "reason": item.reason if measured is None else ""}
    return {**fields, **{key: value for key, value in more.items() if value}}


def claims_markdown(summary: Mapping[str, Any]) -> str:
    """README.md of a report from its report.json: every claim with what was measured."""
    rows = []
    for claim in summary["claims"]:
        others = ", ".join(f"{value:g}" for value in claim.get("also_claimed", ()))
        also = f" (also {others})" if others else ""
        unit = claim.get("unit", "")
        measured = estimate_text(claim["measured"], unit) if claim["measured"] else claim["reason"]
        rows.append((claim["table"], claim["name"], f"{claim['claimed']}{also}", measured, claim["verdict"]))
    warning = "**Synthetic faces: these numbers say nothing about real people.**\n\n" if summary["synthetic"] else ""
    model = f"`{summary['main']}`, SHA-256 `{summary['models'][summary['main']]}`"
    return (
        f"# Claims and measurements\n\n{warning}"
        f"Of {model}. Written by `oamface paper report`: [index.html](index.html) has figures and how each claim was"
        " read, [report.json](report.json) all numbers.\n\n"
        f"{', '.join(f'{count} {name}' for name, count in summary['verdicts'].items())}.\n\n"
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
