import numpy as np
import pytest

from oamface.errors import LabelError
from oamface.labels import (
    AGES,
    FAIRFACE_AGES,
    FAIRFACE_RACES,
    GENDERS,
    MASKS,
    RACES,
    UTKFACE_RACES,
    Label,
    check_tasks,
    members,
)


def test_the_sizes_of_the_heads() -> None:
    assert (len(AGES), len(GENDERS), len(RACES), len(MASKS)) == (101, 2, 7, 3)


def test_a_coarse_label_names_every_class_it_may_be() -> None:
    rows = members([Label(race=UTKFACE_RACES[2]), Label()], "race")
    assert [name for name, inside in zip(RACES, rows[0], strict=True) if inside] == ["East Asian", "Southeast Asian"]
    assert rows[1].all()


def test_utkface_races_divide_ours() -> None:
    assert sorted(name for names in UTKFACE_RACES for name in names) == sorted(RACES)


def test_fairface_ages_divide_the_years() -> None:
    rows = members([Label(age=years) for years in FAIRFACE_AGES.values()], "age")
    assert rows.shape == (9, 101)
    assert (rows.sum(0) == 1).all()


def test_fairface_writes_latino_its_own_way() -> None:
    assert FAIRFACE_RACES["Latino_Hispanic"] == {"Latino"}


@pytest.mark.parametrize("task", ["age", "gender", "race", "mask"])
def test_no_labels_give_no_rows(task: str) -> None:
    assert members([], task).shape[0] == 0
    assert members([], task).dtype == np.bool_


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": (30, 20)},
        {"age": (-1, 5)},
        {"age": (90, 116)},
        {"gender": frozenset()},
        {"race": frozenset({"Martian"})},
        {"mask": frozenset({"worn", "lost"})},
    ],
)
def test_labels_outside_the_space(wrong) -> None:
    with pytest.raises(LabelError):
        Label(**wrong)


def test_names_of_tasks() -> None:
    assert check_tasks([" mask", "age", "", "mask"]) == ("mask", "age")
    for wrong in ([], [" "], ["age", "shoes"]):
        with pytest.raises(LabelError, match="known are age, gender, race, mask"):
            check_tasks(wrong)


def test_unknown_task() -> None:
    with pytest.raises(LabelError, match="emotion"):
        members([Label()], "emotion")
