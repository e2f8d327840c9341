import csv
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oamface.cli import analyze_output as table
from oamface.atomic import OutputFile
from oamface.errors import DataError, ImageError
from oamface.results import Age, Classification, Face, Failure, ImageResult

MASK = Classification("none", 0.9, {"none": 0.9, "incorrect": 0.05, "worn": 0.05})
LANDMARKS = ((20.0, 25.0), (40.0, 25.0), (30.0, 35.0), (22.0, 45.0), (38.0, 45.0))
FACE = Face((10.0, 10.0, 40.0, 50.0), 0.9, LANDMARKS, 0.8, age=Age(34.2, 27.0, 42.1, 0.9), mask=MASK)
IMAGE = ImageResult(64, 80, (FACE, FACE), "b.png")


NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80)


def png(path, colour: str = "grey") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 80), colour).save(path, "PNG")


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png", "sub/notes.txt", "c[1].webp"):
        png(tmp_path / name)
    return tmp_path


def listed(tree, *paths: str) -> list[str]:
    listing = table.expand([f"{tree}/{path}".rstrip("/") for path in paths])
    return [source.path.removeprefix(f"{tree}/") for source in listing.sources]


def test_expand_lists_folders_globs_and_files_once(tree) -> None:
    assert listed(tree, "") == ["a.png", "c[1].webp", "sub/b.JPG"]
    assert listed(tree, "sub", "a.png") == ["sub/b.JPG", "a.png"]
    assert listed(tree, "*.png", "a.png") == ["a.png"]
    assert listed(tree, "**/*.JPG") == ["sub/b.JPG"]
    assert listed(tree, "c[1].webp") == ["c[1].webp"]
    assert listed(tree, "missing.png") == ["missing.png"]
    assert listed(tree, "sub/notes.txt") == ["sub/notes.txt"]


def test_expand_reads_files_without_an_ending_by_their_first_bytes(tmp_path) -> None:
    png(tmp_path / "no_ending")
    (tmp_path / "README").write_text("BM is no bitmap")
    assert listed(tmp_path, "") == ["no_ending"]


def test_expand_counts_what_it_does_not_read(tree) -> None:
    listing = table.expand([str(tree)])
    assert listing.unread == [f"{tree}/sub/notes.txt"]
    text = table.skipped(listing, 2)
    assert text.startswith("3 skipped: 1 of a format not read (notes.txt)")
    assert table.skipped(table.expand([f"{tree}/a.png"]), 0) == ""


def test_expand_follows_linked_folders_once_and_no_loops(tree) -> None:
    png(tree / "elsewhere/linked.png")
    (tree / "sub/loop").symlink_to(tree)
    (tree / "again").symlink_to(tree / "elsewhere")
    names = [os.path.basename(name) for name in listed(tree, "sub", "again", "elsewhere")]  # noqa: PTH119
    assert sorted(names) == ["a.png", "b.JPG", "c[1].webp", "linked.png"]


def test_expand_names_dangling_links(tmp_path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert listed(tmp_path, "") == ["gone.png"]


def test_expand_does_not_wait_for_a_pipe(tree) -> None:
    os.mkfifo(tree / "pipe")
    assert "pipe" not in listed(tree, "")


def test_expand_rejects_folders_and_globs_without_images(tree) -> None:
    (tree / "empty").mkdir()
    for path in (tree / "empty", tree / "*.bmp"):
        with pytest.raises(DataError):
            table.expand([str(path)])


def test_text_table_has_a_row_for_every_face_and_for_none() -> None:
    shown = table.TextTable(("age", "mask"), ["b.png", "empty.png"])
    lines = [*shown.rows(IMAGE), *shown.rows(ImageResult(5, 5, (), "empty.png"))]
    assert len(lines) == 4
    text = "\n".join(lines)
    assert text.count("34 (27-42)") == text.count("none 90%") == 2
    assert "no face found" in text


def test_text_table_says_that_no_face_was_detected() -> None:
    assumed = Face(FACE.box, None, LANDMARKS, 0.8, detected=False, age=FACE.age)
    (_, line) = table.TextTable(("age",), ["a"]).rows(ImageResult(64, 80, (assumed,), "a"))
    (_, other) = table.TextTable(("age",), ["a"]).rows(ImageResult(64, 80, (FACE,), "a"))
    assert "no face detected" in line
    assert "no face detected" not in other


@given(NAMES)
def test_text_table_keeps_every_name_whole_and_on_one_line(name: str) -> None:
    lines = list(table.TextTable(("age",), [name]).rows(ImageResult(5, 5, (), name)))
    assert any(table.printable(name) in line for line in lines)
    assert all(line.isprintable() for line in lines)


@given(NAMES, st.sampled_from(["utf-8", "ascii", "cp1252", "UTF8", "latin-1"]))
def test_json_line_brings_every_name_back(name: str, encoding: str) -> None:
    line = table.json_line({"source": name}, encoding)
    assert json.loads(line.encode(encoding).decode(encoding)) == {"source": name}
    assert "\n" not in line


def read_rows(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def written(path, *items: ImageResult | Failure) -> list[dict[str, str]]:
    output = OutputFile(path, lines=True)
    rows = table.CsvRows(output, ("age", "mask"))
    for item in items:
        rows.add(item)
    output.close(whole=True)
    return read_rows(path)


def test_csv_has_a_row_for_faces_for_no_face_and_for_errors(tmp_path) -> None:
    failure = Failure("broken.png", ImageError("broken.png: damaged"))
    rows = written(tmp_path / "faces.csv", IMAGE, ImageResult(5, 5, (), "empty.png"), failure)
    assert [row["face"] for row in rows] == ["1", "2", "", ""]
    assert (rows[0]["age"], rows[0]["age_low"], rows[0]["mask"], rows[0]["x"]) == ("34.2", "27.0", "none", "10.0")
    assert "gender" not in rows[0]
    assert (rows[2]["source"], rows[2]["error"], rows[2]["age"]) == ("empty.png", "", "")
    assert rows[3]["error"] == "broken.png: damaged"


def test_csv_rows_are_in_the_file_before_it_is_closed(tmp_path) -> None:
    output = OutputFile(tmp_path / "faces.csv", lines=True)
    table.CsvRows(output, ("age",)).add(ImageResult(5, 5, (), "empty.png"))
    assert len(read_rows(tmp_path / "faces.csv")) == 1
    output.close(whole=False)


@settings(max_examples=60)
@given(NAMES)
def test_csv_brings_names_back_and_runs_none(tmp_path_factory, name: str) -> None:
    (row,) = written(tmp_path_factory.mktemp("csv") / "faces.csv", ImageResult(5, 5, (), name))
    text = name.encode("utf-8", "backslashreplace").decode()
    assert row["source"] in (text, f"'{text}")
    assert not row["source"].startswith(("=", "+", "-", "@"))


def annotated(folder, *paths, argument: str) -> list[str]:
    """The places of the annotated images, below the folder."""
    sources = table.expand([argument]).sources
    drawn = table.AnnotatedImages(folder, sources)
    for source in sources:
        drawn.write(source, ImageResult(64, 80, (FACE,), source.path))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_annotated_images_keep_the_tree_of_their_sources(tree) -> None:
    assert annotated(tree / "out", argument=str(tree)) == ["a.png", "c[1].png", "sub/b.png"]
    drawn = np.array(Image.open(tree / "out/a.png"))
    assert (drawn != np.array(Image.open(tree / "a.png"))).any()


def test_annotated_images_are_no_sources_and_replace_themselves_alone(tree) -> None:
    first = annotated(tree / "out", argument=str(tree))
    listing = table.expand([str(tree)])
    assert len(listing.annotated) == 3
    assert listed(tree, "") == ["a.png", "c[1].webp", "sub/b.JPG"]
    assert annotated(tree / "out", argument=str(tree)) == first


def test_annotated_images_never_replace_a_source_or_each_other(tmp_path) -> None:
    png(tmp_path / "a.png", "red")
    png(tmp_path / "a.jpg")
    before = (tmp_path / "a.png").read_bytes()
    annotated(tmp_path, argument=str(tmp_path))
    assert (tmp_path / "a.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a-3.png", "a.jpg", "a.png"]


def test_annotated_images_of_the_longest_names(tmp_path) -> None:
    png(tmp_path / "in" / ("a" * 255))
    png(tmp_path / "in" / ("b" * 251 + ".png"))
    names = annotated(tmp_path / "out", argument=str(tmp_path / "in"))
    assert names == ["a" * 251 + ".png", "b" * 251 + ".png"]


def test_annotated_pages_have_names_of_their_own(tmp_path) -> None:
    pages = [Image.new("RGB", (64, 80), colour) for colour in ("white", "grey")]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    sources = table.expand([str(tmp_path / "two.tif")]).sources
    drawn = table.AnnotatedImages(tmp_path / "out", sources)
    places = [
        drawn.write(sources[0], ImageResult(64, 80, (), name)) for name in (sources[0].path, f"{sources[0].path}#2")
    ]
    assert [place.name for place in places] == ["two.png", "two#2.png"]
    assert np.array(Image.open(places[1])).max() < 200
