"""The model card: Markdown made from a model file's description, so that no figure is written by hand."""

from collections.abc import Sequence
from typing import Any

from oamface.errors import ModelError
from oamface.evaluation.tables import fairness_markdown, headline_markdown, markdown, markdown_table, rate_text
from oamface.zoo import OPEN_SETS, RESEARCH_SETS, is_research_only, teacher_names

LICENCES = {  # of the data sets whose terms are known
    "utkface": "UTKFace: non-commercial research use only",
    "aaf": "All-Age-Faces: research use, citation asked for",
    "fairface": "FairFace: CC BY 4.0",
    "csv": "the model's maker's own faces, from a CSV file",
    "folders": "the model's maker's own faces, from folders",
    "masks": "mask images of Face-Mask-Detection and RMFRD: MIT, images from the web",
    "synth": "synthetic people, drawn by `oamface data synthesize`",
}
INITIAL_WEIGHTS = {
    "scratch": "random weights",
    "hub": "timm's ImageNet weights",
    "package": "dlib's face-recognition network (CC0)",
}


def model_card(description: dict[str, Any], operating_points: Sequence[dict[str, Any]] = ()) -> str:
    """Markdown: what the model predicts, its training data, its figures, its terms of use.

    operating_points: as `oamface.weights.operating_points` gives them.

    Raises ModelError: a file that does not say how it was trained.
    """
    runs, intervals, evaluation = description["training"], description["intervals"], description["figures"]
    if "loss_weights" not in runs[-1]["recipe"]:
        raise ModelError("no card can be written: the model file does not say how it was trained; export it again")
    temperatures = ", ".join(f"{task} {value:.2f}" for task, value in description["temperatures"].items())
    thresholds = ", ".join(f"{value:.2f} ({task})" for task, value in description["thresholds"].items())
    quantiles, size = intervals["quantiles"], description["input"]["size"]
    undetected = "\n".join(
        f"- {name}: {results['undetected']} of {results['faces'] + results['undetected']} test images"
        for name, results in (evaluation["data_sets"] if evaluation else {}).items()
    )
    tables = (headline_markdown, markdown, fairness_markdown)
    headline, figures, groups = (table(evaluation) if evaluation else "Not evaluated." for table in tables)
    return f"""# Model card

OAM-CNN, {description["parameters"]:,} parameters, weights in {description.get("stored", "float16")}, for aligned faces
of {size} x {size} pixels. Written by `oamface models card` from the model file.

## What it predicts

Apparent age as a distribution over 0..100 years with a {intervals["level"]:.0%} interval, perceived gender (two
classes), perceived race (FairFace's seven classes), mask (none, incorrect, worn), and which part of the face is
visible. Gender and race are what annotators perceived in images; they say nothing about who a person is.

## In short

The test splits, with 95 % intervals; race in the data set's own classes, age in years. All figures are below.

{headline}

## Terms of use

{terms_of_use(runs)}
Do not use predictions to decide about people: not for identification, surveillance, hiring, policing or access.

## Training data

{chr(10).join(_training_data(runs[-1]))}

{chr(10).join(_run(run) for run in runs)}

## Calibration

A tenth of the training splits, never trained on, clean and with drawn occlusions: temperatures {temperatures}.
Age intervals by label-conditional split conformal prediction: a year is inside where the mean lies within
{min(quantiles):.2f} to {max(quantiles):.2f} (by year) times (the standard deviation of the distribution + 1) of it.
For faces that were not detected (`"detected": false`): {_undetected_quantiles(intervals)}.
{_kept_calibration(description)}\
A class is reported as "uncertain" below a probability of {thresholds}.

{_thresholds(operating_points)}## Figures on the test splits

Held-out masks (respirators, checked and floral cloth) and phones are drawn on the same faces; training never drew
these. `occlusion_drop` is how much worse occluded faces are predicted than the same faces clean. `leakage` is the share
of attention on occluded pixels divided by their share of the crop. Images without a detected face are in no figure:

{undetected}

{figures}

## Fairness

The same test faces, grouped by their labels; groups of fewer than 30 faces are left out. The coverage of age intervals
is the share of faces whose label lies inside; {intervals["level"]:.0%} is promised.

{groups}
"""


def terms_of_use(runs: list[dict[str, Any]]) -> str:
    """What the licences of all data that led to a network allow. runs: as in a model file's description."""
    names = {name for run in runs for name in run["data"]}
    unknown = sorted(names - LICENCES.keys())
    sentences = []
    if unknown:
        sentences.append(f"The terms of {' and '.join(unknown)} are not known to oamface; ask those who publish them.")
    if is_research_only(runs):
        sets = " and ".join(title for name, title in RESEARCH_SETS.items() if name in names)
        sentences.append(f"{sets} may be used for non-commercial research only, and so may these weights.")
    elif names & OPEN_SETS:
        sets = "The other data sets" if unknown else "The data sets"
        sentences.append(f"{sets} allow commercial use with attribution.")
    if names & {"csv", "folders"}:
        sentences.append("Your own faces have terms of their own.")
    return " ".join(sentences)


def _training_data(run: dict[str, Any]) -> list[str]:
    """A list item for every data set of a run."""
    weights = run["recipe"]["loss_weights"]
    uses_features = (weights["features"] or weights["kd"]) and not teacher_names(run["recipe"])
    items = []
    for name, data in run["data"].items():
        duplicates = f"({data['near_duplicates_excluded']} left out as near-duplicates of test faces)"
        item = f"- {LICENCES.get(name, name)}; {data['train']} training faces {duplicates}"
        if uses_features and data["with_features"]:
            item += f", {data['with_features']} with embeddings of a frozen teacher"
        items.append(item)
    return items


def kept_calibration(description: dict[str, Any]) -> str:
    """Which calibration a fine-tuned model has from the one before, for too few faces; "" if none."""
    if not (kept := description.get("kept")):
        return ""
    parts = [*kept["tasks"], *([f"the age intervals of {kept['ages']} of 101 ages"] if kept["ages"] else [])]
    start = description["fine_tuned_from"]["weights"]
    return f"too few calibration faces for {', '.join(parts)}: the calibration of {start} is kept there"


def _kept_calibration(description: dict[str, Any]) -> str:
    line = kept_calibration(description)
    return f"{line[:1].upper()}{line[1:]}.\n" if line else ""


def _undetected_quantiles(intervals: dict[str, Any]) -> str:
    quantiles = intervals.get("undetected")
    if not quantiles:
        return "not calibrated; the interval is 0 to 100"
    return (
        f"{min(quantiles):.2f} to {max(quantiles):.2f}, from the same faces cropped as if undetected, raised to cover\n"
        "faces of the training and calibration splits that really were not detected"
    )


def _thresholds(points: Sequence[dict[str, Any]]) -> str:
    """Which challenge age gives which false accepts; "" where that was not measured."""
    if not points:
        return ""
    rows = [
        (f"{point['wanted']:.1%}", str(point["challenge"]), rate_text(point["accepted"]), rate_text(point["passed"]))
        for point in points
    ]
    headings = ("wanted", "challenge", "13 to 17 accepted", "25 and more who pass")
    return f"""## Age thresholds

The least challenge age at which at most so many faces of 13 to 17 years of the calibration parts are estimated at that
age or more, and what it gives on the test parts of UTKFace and All-Age-Faces, with 95 % intervals. Faces of 13 to 17
are few, and their labels are estimates: see docs/age-thresholds.md.

{markdown_table(headings, rows)}

"""


def _run(run: dict[str, Any]) -> str:
    """One training run in a line, with its cost."""
    recipe = run["recipe"]
    phases = ", then ".join(
        f"at {phase['image_size']} px in batches of {phase['batch_size']}" for phase in recipe["phases"]
    )
    initial = INITIAL_WEIGHTS.get(recipe["pretrained"], f"`{recipe['pretrained']}`")
    teachers = " and ".join(f"`{name}`" for name in teacher_names(recipe))
    distilled = f", distilled from {teachers}" if teachers else ""
    repeats = recipe.get("mixup_repeats", 0)
    mixup = f", each {'once' if repeats == 1 else f'{repeats} times'} more with mixup" if repeats else ""
    return (
        f"Recipe `{recipe['name']}`, from {initial}{distilled}: {run['step']:,} steps {phases}{mixup},"
        f" {recipe['occlusion_probability']:.0%} of the faces occluded.\n"
    )
