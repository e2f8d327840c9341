import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from helpers.predictions import CLASSES, random_table
from oamface.errors import ResultError
from oamface.evaluation.significance import check_comparable, holm, paired_tests

ABOUT = {"protocol": {"version": 1, "digest": "a"}, "stores": {"utkface": 1}, "predictor": {"name": "x"}}


def test_holm_agrees_with_a_calculation_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1))
def test_holm_never_lowers_p_and_keeps_the_order(values) -> None:
    corrected = holm(values)
    assert all(after >= before for before, after in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_paired_tests_agree_with_scipy() -> None:
    one, other = random_table(seed=1, accuracy=0.9, about=ABOUT), random_table(seed=2, accuracy=0.7, about=ABOUT)
    rows = {row["figure"]: row for row in paired_tests(one, other, ["clean"], resamples=100)}
    subsets = [table.subset("utkface", "clean") for table in (one, other)]
    correct, other_correct = (subset.correct("gender") == 1 for subset in subsets)
    wins, losses = (correct & ~other_correct).sum(), (other_correct & ~correct).sum()
    gender = rows["gender_accuracy"]
    assert gender["p"] == pytest.approx(binomtest(int(wins), int(wins + losses)).pvalue)
    assert gender["improvement"]["value"] == pytest.approx(correct.mean() - other_correct.mean())
    assert gender["improvement"]["low"] < gender["improvement"]["value"] < gender["improvement"]["high"]
    errors = [np.abs(predicted - true) for _, predicted, true in (subset.ages() for subset in subsets)]
    difference = errors[1] - errors[0]
    assert rows["age_mae"]["p"] == pytest.approx(wilcoxon(difference).pvalue)
    assert rows["age_mae"]["cohens_d"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_predictor_is_no_improvement_on_itself() -> None:
    one = random_table(seed=1, about=ABOUT)
    rows = paired_tests(one, one, ["clean"], resamples=20)
    assert len(rows) == 4
    assert all((row["p"], row["improvement"]["value"]) == (1, 0) for row in rows)


def test_check_comparable_rejects_other_protocols_and_other_faces() -> None:
    with pytest.raises(ResultError, match="different protocols"):
        check_comparable(ABOUT, ABOUT | {"protocol": {"version": 2, "digest": "a"}})
    with pytest.raises(ResultError, match="different faces"):
        check_comparable(ABOUT, ABOUT | {"stores": {"utkface": 2}})


def test_paired_tests_reject_tables_of_other_faces() -> None:
    one, other = random_table(seed=1, about=ABOUT), random_table(seed=1, count=40, about=ABOUT)
    with pytest.raises(ResultError, match="the same faces"):
        paired_tests(one, other, ["clean"])


def test_tasks_in_other_classes_are_not_compared() -> None:
    coarse = {**CLASSES, "race": ["White", "Black or Indian"]}
    one, other = random_table(seed=1, about=ABOUT), random_table(seed=1, classes=coarse, about=ABOUT)
    rows = paired_tests(one, other, ["clean"], resamples=20)
    assert {row["figure"] for row in rows} == {"age_mae", "gender_accuracy", "mask_accuracy"}
