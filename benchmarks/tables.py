"""The tables of README and docs, made from docs/results again: python benchmarks/tables.py

What stands between the lines `<!-- generated: NAME -->` and `<!-- /generated -->` is never written by hand; TABLES says
what makes it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import age_tables
import peer_tables

from oamface.atomic import write_text
from oamface.errors import ResultError
from oamface.evaluation.tables import markdown_table, rate_text
from oamface.paper import tables
from oamface.paper.names import estimate_text, place
from oamface.paper.sensitivity import markdown as sensitivity_markdown
from oamface.predictor import Predictor
from oamface.weights import RESEARCH_ONLY, WEIGHTS, weights_file

ROOT = Path(__file__).parents[1]
RESULTS = Path("docs/results")
NOT_MEASURED = "Not measured yet with the shipped weights; `make report` and `make sensitivity` do."
REPORTED = ("oam", "oam-small")  # what `make report` measures
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_HEADLINES = (  # heading, data set, condition, task, metric, unit
    ("UTKFace age MAE", "utkface", "clean", "age", "mae", "years"),
    ("gender", "utkface", "clean", "gender", "accuracy", "%"),
    ("race of five", "utkface", "clean", "race", "accuracy", "%"),
    ("the same, masked: age MAE", "utkface", "masks", "age", "mae", "years"),
    ("gender", "utkface", "masks", "gender", "accuracy", "%"),
    ("race", "utkface", "masks", "race", "accuracy", "%"),
    ("FairFace race of seven", "fairface", "clean", "race", "accuracy", "%"),
    ("mask images", "masks", "clean", "mask", "accuracy", "%"),
)


class MissingResults(ResultError):
    """A file of results that nothing has written yet."""


def read_results(root: Path, name: str) -> dict[str, Any]:
    """docs/results/NAME.json. Raises MissingResults: no such file; ResultError: not JSON."""
    path = root / RESULTS / f"{name}.json"
    if not path.exists():
        raise MissingResults(f"{path}: not there; make report writes it")
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not a file of results ({error}); make report writes it") from error


def stale_digests(value: Any, where: str = "") -> Iterator[str]:
    """Every shipped model file that results name with other bytes.

    They name it in `models` (name to SHA-256, or to results with it) or in `predictor`.
    """
    if isinstance(value, Mapping):
        models = value["models"] if isinstance(value.get("models"), Mapping) else {}
        named = {name: one["sha256"] if isinstance(one, Mapping) else one for name, one in models.items()}
        if value.get("kind") == "model file":
            named[value.get("name", "")] = value.get("digest")
        for name, digest in named.items():
            if name in WEIGHTS and digest != hashlib.sha256(weights_file(name).read_bytes()).hexdigest():
                yield f"{where}: measured with another {name}.onnx than the one that is shipped"
        for key, item in value.items():
            yield from stale_digests(item, f"{where}/{key}")


def measured_by_name(root: Path, name: str) -> dict[str, Any]:
    """Data set to condition to metrics of a shipped model: what `make report` measured, else what its file keeps."""
    if (root / RESULTS / f"{name}.json").exists():
        return dict(read_results(root, name)["measured"])
    kept = Predictor(name, device="cpu", threads=1).description["figures"]["data_sets"]
    return {data_set: figures["conditions"] for data_set, figures in kept.items()}


def models(root: Path) -> str:
    """The shipped model files, with what one looks for first."""
    rows = []
    for name in WEIGHTS:
        measured = measured_by_name(root, name)
        size = f"{weights_file(name).stat().st_size / 1e6:.1f} MB"
        use = "research only" if name in RESEARCH_ONLY else "commercial use"
        cells = []
        for _, data_set, condition, task, metric, unit in _HEADLINES:
            cells.append(estimate_text(measured[data_set][condition][task][metric]["value"], unit))
        rows.append((f"[`{name}`](src/oamface/weights/{name}.md)", size, use, *cells))
    return markdown_table(("weights", "size", "for", *(heading for heading, *_ in _HEADLINES)), rows)


def robustness(root: Path) -> str:
    """Corruption errors of oam relative to oam-small."""
    results = read_results(root, "robustness")
    main, baseline = results["models"]
    table = tables.robustness(results["rows"], main, baseline)
    return markdown_table([column.removeprefix(">") for column in table.columns], table.rows)


def calibration(root: Path) -> str:
    """Expected calibration errors and the coverage of age intervals, of the weights that `make report` measures."""
    rows = []
    for name in REPORTED:
        for data_set, conditions in read_results(root, name)["measured"].items():
            for condition in ("clean", "masks"):
                metrics = conditions.get(condition, {})
                errors = [metrics.get(f"{task}_calibration", {}).get("ece") for task in ("gender", "race", "mask")]
                interval = metrics.get("age_interval", {})
                figures = [*errors, interval.get("coverage"), interval.get("width")]
                if any(figures):
                    units = ("%", "%", "%", "%", "years")
                    cells = (estimate_text(figure, unit) for figure, unit in zip(figures, units, strict=True))
                    rows.append((f"`{name}`", place({"data_set": data_set, "condition": condition}), *cells))
    headings = ("weights", "faces", "ECE gender", "ECE race", "ECE mask", "90 % age intervals hold", "their width")
    return markdown_table(headings, rows)


def undetected(root: Path) -> str:
    """Coverage and width of age intervals of faces that are cropped as if undetected."""
    results = read_results(root, "undetected")
    rows = [
        (
            row["faces"],
            str(row["n"]),
            *(
                f"{estimate_text(row[f'{side}_coverage'], '%')}, {row[f'{side}_width']:.1f} years"
                for side in ("detected", "undetected")
            ),
        )
        for row in results["rows"]
    ]
    return markdown_table(("faces", "n", "detected: coverage, width", "undetected: coverage, width"), rows)


def sensitivity(root: Path) -> str:
    """What `oamface paper sensitivity` prints."""
    return sensitivity_markdown(read_results(root, "sensitivity"))


_MASKS = {"none": "unmasked", "correct": "worn correctly", "below_nose": "below the nose", "on_chin": "on the chin"}


def synthetic(root: Path) -> str:
    """What the detector and a network make of synthetic people."""
    results = read_results(root, "synthetic")
    (name,) = results["models"]
    landmarks, masks = results["landmarks"], results["mask"]
    rows = [
        (f"faces of {results['people']} people that are detected", "97 %", rate_text(results["detected"])),
        ("landmarks off, in distances of the eyes, unmasked frontal faces", "6 %", _figure(landmarks["error"], ".1%")),
        ("of these faces within 6 %", "", rate_text(landmarks["within"])),
    ]
    for group, one in results["spearman"].items():
        rows.append((f"Spearman's correlation of predicted and true age, {group}", "0.7", _figure(one, ".2f")))
    for ages, one in results["bias"].items():
        rows.append((f"mean error of the predicted age, years, unmasked, {ages}", "", _figure(one, "+.1f")))
    rows.append(("mask or no mask is right", "97 %", rate_text(masks["together"])))
    rows += [(f"of those {text}", "", rate_text(masks[position])) for position, text in _MASKS.items()]
    for task in ("gender", "race"):
        rows += [(f"{task} is right, {group}", "", rate_text(one)) for group, one in results[task].items()]
    return markdown_table(("figure", "wanted", f"measured, `{name}`"), rows)


def _figure(one: Mapping[str, float], form: str) -> str:
    """A figure with its interval and, where it has one, its count."""
    value, low, high = (format(one[key], form) for key in ("value", "low", "high"))
    count = f", n = {one['n']}" if "n" in one else ""
    return f"{value} ({low} to {high}{count})"


def quality(root: Path) -> str:
    """Age errors by the quality of the image."""
    return age_tables.quality(read_results(root, "quality"))


def _one_of(results: str, make: Callable[[Mapping[str, Any]], dict[str, str]], name: str, root: Path) -> str:
    return make(read_results(root, results))[name]


TABLES: dict[str, Callable[[Path], str]] = {
    "models": models,
    "robustness": robustness,
    "calibration": calibration,
    "undetected": undetected,
    "sensitivity": sensitivity,
    "quality": quality,
    "synthetic": synthetic,
    **{name: partial(_one_of, "age-thresholds", age_tables.thresholds, name) for name in age_tables.THRESHOLDS},
    **{name: partial(_one_of, "peers", peer_tables.tables, name) for name in peer_tables.TABLES},
}  # name of a block to what makes it, given the repository's folder


def documents(root: Path) -> list[Path]:
    """The files that may have generated blocks."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def fill(text: str, root: Path) -> str:
    """A document with all its generated blocks made again. Raises ResultError: a block that nothing makes."""

    def make(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ResultError(f"nothing generates {match[2]!r}; known are {', '.join(TABLES)}")
        try:
            table = TABLES[match[2]](root).rstrip()
        except MissingResults:
            table = NOT_MEASURED
        return f"{match[1]}{table}\n{match[3]}"

    return _BLOCK.sub(make, text)


def update(root: Path) -> list[Path]:
    """Write all generated blocks again; returns the files that changed. Raises ResultError, FileError."""
    changed = []
    for path in documents(root):
        before = path.read_text()
        if (after := fill(before, root)) != before:
            write_text(path, after)
            changed.append(path)
    return changed


if __name__ == "__main__":
    print(*update(ROOT), sep="\n")
