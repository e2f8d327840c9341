"""Inputs on which tools of this kind have failed, through the command line; `cases` draws them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import cases
import pytest

PROGRAM = Path(sys.executable).with_name("oamface")
Result = tuple[int, list[dict], str]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for kind in (cases.names, cases.files, cases.geometry):
        kind(folder / kind.__name__)
    return folder


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


def analyze(*arguments: object, **environment: str) -> Result:
    """Exit code, what --json says of every image, and standard error."""
    done = run("analyze", "--json", *arguments, **environment)
    encoding = environment.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    return (
        done.returncode,
        [json.loads(line) for line in done.stdout.decode(encoding).splitlines()],
        done.stderr.decode(),
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8:strict"])
def test_every_name_has_its_row_whatever_the_encoding(drawn, encoding: str) -> None:
    code, items, _ = analyze(drawn / "names", PYTHONIOENCODING=encoding)
    real = sorted(os.fsencode(path) for path in (drawn / "names").rglob("*.png"))
    assert code == 0
    assert sorted(os.fsencode(item["source"]) for item in items) == real
    assert all(len(item["faces"]) == 1 for item in items)
    table = run("analyze", drawn / "names", PYTHONIOENCODING=encoding).stdout
    assert all(text in table for text in (b"[bold].png", b"dir[/b].png", b"a" * 251, b"new\\nline.png"))


def test_every_name_is_in_the_csv_and_has_its_annotated_image(drawn, tmp_path) -> None:
    done = run("analyze", drawn / "names", "--csv", tmp_path / "faces.csv", "--annotate", tmp_path / "drawn")
    assert done.returncode == 0
    count = len(list((drawn / "names").rglob("*.png")))
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == count
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == count
    assert (tmp_path / "drawn/dir[/b].png").is_file()


def test_a_folder_gives_all_that_can_be_read_and_counts_the_rest(drawn, tmp_path) -> None:
    library = drawn / "files/library"
    code, items, errors = analyze(library, "--csv", tmp_path / "faces.csv")
    faces = {
        str(Path(item["source"]).relative_to(library)): len(item.get("faces", "?")) for item in items if "faces" in item
    }
    formats = (
        "IMG_0001.HEIC",
        "a.png",
        "as_JPG.JPG",
        "as_avif.avif",
        "as_jfif.jfif",
        "as_jp2.jp2",
        "as_jpe.jpe",
        "no_ending",
    )
    assert faces == {name: 1 for name in (*formats, "linked_folder/linked.png")} | {"no_face.png": 0}
    assert {Path(item["source"]).name for item in items if "error" in item} == {"broken.jpg", "dangling.png"}
    assert code == 1
    assert "10 images, 2 skipped: 2 unreadable" in errors
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = {Path(row["source"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    assert rows["broken.jpg"]["error"]
    assert (rows["no_face.png"]["face"], rows["no_face.png"]["error"]) == ("", "")


def test_every_page_of_a_tiff_is_analyzed(drawn) -> None:
    _, items, _ = analyze(drawn / "files/two_pages.tif")
    assert [(item["source"][-5:], len(item["faces"])) for item in items] == [("s.tif", 0), ("tif#2", 1)]


def test_planes_of_sixteen_bits_are_right_or_an_error(drawn) -> None:
    (item,) = analyze(drawn / "files/planar16.tif")[1]
    assert "error" in item or [round(value, -2) for value in item["faces"][0]["box"]] == [200, 100, 100, 100]


def test_standard_input_is_an_image(drawn) -> None:
    with (drawn / "names/plain.png").open("rb") as file:
        done = subprocess.run([PROGRAM, "analyze", "-", "--json"], stdin=file, capture_output=True, check=True)
    assert len(json.loads(done.stdout)["faces"]) == 1


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((f"near{near}_far{far}.jpg", 7) for near, far in ((300, 100), (300, 60), (800, 100))),
        *((f"upright_and_{degrees}.png", 2) for degrees in (90, 180)),
        ("strip_40.jpg", 40),
    ],
)
def test_all_faces_are_found_whatever_else_is_in_the_image(drawn, name: str, count: int) -> None:
    ((item,)) = analyze(drawn / "geometry" / name, "--tasks", "age")[1]
    assert len(item["faces"]) == count


def test_a_face_upside_down_is_that_face_or_none(drawn) -> None:
    ((item,)) = analyze(drawn / "geometry/turned_150.png")[1]
    assert all(face["box"][1] > 300 for face in item["faces"])


def test_nothing_is_said_of_a_face_of_five_pixels(drawn) -> None:
    ((item,)) = analyze(drawn / "geometry/face_of_5_pixels.png")[1]
    for face in item["faces"]:
        assert {face[task]["label"] for task in ("gender", "race", "mask")} == {"uncertain"}
        assert (face["age"]["low"], face["age"]["high"]) == (0, 100)


@pytest.mark.parametrize(
    "outputs",
    [("--csv", "{image}"), ("--csv", "/nowhere/faces.csv"), ("--csv", "{folder}"), ("--annotate", "{image}")],
)
def test_outputs_are_refused_before_anything_is_touched(drawn, tmp_path, outputs) -> None:
    image = drawn / "names/plain.png"
    before = image.read_bytes()
    arguments = [text.format(image=image, folder=tmp_path) for text in outputs]
    done = run("analyze", image, *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, b"", 1)
    assert image.read_bytes() == before


def test_a_full_disk_behind_standard_output_is_told_first() -> None:
    with Path("/dev/full").open("wb") as full:
        for json_lines in ([], ["--json"]):
            command = [PROGRAM, "analyze", "missing.png", *json_lines]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
            assert b"missing.png" not in done.stderr


def test_a_closed_standard_output_ends_quietly_and_keeps_the_csv(drawn, tmp_path) -> None:
    for more in ([], ["--csv", str(tmp_path / "faces.csv")]):
        command = [PROGRAM, "analyze", str(drawn / "names"), "--json", "--tasks", "age", *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            errors = process.stderr.read().decode()
        assert "Traceback" not in errors
        assert "Error" not in errors
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(list((drawn / "names").rglob("*.png")))


def test_standard_input_and_output_are_protected_like_any_file(drawn, tmp_path) -> None:
    image = tmp_path / "in.png"
    image.write_bytes((drawn / "names/plain.png").read_bytes())
    before = image.read_bytes()
    for arguments in (["-", "--csv", str(image)], ["-", "--csv", "/dev/stdin"]):
        with image.open("rb") as file:
            done = subprocess.run([PROGRAM, "analyze", *arguments], stdin=file, capture_output=True, check=False)
        assert (done.returncode, image.read_bytes()) == (2, before)
    with image.open("ab") as file:
        done = subprocess.run([PROGRAM, "analyze", image, "--json"], stdout=file, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, image.read_bytes()) == (2, before)


def test_a_closed_standard_error_changes_nothing_else(drawn) -> None:
    command = f'"{PROGRAM}" analyze "{drawn / "names/plain.png"}" --json 2>&-'
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["faces"]) == 1
