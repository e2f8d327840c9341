"""Readers of one's own faces: a CSV file, and folders named after labels."""

import json
import os
import zipfile
from collections import defaultdict

import pytest
from PIL import Image

from helpers.drawn import drawn_faces
from oamface.datasets.archive import Archive
from oamface.datasets.index import split_by_checksum
from oamface.datasets.preparation import prepare
from oamface.datasets.readers import csv_file, folders
from oamface.datasets.readers.label_text import read_age, read_classes
from oamface.datasets.store import Store, count_labels
from oamface.errors import DataError, LabelError
from oamface.labels import Label


def read(folder, text, images=("a.jpg", "b.jpg", "c.jpg"), encoding="utf-8"):
    """The index of a CSV file beside empty images."""
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    (folder / "faces.csv").write_text(text, encoding=encoding)
    with Archive(folder) as archive:
        return csv_file.read(archive, "faces.csv")


def test_labels_are_any_subset_of_the_columns(tmp_path) -> None:
    text = "image,age,gender,race,mask\na.jpg,34,female,White,none\nb.jpg,20-29,,Asian,yes\nc.jpg,,M,,\n"
    labels = {record.name: record.label for record in read(tmp_path, text).records}
    assert labels == {
        "a.jpg": Label((34, 34), frozenset({"female"}), frozenset({"White"}), frozenset({"none"})),
        "b.jpg": Label(
            (20, 29), race=frozenset({"East Asian", "Southeast Asian"}), mask=frozenset({"incorrect", "worn"})
        ),
        "c.jpg": Label(gender=frozenset({"male"})),
    }


def test_spreadsheets_ways_of_writing_a_table_are_read(tmp_path) -> None:
    plain = read(tmp_path, "image,age,gender\na.jpg,34,female\nb.jpg,50,male\n")
    other = "IMAGE; Gender ;Age\r\n./a.jpg; Woman ;34.0\r\n\r\nb.jpg;male;50\r\n"
    assert read(tmp_path, other, encoding="utf-8-sig") == plain


def test_split_is_given_or_by_the_person_or_by_the_stem(tmp_path) -> None:
    images = [f"{number}.jpg" for number in range(40)]
    rows = [f"{image},p{number % 7}.x," for number, image in enumerate(images)]
    index = read(tmp_path, "\n".join(["image,person,split", *rows]), images)
    splits = defaultdict(set)
    for record in index.records:
        splits[int(record.name[:-4]) % 7].add(record.split)
    assert all(len(names) == 1 for names in splits.values())
    assert len(set.union(*splits.values())) > 1  # names that differ after a dot are different persons
    index = read(tmp_path, "\n".join(["image", *images]), images)
    assert [record.split for record in index.records] == [split_by_checksum(image) for image in images]
    index = read(tmp_path, "image,person,split\na.jpg,eve,\nb.jpg,eve,Calibration\nc.jpg,,test\n")
    assert [record.split for record in index.records] == ["calibrate", "calibrate", "test"]


def test_a_person_is_one_person_whatever_the_capitals(tmp_path) -> None:
    names = [name for number in range(20) for name in (f"Zoë {number}", f"ZOË {number} ")]
    images = [f"{number}.jpg" for number in range(len(names))]
    rows = [f"{image},{name}" for image, name in zip(images, names, strict=True)]
    splits = [record.split for record in read(tmp_path, "\n".join(["image,person", *rows]), images).records]
    assert splits[::2] == splits[1::2]
    assert len(set(splits)) > 1
    index = read(tmp_path, "image,person,split\na.jpg,Anna,test\nb.jpg,anna ,\n")
    assert [record.split for record in index.records] == ["test", "test"]
    with pytest.raises(DataError, match="row 3: the person 'anna' is in the split test, and in train in row 2"):
        read(tmp_path, "image,person,split\na.jpg,Anna,train\nb.jpg,anna ,test\n")


def test_an_image_is_one_image_however_its_path_is_written(tmp_path) -> None:
    for path in ("x/../a.jpg", "x\\..\\a.jpg", f"../{tmp_path.name}/a.jpg", str(tmp_path / "a.jpg")):
        with pytest.raises(DataError, match=r"row 3: .*a\.jpg is also the image of row 2"):
            read(tmp_path, f"image,age,split\na.jpg,30,train\n{path},30,test\n")


def test_paths_in_an_archive_stay_inside(tmp_path) -> None:
    read(tmp_path, "image,age\n../a.jpg,3\nx/../b.jpg,4\n../../c.jpg,5\n")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as packed:
        for name, file in (("a.jpg", "a.jpg"), ("set/b.jpg", "b.jpg"), ("set/faces.csv", "faces.csv")):
            packed.write(tmp_path / file, name)
    index = csv_file.read(Archive(tmp_path / "faces.zip"))
    assert [record.name for record in index.records] == ["a.jpg", "set/b.jpg"]
    assert list(index.skipped) == ["../c.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,years\na.jpg,3\n", "row 1: unknown column 'years'; expected image and any of age, gender"),
        ("age\n3\n", "row 1: its columns are age; expected image"),
        ("image,age,age\na.jpg,3,3\n", "row 1: its columns are image, age, age"),
        ("", "row 1: its columns are none"),
        ("image,age\na.jpg,3\nb.jpg,old\nc.jpg,121\n", r"row 3: age 'old': expected years .* \(and 1 more rows"),
        ("image,age\na.jpg,30-20\n", "row 2: age '30-20'"),
        ("image,gender\na.jpg,x\n", "row 2: gender 'x': expected one of male, female"),
        ("image,race\na.jpg,Martian\n", "row 2: race 'Martian': expected one of White"),
        ("image,mask\na.jpg,maybe\n", "row 2: mask 'maybe': expected one of none, incorrect, worn"),
        ("image,split\na.jpg,dev\n", "row 2: split 'dev': expected train, calibration or test"),
        ("image,person,split\na.jpg,eve,\nb.jpg,eve,validation\n", "row 3: split 'validation': expected train"),
        ("image,age\n,3\n", "row 2: names no image"),
        ("image,age\na.jpg,3\n./a.jpg,4\n", "row 3: ./a.jpg is also the image of row 2"),
        ("image,age\na.jpg,3,4\n", "row 2: has 3 cells for 2 columns"),
        ("image,age\na.jpg\n", "row 2: has 1 cells for 2 columns"),
        ("image,person,split\na.jpg,eve,test\nb.jpg,eve,train\n", "row 3: the person 'eve' is in the split train"),
        ("image,age\nx.jpg,3\ny.jpg,4\n", "none of its 2 images exists, such as x.jpg; the paths in the column image"),
    ],
)
def test_errors_name_the_row(tmp_path, text, message) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_csv_file_in_another_encoding_is_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path, "image,person\na.jpg,Zoë\n", encoding="latin-1")


def test_archive_with_one_csv_file_is_read_without_its_name(tmp_path) -> None:
    read(tmp_path, "image,age\na.jpg,3\n")
    assert len(csv_file.read(Archive(tmp_path)).records) == 1
    (tmp_path / "other.csv").touch()
    with pytest.raises(DataError, match=r"expected one .csv file in it, got 2"):
        csv_file.read(Archive(tmp_path))


def test_folders_are_labels(tmp_path) -> None:
    for name in ("20-29/woman/a.jpg", "20-29/31/b.jpg", "with_mask/asian/c.png", "holiday/d.jpg", "20-29/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    index = folders.read(Archive(tmp_path))
    assert {record.name: record.label for record in index.records} == {
        "20-29/woman/a.jpg": Label((20, 29), frozenset({"female"})),
        "20-29/31/b.jpg": Label((31, 31)),
        "with_mask/asian/c.png": Label(
            race=frozenset({"East Asian", "Southeast Asian"}), mask=frozenset({"incorrect", "worn"})
        ),
    }
    assert list(index.skipped) == ["holiday/d.jpg"]


def test_label_texts() -> None:
    assert read_age("0") == (0, 0)
    assert read_age("60 to 120") == (60, 100)
    assert read_classes("race", "White|black") == {"White", "Black"}
    assert read_classes("mask", "No Mask") == {"none"}
    for text in ("", "-3", "1e1", "20-", "٣"):
        with pytest.raises(LabelError):
            read_age(text)


def test_names_that_are_not_utf8_are_escaped(tmp_path) -> None:
    folder = tmp_path / "faces" / "20-29"
    folder.mkdir(parents=True)
    Image.fromarray(drawn_faces(1)[0]).save(folder / "a.jpg")
    (folder / "a.jpg").rename(folder / os.fsdecode(b"b\xff.jpg"))
    for name in (b"c\xff.jpg", b"../d\xff.jpg"):
        (folder / os.fsdecode(name)).write_text("<html>")
    card = prepare(tmp_path / "faces", folders.read, tmp_path / "store", threads=1)
    store = Store.open(tmp_path / "store")
    assert store.names == ["20-29/b\\udcff.jpg"]
    assert store.splits == [split_by_checksum(name) for name in store.names]
    assert sorted(card["skipped"]) == ["20-29/c\\udcff.jpg", "d\\udcff.jpg"]
    json.dumps(store.card, ensure_ascii=False).encode()  # no lone surrogate is left, in the reasons neither


def test_folders_without_labels_are_named_as_the_reason(tmp_path) -> None:
    (tmp_path / "faces/nl/anna").mkdir(parents=True)
    (tmp_path / "faces/nl/anna/p.jpg").touch()
    message = r"no image can be used, such as nl/anna/p\.jpg: not below a folder that is named after a label"
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "faces", folders.read, tmp_path / "store", threads=1)
    (tmp_path / "faces/nl/anna/p.jpg").unlink()
    with pytest.raises(DataError, match=r"faces: has no image$"):
        prepare(tmp_path / "faces", folders.read, tmp_path / "store", threads=1)


def test_unreadable_and_missing_images_are_listed_and_the_rest_goes_on(tmp_path) -> None:
    Image.fromarray(drawn_faces(1)[0]).save(tmp_path / "a.jpg")
    text = "image,age,split\na.jpg,34,train\nbroken.jpg,20,train\nmissing.jpg,20,train\n"
    (tmp_path / "broken.jpg").write_text("<html>")
    (tmp_path / "faces.csv").write_text(text)
    card = prepare(tmp_path, csv_file.read, tmp_path / "store", threads=1)
    assert card["faces"] == {"train": 1}
    assert sorted(card["skipped"]) == ["broken.jpg", "missing.jpg"]
    assert count_labels(Store.open(tmp_path / "store")) == {"age": 1, "gender": 0, "race": 0, "mask": 0}
