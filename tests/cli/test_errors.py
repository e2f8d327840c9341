"""Wrong calls of every command, and every command where a package is missing."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image
from typer.main import get_command

from helpers.program import error_of, run
from oamface.cli.app import app, main

ROOT = Path(__file__).parents[2]

# A call of every command in an environment without any extra, and what its error names; None where it works.
CALLS = {
    "analyze": (("a.png", "--json"), None),
    "bulk": ((".", "--output", "new"), "oamface[bulk]"),
    "data features": (("store",), "oamface[train]"),
    "data occlude": (("a.png", "--output", "sheet.png"), None),
    "data prepare": (("masks", "a.png", "--output", "new"), "oamface[train]"),
    "data synthesize": (("--output", "new"), "oamface[synth]"),
    "evaluate": (("--store", "store", "--output", "new.json"), "oamface[train]"),
    "export": (("oam", "--output", "new.onnx", "--store", "store"), "oamface[train]"),
    "models benchmark": (("--weights", "oam-small", "--rounds", "2"), "oamface[benchmark]"),
    "models card": ((), None),
    "models list": ((), None),
    "models select": (("--budget-ms", "100000", "--rounds", "2"), None),
    "paper benchmark": (("--store", "store", "--output", "new"), "oamface[train]"),
    "paper report": (("--quick", "--output", "new"), "oamface[synth,train]"),
    "paper sensitivity": (("--output", "new.json"), "oamface[synth]"),
    "paper study": (("study.toml", "--store", "store", "--output", "new"), "oamface[train]"),
    "paper tables": (("store",), "oamface[train]"),
    "serve": (("--port", "0"), "oamface[serve]"),
    "train-scanner": (("a.png", "a.png", "--output", "new.onnx"), "oamface[train]"),
    "train": (("recipe.toml", "--store", "store", "--output", "new"), "oamface[train]"),
    "video": (("a.mp4", "--output", "new.jsonl"), "oamface[video]"),
}

# All that a shared object of a light install may find outside of it; python:slim has them. None is libGL.
GLIBC = {"libc.so.6", "libdl.so.2", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "librt.so.1"}
SLIM_LIBRARIES = GLIBC | {"libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"}


def command_names(group: Any = None, prefix: str = "") -> Iterator[str]:
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from command_names(command, f"{name} ")
        else:
            yield prefix + name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with an image."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("a.png")
    return tmp_path


@pytest.fixture(scope="module")
def light_program(tmp_path_factory) -> Path:
    """The program in an environment with the wheel alone, which is built from the sdist, and without any extra."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        pytest.skip("making an environment needs uv")
    folder = tmp_path_factory.mktemp("light")
    python = folder / "env" / "bin" / "python"

    def call(*arguments: object) -> None:
        finished = subprocess.run([uv, *map(str, arguments)], capture_output=True, text=True, check=False)
        if finished.returncode:
            pytest.skip(f"an environment could not be made: {finished.stderr.strip().splitlines()[-1]}")

    call("build", "-q", "--out-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    call("venv", "-q", "--python", sys.executable, folder / "env")
    call("pip", "install", "-q", "--python", python, "-c", ROOT / "constraints.txt", wheel)
    return python.with_name("oamface")


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their bytes; folders as nothing."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_every_command_has_a_call() -> None:
    assert sorted(CALLS) == sorted(command_names())


@pytest.mark.slow
@pytest.mark.network
def test_commands_without_extras_work_or_name_the_missing_extra(light_program, tmp_path) -> None:
    image = Image.fromarray(skimage.data.astronaut())

    def run(command: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / command
        (folder / "store").mkdir(parents=True)
        image.save(folder / "a.png")
        call = [light_program, *command.split(), *CALLS[command][0]]
        return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder, timeout=240)

    with ThreadPoolExecutor(2) as pool:
        finished = dict(zip(CALLS, pool.map(run, CALLS), strict=True))
    for command, (_, error) in CALLS.items():
        call = finished[command]
        if error is None:
            assert call.returncode == 0, (command, call.stderr)
            continue
        assert (call.returncode, call.stdout) == (2, ""), (command, call.stderr)
        (line,) = call.stderr.strip().splitlines()
        assert line.startswith("oamface: ")
        assert error in line, command
        assert sorted(path.name for path in (tmp_path / command).iterdir()) == ["a.png", "store"], command


@pytest.mark.slow
@pytest.mark.network
def test_light_install_takes_at_most_430_megabytes(light_program) -> None:
    files = [path for path in light_program.parents[1].glob("lib/**/*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < 430e6


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(shutil.which("ldd") is None, reason="lists what a shared object links to")
def test_light_install_links_only_to_libraries_of_a_slim_image(light_program) -> None:
    environment = light_program.parents[1]
    objects = sorted(path for path in environment.glob("lib/**/*.so*") if path.is_file())
    listed = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False).stdout
    assert listed.count(" => ") > len(objects) > 20
    assert "not found" not in listed
    links = re.findall(r"^\t(\S+) => (\S+)", listed, re.MULTILINE)
    assert {name for name, path in links if not path.startswith(str(environment))} <= SLIM_LIBRARIES


def test_missing_module_of_oamface_is_not_reported_as_missing_package(monkeypatch, folder) -> None:
    monkeypatch.setitem(sys.modules, "oamface.bulk.job", None)
    monkeypatch.setattr(sys, "argv", ["oamface", "bulk", ".", "--output", "out"])
    with pytest.raises(ModuleNotFoundError):
        main()


@pytest.fixture
def error(capsys, folder):
    """Makes a call that has to fail without touching any file; returns its error."""

    def call(*arguments: object) -> str:
        before = contents(folder)
        line = error_of(capsys, *arguments)
        assert contents(folder) == before
        return line

    return call


@pytest.mark.parametrize(
    "call",
    [
        "analyze",
        "analyze *.bmp",
        "analyze missing.png --tasks hair",
        "analyze missing.png --policy ''",
        "analyze missing.png --at-least ''",
        "analyze missing.png --at-least 18 --tasks mask",
        "analyze missing.png --weights missing.onnx",
        "analyze missing.png --device abacus",
        "analyze missing.png --threads -1",
        "analyze missing.png --csv missing/folder/faces.csv",
        "video missing.mp4",
        "video missing.mp4 --tasks hair",
        "video missing.mp4 --output faces.csv",
        "data occlude a.png --output a.png",
        "data occlude a.png --output ./nowhere/../a.png",
        "data occlude missing.png",
        "data occlude --output missing/sheet.png",
        "data occlude --output sheet.txt",
        "data occlude --output .",
        "data occlude --seed -1",
        "data occlude ''",
        "data synthesize --output a.png",
        "data synthesize --output a.png/set",
        "data synthesize --output set --mask-share nan",
        "data synthesize --output set --mask-share 2",
        "data synthesize --output set --count -3",
        "data synthesize --output set --count 0",
        "data synthesize --output set --size 5",
        "data synthesize --output set --ages -5",
        "data synthesize --output set --ages 1²-20",
        "data synthesize --output set --ages 18-200",
        "data synthesize --output set --ages young",
        "data synthesize --output set --genders ''",
        "data synthesize --output set --races White,Martian",
        "data synthesize --output a.png --sheets",
        "data prepare masks a.png --output a.png",
        "data prepare masks . --output .",
        "data prepare masks missing --output store",
        "data prepare masks '' --output store",
        "data prepare utkface missing.tar --output out",
        "data prepare imagenet missing.tar --output out",
        "data features missing",
        "data features missing missing.npz",
        "data features missing a.png",
        "train recipe.toml --store missing --output run",
        "train a.png --store missing --output run",
        "train recipe.toml --store store --output ./store",
        "train recipe.toml --store store --output a.png",
        "export oam --output model.txt",
        "export oam --output missing/model.xml",
        "export oam --output model.xml --precision int8",
        "export oam --output model.onnx --precision int4",
        "export oam --output model.onnx",
        "export missing.safetensors --store missing --output model.onnx",
        "export '' --output model.onnx --store missing",
        "evaluate --store missing",
        "evaluate --store missing --output missing/figures.json",
        "evaluate --store missing --output figures.csv",
        "evaluate --store missing --output .",
        "evaluate --store missing --weights nobody",
        "paper study study.toml --store missing --output runs",
        "paper study study.toml --store missing --output a.png",
        "paper benchmark --store missing --output results",
        "paper benchmark --store missing --output a.png",
        "paper sensitivity --output missing/figures.json",
        "paper sensitivity --people 0",
        "paper sensitivity --weights nobody",
        "paper report missing --output report",
        "paper report missing --output a.png",
        "paper report . --output .",
        "paper report . --quick",
        "paper report --output report",
        "paper report --quick --output a.png",
        "models benchmark --rounds 1",
        "models benchmark --output missing/figures.json",
        "models benchmark --weights nobody",
        "models benchmark --weights ''",
        "models benchmark --peer nobody",
        "models select --budget-ms -1",
        "models select --budget-ms nan",
        "models select --budget-ms inf",
        "models select --budget-ms five",
        "models select --budget-ms 5 --rounds 1",
        "models select --budget-ms 5 --threads -1",
        "models select --budget-ms 5 --weights nobody",
        "models card nobody",
        "models card ''",
        "models card a.png",
        "bulk . --output .",
        "bulk . --output a.png",
        "bulk . --output ''",
        "bulk '' --output results",
        "bulk missing --output results",
        "bulk . --output results --tasks hair",
        "bulk . --output results --tasks ''",
        "bulk . --output results --weights nobody",
        "bulk . --output results --shard-size 0",
        "bulk . --output results --workers 0",
        "bulk nowhere://bucket --output results",
        "nobody",
        "--nothing",
        "models nobody",
    ],
)
def test_wrong_calls_print_one_line_and_touch_no_file(call, error) -> None:
    error(*shlex.split(call))


def test_wrong_call_of_the_installed_program_exits_with_2(tmp_path) -> None:
    call = run("analyze", tmp_path / "missing.png", "--tasks", "hair")
    assert (call.returncode, call.stdout) == (2, "")
    assert "Traceback" not in call.stderr


def test_verbose_logs_where_an_error_comes_from(tmp_path) -> None:
    call = run("--verbose", "analyze", tmp_path / "missing.png", "--weights", "missing.onnx")
    assert call.returncode == 2
    assert "ModelError" in call.stderr
    assert call.stderr.splitlines()[-1].startswith("oamface: missing.onnx")


def test_outputs_may_not_be_inputs(error, untrained_model, store_folder) -> None:
    shutil.copy(untrained_model, "mine.onnx")
    shutil.copytree(store_folder, "store")
    os.link("mine.onnx", "other.onnx")
    os.link("mine.onnx", "mine.json")
    mine = ("--weights", "mine.onnx")
    for output in ("mine.onnx", "./mine.onnx", "other.onnx"):
        assert Path(output).name in error("export", "mine.onnx", "--output", output, "--store", "store")
    assert "mine.json" in error("evaluate", *mine, "--store", "store", "--output", "mine.json")
    assert "card.json" in error("evaluate", *mine, "--store", "store", "--output", "store/card.json")
    assert "mine.json" in error("models", "benchmark", *mine, "--output", "mine.json")
    assert "mine.json" in error("paper", "sensitivity", *mine, "--output", "mine.json")
    assert "store" in error("paper", "benchmark", *mine, "--store", "store", "--output", "store")


def test_wrong_contents_of_a_store_are_errors(error, untrained_model, store_folder) -> None:
    shutil.copytree(store_folder, "store")
    error("evaluate", "--weights", untrained_model, "--store", "store", "--split", "holdout")
    error("data", "features", "store", "store/crops.npy")
    error("data", "features", "store", "a.png")


def test_paper_benchmark_and_report_name_what_is_wrong(error, folder, untrained_model, store_folder) -> None:
    benchmark = ("paper", "benchmark", "--weights", untrained_model, "--output", "results")
    assert "none" in error(*benchmark, "--store", "none")
    assert "nobody" in error(*benchmark, "--store", store_folder, "--peer", "nobody")
    assert str(folder) in error(*benchmark, "--store", store_folder, "--study", folder)
    assert "none.csv" in error(*benchmark, "--store", store_folder, "--table", "none.csv")
    assert str(folder) in error("paper", "report", folder)


def test_report_replaces_only_reports(error, folder) -> None:
    (folder / "project").mkdir()
    (folder / "project/README.md").write_text("ours")
    assert "README.md" in error("paper", "report", "--quick", "--output", "project")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_write_permission_are_errors(error, folder) -> None:
    (folder / "locked").mkdir(mode=0o500)
    for call in (
        "data occlude --output locked/sheet.png",
        "models benchmark --output locked/figures.json",
        "bulk a.png --output locked/results",
        "data synthesize --output locked/set",
    ):
        assert "locked" in error(*call.split())
