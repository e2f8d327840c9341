"""What users of the wheel get: the light half alone, and README's first commands in an empty environment."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from helpers.program import command_names
from helpers.videos import write_video
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.labels import TASKS

ROOT = Path(__file__).parents[1]
BLOCKS = re.sub(r"^```.*?^```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
FIRST_COMMANDS = re.findall(r"^    (\S.*)$", BLOCKS, re.MULTILINE)[:10]

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
    "serve": (("--port", "0"), "oamface[serve]"),
    "train-scanner": (("a.png", "a.png", "--output", "new.onnx"), "oamface[train]"),
    "train": (("recipe.toml", "--store", "store", "--output", "new"), "oamface[train]"),
    "video": (("a.mp4", "--output", "new.jsonl"), "oamface[video]"),
}

OLDEST_PYTHON = (3, 11)

# All that a shared object of a light install may find outside of it; python:slim has them. None is libGL.
GLIBC = {"libc.so.6", "libdl.so.2", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "librt.so.1"}
SLIM_LIBRARIES = GLIBC | {"libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"}


@pytest.fixture(scope="module")
def uv() -> str:
    found = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    return found or pytest.skip("making an environment needs uv")


@pytest.fixture(scope="module")
def make_environment(uv, tmp_path_factory):
    """Makes an empty virtual environment, and returns the variables of a shell where it is active.

    There `uv pip install oamface` installs the wheel, which is built once, from the sdist. constraints: the versions
    of what it depends on.
    """
    dist = tmp_path_factory.mktemp("dist")
    _call_uv(uv, "build", "-q", "--out-dir", dist, ROOT)

    def make(constraints: Path = ROOT / "constraints.txt") -> dict[str, str]:
        folder = tmp_path_factory.mktemp("env")
        _call_uv(uv, "venv", "-q", "--python", sys.executable, folder)
        path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")])
        links = {"UV_FIND_LINKS": str(dist), "UV_CONSTRAINT": str(constraints)}
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return inherited | links | {"PATH": path, "VIRTUAL_ENV": str(folder), "UV": uv}

    return make


def _call_uv(uv: str, *arguments: object) -> None:
    finished = subprocess.run([uv, *map(str, arguments)], capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.skip(f"an environment could not be made: {finished.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def light_program(uv, make_environment) -> Path:
    """The program in an environment with the wheel alone, without any extra."""
    variables = make_environment()
    subprocess.run([uv, "pip", "install", "-q", "oamface"], env=variables, check=True)
    return Path(variables["VIRTUAL_ENV"], "bin/oamface")


def test_every_command_has_a_call() -> None:
    assert sorted(CALLS) == sorted(command_names())


# Every call in a process that has the light half imported: {"name": [exit code, stdout, stderr]}.
CALL_ALL = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from oamface.cli.app import main

def call(folder, arguments):
    os.chdir(folder)
    sys.argv, code = ["oamface", *arguments], 0
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as exited:
            code = exited.code
    return code or 0, out.getvalue(), err.getvalue()

calls = json.load(sys.stdin)
print(json.dumps({name: call(*each) for name, each in calls.items()}))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.release
def test_commands_without_extras_work_or_name_the_missing_extra(light_program, tmp_path) -> None:
    image, calls = Image.fromarray(skimage.data.astronaut()), {}
    for command, (arguments, _) in CALLS.items():
        folder = tmp_path / command
        (folder / "store").mkdir(parents=True)
        image.save(folder / "a.png")
        calls[command] = str(folder), [*command.split(), *arguments]
    python, variables = light_program.with_name("python"), {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [python, "-c", CALL_ALL],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        env=variables,
        timeout=240,
        check=True,
    )
    finished = json.loads(done.stdout.splitlines()[-1])
    for command, (_, error) in CALLS.items():
        code, out, err = finished[command]
        if error is None:
            assert code == 0, (command, err)
            continue
        assert (code, out) == (2, ""), (command, err)
        (line,) = err.strip().splitlines()
        assert line.startswith("oamface: ")
        assert error in line, command
        assert sorted(path.name for path in (tmp_path / command).iterdir()) == ["a.png", "store"], command


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.release
def test_light_install_takes_at_most_430_megabytes(light_program) -> None:
    files = [path for path in light_program.parents[1].glob("lib/**/*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < 430e6


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.release
@pytest.mark.skipif(shutil.which("ldd") is None, reason="lists what a shared object links to")
def test_light_install_links_only_to_libraries_of_a_slim_image(light_program) -> None:
    environment = light_program.parents[1]
    objects = sorted(path for path in environment.glob("lib/**/*.so*") if path.is_file())
    listed = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False).stdout
    assert listed.count(" => ") > len(objects) > 20
    assert "not found" not in listed
    links = re.findall(r"^\t(\S+) => (\S+)", listed, re.MULTILINE)
    assert {name for name, path in links if not path.startswith(str(environment))} <= SLIM_LIBRARIES


@pytest.fixture
def folder(tmp_path) -> Path:
    """What README's commands read, made of one synthetic person."""
    for name in ("holiday", "scans/1998", "crops", "images"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photo.jpg", "holiday/beach.jpg", "crops/face.jpg", "images/one.jpg", "images/two.jpg"):
        shutil.copy(PERSON, tmp_path / name)
    Image.open(PERSON).save(tmp_path / "scans/1998/page.tif")
    write_video(tmp_path / "clip.mp4", [read_image(PERSON)] * 6)
    return tmp_path


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.release
@pytest.mark.skipif(os.name == "nt", reason="the commands are run by bash")
@pytest.mark.parametrize("versions", ["pinned", "lowest"])
def test_first_commands_of_the_readme_do_what_they_say(versions, uv, make_environment, folder, tmp_path) -> None:
    if versions == "pinned":
        variables = make_environment()
    elif sys.version_info[:2] == OLDEST_PYTHON:
        variables = make_environment(_lowest_versions(uv, tmp_path / "lowest.txt"))
    else:
        pytest.skip("the lowest versions have wheels for the oldest Python alone")
    assert FIRST_COMMANDS[0].startswith("pip install oamface ")
    assert len(FIRST_COMMANDS) == 10
    for line in FIRST_COMMANDS:
        for extra in re.findall(r'# (pip install "oamface\[\w+\]")', line):
            _shell(extra, folder, variables)
        words = shlex.split(line, comments=True)
        if words == ["oamface", "serve"]:
            _ask_server(folder, variables)
        else:
            _check(words, _shell(line, folder, variables), folder)


def _lowest_versions(uv: str, constraints: Path) -> Path:
    """Constraints with the lowest version of everything that pyproject.toml names for users."""
    extras = [f"--extra={name}" for name in ("bulk", "demo", "serve", "video")]
    call = ("pip", "compile", "-q", "--resolution=lowest-direct", "--python", sys.executable, *extras)
    _call_uv(uv, *call, ROOT / "pyproject.toml", "--output-file", constraints)
    return constraints


def _shell(line: str, folder: Path, variables: dict[str, str]) -> str:
    """What a line prints on standard output. pip is uv's, whose cache makes it quick."""
    call = ["bash", "-c", f'pip() {{ "$UV" pip "$@"; }}\n{line}']
    done = subprocess.run(call, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def _ask_server(folder: Path, variables: dict[str, str]) -> None:
    """`oamface serve` at a free port, since another service may have its own, answers and ends without an error."""
    call = ["oamface", "serve", "--port", "0"]
    with subprocess.Popen(call, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().removeprefix("oamface: ").strip()
            with urllib.request.urlopen(address, timeout=60) as page:
                assert b"<html" in page.read()
            with urllib.request.urlopen(f"{address}/v1/analyze", PERSON.read_bytes(), timeout=60) as answer:
                assert len(json.load(answer)["faces"]) == 1
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


def _check(words: list[str], printed: str, folder: Path) -> None:
    """Whether a command has done what its name and its options say."""
    command, options = words[1], dict(pairwise(words))
    if "--json" in words:
        assert all(len(json.loads(line)["faces"]) == 1 for line in printed.splitlines())
    elif command == "analyze":
        heading, *rows = printed.splitlines()
        tasks = options.get("--tasks", ",".join(TASKS)).split(",")
        assert heading.split()[2:-2] == tasks
        assert rows and all(re.search(r" \d+ \(\d+-\d+\)", row) for row in rows)
        assert all(f" {years}+: " in row for years in options.get("--at-least", "").split(",") if years for row in rows)
        if "--policy" in options:
            assert all(re.search(r"  (accept|refuse|refer)\b", row) for row in rows)
    if "--annotate" in options:
        assert len([*(folder / options["--annotate"]).rglob("*.png")]) == 2
    if command == "video":
        *frames, last = map(json.loads, (folder / options["--output"]).read_text().splitlines())
        assert len(frames) == last["frames"] == 6
        assert len(last["summary"]) == 1
    if command == "bulk":
        (part,) = (folder / options["--output"]).glob("part-*.parquet")
        assert sorted(Path(name).name for name in pq.read_table(part)["source"].to_pylist()) == ["one.jpg", "two.jpg"]
    if "--export" in options:
        assert (folder / options["--export"] / "index.html").exists()
