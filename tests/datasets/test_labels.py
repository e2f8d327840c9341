import pytest

from oamface.datasets.labels import age_groups, dataset_classes
from oamface.datasets.readers import fairface, utkface
from oamface.errors import LabelError
from oamface.labels import AGES, RACES, TASKS, Label, candidate_mask


def test_utkface_races_partition_our_races() -> None:
    assert sorted(name for names in utkface.RACE_CODES for name in names) == sorted(RACES)


def test_fairface_age_groups_partition_the_years() -> None:
    rows = candidate_mask([Label(age=years) for years in fairface.AGE_GROUPS.values()], "age")
    assert rows.shape == (9, 101)
    assert (rows.sum(0) == 1).all()


def test_fairface_names_every_race_of_ours() -> None:
    assert fairface.RACE_NAMES["Latino_Hispanic"] == {"Latino"}
    assert set().union(*fairface.RACE_NAMES.values()) == set(RACES)


def test_dataset_classes_are_coarser_where_the_data_set_is() -> None:
    assert dataset_classes("utkface", "race") == utkface.RACE_CODES
    assert dataset_classes("fairface", "age")[3] == set(range(20, 30))
    assert dataset_classes("synth", "race")[2] == {"East Asian", "Southeast Asian"}


@pytest.mark.parametrize("data_set", ["utkface", "fairface", "synth", "lfw"])
@pytest.mark.parametrize("task", TASKS)
def test_dataset_classes_partition_the_classes_of_a_task(data_set, task) -> None:
    classes = [name for group in dataset_classes(data_set, task) for name in group]
    assert len(classes) == len(TASKS[task])
    assert set(classes) == set(TASKS[task])


def test_dataset_classes_default_to_single_classes() -> None:
    assert dataset_classes("lfw", "age") == tuple({year} for year in AGES)


def test_dataset_classes_rejects_unknown_task() -> None:
    with pytest.raises(LabelError, match="emotion"):
        dataset_classes("utkface", "emotion")


def test_age_groups_are_published_ones_or_ranges_that_do_not_overlap() -> None:
    assert age_groups("fairface", []) == dataset_classes("fairface", "age")
    labels = [Label((30, 39)), Label((20, 29)), Label((25, 25)), Label()]
    groups = age_groups("csv", labels)
    assert groups[:2] == (frozenset(range(20, 30)), frozenset(range(30, 40)))
    assert sorted(year for group in groups for year in group) == list(AGES)
    assert age_groups("csv", [*labels, Label((35, 45))]) == ()
    assert age_groups("csv", [Label((25, 25)), Label()]) == ()
