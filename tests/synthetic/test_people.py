from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.datasets.readers.synthetic import RACES
from oamface.errors import SynthError
from oamface.labels import GENDERS
from oamface.synthetic.appearance import derive_appearance, phenotypes, shape_changes
from oamface.synthetic.hair import STYLES
from oamface.synthetic.people import MASK_STYLES, Mask, Person, balanced

WOMAN = Person(40, "female", "Asian", 7)


@given(st.integers(1, 700), st.integers(0, 5), st.floats(0, 1), st.integers(1, 60), st.integers(0, 34))
def test_balanced_is_exact_to_one_person(count, seed, share, low, years) -> None:
    people = balanced(count, seed=seed, ages=(low, low + years), mask_share=share)
    assert len(people) == count
    assert all(low <= person.age <= low + years for person in people)
    cells = Counter((person.age // 10, person.gender, person.race) for person in people)
    decades = {year // 10 for year in range(low, low + years + 1)}
    counts = [cells[decade, gender, race] for decade in decades for gender in GENDERS for race in RACES]
    assert max(counts) - min(counts) <= 1
    masked = Counter((p.age // 10, p.gender, p.race) for p in people if p.mask)
    assert all(abs(masked[cell] - share * number) <= 1 for cell, number in cells.items())


def test_balanced_share_of_masks() -> None:
    people = balanced(1000, mask_share=0.4)
    assert sum(person.mask is not None for person in people) == pytest.approx(400, abs=25)
    styles = Counter(person.mask.style for person in people if person.mask)
    assert set(styles) == set(MASK_STYLES)
    assert sum(person.mask.position != "correct" for person in people if person.mask) == pytest.approx(80, abs=30)


def test_balanced_is_reproducible() -> None:
    assert balanced(50, seed=3) == balanced(50, seed=3)
    assert balanced(50, seed=3) != balanced(50, seed=4)
    assert len({person.identity for person in balanced(200)}) == 200


@pytest.mark.parametrize(
    ("arguments", "keyword"),
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
def test_balanced_rejects_invalid_arguments(arguments, keyword) -> None:
    with pytest.raises(SynthError, match=keyword):
        balanced(**{"count": 10, **arguments})


@pytest.mark.parametrize("changed", [{"age": 0}, {"age": 96}, {"gender": "x"}, {"race": "Indian"}])
def test_person_rejects_invalid_values(changed) -> None:
    with pytest.raises(SynthError):
        replace(WOMAN, **changed)


@pytest.mark.parametrize("mask", [("silk", "correct"), ("surgical", "left")])
def test_mask_rejects_unknown_names(mask) -> None:
    with pytest.raises(SynthError, match="known are"):
        Mask(*mask)


def test_person_label() -> None:
    assert WOMAN.label.age == (40, 40)
    assert WOMAN.label.race == {"East Asian", "Southeast Asian"}
    assert WOMAN.label.mask == {"none"}
    assert replace(WOMAN, mask=Mask("ffp2")).label.mask == {"worn"}
    assert replace(WOMAN, mask=Mask("ffp2", "on_chin")).label.mask == {"incorrect"}


def test_changing_one_attribute_changes_nothing_else() -> None:
    young, old = (derive_appearance(replace(WOMAN, age=age)) for age in (25, 70))
    assert (young.iris == old.iris).all()
    assert (young.clothes == old.clothes).all()
    assert (young.frame == old.frame).all()
    assert shape_changes(replace(WOMAN, age=25)) == shape_changes(replace(WOMAN, age=70))
    unmasked, masked = derive_appearance(WOMAN), derive_appearance(replace(WOMAN, mask=Mask("black")))
    assert all(np.array_equal(getattr(unmasked, name), getattr(masked, name)) for name in vars(unmasked))
    woman, man = phenotypes(WOMAN), phenotypes(replace(WOMAN, gender="male"))
    assert {name for name in woman if woman[name] != man[name]} == {"gender"}


def test_appearance_ages() -> None:
    for identity in range(30):
        ages = [derive_appearance(Person(age, "male", "White", identity)) for age in (20, 40, 60, 80)]
        depth = [float(appearance.creases.sum()) for appearance in ages]
        assert depth == sorted(depth)
        assert depth[0] < 0.2 * depth[-1]
        assert ages[-1].hair_colour.min() > ages[0].hair_colour.min()
        assert ages[-1].spots > ages[0].spots == 0


@given(st.integers(1, 95), st.sampled_from(GENDERS), st.sampled_from(list(RACES)), st.integers(0, 2**31 - 1))
def test_appearance_is_valid_for_everyone(age, gender, race, identity) -> None:
    person = Person(age, gender, race, identity)
    appearance, shape = derive_appearance(person), phenotypes(person)
    assert appearance.hair in STYLES
    assert all(0 <= value <= 1 for value in shape.values())
    assert all(abs(value) <= 1.5 for value in shape_changes(person).values())
    for colour in (
        appearance.skin,
        appearance.lips,
        appearance.hair_colour,
        appearance.iris,
        appearance.sclera,
        appearance.clothes,
        appearance.frame,
    ):
        assert colour.shape == (3,)
        assert (colour > 0).all()
        assert (colour <= 1).all()
    assert (gender == "male" and age >= 18) or not appearance.beard


def test_skin_tones_of_races_differ_and_overlap() -> None:
    tones = {
        race: [float(derive_appearance(Person(30, "female", race, i)).skin.mean()) for i in range(80)] for race in RACES
    }
    assert np.mean(tones["Black"]) < 0.5 * np.mean(tones["White"])
    assert max(tones["Black"]) > min(tones["Asian"])
    assert max(tones["Asian"]) > min(tones["White"])
    assert np.std(tones["White"]) > 0.01
