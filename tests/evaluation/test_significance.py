import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from helpers.predictions import CLASSES, table
from oamface.errors import ResultError
from oamface.evaluation.significance import comparable, holm, paired

ABOUT = {"protocol": {"version": 1, "digest": "a"}, "stores": {"utkface": 1}, "predictor": {"name": "x"}}


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1))
def test_holm_never_lowers_and_keeps_the_order(values) -> None:
    corrected = holm(values)
    assert all(after >= before for before, after in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_the_tests_are_scipys_on_the_same_faces() -> None:
    one, other = table(seed=1, right=0.9, about=ABOUT), table(seed=2, right=0.7, about=ABOUT)
    rows = {row["figure"]: row for row in paired(one, other, ["clean"], resamples=100)}
    mine, theirs = (
        side.part("utkface", "clean").answers("gender")[1].argmax(1)
        == side.part("utkface", "clean").answers("gender")[2]
        for side in (one, other)
    )
    won, lost = (mine & ~theirs).sum(), (theirs & ~mine).sum()
    gender = rows["gender_accuracy"]
    assert gender["p"] == pytest.approx(binomtest(int(won), int(won + lost)).pvalue)
    assert gender["better"]["value"] == pytest.approx(mine.mean() - theirs.mean())
    assert gender["better"]["low"] < gender["better"]["value"] < gender["better"]["high"]
    errors = [
        np.abs(side.part("utkface", "clean").years()[1] - side.part("utkface", "clean").years()[2])
        for side in (one, other)
    ]
    age = rows["age_mae"]
    assert age["p"] == pytest.approx(wilcoxon(errors[1] - errors[0]).pvalue)
    gap = errors[1] - errors[0]
    assert age["cohens_d"] == pytest.approx(gap.mean() / gap.std(ddof=1))
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_a_predictor_against_itself_is_no_better() -> None:
    one = table(seed=1, about=ABOUT)
    for row in paired(one, one, ["clean"], resamples=20):
        assert (row["p"], row["better"]["value"]) == (1, 0)


def test_other_protocols_and_other_faces_are_refused() -> None:
    with pytest.raises(ResultError, match="another protocol"):
        comparable(ABOUT, ABOUT | {"protocol": {"version": 2, "digest": "a"}})
    with pytest.raises(ResultError, match="other faces"):
        comparable(ABOUT, ABOUT | {"stores": {"utkface": 2}})
    one, other = table(seed=1, about=ABOUT), table(seed=1, count=40, about=ABOUT)
    with pytest.raises(ResultError, match="do not hold the same faces"):
        paired(one, other, ["clean"])


def test_answers_in_other_classes_are_not_compared() -> None:
    coarse = {**CLASSES, "race": ["White", "Black or Indian"]}
    rows = paired(table(seed=1, about=ABOUT), table(seed=1, classes=coarse, about=ABOUT), ["clean"], resamples=20)
    assert {row["figure"] for row in rows} == {"age_mae", "gender_accuracy", "mask_accuracy"}
