from zlib import crc32

import pytest

from oamface.data import fairface, mask_folders, utkface
from oamface.data.catalogue import own_split
from oamface.data.source import Source
from oamface.errors import DataError
from oamface.labels import Label


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Source(root)


def test_utkface_reads_names_and_lists_broken_ones(tmp_path) -> None:
    good, old = "UTKFace/26_1_2_2017.jpg.chip.jpg", "UTKFace/116_0_4_2018 .WEBP"
    broken = ["UTKFace/39_1_2017.jpg", "UTKFace/39_1_9_2017.jpg", "UTKFace/x_1_1_2017.png", "UTKFace/1_1_1_2_3.jpg"]
    hidden = ["UTKFace/._26_1_2_2017.jpg", "UTKFace/readme.txt"]
    catalogue = utkface.read(tree(tmp_path, dict.fromkeys([good, old, *broken, *hidden], "")))
    labels = {entry.name: entry.label for entry in catalogue.entries}
    asian, others = frozenset({"East Asian", "Southeast Asian"}), frozenset({"Latino", "Middle Eastern"})
    assert labels == {
        good: Label((26, 26), frozenset({"female"}), asian, frozenset({"none"})),
        old: Label((100, 100), frozenset({"male"}), others, frozenset({"none"})),
    }
    assert sorted(catalogue.refused) == sorted(broken)


HEAD = "file,age,gender,race,service_test\n"


def test_fairface_joins_pictures_and_rows(tmp_path) -> None:
    files = {
        "fairface_label_train.csv": HEAD
        + "train/1.jpg,20-29,Female,Latino_Hispanic,True\ntrain/2.jpg,old,Male,White,x\n",
        "fairface_label_val.csv": HEAD + "val/1.jpg,more than 70,Male,Black,False\n",
        **dict.fromkeys(["train/1.webp", "train/2.jpg", "train/3.jpg", "val/1.jpg", "other.jpg"], ""),
    }
    catalogue = fairface.read(tree(tmp_path, files))
    assert {entry.name: entry.label.age for entry in catalogue.entries} == {
        "train/1.webp": (20, 29),
        "val/1.jpg": (70, 100),
    }
    splits = {entry.name: entry.split for entry in catalogue.entries}
    assert splits["val/1.jpg"] == "test"
    assert splits["train/1.webp"] in ("train", "calibrate")
    assert catalogue.entries[0].label.race == {"Latino"}
    assert sorted(catalogue.refused) == ["other.jpg", "train/2.jpg", "train/3.jpg"]


def test_fairface_without_its_labels(tmp_path) -> None:
    with pytest.raises(DataError, match="fairface_label_train"):
        fairface.read(tree(tmp_path, {"train/1.jpg": ""}))


def test_fairface_with_a_column_missing(tmp_path) -> None:
    files = {"fairface_label_train.csv": "file,age\n", "fairface_label_val.csv": HEAD}
    with pytest.raises(DataError, match="gender, race"):
        fairface.read(tree(tmp_path, files))


def test_mask_folders_know_only_the_mask(tmp_path) -> None:
    catalogue = mask_folders.read(
        tree(tmp_path, dict.fromkeys(["m/with_mask/a.png", "m/without_mask/b.jpg", "c.jpg"], ""))
    )
    assert {entry.name: entry.label for entry in catalogue.entries} == {
        "m/with_mask/a.png": Label(mask=frozenset({"incorrect", "worn"})),
        "m/without_mask/b.jpg": Label(mask=frozenset({"none"})),
    }
    assert list(catalogue.refused) == ["c.jpg"]


def test_the_split_follows_the_checksum_of_the_stem() -> None:
    names = [f"folder/{number}.chip.jpg" for number in range(2000)]
    for name in names:
        checksum = crc32(name.split("/")[1].split(".")[0].encode())
        expected = "test" if checksum % 5 == 0 else "calibrate" if checksum % 10 == 1 else "train"
        assert own_split(name) == expected
    assert {own_split(name) for name in names} == {"train", "calibrate", "test"}
