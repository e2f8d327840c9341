"""`oamface analyze` on inputs that tools of this kind have failed on; `helpers.cases` makes them."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from helpers import cases
from helpers.program import PROGRAM

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for make in (cases.names, cases.files, cases.geometry):
        make(folder / make.__name__)
    return folder


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


def analyze(*arguments: object, **environment: str) -> tuple[int, list[dict], str]:
    """Exit code, the JSON of every image, and standard error."""
    call = run("analyze", "--json", *arguments, **environment)
    encoding = environment.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    results = [json.loads(line) for line in call.stdout.decode(encoding).splitlines()]
    return call.returncode, results, call.stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8:strict"])
def test_analyze_prints_every_name_in_every_encoding(inputs, encoding: str) -> None:
    code, results, _ = analyze(inputs / "names", PYTHONIOENCODING=encoding)
    names = sorted(os.fsencode(path) for path in (inputs / "names").rglob("*.png"))
    assert code == 0
    assert sorted(os.fsencode(result["source"]) for result in results) == names
    assert all(len(result["faces"]) == 1 for result in results)
    table = run("analyze", inputs / "names", PYTHONIOENCODING=encoding).stdout
    assert all(text in table for text in (b"[bold].png", b"dir[/b].png", b"a" * 251, b"new\\nline.png"))


def test_analyze_writes_a_csv_row_and_an_annotated_image_for_every_name(inputs, tmp_path) -> None:
    call = run("analyze", inputs / "names", "--csv", tmp_path / "faces.csv", "--annotate", tmp_path / "annotated")
    assert call.returncode == 0
    count = len(list((inputs / "names").rglob("*.png")))
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == count
    assert len(list((tmp_path / "annotated").rglob("*.png"))) == count
    assert (tmp_path / "annotated/dir[/b].png").is_file()


def test_analyze_folder_reads_every_format_and_counts_skipped_files(inputs, tmp_path) -> None:
    library = inputs / "files/library"
    code, results, errors = analyze(library, "--csv", tmp_path / "faces.csv")
    faces = {
        str(Path(result["source"]).relative_to(library)): len(result["faces"])
        for result in results
        if "faces" in result
    }
    formats = (
        *("IMG_0001.HEIC", "a.png", "as_JPG.JPG", "as_avif.avif", "as_jfif.jfif", "as_jp2.jp2", "as_jpe.jpe"),
        *("no_ending", "linked_folder/linked.png"),
    )
    assert faces == {name: 1 for name in formats} | {"no_face.png": 0}
    assert {Path(result["source"]).name for result in results if "error" in result} == {"broken.jpg", "dangling.png"}
    assert code == 1
    assert "10 images, 2 skipped: 2 unreadable" in errors
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = {Path(row["source"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    assert rows["broken.jpg"]["error"]
    assert (rows["no_face.png"]["face"], rows["no_face.png"]["error"]) == ("", "")


def test_analyze_exits_with_2_when_no_image_could_be_analyzed(tmp_path) -> None:
    code, (result,), errors = analyze(tmp_path / "missing.png")
    assert (code, result["error"]["type"]) == (2, "ImageError")
    assert all(line.startswith("oamface: ") for line in errors.splitlines())


def test_analyze_reads_every_page_of_a_tiff(inputs) -> None:
    _, results, _ = analyze(inputs / "files/two_pages.tif")
    assert [(result["source"][-5:], len(result["faces"])) for result in results] == [("s.tif", 0), ("tif#2", 1)]


def test_analyze_reads_planar_16_bit_tiffs_correctly_or_not_at_all(inputs) -> None:
    (result,) = analyze(inputs / "files/planar16.tif")[1]
    assert "error" in result or [round(value, -2) for value in result["faces"][0]["box"]] == [200, 100, 100, 100]


def test_analyze_reads_standard_input(inputs) -> None:
    with (inputs / "names/plain.png").open("rb") as file:
        call = subprocess.run([PROGRAM, "analyze", "-", "--json"], stdin=file, capture_output=True, check=True)
    assert len(json.loads(call.stdout)["faces"]) == 1


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((f"near{near}_far{far}.jpg", 7) for near, far in ((300, 100), (300, 60), (800, 100))),
        *((f"upright_and_{degrees}.png", 2) for degrees in (90, 180)),
        ("strip_40.jpg", 40),
    ],
)
def test_analyze_detects_every_face(inputs, name: str, count: int) -> None:
    (result,) = analyze(inputs / "geometry" / name, "--tasks", "age")[1]
    assert len(result["faces"]) == count


def test_analyze_detects_a_face_upside_down_in_its_place_or_not_at_all(inputs) -> None:
    (result,) = analyze(inputs / "geometry/turned_150.png")[1]
    assert all(face["box"][1] > 300 for face in result["faces"])


def test_analyze_is_uncertain_about_a_face_of_5_pixels(inputs) -> None:
    (result,) = analyze(inputs / "geometry/face_of_5_pixels.png")[1]
    for face in result["faces"]:
        assert {face[task]["label"] for task in ("gender", "race", "mask")} == {"uncertain"}
        assert (face["age"]["low"], face["age"]["high"]) == (0, 100)


@pytest.mark.parametrize(
    "outputs",
    [("--csv", "{image}"), ("--csv", "/nowhere/faces.csv"), ("--csv", "{folder}"), ("--annotate", "{image}")],
)
def test_analyze_checks_outputs_before_it_starts(inputs, tmp_path, outputs) -> None:
    image = inputs / "names/plain.png"
    before = image.read_bytes()
    call = run("analyze", image, *[text.format(image=image, folder=tmp_path) for text in outputs])
    assert (call.returncode, call.stdout, len(call.stderr.splitlines())) == (2, b"", 1)
    assert image.read_bytes() == before


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_analyze_reports_a_full_disk_behind_standard_output_first(json_option) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [PROGRAM, "analyze", "missing.png", *json_option]
        call = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (call.returncode, len(call.stderr.splitlines())) == (2, 1)
    assert b"missing.png" not in call.stderr


@pytest.mark.parametrize("with_csv", [False, True])
def test_analyze_survives_a_closed_pipe_and_keeps_the_csv(inputs, tmp_path, with_csv: bool) -> None:
    options = ["--csv", str(tmp_path / "faces.csv")] if with_csv else []
    command = [PROGRAM, "analyze", str(inputs / "names"), "--json", "--tasks", "age", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert "Error" not in errors
    if with_csv:
        with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(list((inputs / "names").rglob("*.png")))


def test_analyze_never_overwrites_its_standard_input_or_an_image_by_standard_output(inputs, tmp_path) -> None:
    image = tmp_path / "in.png"
    image.write_bytes((inputs / "names/plain.png").read_bytes())
    before = image.read_bytes()
    for arguments in (["-", "--csv", str(image)], ["-", "--csv", "/dev/stdin"]):
        with image.open("rb") as file:
            call = subprocess.run([PROGRAM, "analyze", *arguments], stdin=file, capture_output=True, check=False)
        assert (call.returncode, image.read_bytes()) == (2, before)
    with image.open("ab") as file:
        call = subprocess.run([PROGRAM, "analyze", image, "--json"], stdout=file, stderr=subprocess.PIPE, check=False)
    assert (call.returncode, image.read_bytes()) == (2, before)


def test_analyze_leaves_no_file_where_standard_input_is_closed(tmp_path) -> None:
    (tmp_path / "faces.csv").write_text("old")
    command = f'"{PROGRAM}" analyze - --csv "{tmp_path / "faces.csv"}" --annotate "{tmp_path / "annotated"}" <&-'
    call = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert (call.returncode, len(call.stderr.splitlines())) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


def test_analyze_reports_a_full_disk_behind_the_csv_once() -> None:
    # In this mode every Python reports files that fail while they are closed, as 3.13 and newer always do.
    call = run("analyze", "missing.png", "--csv", "/dev/full", PYTHONDEVMODE="1")
    assert (call.returncode, call.stdout, len(call.stderr.splitlines())) == (2, b"", 1)


def test_analyze_works_with_standard_error_closed(inputs) -> None:
    command = f'"{PROGRAM}" analyze "{inputs / "names/plain.png"}" --json 2>&-'
    call = subprocess.run(command, shell=True, stdout=subprocess.PIPE, check=False)
    assert call.returncode == 0
    assert len(json.loads(call.stdout)["faces"]) == 1


def test_piped_help_is_complete_in_ascii() -> None:
    call = run("analyze", "--help", PYTHONIOENCODING="ascii")
    assert call.returncode == 0
    assert b"--annotate" in call.stdout
