"""Draws the documentation's figures with synthetic people: python figures.py DOCS (needs oamface[synth,train])"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from oamface import Analyzer, ImageResult
from oamface.alignment import crop_face
from oamface.annotate import annotate, describe
from oamface.images import RGBImage
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import Mask, Person
from oamface.synthetic.scene import Scene

GENDERS, RACES = ("female", "male"), ("White", "Black", "Asian")
MASKS = (None, Mask("surgical"), Mask("cloth"), Mask("black"), Mask("surgical", "below_nose"), Mask("ffp2", "on_chin"))
BLUE, VERMILION = "#0072b2", "#d55e00"


def row_of_people(head_model: HeadModel, analyzer: Analyzer) -> RGBImage:
    """Five people side by side, annotated."""
    people = [
        Person(34, "female", "Asian", 3),
        Person(67, "male", "Black", 12, Mask("surgical")),
        Person(26, "male", "Asian", 5),
        Person(45, "female", "Black", 9, Mask("cloth", "below_nose")),
        Person(8, "female", "White", 21),
    ]
    lights = {"studio": 0, "window left": 18, "overcast": -12, "office": 8, "window right": -5}
    scenes = [Scene(yaw=yaw, light=light, fill=0.62, shift=(0, -0.14)) for light, yaw in lights.items()]
    tiles = [rendered.image for rendered in render_images(head_model, people, scenes, size=320, workers=0)]
    return _annotated(np.concatenate(tiles, 1), analyzer)


def crowd(head_model: HeadModel, analyzer: Analyzer) -> RGBImage:
    """Fifteen people of several sizes near each other, annotated."""
    rng = np.random.default_rng(4)
    canvas = np.full((760, 1240, 3), 186, np.uint8)
    people = [
        Person(
            int(rng.integers(6, 80)), GENDERS[number % 2], RACES[number % 3], 40 + number, MASKS[number % len(MASKS)]
        )
        for number in range(15)
    ]
    scenes = [Scene(yaw=float(rng.uniform(-20, 20)), fill=0.8) for _ in people]
    for number, rendered in enumerate(render_images(head_model, people, scenes, size=256, workers=0)):
        side = int(rng.integers(150, 240))
        row, column = divmod(number, 5)
        x, y = 244 * column + int(rng.integers(0, 20)), 250 * row + int(rng.integers(0, 20))
        canvas[y : y + side, x : x + side] = np.asarray(Image.fromarray(rendered.image).resize((side, side)))
    return _annotated(canvas, analyzer)


def pipeline(image: RGBImage, result: ImageResult) -> Figure:
    """What happens to one image, step by step."""
    face = result[0]
    assert face.attention is not None
    figure, axes = plt.subplots(1, 5, figsize=(12, 2.9), layout="constrained")
    titles = ("1. image", "2. detect", "3. align", "4. attend", "5. predict")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11)
        axis.axis("off")
    axes[0].imshow(image)
    axes[1].imshow(image)
    x, y, width, height = face.box
    axes[1].add_patch(Rectangle((x, y), width, height, fill=False, color=BLUE, linewidth=2))
    axes[1].scatter(*face.landmarks.T, color=VERMILION, s=14)
    crop = crop_face(image, face.landmarks)
    axes[2].imshow(crop)
    axes[3].imshow(crop)
    axes[3].imshow(face.attention, cmap="cividis", alpha=0.65, vmin=0, vmax=1, extent=(0, 128, 128, 0))
    axes[4].set_box_aspect(1)
    axes[4].text(0, 0.5, "\n".join(describe(face)), fontsize=11, va="center", transform=axes[4].transAxes)
    return figure


def attention(images: Sequence[RGBImage], results: Sequence[ImageResult]) -> Figure:
    """One person with several masks: the aligned crop, and where the network takes the face to be visible."""
    figure, axes = plt.subplots(2, len(images), figsize=(2 * len(images), 4.3), layout="constrained")
    for column, image, result in zip(axes.T, images, results, strict=True):
        face = result[0]
        assert face.attention is not None
        column[0].imshow(crop_face(image, face.landmarks))
        shown = column[1].imshow(face.attention, cmap="cividis", vmin=0, vmax=1)
        column[0].set_title(f"{face.mask.label}, {face.age.years:.0f} years", fontsize=10)
        column[1].set_title(f"{face.visibility:.0%} visible", fontsize=10)
    for axis in axes.ravel():
        axis.axis("off")
    figure.colorbar(shown, ax=axes[1], label="taken to be visible", fraction=0.03)
    return figure


def ages(results: Sequence[ImageResult]) -> Figure:
    """The predicted distribution of age of some people, with its mean and interval."""
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 2.4), layout="constrained", sharey=True)
    for axis, result in zip(axes, results, strict=True):
        age = result[0].age
        axis.fill_between(range(101), age.distribution, color=BLUE, alpha=0.35)
        axis.axvspan(age.low, age.high, color=VERMILION, alpha=0.15)
        axis.axvline(age.years, color=VERMILION)
        axis.set_title(f"{age.years:.0f} years, {age.level:.0%} interval {age.low:.0f} to {age.high:.0f}", fontsize=9)
        axis.set_xlabel("years")
    axes[0].set_ylabel("probability")
    return figure


def _annotated(image: RGBImage, analyzer: Analyzer) -> RGBImage:
    return annotate(image, analyzer.analyze(image))


def _save(figure: Figure, path: Path) -> None:
    """As WebP; a colour-blind reader's palette and a white ground, so that it shows in dark pages too."""
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 70, "method": 6})
    plt.close(figure)


def main(docs: Path) -> None:
    head_model, analyzer = HeadModel(), Analyzer(weights="oam", device="cpu")
    (docs / "figures").mkdir(exist_ok=True)
    people = [Person(38, "female", "Black", 8, mask) for mask in MASKS]
    scenes = [Scene(fill=0.8)] * len(people)
    images = [rendered.image for rendered in render_images(head_model, people, scenes, size=320, workers=0)]
    results = [analyzer.analyze(image) for image in images]
    _save(pipeline(images[1], results[1]), docs / "figures/pipeline.webp")
    _save(attention(images, results), docs / "figures/attention.webp")
    others = [Person(6, "male", "Asian", 2), Person(31, "female", "White", 4), Person(74, "male", "White", 9)]
    rendered_others = render_images(head_model, others, scenes[:3], size=320, workers=0)
    _save(ages([analyzer.analyze(rendered.image) for rendered in rendered_others]), docs / "figures/ages.webp")
    Image.fromarray(crowd(head_model, analyzer)).save(docs / "figures/crowd.webp", quality=65, method=6)
    Image.fromarray(row_of_people(head_model, analyzer)).save(docs / "synthetic/answers.jpg", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
