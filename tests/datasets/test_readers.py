from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from oamface.datasets.archive import Archive
from oamface.datasets.index import split_by_checksum
from oamface.datasets.readers import aaf, fairface, lfw, mafa, rmfrd, utkface
from oamface.datasets.readers import masks as mask_folders
from oamface.datasets.readers import synthetic as synth
from oamface.errors import DataError
from oamface.labels import Label


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Archive(root)


def test_utkface_reads_labels_from_names_and_skips_broken_names(tmp_path) -> None:
    good, old = "UTKFace/26_1_2_2017.jpg.crop.jpg", "UTKFace/116_0_4_2018 .WEBP"
    broken = ["UTKFace/39_1_2017.jpg", "UTKFace/39_1_9_2017.jpg", "UTKFace/x_1_1_2017.png", "UTKFace/1_1_1_2_3.jpg"]
    other_files = ["UTKFace/._26_1_2_2017.jpg", "UTKFace/readme.txt"]
    index = utkface.read(tree(tmp_path, dict.fromkeys([good, old, *broken, *other_files], "")))
    labels = {record.name: record.label for record in index.records}
    asian, others = frozenset({"East Asian", "Southeast Asian"}), frozenset({"Latino", "Middle Eastern"})
    assert labels == {
        good: Label((26, 26), frozenset({"female"}), asian, frozenset({"none"})),
        old: Label((100, 100), frozenset({"male"}), others, frozenset({"none"})),
    }
    assert sorted(index.skipped) == sorted(broken)


def test_aaf_reads_labels_from_names_and_takes_each_face_once(tmp_path) -> None:
    files = ["All-Age-Faces/aglined faces/07380A02.jpg", "All-Age-Faces/aglined faces/07381A80.jpg"]
    originals = ["All-Age-Faces/original images/07381A80.jpg"]
    broken = ["All-Age-Faces/aglined faces/7381A80.jpg", "All-Age-Faces/aglined faces/07381A.jpg"]
    index = aaf.read(tree(tmp_path / "both", dict.fromkeys([*files, *originals, *broken], "")))
    assert {record.name: record.label for record in index.records} == {
        files[0]: Label((2, 2), frozenset({"female"}), mask=frozenset({"none"})),
        files[1]: Label((80, 80), frozenset({"male"}), mask=frozenset({"none"})),
    }
    assert sorted(index.skipped) == sorted([*originals, *broken])
    alone = aaf.read(tree(tmp_path / "alone", dict.fromkeys(originals, "")))
    assert [record.name for record in alone.records] == originals


HEAD = "file,age,gender,race,service_test\n"


def test_fairface_joins_images_and_label_rows(tmp_path) -> None:
    files = {
        "fairface_label_train.csv": HEAD
        + "train/1.jpg,20-29,Female,Latino_Hispanic,True\ntrain/2.jpg,old,Male,White,x\n",
        "fairface_label_val.csv": HEAD + "val/1.jpg,more than 70,Male,Black,False\n",
        **dict.fromkeys(["train/1.webp", "train/2.jpg", "train/3.jpg", "val/1.jpg", "other.jpg"], ""),
    }
    index = fairface.read(tree(tmp_path, files))
    assert {record.name: record.label.age for record in index.records} == {
        "train/1.webp": (20, 29),
        "val/1.jpg": (70, 100),
    }
    splits = {record.name: record.split for record in index.records}
    assert splits["val/1.jpg"] == "test"
    assert splits["train/1.webp"] in ("train", "calibrate")
    assert index.records[0].label.race == {"Latino"}
    assert sorted(index.skipped) == ["other.jpg", "train/2.jpg", "train/3.jpg"]


def test_fairface_rejects_missing_label_file(tmp_path) -> None:
    with pytest.raises(DataError, match="fairface_label_train"):
        fairface.read(tree(tmp_path, {"train/1.jpg": ""}))


def test_fairface_rejects_missing_column(tmp_path) -> None:
    files = {"fairface_label_train.csv": "file,age\n", "fairface_label_val.csv": HEAD}
    with pytest.raises(DataError, match="gender, race"):
        fairface.read(tree(tmp_path, files))


def test_masks_labels_only_the_mask(tmp_path) -> None:
    index = mask_folders.read(tree(tmp_path, dict.fromkeys(["m/with_mask/a.png", "m/without_mask/b.jpg", "c.jpg"], "")))
    assert {record.name: record.label for record in index.records} == {
        "m/with_mask/a.png": Label(mask=frozenset({"incorrect", "worn"})),
        "m/without_mask/b.jpg": Label(mask=frozenset({"none"})),
    }
    assert list(index.skipped) == ["c.jpg"]


def test_split_by_checksum_uses_the_stem() -> None:
    names = [f"folder/{number}.crop.jpg" for number in range(2000)]
    for name in names:
        checksum = crc32(name.split("/")[1].split(".")[0].encode())
        expected = "test" if checksum % 5 == 0 else "calibrate" if checksum % 10 == 1 else "train"
        assert split_by_checksum(name) == expected
    assert {split_by_checksum(name) for name in names} == {"train", "calibrate", "test"}


def test_rmfrd_puts_all_images_of_a_person_in_one_split(tmp_path) -> None:
    files = {
        f"RMFRD/{folder}/{person}/0_{number}.jpg": ""
        for folder in ("AFDB_masked_face_dataset", "AFDB_face_dataset")
        for person in ("ada", "bob", "cyd", "dan", "eve")
        for number in range(3)
    }
    index = rmfrd.read(tree(tmp_path, {**files, "RMFRD/AFDB_face_dataset/stray.jpg": "", "RMFRD/other/a/b.jpg": ""}))
    assert len(index.records) == 30
    assert set(index.skipped) == {"RMFRD/AFDB_face_dataset/stray.jpg", "RMFRD/other/a/b.jpg"}
    for record in index.records:
        assert record.split == split_by_checksum(record.name.split("/")[-2])
        assert record.label == Label(mask={"none"} if "AFDB_face" in record.name else {"incorrect", "worn"})


def test_lfw_reads_genders_from_lists(tmp_path) -> None:
    files = {
        "lfw/Ada_Lovelace/Ada_Lovelace_0001.jpg": "",
        "lfw/Ada_Lovelace/Ada_Lovelace_0002.jpg": "",
        "lfw/Bob/Bob_0001.jpg": "",
        "lfw/Bob/Ada_Lovelace_0003.jpg": "",
        "female_names.txt": "Ada_Lovelace_0001.jpg\n",
        "male_names.txt": "Bob_0001.jpg\r\n",
    }
    index = lfw.read(tree(tmp_path, files))
    genders = {record.name.split("/")[-1]: record.label.gender for record in index.records}
    assert genders == {
        "Ada_Lovelace_0001.jpg": {"female"},
        "Ada_Lovelace_0002.jpg": {"male", "female"},
        "Bob_0001.jpg": {"male"},
    }
    assert len({record.split for record in index.records if "Ada" in record.name}) == 1
    assert list(index.skipped) == ["lfw/Bob/Ada_Lovelace_0003.jpg"]


def mafa_labels(path, variable: str, records: list) -> None:
    """Write a MATLAB file as MAFA publishes it: for each image its name and one row for each face."""
    train = variable == "label_train"
    names = ["orgName", "imgName", "label"] if train else ["imgName", "label"]
    table = np.zeros((1, len(records)), [(name, object) for name in names])
    for at, (image, faces) in enumerate(records):
        table["imgName"][0, at], table["label"][0, at] = image, np.array(faces, np.int16)
        if train:
            table["orgName"][0, at] = "somewhere.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {variable: table})


def test_mafa_reads_boxes_of_several_faces_per_image(tmp_path) -> None:
    def train(box, occluder):
        return [*box, 10, 10, 30, 10, 0, 20, 40, 20, occluder, 2, 1, 1, 3, -1, -1, -1, -1]

    def test(box, kind, occluder):
        return [*box, kind, 0, 20, 40, 20, occluder, 2, 1, 1, 3, -1, -1, -1, -1]

    one, two = (5, 6, 50, 60), (100, 6, 50, 60)
    mafa_labels(
        tmp_path / "MAFA-Label-Train/LabelTrainAll.mat",
        "label_train",
        [("train_1.jpg", [train(one, 1), train(two, 3)]), ("gone.jpg", [train(one, 1)])],
    )
    faces = [test(one, 1, 2), test(two, 2, -1), test((1, 1, 9, 9), 3, 1)]
    mafa_labels(tmp_path / "MAFA-Label-Test/LabelTestAll.mat", "label_test", [("test_1.jpg", faces)])
    images = {"train-images/images/train_1.jpg": "", "test-images/images/test_1.jpg": "", "stray.jpg": ""}
    index = mafa.read(tree(tmp_path, images))
    records = {(record.name.split("/")[-1], record.box): record for record in index.records}
    masked, unmasked = frozenset({"incorrect", "worn"}), frozenset({"none"})
    assert {key: record.label.mask for key, record in records.items()} == {
        ("train_1.jpg", one): masked,
        ("train_1.jpg", two): unmasked,
        ("test_1.jpg", one): masked,
        ("test_1.jpg", two): unmasked,
    }
    assert records["test_1.jpg", one].split == "test"
    assert records["train_1.jpg", one].split in ("train", "calibrate")
    assert set(index.skipped) == {"gone.jpg", "test-images/images/test_1.jpg@1,1", "stray.jpg"}


def test_mafa_rejects_missing_and_damaged_labels(tmp_path) -> None:
    with pytest.raises(DataError, match="LabelTrainAll"):
        mafa.read(tree(tmp_path / "empty", {"images/a.jpg": ""}))
    with pytest.raises(DataError, match="MATLAB"):
        mafa.read(tree(tmp_path / "text", {"LabelTestAll.mat": "text"}))
    savemat(tmp_path / "other.mat", {"something": np.zeros(3)})
    (tmp_path / "wrong").mkdir()
    (tmp_path / "other.mat").rename(tmp_path / "wrong/LabelTrainAll.mat")
    with pytest.raises(DataError, match="MATLAB"):
        mafa.read(Archive(tmp_path / "wrong"))


PERSON = {"split": "train", "age": 30, "gender": "male", "race": "Asian", "mask": "none", "box": [1.0, 2.0, 30.0, 40.0]}


def synthetic_archive(root, *rows):
    tree(root, {row["name"]: "" for row in rows if row["name"] != "images/lost.jpg"} or {"readme": ""})
    if rows:
        pq.write_table(pa.Table.from_pylist(list(rows)), root / "labels.parquet")
    return Archive(root)


def test_synthetic_reads_labels_and_boxes(tmp_path) -> None:
    odd = {"race": "Martian", "name": "images/odd.jpg"}
    rows = [
        {**PERSON, "name": "images/a.jpg"},
        {**PERSON, "name": "images/b.jpg", "split": "test", "mask": "incorrect", "race": "Black"},
        {**PERSON, **odd},
        {**PERSON, "name": "images/old.jpg", "age": 300},
        {**PERSON, "name": "images/lost.jpg"},
    ]
    index = synth.read(synthetic_archive(tmp_path, *rows))
    first, second = index.records
    asian = frozenset({"East Asian", "Southeast Asian"})
    assert first.label == Label((30, 30), frozenset({"male"}), asian, frozenset({"none"}))
    assert first.split in ("train", "calibrate")
    assert (second.split, second.label.mask, second.box) == ("test", {"incorrect"}, (1, 2, 30, 40))
    assert sorted(index.skipped) == ["images/lost.jpg", "images/odd.jpg", "images/old.jpg"]


def test_synthetic_rejects_missing_and_damaged_tables(tmp_path) -> None:
    with pytest.raises(DataError, match=r"labels\.parquet"):
        synth.read(synthetic_archive(tmp_path / "none"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "labels.parquet").write_text("text")
    with pytest.raises(DataError, match="cannot be read"):
        synth.read(Archive(tmp_path / "bad"))
    pq.write_table(pa.table({"name": ["a.jpg"]}), tmp_path / "bad" / "labels.parquet")
    with pytest.raises(DataError):
        synth.read(Archive(tmp_path / "bad"))
