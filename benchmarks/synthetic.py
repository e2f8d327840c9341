"""The numbers of docs/synthetic.md: python benchmarks/synthetic.py [--count 1000] [--weights oam]

How fast synthetic people are rendered, how many the detector finds and how exactly, and what the weights predict.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from oamface.analyzer import Analyzer
from oamface.datasets.readers.synthetic import RACES
from oamface.detection import Detector, nearest
from oamface.face_detector import FaceDetector
from oamface.labels import GENDERS
from oamface.results import Face
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_POSITIONS, Person, balanced
from oamface.synthetic.renderer import RenderedImage
from oamface.synthetic.scene import Scene

MIN_IOU = 0.3  # of the detected and the true box


def landmark_errors(detector: Detector, images: Sequence[RenderedImage]) -> np.ndarray:
    """(N,) mean distance of the five landmarks from the true ones, in distances of the eyes; NaN if undetected."""
    errors = np.full(len(images), np.nan)
    for number, image in enumerate(images):
        face = nearest(detector.detect(image.image), image.box, MIN_IOU)
        if face is not None:
            eyes = np.linalg.norm(image.landmarks[1] - image.landmarks[0])
            errors[number] = np.linalg.norm(face.landmarks - image.landmarks, axis=1).mean() / eyes
    return errors


def print_ages(people: Sequence[Person], faces: Sequence[Face]) -> None:
    true, predicted = np.array([person.age for person in people]), np.array([face.age.years for face in faces])
    masked = np.array([person.mask is not None for person in people])
    for name, rows in (("clean", ~masked), ("masked", masked), ("all", np.ones_like(masked))):
        rank, error = spearmanr(true[rows], predicted[rows]).statistic, np.abs(predicted - true)[rows].mean()
        print(f"age, {name}: Spearman {rank:.2f}, MAE {error:.1f} years")
    for low in range(10, 90, 10):
        rows = (true // 10 == low // 10) & ~masked
        if rows.any():
            means = f"mean true age {true[rows].mean():.0f}, mean predicted age {predicted[rows].mean():.0f}"
            print(f"  clean, {low} to {low + 9}: {means}")


def print_accuracies(people: Sequence[Person], faces: Sequence[Face]) -> None:
    positions = np.array([person.mask.position if person.mask else "none" for person in people])
    correct = np.array([(face.mask.probabilities["none"] > 0.5) for face in faces]) == (positions == "none")
    print(f"mask or none: {correct.mean():.1%}")
    for position in ("none", *MASK_POSITIONS):
        rows = positions == position
        print(f"  mask position {position}: {correct[rows].mean():.1%} of {rows.sum()}")
    for task, classes in (("gender", GENDERS), ("race", RACES)):
        for name in classes:
            labels = [
                max(getattr(face, task).probabilities.items(), key=lambda item: item[1])[0]
                in getattr(person.label, task)
                for person, face in zip(people, faces, strict=True)
                if getattr(person, task) == name
            ]
            print(f"{task} of {name}: {np.mean(labels):.1%} of {len(labels)}")


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

    clean = [person for person in people if person.mask is None][:200]
    frontal = list(render_images(head_model, clean, [Scene(seed=number) for number in range(len(clean))]))
    errors = landmark_errors(FaceDetector(), frontal)
    print(
        f"landmarks of {len(clean)} clean frontal heads: {np.nanmean(errors):.1%} of the distance of the eyes off;",
        end="",
    )
    print(f" {np.nanmean(errors < 0.06):.0%} below 6 %")

    analyzer = Analyzer(arguments.weights)
    pairs = []
    for person, image in zip(people, images, strict=True):
        detection = nearest(analyzer.detect(image.image), image.box, MIN_IOU)
        if detection is not None:
            pairs.append((person, analyzer.analyze(image.image, landmarks=detection.landmarks[None])[0]))
    print(f"detected in random scenes: {len(pairs) / len(people):.1%}")
    detected, faces = zip(*pairs, strict=True)
    print_ages(detected, faces)
    print_accuracies(detected, faces)


if __name__ == "__main__":
    main()
