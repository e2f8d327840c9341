import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from helpers.drawn import SMALL_STUDY, write_store
from oamface.cli.app import main
from oamface.datasets.store import Store
from oamface.occlusion import STYLES


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("oamface")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def refused(monkeypatch, capsys):
    """Makes a call that has to fail, in this process: most start-ups would cost more than the call. What it says."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["oamface", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        assert said.err.strip()
        assert "Traceback" not in said.err
        return said.err

    return call


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "a.png")
    Image.fromarray(skimage.data.astronaut()[:, ::-1]).save(folder / "b.jpg")
    return folder


def test_analyze_json_lines(images, untrained_model) -> None:
    (images / "broken.png").write_text("text")
    done = run("analyze", images, images / "missing.png", "--json", "--weights", untrained_model)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["source"]).name for line in lines] == ["a.png", "b.jpg", "broken.png", "missing.png"]
    assert all(line["schema"] == "oamface/1" for line in lines)
    face = lines[0]["faces"][0]
    assert list(face) == ["box", "score", "detected", "landmarks", "age", "gender", "race", "mask", "visibility"]
    assert face["age"]["low"] <= face["age"]["years"] <= face["age"]["high"]
    assert sum(face["race"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert lines[2]["error"]["type"] == lines[3]["error"]["type"] == "ImageError"


def test_analyze_table_csv_and_annotated(images, untrained_model, tmp_path) -> None:
    out = ("--csv", tmp_path / "faces.csv", "--annotate", tmp_path / "drawn", "--tasks", "age, mask")
    done = run("analyze", f"{images}/*.png", *out, "--weights", untrained_model)
    assert done.returncode == 0, done.stderr
    assert "a.png" in done.stdout
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert "race" not in rows[0]
    drawn = np.array(Image.open(tmp_path / "drawn/a.png"))
    assert drawn.shape == (512, 512, 3)
    assert (drawn != skimage.data.astronaut()).any()


def test_analyze_crops(images, untrained_model) -> None:
    Image.new("RGB", (90, 90), "grey").save(images / "c.png")
    done = run("analyze", images / "c.png", "--crops", "--json", "--weights", untrained_model)
    assert len(json.loads(done.stdout)["faces"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", "missing.png"),
        ("analyze", "."),
        ("analyze",),
        ("analyze", "missing.png", "--tasks", "hair"),
        ("analyze", "missing.png", "--weights", "missing.onnx"),
        ("analyze", "missing.png", "--csv", "missing/folder/faces.csv"),
        ("occlude", "missing.png"),
        ("occlude", "--sheet", "sheet.txt"),
        ("synth", "--out", "set", "--ages", "18-200"),
        ("synth", "--out", "set", "--ages", "young"),
        ("synth", "--out", "set", "--races", "White,Martian"),
        ("synth", "--out", "set", "--count", "0"),
        ("synth", "--out", "set", "--mask-share", "2"),
        ("counterfactual", "--weights", "missing.onnx"),
        ("video", "missing.mp4"),
        ("video", "missing.mp4", "--tasks", "hair"),
        ("bench", "--weights", "missing.onnx"),
        ("prepare", "utkface", "missing.tar", "--out", "out"),
        ("prepare", "imagenet", "missing.tar", "--out", "out"),
        ("teach", "missing", "missing.npz"),
        ("train", "missing.toml", "--store", "missing", "--out", "out"),
        ("export", "missing.safetensors", "--store", "missing", "--out", "out.onnx"),
        ("evaluate", "--store", "missing"),
        ("card", "missing.onnx"),
    ],
)
def test_wrong_calls_are_one_line_and_code_2(arguments, refused, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(*arguments)


def test_a_wrong_call_of_the_program_itself(tmp_path) -> None:
    done = run("analyze", tmp_path / "missing.png", "--tasks", "hair")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_occlude_writes_a_sheet(tmp_path) -> None:
    done = run("occlude", "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    assert np.array(Image.open(tmp_path / "sheet.png")).shape[0] % len(STYLES) == 0


def test_synth_draws_people(tmp_path) -> None:
    pytest.importorskip("anny", reason="synthetic people need anny: oamface[synth]")
    done = run("synth", "--count", 6, "--size", 128, "--out", tmp_path / "set", "--ages", "20-69", "--races", "Black")
    assert done.returncode == 0, done.stderr
    assert "6 people" in done.stdout
    assert len(list((tmp_path / "set" / "images").iterdir())) == 6
    again = run("synth", "--count", 6, "--out", tmp_path / "set")
    assert again.returncode == 2
    assert "holds a set already" in again.stderr


def test_prepare_writes_a_store_and_says_what_it_left_out(tmp_path) -> None:
    (tmp_path / "set/with_mask").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "set/with_mask/a.png")
    (tmp_path / "set/with_mask/b.png").write_bytes(b"")
    done = run("prepare", "masks", tmp_path / "set", "--out", tmp_path / "out", "--size", 64)
    assert done.returncode == 0, done.stderr
    assert "1 images refused" in done.stdout
    assert Store.open(tmp_path / "out", image_size=64).names == ["with_mask/a.png"]


def test_from_a_store_to_an_answer(images, tmp_path) -> None:
    """Train, export, evaluate, describe and use one tiny network, by commands alone."""
    store = write_store(tmp_path / "store")
    recipe = tmp_path / "tiny.toml"
    small = 'backbone = "face-resnet"\nlevels = [[8, 1], [16, 1], [32, 1], [64, 1]]\n'
    recipe.write_text(small + "[[phases]]\nsize = 64\npasses = 1\nbatch = 20\n")
    trained = run("train", recipe, "--store", store, "--out", tmp_path / "run", "--workers", 0)
    assert trained.returncode == 0, trained.stderr
    assert "2 steps to go" in trained.stderr
    checkpoint, model = trained.stdout.strip().splitlines()[-1], tmp_path / "model.onnx"
    exported = run("export", checkpoint, "--store", store, "--out", model)
    assert exported.returncode == 0, exported.stderr
    measured = run("evaluate", "--store", store, "--weights", model, "--json", tmp_path / "figures.json")
    assert measured.returncode == 0, measured.stderr
    assert "leakage" in measured.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert "clean" in figures["data_sets"]["utkface"]["conditions"]
    described = run("card", model)
    assert "Recipe `tiny`, from random weights: 1 passes at 64 px" in described.stdout
    answer = run("analyze", images / "a.png", "--json", "--weights", model)
    assert len(json.loads(answer.stdout)["faces"]) == 1


def test_the_command_line_does_not_import_the_training_half() -> None:
    code = "import sys, oamface.cli.app; sys.exit(bool({'torch', 'pyarrow', 'pandas', 'scipy', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_analyze_does_not_import_the_training_half(images, untrained_model) -> None:
    code = f"""
import sys, oamface.analyzer as a
from pathlib import Path
a.Analyzer(Path({str(untrained_model)!r})).analyze({str(images / "a.png")!r})
sys.exit(bool({{'torch', 'pyarrow', 'pandas', 'timm', 'lightning_fabric'}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_written_beside_what_was_asked_for(images, untrained_model, tmp_path) -> None:
    """ONNX Runtime would leave a device's identifier and a queue of events in the home folder."""
    (tmp_path / "home").mkdir()
    program = Path(sys.executable).with_name("oamface")
    places = {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORT_") and name != "CI"}
    command = [program, "analyze", str(images / "a.png"), "--weights", str(untrained_model)]
    subprocess.run(command, env={**kept, **places}, check=True, capture_output=True)
    assert list((tmp_path / "home").iterdir()) == []


def test_study_benchmark_and_report(tmp_path, untrained_model) -> None:
    store = write_store(tmp_path / "store")
    study = tmp_path / "study.toml"
    study.write_text(SMALL_STUDY)
    done = run("study", study, "--store", store, "--out", tmp_path / "runs")
    assert done.stdout.strip().endswith("full-0/checkpoint.safetensors"), done.stderr
    table = tmp_path / "elsewhere.csv"
    table.write_text("data_set,face,age,gender\n" + "".join(f"utkface,{n}.png,40,male\n" for n in range(72)))
    who = ("--weights", untrained_model, "--study", tmp_path / "runs", "--table", table)
    done = run("benchmark", "--store", store, "--core", *who, "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert [Path(line).stem for line in done.stdout.split()] == ["untrained", "full-0", "elsewhere"]
    done = run("report", tmp_path / "results", "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "cannot be measured" in done.stdout
    assert "elsewhere" in (tmp_path / "report/index.html").read_text()


def test_benchmark_and_report_refuse_in_one_line(refused, tmp_path, untrained_model) -> None:
    store = write_store(tmp_path / "store")
    who = ("--weights", untrained_model, "--out", tmp_path / "results")
    for arguments, message in (
        (("benchmark", "--store", tmp_path / "none", *who), "not a whole store"),
        (("benchmark", "--store", store, "--peer", "nobody", *who), "no peer 'nobody'"),
        (("benchmark", "--store", store, "--study", tmp_path, *who), "no finished run"),
        (("benchmark", "--store", store, "--table", tmp_path / "none.csv", *who), "cannot be read"),
        (("report", tmp_path), "no result of one model file"),
    ):
        assert message in refused(*arguments)
    refused("report")
    refused("report", tmp_path, "--quick")
