"""The shipped weights: what they say of themselves, and what they say of faces."""

import functools
from pathlib import Path

import numpy as np
import pytest

import oamface
from oamface import Analyzer
from oamface.datasets.archive import Archive
from oamface.datasets.readers import masks as mask_folders
from oamface.datasets.readers import utkface
from oamface.images import RGBImage, read_image
from oamface.labels import Label, candidate_mask
from oamface.occlusion import occlude
from oamface.predictor import Predictor
from oamface.weights import RESEARCH_ONLY, WEIGHTS, operating_points, terms
from oamface.zoo import is_research_only

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "shared/datasets"


@pytest.fixture(scope="module", params=WEIGHTS)
def analyzer(request) -> Analyzer:
    return Analyzer(request.param)


LEARNT_FROM = {
    "oam-int8": {"utkface", "aaf", "fairface", "masks"},
    "oam": {"utkface", "aaf", "fairface", "masks"},
    "oam-open": {"fairface", "masks"},
    "oam-small": {"fairface", "masks"},
}


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_are_small_and_describe_themselves(weights) -> None:
    predictor = Predictor(weights)
    assert predictor.path.stat().st_size < 14e6
    assert predictor.description["parameters"] < 6.5e6
    assert predictor.description["intervals"]["level"] == 0.9
    learnt_from = set().union(*(run["data"] for run in predictor.description["training"]))
    assert learnt_from == LEARNT_FROM[weights]
    assert {"utkface", "fairface", "masks"} <= set(predictor.description["figures"]["data_sets"])
    assert (weights in RESEARCH_ONLY) == is_research_only(predictor.description["training"])
    assert bool(terms(weights)) == (weights in RESEARCH_ONLY)


def test_all_weights_together_take_less_than_40_mb() -> None:
    assert sum(Predictor(weights).path.stat().st_size for weights in WEIGHTS) < 40e6


@pytest.mark.parametrize("weights", WEIGHTS)
def test_undetected_faces_have_wider_intervals_than_others(weights) -> None:
    predictor = Predictor(weights)
    assert np.isfinite(predictor.undetected_quantiles).all()
    assert predictor.undetected_quantiles.mean() > predictor.quantiles.mean()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_card_is_that_of_the_shipped_file(weights) -> None:
    from oamface.export.model_card import model_card

    predictor = Predictor(weights)
    card = (predictor.path.parent / f"{weights}.md").read_text()
    points = operating_points(predictor.digest)
    assert [point["wanted"] for point in points] == [0.1, 0.05, 0.01, 0.001]
    assert card == model_card(predictor.description, points)
    assert ("research only" in card) == (weights in RESEARCH_ONLY)


def test_default_weights_are_the_best_in_eight_bits(portrait) -> None:
    quantized, original = oamface.analyze(portrait), Analyzer("oam").analyze(portrait)
    assert quantized == Analyzer("oam-int8").analyze(portrait)
    assert abs(quantized[0].age.years - original[0].age.years) < 3
    predictor = Predictor("oam-int8")
    assert predictor.description["stored"] == "int8"
    assert predictor.path.stat().st_size < 8e6
    for tasks in predictor.description["quantisation"].values():
        assert max(drop for task, drop in tasks.items() if task != "age") <= 0.003


def test_portrait_of_an_astronaut_of_about_36(analyzer, portrait) -> None:
    faces = analyzer.analyze(portrait).faces
    assert len(faces) == 1
    assert faces[0].age.low <= 36 <= faces[0].age.high
    assert 20 < faces[0].age.years < 55
    assert faces[0].gender.label == "female"
    assert faces[0].mask.label == "none"
    assert faces[0].visibility > 0.8


@pytest.mark.parametrize("style", ["respirator", "checked"])
def test_held_out_masks_are_recognised(analyzer, portrait, style) -> None:
    clean = analyzer.analyze(portrait).faces[0]
    drawn = occlude(portrait, clean.landmarks, style, np.random.default_rng(0))
    face = analyzer.analyze(drawn.image, landmarks=[clean.landmarks]).faces[0]
    assert face.mask.label == "worn"
    assert face.gender.label in ("female", "uncertain")  # less sure, but not the opposite
    assert abs(face.age.years - clean.age.years) < 15
    assert face.visibility < clean.visibility - 0.2


@functools.cache
def images_and_labels(data_set: str) -> tuple[list[RGBImage], list[Label]]:
    """About a hundred raw images of a test split, and their labels."""
    readers = {"utkface": utkface.read, "masks": mask_folders.read}
    path = DATA / f"{data_set}.tar"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    with Archive(path) as archive:
        records = [record for record in readers[data_set](archive).records if record.split == "test"]
        records = records[:: len(records) // 100]
        images = [read_image(archive.read(record.name)) for record in records]
    return images, [record.label for record in records]


@pytest.mark.parametrize(("data_set", "task", "least"), [("utkface", "gender", 0.85), ("masks", "mask", 0.93)])
def test_accuracy_on_images_of_the_test_split(analyzer, data_set, task, least) -> None:
    """A spot check on raw images; `oamface evaluate` measures all of them."""
    images, labels = images_and_labels(data_set)
    correct = []
    for image, row in zip(images, candidate_mask(labels, task), strict=True):
        face = analyzer.analyze(image, crop=True).faces[0]
        probabilities = np.array(list(getattr(face, task).probabilities.values()))
        correct.append(probabilities[row].sum() > 0.5)
    assert np.mean(correct) > least
