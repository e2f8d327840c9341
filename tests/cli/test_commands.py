"""Every command as a program: what it refuses before it starts, and what it says where a package is missing."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from typer.main import get_command

from oamface.cli.app import app, main

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(get_command(app).commands)

# A call of every command that an install of the light half alone has to understand, and how it ends there: with a
# result, or with the name of what has to be installed.
CALLS = {
    "analyze": (("a.png", "--json"), None),
    "bench": (("--peer", "nobody"), "nobody"),
    "benchmark": (("--store", "store", "--out", "new"), "oamface[train]"),
    "bulk": ((".", "--out", "new"), "oamface[bulk]"),
    "card": ((), None),
    "counterfactual": (("--json", "new.json"), "oamface[synth]"),
    "evaluate": (("--store", "store", "--json", "new.json"), "oamface[train]"),
    "export": (("oam", "--out", "new.onnx", "--store", "store"), "oamface[train]"),
    "fit": (("--budget-ms", "100000", "--rounds", "2"), None),
    "occlude": (("a.png", "--sheet", "sheet.png"), None),
    "prepare": (("masks", "a.png", "--out", "new"), "oamface[train]"),
    "report": (("--quick", "--out", "new"), "oamface[synth,train]"),
    "serve": (("--port", "0"), "oamface[serve]"),
    "study": (("study.toml", "--store", "store", "--out", "new"), "oamface[train]"),
    "synth": (("--out", "new"), "oamface[synth]"),
    "teach": (("store",), "oamface[train]"),
    "train": (("recipe.toml", "--store", "store", "--out", "new"), "oamface[train]"),
    "video": (("a.mp4", "--json", "new.json"), "oamface[video]"),
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to be in, with an image."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("a.png")
    return tmp_path


@pytest.fixture(scope="module")
def light(tmp_path_factory) -> Path:
    """The program in an environment with the light half alone."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        pytest.skip("making an environment needs uv")
    home = tmp_path_factory.mktemp("light") / "env"
    python = home / "bin" / "python"
    install = [uv, "pip", "install", "-q", "--python", python, "-c", ROOT / "constraints.txt", "-e", ROOT]
    for call in ([uv, "venv", "-q", "--python", sys.executable, home], install):
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"an environment could not be made: {done.stderr.strip().splitlines()[-1]}")
    return home / "bin" / "oamface"


def listed(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their bytes; folders as nothing."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_every_command_has_a_call() -> None:
    assert sorted(CALLS) == COMMANDS


def test_an_install_of_the_light_half_alone(light, tmp_path) -> None:
    image = Image.fromarray(skimage.data.astronaut())

    def run(command: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / command
        (folder / "store").mkdir(parents=True)
        image.save(folder / "a.png")
        arguments, _ = CALLS[command]
        call = [light, command, *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder, timeout=240)

    with ThreadPoolExecutor(2) as pool:
        ended = dict(zip(COMMANDS, pool.map(run, COMMANDS), strict=True))
    for command, (_, needed) in CALLS.items():
        done = ended[command]
        if needed is None:
            assert done.returncode == 0, (command, done.stderr)
            continue
        last = done.stderr.strip().splitlines()[-1]
        assert (done.returncode, done.stdout) == (2, ""), (command, done.stderr)
        assert last.startswith("oamface: "), (command, done.stderr)
        assert needed in last, (command, last)
        assert "Traceback" not in done.stderr
        if "pip install" in last:
            assert len(done.stderr.strip().splitlines()) == 1, (command, done.stderr)
        assert sorted(path.name for path in (tmp_path / command).iterdir()) == ["a.png", "store"], command


def test_a_missing_module_of_our_own_is_no_missing_package(monkeypatch, work) -> None:
    monkeypatch.setitem(sys.modules, "oamface.bulk.job", None)
    monkeypatch.setattr(sys, "argv", ["oamface", "bulk", ".", "--out", "out"])
    with pytest.raises(ModuleNotFoundError):
        main()


@pytest.fixture
def refused(monkeypatch, capsys, work):
    """Makes a call that has to fail without touching anything, in this process. The last line it says."""

    def call(*arguments: object) -> str:
        before = listed(work)
        monkeypatch.setattr(sys, "argv", ["oamface", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, ""), said
        assert "Traceback" not in said.err
        assert listed(work) == before
        return said.err.strip().splitlines()[-1]

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        ("occlude", "a.png", "--sheet", "a.png"),
        ("occlude", "a.png", "--sheet", "./nowhere/../a.png"),
        ("occlude", "--sheet", "missing/sheet.png"),
        ("occlude", "--sheet", "sheet.txt"),
        ("occlude", "--sheet", "."),
        ("occlude", "--seed", "-1"),
        ("occlude", ""),
        ("synth", "--out", "a.png"),
        ("synth", "--out", "a.png/set"),
        ("synth", "--out", "set", "--mask-share", "nan"),
        ("synth", "--out", "set", "--count", "-3"),
        ("synth", "--out", "set", "--size", "5"),
        ("synth", "--out", "set", "--ages", "-5"),
        ("synth", "--out", "set", "--ages", "1²-20"),
        ("synth", "--out", "set", "--genders", ""),
        ("synth", "--out", "a.png", "--sheets"),
        ("prepare", "masks", "a.png", "--out", "a.png"),
        ("prepare", "masks", ".", "--out", "."),
        ("prepare", "masks", "missing", "--out", "store"),
        ("prepare", "masks", "", "--out", "store"),
        ("teach", "missing"),
        ("teach", "missing", "a.png"),
        ("train", "recipe.toml", "--store", "missing", "--out", "run"),
        ("train", "a.png", "--store", "missing", "--out", "run"),
        ("train", "recipe.toml", "--store", "store", "--out", "./store"),
        ("train", "recipe.toml", "--store", "store", "--out", "a.png"),
        ("study", "study.toml", "--store", "missing", "--out", "runs"),
        ("study", "study.toml", "--store", "missing", "--out", "a.png"),
        ("export", "oam", "--out", "model.txt", "--to", "openvino"),
        ("export", "oam", "--out", "missing/model.xml", "--to", "openvino"),
        ("export", "oam", "--out", "model.onnx", "--to", "coreml"),
        ("export", "oam", "--out", "model.onnx"),
        ("export", "", "--out", "model.onnx", "--store", "missing"),
        ("evaluate", "--store", "missing", "--json", "missing/figures.json"),
        ("evaluate", "--store", "missing", "--json", "."),
        ("evaluate", "--store", "missing", "--weights", "nobody"),
        ("benchmark", "--store", "missing", "--out", "results"),
        ("benchmark", "--store", "missing", "--out", "a.png"),
        ("counterfactual", "--json", "missing/figures.json"),
        ("counterfactual", "--people", "0"),
        ("counterfactual", "--weights", "nobody"),
        ("report", "missing", "--out", "report"),
        ("report", "missing", "--out", "a.png"),
        ("report", ".", "--out", "."),
        ("report", "--out", "report"),
        ("report", "--quick", "--out", "a.png"),
        ("bench", "--rounds", "1"),
        ("bench", "--json", "missing/figures.json"),
        ("bench", "--weights", "nobody"),
        ("bench", "--weights", ""),
        ("bench", "--peer", "nobody"),
        ("fit", "--budget-ms", "-1"),
        ("fit", "--budget-ms", "nan"),
        ("fit", "--budget-ms", "inf"),
        ("fit", "--budget-ms", "five"),
        ("fit", "--budget-ms", "5", "--rounds", "1"),
        ("fit", "--budget-ms", "5", "--threads", "-1"),
        ("fit", "--budget-ms", "5", "--weights", "nobody"),
        ("card", "nobody"),
        ("card", ""),
        ("card", "a.png"),
        ("bulk", ".", "--out", "."),
        ("bulk", ".", "--out", "a.png"),
        ("bulk", ".", "--out", ""),
        ("bulk", "", "--out", "answers"),
        ("bulk", "missing", "--out", "answers"),
        ("bulk", ".", "--out", "answers", "--tasks", "hair"),
        ("bulk", ".", "--out", "answers", "--tasks", ""),
        ("bulk", ".", "--out", "answers", "--weights", "nobody"),
        ("bulk", ".", "--out", "answers", "--part", "0"),
        ("bulk", ".", "--out", "answers", "--workers", "0"),
        ("bulk", "nowhere://bucket", "--out", "answers"),
    ],
)
def test_wrong_calls_are_refused_before_anything_is_touched(arguments, refused) -> None:
    assert refused(*arguments)


def test_inputs_are_never_outputs(refused, work, untrained_model, store_folder) -> None:
    shutil.copy(untrained_model, "mine.onnx")
    shutil.copytree(store_folder, "store")
    os.link("mine.onnx", "other.onnx")
    for out in ("mine.onnx", "./mine.onnx", "other.onnx"):
        assert Path(out).name in refused("export", "mine.onnx", "--out", out, "--store", "store")
    assert "mine.onnx" in refused("evaluate", "--weights", "mine.onnx", "--store", "store", "--json", "mine.onnx")
    assert "card.json" in refused("evaluate", "--weights", "mine.onnx", "--store", "store", "--json", "store/card.json")
    assert "mine.onnx" in refused("bench", "--weights", "mine.onnx", "--json", "mine.onnx")
    assert "mine.onnx" in refused("counterfactual", "--weights", "mine.onnx", "--json", "mine.onnx")
    assert "store" in refused("benchmark", "--weights", "mine.onnx", "--store", "store", "--out", "store")
    refused("evaluate", "--weights", "mine.onnx", "--store", "store", "--split", "holdout")
    refused("teach", "store", "store/crops.npy")
    refused("teach", "store", "a.png")


def test_report_replaces_nothing_but_a_report(refused, work) -> None:
    (work / "project").mkdir()
    (work / "project/README.md").write_text("ours")
    assert "README.md" in refused("report", "--quick", "--out", "project")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_the_right_to_write(refused, work) -> None:
    (work / "locked").mkdir(mode=0o500)
    for arguments in (
        ("occlude", "--sheet", "locked/sheet.png"),
        ("bench", "--json", "locked/bench.json"),
        ("bulk", "a.png", "--out", "locked/answers"),
        ("synth", "--out", "locked/set"),
    ):
        assert "locked" in refused(*arguments)
