from dataclasses import replace

import numpy as np
import pytest

import oamface
from oamface import Age, AgePolicy, Box, Face, ImageResult, OptionError, Quality
from oamface.alignment import template
from oamface.errors import TaskError


def face_of(years: float, adult: float, **changes: object) -> Face:
    """A face of an estimated age whose probability of looking 18 or older is `adult`."""
    tails = np.where(np.arange(101) <= 18, adult, 0).astype(np.float32)
    age = Age(years, years - 5, years + 5, 0.9, np.full(101, 1 / 101, np.float32), tails)
    face = Face(Box(0, 0, 100, 100), template(128), 0.9, 0.95, {"age": age})
    return replace(face, **changes)


def test_plain_threshold_accepts_refers_and_refuses() -> None:
    policy = AgePolicy(18)
    assert policy.decide(face_of(30, 0.99)).to_dict() == {"outcome": "accept", "probability": 0.99, "reasons": []}
    assert policy.decide(face_of(10, 0.01)).outcome == "refuse"
    decision = policy.decide(face_of(17, 0.4))
    assert (decision.outcome, decision.reasons) == ("refer", ("may be younger than 18",))


def test_default_accepts_nobody_who_may_well_be_younger() -> None:
    decision = AgePolicy(18, challenge=25).decide(face_of(28, 0.9))
    assert (decision.outcome, decision.reasons) == ("refer", ("may be younger than 18",))
    assert AgePolicy(18, challenge=25, max_false_accept=0.2).decide(face_of(28, 0.9)).outcome == "accept"


def test_challenge_refers_adults_that_look_younger() -> None:
    decision = AgePolicy(18, challenge=25).decide(face_of(22, 0.97))
    assert (decision.outcome, decision.reasons) == ("refer", ("looks younger than 25",))
    assert AgePolicy(18, challenge=25).decide(face_of(25, 0.97)).outcome == "accept"
    assert AgePolicy(18, max_false_accept=0.01).decide(face_of(30, 0.97)).outcome == "refer"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"quality": Quality(0.3, ("too small", "blurred"), {})}, ("too small", "blurred")),
        ({"detected": False}, ("no face",)),
    ],
)
def test_poor_faces_are_referred_whatever_their_age(changes, reasons) -> None:
    for face in (face_of(60, 1.0, **changes), face_of(5, 0.0, **changes)):
        decision = AgePolicy().decide(face)
        assert (decision.outcome, decision.reasons) == ("refer", reasons)


def test_reasons_of_a_fair_face_do_not_refer() -> None:
    assert AgePolicy().decide(face_of(40, 0.99, quality=Quality(0.8, ("blurred",), {}))).outcome == "accept"


def test_apply_decides_about_every_face_and_about_an_image_without_one() -> None:
    policy = AgePolicy(18)
    result = policy.apply(ImageResult(9, 9, (face_of(30, 0.99), face_of(10, 0.01))))
    assert [face.decision.outcome for face in result] == ["accept", "refuse"]
    assert result.decision is None
    assert result.to_dict()["faces"][1]["decision"]["outcome"] == "refuse"
    empty = policy.apply(ImageResult(9, 9, ())).to_dict()
    assert empty["decision"] == {"outcome": "refer", "probability": None, "reasons": ["no face"]}
    assert "decision" not in ImageResult(9, 9, (face_of(30, 0.99),)).to_dict()["faces"][0]


def test_parse_reads_what_str_writes() -> None:
    assert AgePolicy.parse("age=21") == AgePolicy(21)
    policy = AgePolicy.parse("max_false_accept=0.01, age=18 ,challenge=25")
    assert policy == AgePolicy(18, challenge=25, max_false_accept=0.01)
    for one in (policy, AgePolicy(), AgePolicy(21, max_false_refuse=0)):
        assert AgePolicy.parse(str(one)) == one


@pytest.mark.parametrize("nothing", [0, -0.0, np.float32(0)])
def test_equal_policies_have_equal_texts(nothing) -> None:
    policy = AgePolicy(18, max_false_accept=nothing, max_false_refuse=nothing)
    assert str(policy) == str(AgePolicy(18, max_false_accept=0.0, max_false_refuse=0.0))


def test_numbers_of_numpy_are_numbers() -> None:
    policy = AgePolicy(np.int64(18), np.int32(25), np.float32(0.25), np.float64(0.125))
    assert policy == AgePolicy.parse(str(policy)) == AgePolicy(18, 25, 0.25, 0.125)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("18", "unknown field '18'"),
        ("years=18", "known are age, challenge, max_false_accept, max_false_refuse"),
        ("age=18,age=21", "age is given twice"),
        ("age=18.5", "whole number of years"),
        ("age=", "whole number of years"),
        ("max_false_accept=few", "within 0 to 1"),
        ("max_false_accept=nan", "within 0 to 1"),
        ("age=1_8", "whole number"),
        ("age=\uff11\uff18", "whole number"),
        ("age=18,challenge=17", "below the age 18"),
    ],
)
def test_parse_rejects_other_texts(text, reason) -> None:
    with pytest.raises(OptionError, match=reason):
        AgePolicy.parse(text)


def test_no_face_is_referred() -> None:
    assert AgePolicy().decide(None).to_dict() == {"outcome": "refer", "probability": None, "reasons": ["no face"]}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"age": 0}, "from 1 to 100"),
        ({"age": 101}, "from 1 to 100"),
        ({"age": 18.5}, "whole number"),
        ({"age": True}, "whole number"),
        ({"age": 18, "challenge": 17}, "below the age 18"),
        ({"max_false_accept": 1.5}, "max_false_accept"),
        ({"max_false_refuse": -0.1}, "max_false_refuse"),
        ({"max_false_refuse": "0.1"}, "max_false_refuse"),
        ({"max_false_accept": 0.6, "max_false_refuse": 0.6}, "more than 1"),
    ],
)
def test_wrong_policies_are_errors(settings, reason) -> None:
    with pytest.raises(OptionError, match=reason):
        AgePolicy(**settings)


def test_decide_rejects_anything_but_a_face() -> None:
    with pytest.raises(OptionError, match="ImageResult"):
        AgePolicy().decide(ImageResult(9, 9, ()))


def test_age_has_to_be_predicted() -> None:
    with pytest.raises(TaskError):
        AgePolicy().decide(face_of(30, 0.9, predictions={}))


def test_policy_on_the_portrait(portrait) -> None:
    face = oamface.analyze(portrait)[0]
    assert AgePolicy(18).decide(face).outcome == "accept"
    assert AgePolicy(60).decide(face).outcome in ("refuse", "refer")
