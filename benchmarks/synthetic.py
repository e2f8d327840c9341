"""What docs/synthetic.md says of synthetic people: python benchmarks/synthetic.py [--count 1000] [--weights oam]

How fast they are drawn, how many our detector finds and where it puts their landmarks, what the weights say of them.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from oamface.analyzer import Analyzer
from oamface.detection import Detection, Detector, nearest
from oamface.labels import GENDERS, SYNTH_RACES
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import WEARS, Person, balanced
from oamface.synthetic.renderer import ImageInput
from oamface.synthetic.scene import Scene

FOUND = 0.3  # least intersection over union with the true box


def away(detector: Detector, images: Sequence[ImageInput]) -> np.ndarray:
    """(N,) mean distance of the five landmarks from the true ones over that of the eyes; NaN where none is found."""
    return np.array([_away(nearest(detector.detect(image.image), image.box, FOUND), image) for image in images])


def _away(face: Detection | None, image: ImageInput) -> float:
    if face is None:
        return float("nan")
    eyes = float(np.linalg.norm(image.landmarks[1] - image.landmarks[0]))
    return float(np.linalg.norm(face.landmarks - image.landmarks, axis=1).mean()) / eyes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--weights", default="oam")
    asked = parser.parse_args()
    began = time.monotonic()
    shapes = Shapes()
    print(f"anny loaded in {time.monotonic() - began:.0f} s")
    people = balanced(asked.count)
    scenes = [Scene.draw(np.random.default_rng((0, 2, number))) for number in range(len(people))]
    began = time.monotonic()
    images = list(draw(shapes, people, scenes))
    print(f"{len(people)} people of 256 px drawn at {len(people) / (time.monotonic() - began):.1f} a second")

    bare = [person for person in people if person.mask is None][:200]
    frontal = away(Detector(), list(draw(shapes, bare, [Scene(seed=number) for number in range(len(bare))])))
    share, close = np.nanmean(frontal), np.nanmean(frontal < 0.06)
    print(f"{len(bare)} bare frontal heads: landmarks {share:.1%} of the eyes' distance away; {close:.0%} below 6 %")

    analyzer = Analyzer(asked.weights)
    said: list[tuple[Person, float, str, str, dict[str, float]]] = []
    for person, image in zip(people, images, strict=True):
        face = nearest(analyzer.detector.detect(image.image), image.box, FOUND)
        if face is None:
            continue
        told = next(iter(analyzer.analyze(image.image, landmarks=face.landmarks[None]).faces))
        top = [max(part.probabilities, key=part.probabilities.__getitem__) for part in (told.gender, told.race)]
        said.append((person, told.age.years, *top, told.mask.probabilities))
    print(f"found in everyday scenes: {len(said) / len(people):.1%}")
    ages, years = np.array([item[0].age for item in said]), np.array([item[1] for item in said])
    masked = np.array([item[0].mask is not None for item in said])
    for name, chosen in (("bare", ~masked), ("masked", masked), ("all", np.ones_like(masked))):
        rank = spearmanr(ages[chosen], years[chosen]).statistic
        print(f"age, {name}: Spearman {rank:.2f}, mean error {np.abs(ages - years)[chosen].mean():.1f} years")
    for low in range(10, 90, 10):
        chosen = (ages >= low) & (ages < low + 10) & ~masked
        if chosen.any():
            print(
                f"  bare, {low} to {low + 9}: mean set {ages[chosen].mean():.0f}, mean said {years[chosen].mean():.0f}"
            )
    right = np.array([(item[4]["none"] > 0.5) == (item[0].mask is None) for item in said])
    print(f"mask or none right: {right.mean():.1%}; bare {right[~masked].mean():.1%}", end="")
    for wear in WEARS:
        chosen = np.array([item[0].mask is not None and item[0].mask.wear == wear for item in said])
        print(f"; worn {wear} {right[chosen].mean():.1%} of {chosen.sum()}", end="")
    print()
    for gender in GENDERS:
        chosen = [item for item in said if item[0].gender == gender]
        print(f"gender of {gender}: {np.mean([item[2] == gender for item in chosen]):.1%} of {len(chosen)}")
    for race in SYNTH_RACES:
        chosen = [item for item in said if item[0].race == race]
        print(f"race of {race}: {np.mean([item[3] in item[0].label.race for item in chosen]):.1%} of {len(chosen)}")


if __name__ == "__main__":
    main()
