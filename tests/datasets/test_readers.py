from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from oamface.datasets.readers import fairface, lfw, mafa, masks as mask_folders, rmfrd, synthetic as synth, utkface
from oamface.datasets.archive import Source
from oamface.datasets.index import own_split
from oamface.errors import DataError
from oamface.labels import Label


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Source(root)


def test_utkface_reads_names_and_lists_broken_ones(tmp_path) -> None:
    good, old = "UTKFace/26_1_2_2017.jpg.crop.jpg", "UTKFace/116_0_4_2018 .WEBP"
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
    names = [f"folder/{number}.crop.jpg" for number in range(2000)]
    for name in names:
        checksum = crc32(name.split("/")[1].split(".")[0].encode())
        expected = "test" if checksum % 5 == 0 else "calibrate" if checksum % 10 == 1 else "train"
        assert own_split(name) == expected
    assert {own_split(name) for name in names} == {"train", "calibrate", "test"}


def test_rmfrd_keeps_a_persons_pictures_on_one_side(tmp_path) -> None:
    files = {
        f"RMFRD/{folder}/{person}/0_{number}.jpg": ""
        for folder in ("AFDB_masked_face_dataset", "AFDB_face_dataset")
        for person in ("ada", "bob", "cyd", "dan", "eve")
        for number in range(3)
    }
    catalogue = rmfrd.read(
        tree(tmp_path, {**files, "RMFRD/AFDB_face_dataset/stray.jpg": "", "RMFRD/other/a/b.jpg": ""})
    )
    assert len(catalogue.entries) == 30
    assert set(catalogue.refused) == {"RMFRD/AFDB_face_dataset/stray.jpg", "RMFRD/other/a/b.jpg"}
    for entry in catalogue.entries:
        assert entry.split == own_split(entry.name.split("/")[-2])
        assert entry.label == Label(mask={"none"} if "AFDB_face" in entry.name else {"incorrect", "worn"})


def test_lfw_with_its_lists_of_genders(tmp_path) -> None:
    files = {
        "lfw/Ada_Lovelace/Ada_Lovelace_0001.jpg": "",
        "lfw/Ada_Lovelace/Ada_Lovelace_0002.jpg": "",
        "lfw/Bob/Bob_0001.jpg": "",
        "lfw/Bob/Ada_Lovelace_0003.jpg": "",
        "female_names.txt": "Ada_Lovelace_0001.jpg\n",
        "male_names.txt": "Bob_0001.jpg\r\n",
    }
    catalogue = lfw.read(tree(tmp_path, files))
    genders = {entry.name.split("/")[-1]: entry.label.gender for entry in catalogue.entries}
    assert genders == {
        "Ada_Lovelace_0001.jpg": {"female"},
        "Ada_Lovelace_0002.jpg": {"male", "female"},
        "Bob_0001.jpg": {"male"},
    }
    assert len({entry.split for entry in catalogue.entries if "Ada" in entry.name}) == 1
    assert list(catalogue.refused) == ["lfw/Bob/Ada_Lovelace_0003.jpg"]


def mafa_labels(path, variable: str, records: list) -> None:
    """A MATLAB file as MAFA publishes it: a row of records, each with its image's name and one row a face."""
    train = variable == "label_train"
    names = ["orgName", "imgName", "label"] if train else ["imgName", "label"]
    table = np.zeros((1, len(records)), [(name, object) for name in names])
    for at, (image, faces) in enumerate(records):
        table["imgName"][0, at], table["label"][0, at] = image, np.array(faces, np.int16)
        if train:
            table["orgName"][0, at] = "somewhere.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {variable: table})


def test_mafa_has_boxes_and_several_faces_a_picture(tmp_path) -> None:
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
    catalogue = mafa.read(tree(tmp_path, images))
    found = {(entry.name.split("/")[-1], entry.box): entry for entry in catalogue.entries}
    masked, bare = frozenset({"incorrect", "worn"}), frozenset({"none"})
    assert {key: entry.label.mask for key, entry in found.items()} == {
        ("train_1.jpg", one): masked,
        ("train_1.jpg", two): bare,
        ("test_1.jpg", one): masked,
        ("test_1.jpg", two): bare,
    }
    assert found["test_1.jpg", one].split == "test"
    assert found["train_1.jpg", one].split in ("train", "calibrate")
    assert set(catalogue.refused) == {"gone.jpg", "test-images/images/test_1.jpg@1,1", "stray.jpg"}


def test_mafa_without_its_labels(tmp_path) -> None:
    with pytest.raises(DataError, match="holds neither"):
        mafa.read(tree(tmp_path / "bare", {"images/a.jpg": ""}))
    with pytest.raises(DataError, match="no MATLAB file"):
        mafa.read(tree(tmp_path / "text", {"LabelTestAll.mat": "text"}))
    savemat(tmp_path / "other.mat", {"something": np.zeros(3)})
    (tmp_path / "wrong").mkdir()
    (tmp_path / "other.mat").rename(tmp_path / "wrong/LabelTrainAll.mat")
    with pytest.raises(DataError, match="no MATLAB file"):
        mafa.read(Source(tmp_path / "wrong"))


PERSON = {"split": "train", "age": 30, "gender": "male", "race": "Asian", "mask": "none", "box": [1.0, 2.0, 30.0, 40.0]}


def people(root, *rows):
    tree(root, {row["name"]: "" for row in rows if row["name"] != "images/lost.jpg"} or {"readme": ""})
    if rows:
        pq.write_table(pa.Table.from_pylist(list(rows)), root / "labels.parquet")
    return Source(root)


def test_synthetic_people_come_with_exact_labels_and_boxes(tmp_path) -> None:
    odd = {"race": "Martian", "name": "images/odd.jpg"}
    rows = [
        {**PERSON, "name": "images/a.jpg"},
        {**PERSON, "name": "images/b.jpg", "split": "test", "mask": "incorrect", "race": "Black"},
        {**PERSON, **odd},
        {**PERSON, "name": "images/old.jpg", "age": 300},
        {**PERSON, "name": "images/lost.jpg"},
    ]
    catalogue = synth.read(people(tmp_path, *rows))
    first, second = catalogue.entries
    asian = frozenset({"East Asian", "Southeast Asian"})
    assert first.label == Label((30, 30), frozenset({"male"}), asian, frozenset({"none"}))
    assert first.split in ("train", "calibrate")
    assert (second.split, second.label.mask, second.box) == ("test", {"incorrect"}, (1, 2, 30, 40))
    assert sorted(catalogue.refused) == ["images/lost.jpg", "images/odd.jpg", "images/old.jpg"]


def test_a_set_without_its_table_or_with_a_damaged_one_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"labels\.parquet"):
        synth.read(people(tmp_path / "none"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "labels.parquet").write_text("text")
    with pytest.raises(DataError, match="cannot be read"):
        synth.read(Source(tmp_path / "bad"))
    pq.write_table(pa.table({"name": ["a.jpg"]}), tmp_path / "bad" / "labels.parquet")
    with pytest.raises(DataError):
        synth.read(Source(tmp_path / "bad"))
