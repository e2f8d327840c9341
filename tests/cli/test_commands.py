"""Commands that succeed, on small inputs."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from helpers.drawn import SMALL_STUDY, write_store
from helpers.program import PROGRAM, command_names, run, run_forked
from oamface.cli.analyze import _Run
from oamface.cli.app import app
from oamface.cli.image_list import ImageList, InputImage
from oamface.datasets.store import Store
from oamface.errors import ImageError
from oamface.images import decode
from oamface.occlusion import STYLES
from oamface.results import ImageResult
from oamface.weights import WEIGHTS


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "a.png")
    Image.fromarray(skimage.data.astronaut()[:, ::-1]).save(folder / "b.jpg")
    return folder


@pytest.mark.parametrize("name", list(command_names()))
def test_help_shows_every_word_in_80_columns(name) -> None:
    command = get_command(app)
    for word in name.split():
        command = command.commands[word]
    printed = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"}).stdout
    assert max(len(line) for line in printed.splitlines()) == 80
    words = {word for parameter in command.params for word in (parameter.help or "").split()}
    assert [word for word in words if word not in printed] == []


def test_analyze_json_prints_a_line_an_image(images, untrained_model) -> None:
    (images / "broken.png").write_text("text")
    call = run("analyze", images, images / "missing.png", "--json", "--weights", untrained_model)
    assert call.returncode == 1
    lines = [json.loads(line) for line in call.stdout.splitlines()]
    assert [os.path.basename(line["source"]) for line in lines] == ["a.png", "b.jpg", "broken.png", "missing.png"]  # noqa: PTH119
    assert all(line["schema"] == "oamface/1" for line in lines)
    face = lines[0]["faces"][0]
    keys = ["box", "score", "detected", "landmarks", "age", "gender", "race", "mask", "visibility", "quality"]
    assert list(face) == keys
    assert face["age"]["low"] <= face["age"]["years"] <= face["age"]["high"]
    assert sum(face["race"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert lines[2]["error"]["type"] == lines[3]["error"]["type"] == "ImageError"


def test_analyze_names_folders_and_globs_without_images(images, untrained_model) -> None:
    (images / "empty").mkdir()
    call = run("analyze", images / "a.png", images / "empty", f"{images}/*.tif", "--weights", untrained_model)
    assert call.returncode == 1
    nowhere = (images / "empty", images / "*.tif")
    assert call.stderr.splitlines() == [f"oamface: {path}: no image there" for path in nowhere]


def test_bulk_exits_with_1_when_some_images_failed(images, tmp_path, monkeypatch) -> None:
    pytest.importorskip("ray", reason="bulk analysis needs oamface[bulk]")
    from oamface.bulk import job
    from oamface.bulk.output import Counts

    for errors in (0, 3):
        summary = job.Summary(Counts(9, 5, errors, 0), 1, 1)
        monkeypatch.setattr(job, "run_bulk", lambda *_, summary=summary, **__: summary)
        call = CliRunner().invoke(app, ["bulk", str(images), "--output", str(tmp_path / "out")])
        assert call.exit_code == (1 if errors else 0), call.output
        assert f"{errors} unreadable" in call.stdout


def test_analyze_writes_table_csv_and_annotated_images(images, untrained_model, tmp_path) -> None:
    outputs = ("--csv", tmp_path / "faces.csv", "--annotate", tmp_path / "annotated", "--tasks", "age, mask")
    call = run("analyze", f"{images}/*.png", *outputs, "--weights", untrained_model)
    assert call.returncode == 0, call.stderr
    assert "a.png" in call.stdout
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert "race" not in rows[0]
    annotated = np.array(Image.open(tmp_path / "annotated/a.png"))
    assert annotated.shape == (512, 512, 3)
    assert (annotated != skimage.data.astronaut()).any()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_analyze_reads_a_pipe_once_and_annotates_it(images, untrained_model, tmp_path) -> None:
    os.mkfifo(images / "pipe")
    threading.Thread(target=lambda: (images / "pipe").write_bytes((images / "a.png").read_bytes())).start()
    options = ("--json", "--annotate", tmp_path / "annotated", "--weights", untrained_model)
    call = run("analyze", images / "pipe", images / "b.jpg", *options)
    assert call.returncode == 0, call.stderr
    assert [len(json.loads(line)["faces"]) for line in call.stdout.splitlines()] == [1, 1]
    assert sorted(os.listdir(tmp_path / "annotated")) == ["b.png", "pipe.png"]  # noqa: PTH208


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_analyze_can_be_interrupted_while_it_waits_for_a_pipe(images, untrained_model) -> None:
    os.mkfifo(images / "pipe")
    command = [PROGRAM, "analyze", images / "pipe", "--json", "--weights", untrained_model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with (images / "pipe").open("wb"):  # opens once the program waits for what comes
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert (process.returncode, errors) == (130, "oamface: interrupted; what was done is kept\n")


def test_an_image_that_cannot_be_read_again_to_be_annotated_has_failed(
    images, untrained_model, tmp_path, monkeypatch
) -> None:
    def read(source, **options):
        if source.endswith("a.png"):
            raise ImageError(f"{source}: cannot be read")
        return decode(source, **options)

    monkeypatch.setattr("oamface.cli.face_writers.decode", read)
    options = ("--annotate", str(tmp_path / "annotated"), "--weights", str(untrained_model))
    call = CliRunner().invoke(app, ["analyze", str(images), *options])
    assert call.exit_code == 1
    assert "a.png: cannot be read" in call.stderr
    assert os.listdir(tmp_path / "annotated") == ["b.png"]  # noqa: PTH208


@pytest.mark.parametrize(("annotate", "kept"), [(True, ["c"]), (False, [])])
def test_analyze_keeps_what_a_pipe_gave_until_it_is_annotated(tmp_path, monkeypatch, annotate, kept) -> None:
    monkeypatch.setattr("oamface.images.readable_again", lambda path: b"image")
    monkeypatch.setattr("oamface.cli.face_writers.AnnotatedImages.write", lambda *_: None)
    results = SimpleNamespace(tasks=(), at_least=(), policy=None)
    results.analyze_batch = lambda images, crop: (ImageResult(4, 5, (), name) for name, _ in images)
    listed = ImageList([InputImage(name, name) for name in "abc"])
    run = _Run(results, listed, [], json=False, csv=None, annotate=tmp_path if annotate else None)
    run.analyze(crops=False)
    assert (run.done, list(run._data)) == (3, kept)


def test_analyze_crops_gives_exactly_one_face(images, untrained_model) -> None:
    Image.new("RGB", (90, 90), "grey").save(images / "c.png")
    call = run("analyze", images / "c.png", "--crops", "--json", "--weights", untrained_model)
    assert len(json.loads(call.stdout)["faces"]) == 1


def test_analyze_takes_device_and_threads(images, untrained_model) -> None:
    options = ("--device", "cpu", "--threads", 1, "--json", "--weights", untrained_model)
    call = run("analyze", images / "a.png", *options)
    assert len(json.loads(call.stdout)["faces"]) == 1


def test_analyze_at_least_adds_probabilities_to_json_csv_and_table(images, untrained_model, tmp_path) -> None:
    options = ("--at-least", "21,18", "--weights", untrained_model, "--csv", tmp_path / "faces.csv")
    face = json.loads(run("analyze", images / "a.png", "--json", *options).stdout)["faces"][0]
    assert list(face["age"]["at_least"]) == ["18", "21"]
    assert 0 <= face["age"]["at_least"]["21"] <= face["age"]["at_least"]["18"] <= 1
    with (tmp_path / "faces.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["age_at_least_18"]) == face["age"]["at_least"]["18"]
    assert row["gender_probability"]
    assert "18+: " in run("analyze", images / "a.png", *options).stdout
    call = run("analyze", images / "a.png", "--at-least", "adult", "--weights", untrained_model)
    assert call.returncode == 2
    assert "expected whole numbers" in call.stderr


def test_models_list_prints_every_model() -> None:
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [model["name"] for model in listed] == list(WEIGHTS)
    table = run("models", "list").stdout
    assert all(f"{model['size'] / 1e6:.1f}" in table and model["licence"] in table for model in listed)


def test_data_occlude_writes_a_contact_sheet(tmp_path) -> None:
    call = run_forked("data", "occlude", "--output", tmp_path / "sheet.png")
    assert call.returncode == 0, call.stderr
    assert np.array(Image.open(tmp_path / "sheet.png")).shape[0] % len(STYLES) == 0


@pytest.mark.slow
def test_data_synthesize_renders_people_and_replaces_no_set(tmp_path) -> None:
    pytest.importorskip("anny", reason="synthetic people need anny: oamface[synth]")
    output = ("--output", tmp_path / "set")
    call = run_forked("data", "synthesize", "--count", 6, "--size", 128, *output, "--ages", "20-69", "--races", "Black")
    assert call.returncode == 0, call.stderr
    assert "6 people" in call.stdout
    assert len(list((tmp_path / "set" / "images").iterdir())) == 6
    again = run_forked("data", "synthesize", "--count", 6, *output)
    assert again.returncode == 2
    assert len(list((tmp_path / "set" / "images").iterdir())) == 6


def test_data_prepare_writes_a_store_and_counts_skipped_images(tmp_path) -> None:
    (tmp_path / "set/with_mask").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "set/with_mask/a.png")
    (tmp_path / "set/with_mask/b.png").write_bytes(b"")
    call = run_forked("data", "prepare", "masks", tmp_path / "set", "--output", tmp_path / "out", "--size", 64)
    assert call.returncode == 0, call.stderr
    assert "1 images skipped" in call.stdout
    assert Store.open(tmp_path / "out", size=64).names == ["with_mask/a.png"]


@pytest.mark.slow
def test_train_export_evaluate_card_and_analyze_one_network(images, tmp_path) -> None:
    store = write_store(tmp_path / "store")
    recipe = tmp_path / "tiny.toml"
    stages = 'backbone = "face-resnet"\nbackbone_stages = [[8, 1], [16, 1], [32, 1], [64, 1]]\n'
    recipe.write_text(stages + "[[phases]]\nimage_size = 64\nepochs = 1\nbatch_size = 20\n")
    trained = run_forked("train", recipe, "--store", store, "--output", tmp_path / "run", "--workers", 0)
    assert trained.returncode == 0, trained.stderr
    assert "2 steps to go" in trained.stderr
    checkpoint, model = trained.stdout.strip().splitlines()[-1], tmp_path / "model.onnx"
    exported = run_forked("export", checkpoint, "--store", store, "--output", model)
    assert exported.returncode == 0, exported.stderr
    evaluated = run_forked("evaluate", "--store", store, "--weights", model, "--output", tmp_path / "figures.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "leakage" in evaluated.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert "clean" in figures["data_sets"]["utkface"]["conditions"]
    card = run("models", "card", model)
    assert "Recipe `tiny`, from random weights" in card.stdout
    analyzed = run("analyze", images / "a.png", "--json", "--weights", model)
    assert len(json.loads(analyzed.stdout)["faces"]) == 1


def test_evaluate_says_that_there_are_too_few_faces(tmp_path, untrained_model) -> None:
    store = write_store(tmp_path / "store", splits={"train": 4, "calibrate": 3, "test": 2})
    call = run_forked("evaluate", "--store", store, "--weights", untrained_model, "--split", "calibrate")
    assert call.returncode == 0
    assert "no figures: they take 10 labelled faces of the split 'calibrate'" in call.stderr


@pytest.mark.slow
def test_paper_study_benchmark_and_report_follow_each_other(tmp_path, untrained_model) -> None:
    store = write_store(tmp_path / "store")
    study = tmp_path / "study.toml"
    study.write_text(SMALL_STUDY)
    call = run_forked("paper", "study", study, "--store", store, "--output", tmp_path / "runs")
    assert call.stdout.strip().endswith("full-0/checkpoint.safetensors"), call.stderr
    table = tmp_path / "elsewhere.csv"
    table.write_text("data_set,face,age,gender\n" + "".join(f"utkface,{n}.png,40,male\n" for n in range(72)))
    predictors = ("--weights", untrained_model, "--study", tmp_path / "runs", "--table", table)
    call = run_forked("paper", "benchmark", "--store", store, "--core", *predictors, "--output", tmp_path / "results")
    assert call.returncode == 0, call.stderr
    names = [os.path.basename(line).rpartition(".")[0] for line in call.stdout.split()]  # noqa: PTH119
    assert names == ["untrained", "full-0", "elsewhere"]
    call = run_forked("paper", "report", tmp_path / "results", "--output", tmp_path / "report")
    assert call.returncode == 0, call.stderr
    assert "cannot be measured" in call.stdout
    assert "elsewhere" in (tmp_path / "report/index.html").read_text()


HEAVY = {"torch", "pyarrow", "pandas", "scipy", "timm", "lightning_fabric"}


@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"], ["train", "--help"], ["models"], []])
def test_help_imports_neither_numpy_nor_onnxruntime(arguments) -> None:
    code = f"""
import sys, atexit
from oamface.cli.app import main
atexit.register(lambda: print("heavy:", {HEAVY | {"numpy", "onnxruntime", "cv2"}} & set(sys.modules)))
sys.argv = ["oamface", *{arguments}]
main()
"""
    call = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Usage: oamface" in call.stdout
    assert "heavy: set()" in call.stdout


def test_analyze_imports_no_training_package(images, untrained_model) -> None:
    code = f"""
import sys, oamface.analyzer
oamface.analyzer.Analyzer({str(untrained_model)!r}).analyze({str(images / "a.png")!r})
sys.exit(bool({HEAVY} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_analyze_leaves_the_home_folder_empty(images, untrained_model, tmp_path) -> None:
    """ONNX Runtime would leave a device's identifier and a queue of events there."""
    home = tmp_path / "home"
    home.mkdir()
    folders = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORT_") and name != "CI"}
    command = [PROGRAM, "analyze", str(images / "a.png"), "--weights", str(untrained_model)]
    subprocess.run(command, env={**kept, **folders}, check=True, capture_output=True)
    assert list(home.iterdir()) == []
