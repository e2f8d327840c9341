import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oamface.atomic import OutputFile
from oamface.cli.face_writers import AnnotatedImages, CsvWriter, TextTable
from oamface.cli.image_list import list_images
from oamface.cli.stdout import printable
from oamface.errors import ImageError
from oamface.results import Age, AgeDecision, Box, Classification, Face, Failure, ImageResult, Quality

AGE = Age(34.2, 27.0, 42.1, 0.9, np.full(101, 1 / 101, np.float32))
MASK = Classification("none", 0.9, {"none": 0.9, "incorrect": 0.05, "worn": 0.05})
LANDMARKS = np.array([(20, 25), (40, 25), (30, 35), (22, 45), (38, 45)], np.float32)
FACE = Face(Box(10.0, 10.0, 40.0, 50.0), LANDMARKS, 0.9, 0.8, {"age": AGE, "mask": MASK})
UNDETECTED = Face(FACE.box, LANDMARKS, np.nan, 0.8, {"age": AGE}, detected=False)
TWO_FACES = ImageResult(64, 80, (FACE, FACE), "b.png")
NO_FACE = ImageResult(5, 5, (), "empty.png")

NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80)


def write_png(path, colour: str = "grey") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 80), colour).save(path, "PNG")


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png", "sub/notes.txt", "c[1].webp"):
        write_png(tmp_path / name)
    return tmp_path


def test_text_table_has_a_line_for_every_face_and_for_none() -> None:
    table = TextTable(("age", "mask"), ["b.png", "empty.png"])
    lines = [*table.lines(TWO_FACES), *table.lines(NO_FACE)]
    assert len(lines) == 4
    text = "\n".join(lines)
    assert text.count("34 (27-42)") == text.count("none 90%") == 2
    assert "no face found" in text


def test_text_table_has_room_for_the_names_of_pages() -> None:
    table = TextTable(("age", "mask"), ["m.tif"])
    lines = [line for name in ("m.tif", "m.tif#2") for line in table.lines(replace(TWO_FACES, source=name))]
    assert len(lines) == 5
    assert all("34 (27-42)" in line for line in lines[1:])


@pytest.mark.parametrize(("face", "noted"), [(UNDETECTED, True), (FACE, False)])
def test_text_table_notes_undetected_faces(face, noted: bool) -> None:
    (_, line) = TextTable(face.tasks, ["a"]).lines(ImageResult(64, 80, (face,), "a"))
    assert ("no face detected" in line) == noted


@given(NAMES)
def test_text_table_keeps_every_name_complete_and_on_one_line(name: str) -> None:
    lines = list(TextTable(("age",), [name]).lines(ImageResult(5, 5, (), name)))
    assert any(printable(name) in line for line in lines)
    assert all(line.isprintable() for line in lines)


def read_rows(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path, *results: ImageResult | Failure) -> list[dict[str, str]]:
    output = OutputFile(path, lines=True)
    writer = CsvWriter(output, ("age", "mask"))
    for result in results:
        writer.add(result)
    output.close(whole=True)
    return read_rows(path)


def test_csv_has_rows_for_faces_for_no_face_and_for_errors(tmp_path) -> None:
    failure = Failure("broken.png", ImageError("broken.png: damaged"))
    rows = write_csv(tmp_path / "faces.csv", TWO_FACES, NO_FACE, failure)
    assert [row["face"] for row in rows] == ["1", "2", "", ""]
    assert (rows[0]["age"], rows[0]["age_low"], rows[0]["mask"], rows[0]["x"]) == ("34.2", "27.0", "none", "10.0")
    assert "gender" not in rows[0]
    assert (rows[2]["source"], rows[2]["error"], rows[2]["age"]) == ("empty.png", "", "")
    assert rows[3]["error"] == "broken.png: damaged"


def test_csv_has_decisions_where_a_policy_was_given(tmp_path) -> None:
    output = OutputFile(tmp_path / "faces.csv", lines=True)
    writer = CsvWriter(output, ("mask",), decided=True)
    decided = replace(FACE, decision=AgeDecision("refer", 0.5, ("turned", "blurred")))
    writer.add(ImageResult(64, 80, (decided,), "b.png"))
    writer.add(replace(NO_FACE, decision=AgeDecision("refer", None, ("no face",))))
    output.close(whole=True)
    rows = read_rows(tmp_path / "faces.csv")
    assert [(row["decision"], row["reason"]) for row in rows] == [("refer", "turned, blurred"), ("refer", "no face")]
    assert 0 <= float(rows[0]["decision_probability"]) <= 1 and not rows[1]["decision_probability"]


def test_text_table_shows_decisions_or_what_is_wrong_with_an_image() -> None:
    poor = replace(FACE, quality=Quality(0.5, ("too dark",), {}))
    decided = replace(poor, decision=AgeDecision("refer", 0.5, ("too dark",)))
    results = [
        ImageResult(64, 80, (poor, decided), "a"),
        replace(NO_FACE, decision=AgeDecision("refer", None, ("no face",))),
    ]
    table = TextTable(("age", "mask"), ["a"])
    _, first, second, *_, third = [line for result in results for line in table.lines(result)]
    assert first.endswith("80%      too dark")
    assert second.endswith("80%      refer: too dark")
    assert third.endswith("no face found  refer: no face")


def test_csv_rows_are_in_the_file_before_it_is_closed(tmp_path) -> None:
    output = OutputFile(tmp_path / "faces.csv", lines=True)
    CsvWriter(output, ("age",)).add(NO_FACE)
    assert len(read_rows(tmp_path / "faces.csv")) == 1
    output.close(whole=False)


@settings(max_examples=60)
@given(NAMES)
def test_csv_keeps_every_name_and_no_formula(tmp_path_factory, name: str) -> None:
    (row,) = write_csv(tmp_path_factory.mktemp("csv") / "faces.csv", ImageResult(5, 5, (), name))
    text = name.encode("utf-8", "backslashreplace").decode()
    assert row["source"] in (text, f"'{text}")
    assert not row["source"].startswith(("=", "+", "-", "@"))


def write_annotated(folder, inputs) -> list[str]:
    """Annotates everything below `inputs`; the paths of all files below the folder."""
    images = list_images([str(inputs)]).images
    annotated = AnnotatedImages(folder, images)
    for image in images:
        annotated.write(image, ImageResult(64, 80, (FACE,), image.path))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_annotated_images_keep_the_tree_of_their_inputs(tree) -> None:
    assert write_annotated(tree / "out", tree) == ["a.png", "c[1].png", "sub/b.png"]
    assert (np.array(Image.open(tree / "out/a.png")) != np.array(Image.open(tree / "a.png"))).any()


def test_annotated_images_are_not_inputs_and_are_replaced_by_the_next_run(tree) -> None:
    first = write_annotated(tree / "out", tree)
    listed = list_images([str(tree)])
    assert len(listed.annotated) == 3
    assert [image.relative for image in listed.images] == ["a.png", "c[1].webp", "sub/b.JPG"]
    assert write_annotated(tree / "out", tree) == first


def test_annotated_images_never_replace_an_input_or_each_other(tmp_path) -> None:
    write_png(tmp_path / "a.png", "red")
    write_png(tmp_path / "a.jpg")
    before = (tmp_path / "a.png").read_bytes()
    write_annotated(tmp_path, tmp_path)
    assert (tmp_path / "a.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a-3.png", "a.jpg", "a.png"]


def test_annotated_images_cut_names_that_are_too_long(tmp_path) -> None:
    write_png(tmp_path / "in" / ("a" * 255))
    write_png(tmp_path / "in" / ("b" * 251 + ".png"))
    assert write_annotated(tmp_path / "out", tmp_path / "in") == ["a" * 251 + ".png", "b" * 251 + ".png"]


def test_annotated_images_number_the_pages_of_a_file(tmp_path) -> None:
    pages = [Image.new("RGB", (64, 80), colour) for colour in ("white", "grey")]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    (image,) = list_images([str(tmp_path / "two.tif")]).images
    annotated = AnnotatedImages(tmp_path / "out", [image])
    paths = [annotated.write(image, ImageResult(64, 80, (), name)) for name in (image.path, f"{image.path}#2")]
    assert [path.name for path in paths] == ["two.png", "two#2.png"]
    assert np.array(Image.open(paths[1])).max() < 200
