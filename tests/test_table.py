import csv
import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from oamface import table
from oamface.errors import DataError, FileError
from oamface.faces import Age, Choice, Face, Photograph

MASK = Choice("none", 0.9, {"none": 0.9, "incorrect": 0.05, "worn": 0.05})
MARKS = ((20.0, 25.0), (40.0, 25.0), (30.0, 35.0), (22.0, 45.0), (38.0, 45.0))
FACE = Face((10.0, 10.0, 40.0, 50.0), 0.9, MARKS, 0.8, age=Age(34.2, 27.0, 42.1, 0.9), mask=MASK)
PHOTOGRAPH = Photograph(64, 80, (FACE, FACE), "b.png")


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png", "sub/notes.txt", "c[1].webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folders_globs_and_files_become_one_list(tree) -> None:
    def names(*paths):
        return [
            path.removeprefix(f"{tree}/") for path in table.expand([f"{tree}/{path}".rstrip("/") for path in paths])
        ]

    assert names("") == ["a.png", "c[1].webp", "sub/b.JPG"]
    assert names("sub", "a.png") == ["sub/b.JPG", "a.png"]
    assert names("*.png", "a.png") == ["a.png"]
    assert names("**/*.JPG") == ["sub/b.JPG"]
    assert names("c[1].webp") == ["c[1].webp"]
    assert names("missing.png") == ["missing.png"]
    assert names("sub/notes.txt") == ["sub/notes.txt"]


def test_nothing_to_look_at(tree) -> None:
    (tree / "empty").mkdir()
    for path in (tree / "empty", tree / "*.bmp"):
        with pytest.raises(DataError, match="no picture there"):
            table.expand([str(path)])


def test_rows_for_people() -> None:
    shown = table.for_people(("age", "mask"))
    table.add_rows(shown, PHOTOGRAPH)
    table.add_rows(shown, Photograph(5, 5, (), "empty.png"))
    console = Console(width=120, file=io.StringIO())
    console.print(shown)
    text = console.file.getvalue()
    assert text.count("34 (27-42)") == text.count("none 90%") == 2
    assert "no face found" in text


def test_rows_for_spreadsheets(tmp_path) -> None:
    rows = table.CsvRows(tmp_path / "faces.csv", ("age", "mask"))
    rows.add(PHOTOGRAPH)
    assert not (tmp_path / "faces.csv").exists()
    rows.write()
    with (tmp_path / "faces.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["face"] for row in read] == ["1", "2"]
    assert (read[0]["age"], read[0]["age_low"], read[0]["mask"], read[0]["x"]) == ("34.2", "27.0", "none", "10.0")
    assert "gender" not in read[0]
    with pytest.raises(FileError):
        table.CsvRows(tmp_path / "missing/faces.csv", ("age",)).write()


def test_annotated_pictures_never_replace_each_other(tmp_path) -> None:
    Image.fromarray(np.full((80, 64, 3), 120, np.uint8)).save(tmp_path / "b.png")
    photograph = Photograph(64, 80, (FACE,), str(tmp_path / "b.png"))
    folder = tmp_path / "out"
    folder.mkdir()
    written = [table.write_annotated(folder, photograph) for _ in range(2)]
    assert [path.name for path in written] == ["b.png", "b-2.png"]
    assert (np.array(Image.open(written[0])) != 120).any()
