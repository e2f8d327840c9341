"""The figures of docs/synthetic.md: python benchmarks/synthetic.py [--count 1000] [--weights oam]

How many synthetic people the detector finds and how exactly, and what the weights predict of them. Writes
docs/results/synthetic.json and its table in docs/synthetic.md, and prints how fast the people were rendered.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from age_faces import ROOT, plain
from scipy.stats import spearmanr
from tables import update
from threshold_rates import rate

from oamface.analyzer import Analyzer
from oamface.atomic import write_text
from oamface.datasets.readers.synthetic import RACES
from oamface.detection import Detector, nearest
from oamface.evaluation.bootstrap import RESAMPLES, Estimate, bootstrap, percentile_interval
from oamface.evaluation.metrics import age_metrics, means
from oamface.face_detector import FaceDetector
from oamface.labels import GENDERS
from oamface.results import Face
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_POSITIONS, Person, balanced
from oamface.synthetic.renderer import RenderedImage
from oamface.synthetic.scene import Scene

MIN_IOU = 0.3  # of the detected and the true box
FRONTAL = 200  # faces whose landmarks are compared
AGES = {"18 to 29": (18, 30), "30 to 59": (30, 60), "60 to 80": (60, 81)}  # years from, and below


def landmark_errors(detector: Detector, images: Sequence[RenderedImage]) -> np.ndarray:
    """(N,) mean distance of the five landmarks from the true ones, in distances of the eyes; NaN if undetected."""
    errors = np.full(len(images), np.nan)
    for number, image in enumerate(images):
        face = nearest(detector.detect(image.image), image.box, MIN_IOU)
        if face is not None:
            eyes = np.linalg.norm(image.landmarks[1] - image.landmarks[0])
            errors[number] = np.linalg.norm(face.landmarks - image.landmarks, axis=1).mean() / eyes
    return errors


def describe_landmarks(errors: np.ndarray) -> dict[str, Any]:
    """The mean error, and the share of errors below 6 %, of the detected faces."""
    known = errors[np.isfinite(errors)]
    figure = bootstrap(lambda table, **named: means(table, names=["error"], **named), known[:, None])["error"]
    return {"error": figure, "within": rate(known < 0.06)}


def rank_correlation(one: np.ndarray, other: np.ndarray) -> Estimate:
    """Spearman's, with its bootstrap interval."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(one), (RESAMPLES, len(one)))
    low, high = percentile_interval(np.array([spearmanr(one[row], other[row]).statistic for row in rows]))
    return {"value": float(spearmanr(one, other).statistic), "low": low, "high": high}


def describe_ages(people: Sequence[Person], faces: Sequence[Face]) -> dict[str, Any]:
    """How well predicted ages are in the order of the true ones, and how far those of unmasked people are off."""
    true, predicted = np.array([person.age for person in people]), np.array([face.age.years for face in faces])
    masked = np.array([person.mask is not None for person in people])
    parts = {"unmasked": ~masked, "masked": masked, "together": np.ones_like(masked)}
    ranks = {name: {**rank_correlation(true[rows], predicted[rows]), "n": rows.sum()} for name, rows in parts.items()}
    bias = {}
    for name, (low, high) in AGES.items():
        rows = ~masked & (true >= low) & (true < high)
        bias[name] = {**bootstrap(age_metrics, predicted[rows], true[rows])["bias"], "n": rows.sum()}
    return {"spearman": ranks, "bias": bias}


def describe_classes(people: Sequence[Person], faces: Sequence[Face]) -> dict[str, Any]:
    """The share of right predictions: mask or none by how it is worn, gender and race by what they are."""
    positions = np.array([person.mask.position if person.mask else "none" for person in people])
    right = np.array([face.mask.probabilities["none"] > 0.5 for face in faces]) == (positions == "none")
    masks = {"together": rate(right)} | {name: rate(right[positions == name]) for name in ("none", *MASK_POSITIONS)}
    result: dict[str, Any] = {"mask": masks}
    for task, classes in (("gender", GENDERS), ("race", RACES)):
        likely = [max((table := getattr(face, task).probabilities), key=lambda name: table[name]) for face in faces]
        right = np.array([name in getattr(person.label, task) for name, person in zip(likely, people, strict=True)])
        names = np.array([getattr(person, task) for person in people])
        result[task] = {name: rate(right[names == name]) for name in classes}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--weights", default="oam")
    arguments = parser.parse_args()
    start = time.monotonic()
    head_model = HeadModel()
    print(f"anny loaded in {time.monotonic() - start:.0f} s")
    people = balanced(arguments.count)
    scenes = [Scene.random(np.random.default_rng((0, 2, number))) for number in range(len(people))]
    start = time.monotonic()
    images = list(render_images(head_model, people, scenes))
    print(f"{len(people)} people of 256 px rendered at {len(people) / (time.monotonic() - start):.1f} per second")
    unmasked = [person for person in people if person.mask is None][:FRONTAL]
    frontal = list(render_images(head_model, unmasked, [Scene(seed=number) for number in range(len(unmasked))]))

    analyzer = Analyzer(arguments.weights)
    found = [nearest(analyzer.detect(image.image), image.box, MIN_IOU) for image in images]
    detected = [person for person, face in zip(people, found, strict=True) if face is not None]
    faces = [
        analyzer.analyze(image.image, landmarks=face.landmarks[None])[0]
        for image, face in zip(images, found, strict=True)
        if face is not None
    ]
    results = {
        "models": {arguments.weights: analyzer.digest},
        "people": len(people),
        "detected": rate(np.array([face is not None for face in found])),
        "landmarks": describe_landmarks(landmark_errors(FaceDetector(), frontal)),
        **describe_ages(detected, faces),
        **describe_classes(detected, faces),
    }
    write_text(ROOT / "docs/results/synthetic.json", json.dumps(plain(results)) + "\n")
    print("\n".join(map(str, update(ROOT))))


if __name__ == "__main__":
    main()
