"""The model card, from what a model file says of itself, so that no figure is written by hand."""

from typing import Any

from oamface.errors import ModelError
from oamface.evaluation.tables import groups_markdown, headline_markdown, markdown

LICENCES = {
    "utkface": "UTKFace: non-commercial research use only",
    "fairface": "FairFace: CC BY 4.0",
    "masks": "mask images of Face-Mask-Detection and RMFRD: MIT, images from the web",
}
STARTED = {
    "scratch": "random weights",
    "hub": "timm's ImageNet weights",
    "package": "dlib's face-recognition network (CC0)",
}


def model_card(description: dict[str, Any]) -> str:
    """Markdown: what the model is, what it was trained on, what it measures, what it must not be used for."""
    runs, intervals = description["training"], description["intervals"]
    training = runs[-1]
    if "weights" not in training["recipe"]:
        raise ModelError("no card can be written: the model file does not say how it was trained; export it again")
    weights = training["recipe"]["weights"]
    from_features = (weights["features"] or weights["kd"]) and not training["recipe"].get("teacher")
    used = [
        f"- {LICENCES.get(name, name)}; {data['train']} training faces"
        f" ({data['near_duplicates_excluded']} left out as copies of test faces)"
        + (
            f", {data['with_features']} with features of a frozen teacher"
            if from_features and data["with_features"]
            else ""
        )
        for name, data in training["data"].items()
    ]
    temperatures = ", ".join(f"{task} {value:.2f}" for task, value in description["temperatures"].items())
    thresholds = ", ".join(f"{value:.2f} ({task})" for task, value in description["thresholds"].items())
    reach, blind = intervals["quantiles"], intervals.get("undetected")
    undetected = (
        f"{min(blind):.2f} to {max(blind):.2f}, from the same faces with their detection taken away, widened to hold"
        " for those of the training and calibration parts that really were not detected"
        if blind
        else "not calibrated; the interval is 0 to 100"
    )
    restricted = any("utkface" in run["data"] for run in runs)
    use = (
        "UTKFace may be used for non-commercial research only, and so may these weights."
        if restricted
        else "The data sets allow commercial use with attribution."
    )
    measured = description["figures"]
    lost = [
        f"- {name}: {measured['undetected']} of {measured['faces'] + measured['undetected']} test images"
        for name, measured in (measured or {"data_sets": {}})["data_sets"].items()
    ]
    tables = (headline_markdown, markdown, groups_markdown)
    headline, figures, groups = (table(measured) if measured else "Not measured." for table in tables)
    stored = description.get("stored", "float16")
    return f"""# Model card

OAM-CNN, {description["parameters"]:,} parameters, stored in {stored}, for aligned faces of
{description["input"]["size"]} x {description["input"]["size"]} pixels. Written by `oamface card` from the model file.

## What it answers

Apparent age as a distribution over 0..100 years with a {intervals["level"]:.0%} interval, perceived gender (two
classes), perceived race (FairFace's seven classes), mask (none, incorrect, worn), and where the face is uncovered.
Gender and race are what annotators perceived in images; they say nothing about who a person is.

## In short

The test parts, with 95 % intervals; race in the data set's own classes, age in years. All of it is below.

{headline}

## Terms of use

{use}
Do not use the answers to decide about people: not for identification, surveillance, hiring, policing or access.

## Trained on

{chr(10).join(used)}

{chr(10).join(_run(run) for run in runs)}

## Calibrated on

A tenth of the training parts, never trained on, bare and with drawn masks: temperatures {temperatures}. Age intervals
by label-conditional split conformal prediction: a year stays possible while the mean lies within
{min(reach):.2f} to {max(reach):.2f} (by year) times (the distribution's deviation + 1) of it. Where no face was
detected (`"detected": false`): {undetected}. "uncertain"
is said instead of a class below {thresholds}.

## Measured on the test parts

Held-out masks (respirators, checked and floral cloth) and phones are drawn on the same faces; training never drew
these. `occlusion_drop` is what that costs against the bare face. `leakage` is the attention's weight on covered pixels over
their share of the area. Pictures in which no face was found are not in the figures:

{chr(10).join(lost)}

{figures}

## Groups

The same test faces by what the labels say of them; groups of fewer than 30 faces are left out. The coverage of age
intervals is the share of faces whose label lies inside; {intervals["level"]:.0%} is promised.

{groups}
"""


def _run(run: dict[str, Any]) -> str:
    """One run in a few words, and its cost."""
    recipe = run["recipe"]
    listed = sum(data["train"] * recipe["repeat"].get(name, 1) for name, data in run["data"].items())
    faces = recipe.get("samples_per_epoch") or listed
    passes = sum(stage["passes"] for stage in recipe["stages"])
    stages = ", then ".join(
        f"{stage['passes']} passes at {stage['size']} px in batches of {stage['batch']}" for stage in recipe["stages"]
    )
    start = STARTED.get(recipe["pretrained"], f"`{recipe['pretrained']}`")
    taught = f", taught by `{recipe['teacher']}`" if recipe.get("teacher") else ""
    mixup_repeats = f", {recipe['mixup_repeats']} times as many with faces mixed" if recipe.get("mixup_repeats") else ""
    return (
        f"Recipe `{recipe['name']}`, from {start}{taught}: {stages}; {faces * passes:,} image-passes{mixup_repeats}, things"
        f" drawn on {recipe['occluded']:.0%} of the faces.\n"
    )
