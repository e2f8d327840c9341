from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.errors import SynthError
from oamface.labels import GENDERS, SYNTH_RACES
from oamface.synthetic.hair import STYLES
from oamface.synthetic.people import MASKS, Mask, Person, balanced, changes, look, phenotypes

SOMEONE = Person(40, "female", "Asian", 7)


@given(st.integers(1, 700), st.integers(0, 5), st.floats(0, 1), st.integers(1, 60), st.integers(0, 34))
def test_the_balance_is_exact_to_one_person(count, seed, share, low, years) -> None:
    people = balanced(count, seed=seed, ages=(low, low + years), mask_share=share)
    assert len(people) == count
    assert all(low <= person.age <= low + years for person in people)
    cells = Counter((person.age // 10, person.gender, person.race) for person in people)
    decades = {year // 10 for year in range(low, low + years + 1)}
    counts = [cells[decade, gender, race] for decade in decades for gender in GENDERS for race in SYNTH_RACES]
    assert max(counts) - min(counts) <= 1
    masked = Counter((p.age // 10, p.gender, p.race) for p in people if p.mask)
    assert all(abs(masked[cell] - share * number) <= 1 for cell, number in cells.items())


def test_a_thousand_people_wear_the_asked_share_of_masks() -> None:
    people = balanced(1000, mask_share=0.4)
    assert sum(person.mask is not None for person in people) == pytest.approx(400, abs=25)
    styles = Counter(person.mask.style for person in people if person.mask)
    assert set(styles) == set(MASKS)
    assert sum(person.mask.wear != "right" for person in people if person.mask) == pytest.approx(80, abs=30)


def test_the_same_seed_gives_the_same_people_and_another_others() -> None:
    assert balanced(50, seed=3) == balanced(50, seed=3)
    assert balanced(50, seed=3) != balanced(50, seed=4)
    assert len({person.identity for person in balanced(200)}) == 200


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"count": 0}, "count 0"),
        ({"ages": (18, 200)}, "200"),
        ({"ages": (0, 20)}, "0-20"),
        ({"ages": (50, 20)}, "50-20"),
        ({"races": ["Martian"]}, "Martian"),
        ({"races": []}, "none"),
        ({"races": ["White", "White"]}, "once"),
        ({"genders": ["other"]}, "other"),
        ({"mask_share": 1.5}, "1.5"),
        ({"mask_share": -0.1}, "-0.1"),
    ],
)
def test_what_cannot_be_asked_for_is_a_clear_error(asked, named) -> None:
    with pytest.raises(SynthError, match=named):
        balanced(**{"count": 10, **asked})


@pytest.mark.parametrize("changed", [{"age": 0}, {"age": 96}, {"gender": "x"}, {"race": "Indian"}])
def test_a_person_is_checked(changed) -> None:
    with pytest.raises(SynthError):
        replace(SOMEONE, **changed)


@pytest.mark.parametrize("mask", [("silk", "right"), ("surgical", "left")])
def test_a_mask_is_checked(mask) -> None:
    with pytest.raises(SynthError, match="known are"):
        Mask(*mask)


def test_labels_are_in_the_classes_of_the_tasks() -> None:
    assert SOMEONE.label.age == (40, 40)
    assert SOMEONE.label.race == {"East Asian", "Southeast Asian"}
    assert SOMEONE.label.mask == {"none"}
    assert replace(SOMEONE, mask=Mask("ffp2")).label.mask == {"worn"}
    assert replace(SOMEONE, mask=Mask("ffp2", "chin")).label.mask == {"incorrect"}


def test_one_fact_changes_nothing_else() -> None:
    """With another age, the same identity keeps its skin's undertone, features, iris, clothes and glasses' frame."""
    young, old = (look(replace(SOMEONE, age=age)) for age in (25, 70))
    assert (young.iris == old.iris).all()
    assert (young.clothes == old.clothes).all()
    assert (young.frame == old.frame).all()
    assert changes(replace(SOMEONE, age=25)) == changes(replace(SOMEONE, age=70))
    bare, masked = look(SOMEONE), look(replace(SOMEONE, mask=Mask("black")))
    assert all(np.array_equal(getattr(bare, name), getattr(masked, name)) for name in vars(bare))
    woman, man = phenotypes(SOMEONE), phenotypes(replace(SOMEONE, gender="male"))
    assert {name for name in woman if woman[name] != man[name]} == {"gender"}


def test_years_show() -> None:
    for identity in range(30):
        ages = [look(Person(age, "male", "White", identity)) for age in (20, 40, 60, 80)]
        depth = [float(seen.creases.sum()) for seen in ages]
        assert depth == sorted(depth)
        assert depth[0] < 0.2 * depth[-1]
        assert ages[-1].hair_colour.min() > ages[0].hair_colour.min()  # nobody goes dark with age
        assert ages[-1].spots > ages[0].spots == 0


@given(st.integers(1, 95), st.sampled_from(GENDERS), st.sampled_from(list(SYNTH_RACES)), st.integers(0, 2**31 - 1))
def test_everybody_can_be_drawn(age, gender, race, identity) -> None:
    person = Person(age, gender, race, identity)
    seen, shape = look(person), phenotypes(person)
    assert seen.hair in STYLES
    assert all(0 <= value <= 1 for value in shape.values())
    assert all(abs(value) <= 1.5 for value in changes(person).values())
    for colour in (seen.skin, seen.lips, seen.hair_colour, seen.iris, seen.sclera, seen.clothes, seen.frame):
        assert colour.shape == (3,)
        assert (colour > 0).all()
        assert (colour <= 1).all()
    assert (gender == "male" and age >= 18) or not seen.beard


def test_ancestries_have_their_range_of_tones() -> None:
    light = {race: [float(look(Person(30, "female", race, i)).skin.mean()) for i in range(80)] for race in SYNTH_RACES}
    assert np.mean(light["Black"]) < 0.5 * np.mean(light["White"])
    assert max(light["Black"]) > min(light["Asian"])  # and they meet
    assert max(light["Asian"]) > min(light["White"])
    assert np.std(light["White"]) > 0.01
