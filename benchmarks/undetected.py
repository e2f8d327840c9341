"""Age intervals of faces cropped as if undetected: python benchmarks/undetected.py ARCHIVE_FOLDER FILE.json

ARCHIVE_FOLDER: with utkface.tar and aaf.tar. Every test image is cropped as where no face is detected; its interval is
computed with the model's quantiles of detected and of undetected faces.
"""

import argparse
from pathlib import Path

import numpy as np

from oamface.alignment import crop_face
from oamface.atomic import write_text
from oamface.datasets.archive import Archive
from oamface.datasets.readers import aaf, utkface
from oamface.detection import assumed
from oamface.errors import OamfaceError
from oamface.evaluation.bootstrap import bootstrap
from oamface.evaluation.metrics import interval_metrics, means
from oamface.images import read_image
from oamface.paper.compact import compact_json
from oamface.parallel import map_ahead
from oamface.predictor import Predictor
from oamface.results import Box

SETS = {"utkface": (utkface.read, "UTKFace"), "aaf": (aaf.read, "All-Age-Faces")}
OLD = 85  # years


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights", default="oam-int8")
    options = parser.parse_args()
    predictor, rows, attributes = Predictor(options.weights), [], {}
    for data_set, (read, title) in SETS.items():
        with Archive(options.archives / f"{data_set}.tar") as archive:
            records = [record for record in read(archive).records if record.split == "test"]
            crops = map_ahead(lambda record: crop_as_undetected(archive.read(record.name)), records, 2, ahead=64)
            known = [(record, crop) for record, crop in zip(records, crops, strict=True) if crop is not None]
        predictions = predictor.predict(crop for _, crop in known)
        true = np.array([record.label.age[0] for record, _ in known])
        bounds = [predictions.age_bounds(q) for q in (predictor.quantiles, predictor.undetected_quantiles)]
        choices = {f"{title} test, cropped as if undetected": true >= 0}
        if data_set == "utkface":
            choices[f"of these, {OLD} years and older"] = true >= OLD
            attributes = describe(predictions, known)
        for name, chosen in choices.items():
            row = {"faces": name, "n": int(chosen.sum())}
            for side, (low, high) in zip(("detected", "undetected"), bounds, strict=True):
                figures = bootstrap(interval_metrics, low[chosen], high[chosen], true[chosen])
                row |= {f"{side}_coverage": figures["coverage"], f"{side}_width": figures["width"]["value"]}
            rows.append(row)
    about = {"schema": "oamface-undetected/1", "models": {options.weights: predictor.digest}}
    write_text(options.output, compact_json({**about, "rows": rows, "utkface": attributes}))


def crop_as_undetected(data: bytes) -> np.ndarray | None:
    try:
        image = read_image(data)
    except OamfaceError:
        return None
    height, width = image.shape[:2]
    return crop_face(image, assumed(Box(0.0, 0.0, float(width), float(height)), crop=True).landmarks, 128)


def describe(predictions, known) -> dict:
    """The error of age, and the accuracies of gender and race, of UTKFace."""
    from oamface.datasets.labels import dataset_classes
    from oamface.labels import GENDERS, RACES

    error = np.abs(predictions.years - np.array([record.label.age[0] for record, _ in known]))
    genders = np.array(GENDERS)[predictions.probabilities["gender"].argmax(1)]
    right = np.array([{name} == record.label.gender for name, (record, _) in zip(genders, known, strict=True)])
    groups = dataset_classes("utkface", "race")
    shares = predictions.probabilities["race"] @ np.array(
        [[name in group for group in groups] for name in RACES], float
    )
    races = np.array([groups[n] == record.label.race for n, (record, _) in zip(shares.argmax(1), known, strict=True)])
    values = np.stack([error, right, races], 1)
    return bootstrap(lambda table, **named: means(table, names=["age_mae", "gender", "race"], **named), values)


if __name__ == "__main__":
    main()
