import numpy as np
import pytest

from oamface.errors import LabelError
from oamface.labels import (
    AGES,
    GENDERS,
    MASKS,
    RACES,
    Label,
    candidate_mask,
    check_tasks,
    class_name,
    common_classes,
)


def test_number_of_classes_of_each_task() -> None:
    assert (len(AGES), len(GENDERS), len(RACES), len(MASKS)) == (101, 2, 7, 3)


def test_candidate_mask_of_races() -> None:
    rows = candidate_mask([Label(race=frozenset({"East Asian", "Southeast Asian"})), Label()], "race")
    assert [name for name, inside in zip(RACES, rows[0], strict=True) if inside] == ["East Asian", "Southeast Asian"]
    assert rows[1].all()


def test_candidate_mask_of_ages() -> None:
    assert np.flatnonzero(candidate_mask([Label(age=(20, 22))], "age")[0]).tolist() == [20, 21, 22]


@pytest.mark.parametrize("task", ["age", "gender", "race", "mask"])
def test_candidate_mask_of_no_labels(task: str) -> None:
    assert candidate_mask([], task).shape[0] == 0
    assert candidate_mask([], task).dtype == np.bool_


def test_candidate_mask_rejects_unknown_task() -> None:
    with pytest.raises(LabelError, match="emotion"):
        candidate_mask([Label()], "emotion")


@pytest.mark.parametrize(
    "fields",
    [
        {"age": (30, 20)},
        {"age": (-1, 5)},
        {"age": (90, 116)},
        {"gender": frozenset()},
        {"race": frozenset({"Martian"})},
        {"mask": frozenset({"worn", "lost"})},
    ],
)
def test_label_rejects_unknown_classes_and_years(fields) -> None:
    with pytest.raises(LabelError):
        Label(**fields)


def test_check_tasks_strips_and_removes_repetitions() -> None:
    for several in ([" mask", "age", "", "mask"], " mask,age", np.array(["mask", "age"])):
        assert check_tasks(several) == ("mask", "age")


@pytest.mark.parametrize("names", [[], [" "], ["age", "shoes"], None, 5])
def test_check_tasks_rejects_unknown_and_no_tasks(names) -> None:
    with pytest.raises(LabelError, match="age, gender, race, mask"):
        check_tasks(names)


def test_common_classes_merge_overlapping_sets() -> None:
    one = (frozenset("a"), frozenset("bc"), frozenset("d"))
    other = (frozenset("ab"), frozenset("c"), frozenset("d"))
    assert common_classes(one, other) == (frozenset("abc"), frozenset("d"))


def test_class_name_joins_names_and_shortens_years() -> None:
    assert class_name({"Middle Eastern", "Latino"}) == "Latino or Middle Eastern"
    assert class_name(range(20, 30)) == "20-29"
    assert class_name({7}) == "7"
