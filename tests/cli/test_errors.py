"""Wrong calls of every command."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from helpers.program import error_of, run
from oamface.cli.app import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with an image."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("a.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their bytes; folders as nothing."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


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
        f"analyze missing.png --at-least {'9' * 5000}",
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
