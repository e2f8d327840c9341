import numpy as np
import pandas as pd
import pytest
from quality_fit import (
    KNOTS,
    degrade,
    errors,
    fifths,
    fit_curves,
    fit_widening,
    predict_faces,
    relative_errors,
    with_quality,
)

from oamface.datasets.store import Store
from oamface.predictor import Predictor
from oamface.quality import MEASURES


def random_measures(count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Faces of good quality in all but their eye distance and visibility."""
    good = dict.fromkeys(MEASURES, 0.5) | {"glare": 0.0, "turn": 0.0, "contrast": 0.6}
    table = pd.DataFrame({name: np.full(count, value) for name, value in good.items()})
    return table.assign(eye_distance=rng.uniform(4, 40, count), visibility=rng.uniform(0.1, 1, count))


def test_fit_curves_finds_which_measures_predict_the_error() -> None:
    rng = np.random.default_rng(0)
    measures = random_measures(8000, rng)
    errors = rng.exponential(np.where(measures.eye_distance < 12, 3.0, 1.0))
    curves = fit_curves(measures, errors)
    assert set(curves) == set(KNOTS)
    eyes = curves["eye_distance"]
    assert eyes["penalty"][0] == pytest.approx(np.log(3), abs=0.15)
    assert eyes["penalty"][-1] == 0
    assert max(curves["visibility"]["penalty"]) < 0.15
    assert max(curves["glare"]["penalty"]) == 0


def test_fit_widening_covers_nine_tenths_and_falls() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 1, 20_000)
    reach = np.abs(rng.normal(size=20_000)) * np.where(scores < 0.5, 1.2, 0.5)
    table = fit_widening(scores, reach)
    factors = np.array(table["factor"])
    assert (np.diff(table["at"]) > 0).all()
    assert (np.diff(factors) <= 0).all()
    assert factors[0] == pytest.approx(1.645 * 1.2, abs=0.1)
    assert factors[-1] == 1


def test_fifths_order_faces_by_score() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0.2, 1, 1000)
    ages = {"age": 40.0, "first": 40, "last": 40, "years": 40 + 5 / score}
    faces = pd.DataFrame({"score": score, **ages, "covered": score > 0.3})
    worst, *_, best = fifths(faces, np.ones(1000), resamples=50)
    assert worst.score < 0.4 < 0.8 < best.score
    assert worst.error[0] > 2 * best.error[0]
    assert worst.error[1] <= worst.error[0] <= worst.error[2]
    assert (best.coverage[0], worst.n) == (1, 200)


def test_relative_errors_are_one_for_the_reference() -> None:
    rng = np.random.default_rng(0)
    age = rng.integers(1, 90, 5000).astype(float)
    years = age + rng.choice([-1, 1], 5000) * age / 10
    faces = pd.DataFrame({"age": age, "first": age, "last": age, "years": years})
    relative = relative_errors(faces, faces)
    for part in (age < 20, age > 60):
        assert relative[part].mean() == pytest.approx(1, abs=0.1)


def test_errors_of_ranges_are_outside_them() -> None:
    faces = pd.DataFrame({"age": [np.nan] * 4, "first": 20, "last": 29, "years": [18.0, 20, 29.9, 33]})
    assert errors(faces) == pytest.approx([2, 0, 0, 3])
    assert relative_errors(faces, faces) == pytest.approx(np.array([2, 0, 0, 3]) / 1.25)


def test_degrade_changes_the_crop_and_says_how_far_it_shrank(face) -> None:
    crop, landmarks = face
    drawn = [degrade(crop, landmarks, ["surgical"], np.random.default_rng(seed)) for seed in range(30)]
    assert all(image.shape == crop.shape and image.dtype == np.uint8 and (image != crop).any() for image, _ in drawn)
    scales = {scale for _, scale in drawn}
    assert 1.0 in scales
    assert min(scales) < 0.3
    again, _ = degrade(crop, landmarks, ["surgical"], np.random.default_rng(3))
    assert (again == drawn[3][0]).all()


def test_predict_faces_gives_labels_estimates_and_quality(store_folder) -> None:
    predictor, store = Predictor(threads=1), Store.open(store_folder)
    natural = with_quality(predict_faces(predictor, [store], "test", "natural"))
    degraded = with_quality(predict_faces(predictor, [store], "test", "degraded"))
    assert len(natural) == len(degraded) == store.splits.count("test")
    ages = np.array([label.age[0] for label in store.labels])
    assert (natural.age == ages[np.array(store.splits) == "test"]).all()
    assert set(natural.gender) == {"male", "female"}
    assert natural.eye_distance.round(1).unique() == pytest.approx([32.2], abs=0.1)
    assert degraded.eye_distance.min() < 30
    assert degraded.score.mean() < natural.score.mean()
    assert (natural.reach > 0).all()
