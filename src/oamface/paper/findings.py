"""From a folder of benchmark results to everything the report shows: addressed figures, contrasts, tests."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.errors import ResultError
from oamface.evaluation.bootstrap import RESAMPLES, interval, resampled
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.fairness import per_face
from oamface.evaluation.measure import DROP_TASKS, overall
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.significance import comparable, paired
from oamface.paper.benchmark import read_result
from oamface.paper.scenarios import MASKED

Figure = dict[str, float]
Values = npt.NDArray[np.float64]

LADDER = ("no_mask", "base", "attention", "supervised", "recovery", "full")  # each has one part more than the last
BALANCING = {"recovery": "fixed weights", "full": "pcgrad", "uncertainty": "uncertainty", "gradnorm": "gradnorm"}
SINGLE = ("only_age", "only_gender", "only_race", "only_mask")
CROSSED = {"from_utkface": "UTKFace", "from_fairface": "FairFace", "recovery": "both"}
BACKBONES = {
    "trunk_resnet50": "ResNet-50 to stage 3 (the paper's), from scratch",
    "trunk_mobilevit": "MobileViT v2 0.5, a transformer, from scratch",
    "trunk_face": "dlib's face network, from scratch",
    "trunk_face_trained": "dlib's face network, as it recognises faces",
}
CONTRASTS = (  # which part is asked about: the network with it, and the one without
    ("seeing masks in training", "base", "no_mask"),
    ("attention", "attention", "base"),
    ("attention, supervised", "supervised", "attention"),
    ("feature recovery", "recovery", "supervised"),
    ("gradient balancing (pcgrad)", "full", "recovery"),
    ("all of them", "full", "base"),
)
COMPARED = (  # of the contrasts above, and what the paper's claims ask beside them
    *((one, other) for _, one, other in CONTRASTS),
    ("full", "attention"),
    ("full", "no_mask"),
    ("full", "only_mask"),
    ("supervised", "base"),
)
STUDIED = ("age_mae", "gender_accuracy", "race_accuracy", "mask_accuracy", "overall_accuracy", "occlusion_drop")
ABLATED = (  # where the study is looked at: data set, condition, figure
    ("utkface", CLEAN, "age_mae"),
    ("utkface", CLEAN, "gender_accuracy"),
    ("utkface", CLEAN, "race_accuracy"),
    ("utkface", MASKED, "age_mae"),
    ("utkface", MASKED, "gender_accuracy"),
    ("utkface", MASKED, "race_accuracy"),
    ("utkface", MASKED, "mask_accuracy"),
    ("utkface", MASKED, "overall_accuracy"),
    ("utkface", "objects", "overall_accuracy"),
    ("fairface", CLEAN, "gender_accuracy"),
    ("fairface", MASKED, "gender_accuracy"),
    ("masks", CLEAN, "mask_accuracy"),
)


@dataclass(frozen=True)
class Findings:
    """Results of one protocol on the same faces.

    main: name of the model that the report is about. results, folder: every predictor's result by its name, and where
    the raw predictions lie. Variants of a study are called NAME-SEED.
    """

    main: str
    results: dict[str, dict[str, Any]]
    folder: Path

    @classmethod
    def read(cls, folder: Path, main: str | None = None) -> "Findings":
        """main: the only model file's when None. Raises ResultError: none, several, or results of other protocols."""
        results = {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}
        models = [name for name, result in results.items() if result["predictor"]["kind"] == "model file"]
        chosen = main or (models[0] if len(models) == 1 else None)
        if chosen not in results:
            known = ", ".join(results) or "none"
            raise ResultError(f"{folder}: no result of {chosen or 'one model file'}; there are: {known}; name one")
        for result in results.values():
            comparable(results[chosen], result)
        return cls(chosen, results, folder)

    @cached_property
    def predictions(self) -> dict[str, PredictionTable]:
        """Every predictor's raw table."""
        return {name: PredictionTable.read(self.folder / f"{name}.parquet") for name in self.results}

    @cached_property
    def variants(self) -> dict[str, list[str]]:
        """A study's variant to the names of its runs, seed after seed."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, result in self.results.items():
            if result["predictor"]["kind"] == "checkpoint":
                found[name.rpartition("-")[0]].append(name)
        return dict(found)

    @property
    def peers(self) -> list[str]:
        """Whom the model is compared with: predictors that are not ours, and other model files of ours."""
        return [
            name
            for name, result in self.results.items()
            if name != self.main and result["predictor"]["kind"] != "checkpoint"
        ]

    def values(self, variant: str, data_set: str, condition: str, figure: str) -> Values | None:
        """(runs, faces) of a variant, seed after seed: what a figure is the mean of; None where one has no answer."""
        rows = []
        for name in self.variants.get(variant, []):
            value = face_values(self.predictions[name], data_set, condition, figure)
            if value is None:
                return None
            rows.append(value)
        return np.stack(rows) if rows else None

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Every addressed figure, see figures_of."""
        return figures_of(self)

    def of_variant(self, variant: str, data_set: str, condition: str, figure: str) -> Figure | None:
        """A figure of a variant over its seeds, with an interval over seeds and faces."""
        return self.figures.get(f"study/{variant}/{data_set}/{condition}/{_metric(figure)}")

    def contrast(self, one: str, other: str, data_set: str, condition: str, figure: str) -> Figure | None:
        """How much higher a figure is for one variant than for the other, seed by seed and face by face."""
        return self.figures.get(f"contrast/{one}/{other}/{data_set}/{condition}/{_metric(figure)}")

    @cached_property
    def tests(self) -> dict[str, list[dict[str, Any]]]:
        """Paired tests: "full/no_mask" of the study's first seeds, and the model against every peer."""
        found = {}
        if {"full", "no_mask"} <= self.variants.keys():
            pair = (self.variants[name][0] for name in ("full", "no_mask"))
            one, other = (self.predictions[name] for name in pair)
            found["full/no_mask"] = paired(one, other, (CLEAN, MASKED))
        for peer in self.peers:
            tested = paired(self.predictions[self.main], self.predictions[peer], (CLEAN, MASKED))
            found[f"{self.main}/{peer}"] = tested
        return found


def face_values(predictions: PredictionTable, data_set: str, condition: str, figure: str) -> Values | None:
    """(N,) values whose mean a figure is, over the faces that know it; None where the predictor has no answer.

    figure: as in groups.per_face, "overall_accuracy", or "occlusion_drop" of gender and race under the condition.
    """
    part = predictions.part(data_set, condition)
    if figure == "occlusion_drop":
        values = overall(predictions.part(data_set, CLEAN).like(part), DROP_TASKS) - overall(part, DROP_TASKS)
    elif figure == "overall_accuracy":
        values = overall(part)
    else:
        found = per_face(part).get(figure)
        if found is None:
            return None
        values = found
    known = np.isfinite(values)
    return values[known] if known.any() else None


def two_level(values: Values, *, resamples: int = RESAMPLES, seed: int = 0) -> Figure:
    """Mean of (runs, faces) with its interval, runs and faces both drawn anew; a single run is taken as it is."""
    runs, faces = values.shape
    rng, drawn = np.random.default_rng((seed, 1)), []
    for weights in resampled(faces, resamples, seed):
        per_run = weights @ values.T / faces
        chosen = rng.integers(0, runs, per_run.shape)
        drawn.append(np.take_along_axis(per_run, chosen, 1).mean(1))
    low, high = interval(np.concatenate(drawn))
    return {"value": float(values.mean()), "low": low, "high": high}


def figures_of(findings: Findings) -> dict[str, Figure]:
    """Every figure that a claim can ask for, by address:

    DATA_SET/CONDITION/TASK/METRIC of the model; scenario/DATA_SET/NAME/TASK/METRIC; gap, worst, best, group and spread
    (one group less another) of fairness; bias/DATA_SET/CONDITION/AGE; false_masks/DATA_SET/CONDITION; model/WHAT;
    study/VARIANT/DATA_SET/CONDITION/TASK/METRIC; contrast/ONE/OTHER/...; test/ONE/OTHER/DATA_SET/CONDITION/FIGURE/WHAT.
    """
    result = findings.results[findings.main]
    figures: dict[str, Figure] = {}
    for data_set, conditions in result["measured"].items():
        for condition, sheet in conditions.items():
            _add(figures, f"{data_set}/{condition}", sheet)
    for data_set, named in result["scenarios"].items():
        for name, sheet in named.items():
            _add(figures, f"scenario/{data_set}/{name}", sheet)
    for entry in result["fairness"]:
        _add_groups(figures, entry)
    for row in result["mistakes"]["age_bias"]:
        where = f"bias/{row['data_set']}/{row['condition']}/{row['age']}"
        figures[where] = turned = row["bias"]
        figures[f"-{where}"] = {"value": -turned["value"], "low": -turned["high"], "high": -turned["low"]}
    figures |= _false_masks(findings)
    figures |= _model(findings)
    for data_set, condition, figure in product(result["measured"], (CLEAN, MASKED, "objects"), STUDIED):
        figures |= _studied(findings, data_set, condition, figure)
    for pair, rows in findings.tests.items():
        for row in rows:
            where = f"test/{pair}/{row['data_set']}/{row['condition']}/{row['figure']}"
            for what in ("p_holm", "cohens_d", "cohens_h"):
                if what in row:
                    name = "p" if what == "p_holm" else what
                    figures[f"{where}/{name}"] = exact(row[what])
    return figures


def exact(value: float) -> Figure:
    """A plain number as a figure whose interval is itself."""
    return {"value": value, "low": value, "high": value}


def _studied(findings: Findings, data_set: str, condition: str, figure: str) -> dict[str, Figure]:
    """One figure of every variant that answers it, and of every pair that is compared."""
    found: dict[str, Figure] = {}
    address, values = f"{data_set}/{condition}/{_metric(figure)}", {}
    for variant in findings.variants:
        rows = findings.values(variant, data_set, condition, figure)
        if rows is not None:
            values[variant] = rows
            found[f"study/{variant}/{address}"] = {**two_level(rows), "seeds": len(rows)}
    for one, other in COMPARED:
        if figure != "occlusion_drop" and {one, other} <= values.keys():
            seeds = min(len(values[one]), len(values[other]))
            change = two_level(values[one][:seeds] - values[other][:seeds])
            found[f"contrast/{one}/{other}/{address}"] = {**change, "seeds": seeds}
    return found


def absent(findings: Findings) -> dict[str, str]:
    """Why some addresses have no figure at all, by their start."""
    why: dict[str, str] = {}
    missing = {*LADDER, *BALANCING, *SINGLE, *CROSSED} - findings.variants.keys()
    untrained = "the study's runs took no part; `oamface study` trains them"
    why |= {f"study/{name}/": untrained for name in missing}
    why |= {f"contrast/{one}/{other}/": untrained for one, other in COMPARED if {one, other} & missing}
    if {"full", "no_mask"} & missing:
        why["test/full/no_mask/"] = untrained
    if {"recovery", *SINGLE} & missing:
        why |= dict.fromkeys(("model/fewer_than_single_tasks", "model/faster_than_single_tasks"), untrained)
    grouped = ("gap/", "group/", "worst/", "best/", "spread/", "bias/", "-bias/", "scenario/")
    data_sets = findings.results[findings.main]["measured"]
    for name in ("utkface", "fairface", "masks"):
        if name not in data_sets:
            starts = ["", "false_masks/", *grouped, *(f"study/{variant}/" for variant in findings.variants)]
            starts += [f"contrast/{one}/{other}/" for one, other in COMPARED]
            why |= {f"{start}{name}/": f"{name} took no part" for start in starts}
    for condition in {"objects", "accessories"} - set(findings.results[findings.main]["conditions"]):
        why |= {f"false_masks/{name}/{condition}": f"nobody was asked about {condition}" for name in data_sets}
    return why | dict.fromkeys(grouped, "fewer faces than a figure needs")


def _metric(figure: str) -> str:
    if figure == "occlusion_drop":
        return "occlusion_drop/overall_accuracy"
    task, _, metric = figure.rpartition("_")
    return f"{task}/{metric}"


def _add(figures: dict[str, Figure], where: str, sheet: Mapping[str, Any]) -> None:
    for task, entries in sheet.items():
        if isinstance(entries, dict):
            for metric, figure in entries.items():
                if isinstance(figure, dict) and {"value", "low", "high"} <= figure.keys():
                    figures[f"{where}/{task}/{metric}"] = figure


def _add_groups(figures: dict[str, Figure], entry: Mapping[str, Any]) -> None:
    where = "/".join(entry[key] for key in ("data_set", "condition", "attribute", "figure"))
    figures[f"gap/{where}"] = entry["gap"]
    figures[f"worst/{where}"], figures[f"best/{where}"] = entry["groups"][0], entry["groups"][-1]
    for group in entry["groups"]:
        figures[f"group/{where}/{group['group']}"] = group
    groups = {group["group"]: group for group in entry["groups"]}
    if {"61-80", "18-30"} <= groups.keys():
        # Two groups of other people are independent: their intervals add as the root of squares.
        one, other = groups["61-80"], groups["18-30"]
        value = one["value"] - other["value"]
        reach = [np.hypot(one["value"] - one["low"], other["high"] - other["value"])]
        reach.append(np.hypot(one["high"] - one["value"], other["value"] - other["low"]))
        figures[f"spread/{where}/61-80/18-30"] = {"value": value, "low": value - reach[0], "high": value + reach[1]}


def _false_masks(findings: Findings) -> dict[str, Figure]:
    """How much more often faces behind things that are no mask are said to be masked than the same faces bare."""
    predictions, figures = findings.predictions[findings.main], {}
    for data_set in predictions.classes:
        bare = predictions.part(data_set, CLEAN)
        for condition in ("objects", "accessories"):
            part = predictions.part(data_set, condition)
            if not len(part) or "mask" not in part.classes:
                continue
            before, after = (side.answers("mask")[1].argmax(1) for side in (bare.like(part), part))
            figures[f"false_masks/{data_set}/{condition}"] = two_level((after - before)[None].astype(float))
    return figures


def _model(findings: Findings) -> dict[str, Figure]:
    """Size and speed of the model, and against single-task networks: plain numbers, whose interval is themselves."""
    import timm

    from oamface.models.oam_cnn import parameter_count

    result = findings.results[findings.main]
    about, speed = result["predictor"], result["speed"]
    found = {"alone_ms": speed["alone_ms"], "batch_ms": speed["batch_ms"]}
    if "parameters" in about:
        found["parameters"] = round(about["parameters"] / 1e6, 1)
        whole = parameter_count(timm.create_model("resnet50", num_classes=0))
        found["fewer_than_resnet50s"] = round(1 - about["parameters"] / (4 * whole), 3)
    if "bytes" in about:
        found["megabytes"] = about["bytes"] / 2**20
    singles = [findings.results[findings.variants[name][0]] for name in SINGLE if name in findings.variants]
    together = findings.variants.get("recovery")
    if len(singles) == len(SINGLE) and together:
        one = findings.results[together[0]]
        if all(single["speed"]["run"] == one["speed"]["run"] for single in singles):
            time = sum(single["speed"]["alone_ms"] for single in singles)
            found["faster_than_single_tasks"] = time / one["speed"]["alone_ms"]
        size = sum(single["predictor"]["parameters"] for single in singles)
        found["fewer_than_single_tasks"] = 1 - one["predictor"]["parameters"] / size
    return {f"model/{name}": exact(value) for name, value in found.items()}


def per_class_of(result: Mapping[str, Any], places: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Per-class tables of (data set, condition, task), those that exist, with where they are from."""
    tables = []
    for data_set, condition, task in places:
        entry = result["measured"].get(data_set, {}).get(condition, {}).get(f"{task}_classes")
        if entry:
            tables.append({"data_set": data_set, "condition": condition, "task": task, **entry})
    return tables
