"""Random command lines, damaged files and signals: never a traceback, never a file that is lost or cut."""

import csv
import io
import json
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import cv2
import pytest
import typer.main
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.program import PROGRAM
from oamface.cli.app import app, main
from oamface.cli.data import DataSet
from oamface.occlusion.contact_sheet import plain_face

pytestmark = pytest.mark.slow

PHASES = (Phase.explicit, Phase.generate)  # to shrink a failing call would take minutes
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SIGNALLED_IMAGES = 40


def all_commands(group: Any, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command by its words, such as ("models", "list")."""
    commands: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        words = (*prefix, name)
        commands |= all_commands(command, words) if hasattr(command, "commands") else {words: command}
    return commands


COMMANDS = all_commands(typer.main.get_command(app))
# Options that stop a command before it works for seconds, or serves for ever.
FAILS_EARLY = {
    ("bulk",): ("--weights=none.onnx",),
    ("data", "synthesize"): ("--races=Martian", "--count=0", "--mask-share=2", "--ages=young", "--genders="),
    ("models", "benchmark"): ("--weights=none.onnx",),
    ("models", "select"): ("--weights=none.onnx",),
    ("paper", "sensitivity"): ("--weights=none.onnx",),
    ("serve",): ("--weights=none.onnx",),
}
QUICK = (  # the others import torch or pyarrow first
    *(("analyze",), ("video",), ("serve",), ("data", "occlude")),
    *(("models", name) for name in ("benchmark", "card", "list", "select")),
)
NEVER = {"--quick"}  # trains
OUTPUTS = {"output", "csv", "annotate"}  # parameters that name what a command writes
NUMBERS = ("0", "1", "-1", "2", "64", "9" * 30, "nan", "inf", "-inf", "1e400", "0.5", "", "٣", "0x10", "1_0", " 8")
WORDS = (
    *("", "age", "age,mask", "hair", ",", "cpu", "cuda", "float16", "int8", "test"),
    *("[bold]x[/]", "=1+1", "a\nb", "\x1b[31m", "://", "-"),
)
SUFFIXES = (
    *("", ".png", ".jpg", ".gif", ".tif", ".mp4", ".onnx", ".csv", ".json", ".jsonl"),
    *(".toml", ".npz", ".zip", ".tar", ".xml"),
)


class Exited(NamedTuple):
    """How a call of the program ended. error: an exception that left `main`, which would have been a traceback."""

    code: int
    stdout: str
    stderr: str
    error: BaseException | None


class _Streams:
    """Files in the place of standard output and error, of Python and of C libraries, and bytes as standard input."""

    def __init__(self, data: bytes, encoding: str) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._kept = [os.dup(number) for number in (1, 2)]
        self._before = (sys.stdin, sys.stdout, sys.stderr)
        for number, file in zip((1, 2), self._files, strict=True):
            os.dup2(file.fileno(), number)
        sys.stdin = io.TextIOWrapper(io.BytesIO(data))
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding=encoding)
        sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb"), encoding=encoding, errors="backslashreplace")
        self._encoding = encoding

    def close(self) -> tuple[str, str]:
        with suppress(OSError, ValueError):
            sys.stdout.close()
        sys.stderr.close()
        sys.stdin, sys.stdout, sys.stderr = self._before
        texts = []
        for number, kept, file in zip((1, 2), self._kept, self._files, strict=True):
            os.dup2(kept, number)
            os.close(kept)
            file.seek(0)
            texts.append(file.read().decode(self._encoding, "replace"))
            file.close()
        return texts[0], texts[1]


def call(arguments: list[str], data: bytes = b"", encoding: str = "utf-8") -> Exited:
    """Call the program in this process, which saves its start."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv, code, lost = sys.argv, 0, None
    streams = _Streams(data, encoding)
    try:
        sys.argv = ["oamface", *arguments]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        code, lost = 1, error
    finally:
        texts = streams.close()
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Exited(code, *texts, lost)


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def encoded(kind: str, pages: int = 1) -> bytes:
    """A small image of a drawn face."""
    drawn = Image.fromarray(cv2.resize(plain_face(128)[0], (72, 80)))
    out = io.BytesIO()
    drawn.save(out, kind, **({"save_all": True, "append_images": [drawn.rotate(9)] * (pages - 1)} if pages > 1 else {}))
    return out.getvalue()


IMAGES = (encoded("png"), encoded("jpeg"), encoded("gif", 2), encoded("tiff", 2), encoded("webp"), encoded("bmp"))
TEXTS = (
    b"",
    b"text",
    b"[common]\nsizes = 3\n",
    b"[[phases]]\nimage_size = 64\n",
    b"{}",
    b"a,b\n1,2\n",
    b"PK\x05\x06" + bytes(18),
)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Cut off somewhere, or with a few bits turned, or whole."""
    way = rng.choice(("whole", "cut", "bits", "bits"))
    if way == "cut":
        return data[: rng.randrange(len(data) + 1)]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 30)) if way == "bits" and data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def file_name(rng: random.Random) -> str:
    """A name that a file can have here, seldom a nice one."""
    odd = (
        b"\xff\xfe",
        b"[red]x[b]",
        b"a\nb\r",
        b"-n",
        b"--csv",
        b"=1+1",
        b"x" * 230,
        b"%s {0}",
        b"<b>&",
        b"a*[?]",
        b"#2",
    )
    plain = "".join(rng.choices(string.ascii_letters, k=3)).encode()
    stem = rng.choice((plain, rng.choice(odd), rng.choice(odd) + plain, "é\u202e😀".encode()))
    return os.fsdecode(stem) + rng.choice(SUFFIXES)


def litter(rng: random.Random, folder: Path, contents: tuple[bytes, ...] = ()) -> list[str]:
    """Some files with damaged contents in the folder, and a folder with one more; their names."""
    names = sorted({file_name(rng) for _ in range(3)})
    for name in names:
        data = rng.choice((*IMAGES, *TEXTS, rng.randbytes(64), *contents))
        (folder / name).write_bytes(damaged(rng, data))
    inner = folder / rng.choice(("folder", "[b]", "-x", "é.png"))
    inner.mkdir()
    (inner / file_name(rng)).write_bytes(damaged(rng, rng.choice(IMAGES)))
    return [*names, inner.name]


def value(rng: random.Random, command: Any, parameter: Any, files: list[str], models: tuple[str, ...]) -> str:
    """Something to pass for a parameter: most often of its kind."""
    kind = str(get_type_hints(command.callback)[parameter.name])
    if rng.random() < 0.1:
        return rng.choice((*NUMBERS, *WORDS, *files))
    if parameter.name == "weights":
        return rng.choice((*models, *models, *files, "none.onnx", "", "."))
    if "int" in kind or "float" in kind:
        return rng.choice(NUMBERS)
    if "DataSet" in kind:
        return rng.choice([*DataSet, "none"])
    if "Path" in kind or parameter.name in ("paths", "source"):
        device = "/dev/full" if parameter.name in OUTPUTS else "/dev/null"
        return rng.choice((*files, *files, *files, file_name(rng), f"{files[-1]}/new", "", ".", device, "x" * 5000))
    return rng.choice((*WORDS, *files))


def command_line(
    rng: random.Random,
    files: list[str],
    models: tuple[str, ...] = (),
    commands: Iterable[tuple[str, ...]] = tuple(COMMANDS),
) -> tuple[list[str], set[str]]:
    """A call of a random command, and the names that it may write to."""
    wrong = [("",), ("nobody",), ("-x",), ("models",), ("models", "nobody")] if rng.random() < 0.2 else []
    words = rng.choice([*commands, ("analyze",), ("video",), *wrong])
    if words not in COMMANDS:
        return [*words, *rng.sample(files, 1)], set()
    models = models if words in (("analyze",), ("video",)) else ()
    parts, written = [], set()
    for parameter in COMMANDS[words].params:
        needed = (
            parameter.required or parameter.param_type_name == "argument" or (parameter.name == "weights" and models)
        )
        if NEVER & set(parameter.opts) or rng.random() > (0.97 if needed else 0.25):
            continue
        for _ in range(rng.choice((1, 1, 2)) if parameter.multiple or parameter.nargs == -1 else 1):
            given = value(rng, COMMANDS[words], parameter, files, models)
            if parameter.name in OUTPUTS:
                written.add(given)
            if parameter.param_type_name == "argument":
                parts.append([given] if rng.random() < 0.8 else ["--", given])
            elif getattr(parameter, "is_flag", False):
                parts.append([parameter.opts[0]])
            else:
                parts.append(rng.choice(([parameter.opts[0], given], [f"{parameter.opts[0]}={given}"])))
    if rng.random() < 0.1:
        parts.append(rng.choice((["--help"], ["--nothing"], ["--a\nb"], ["--csv"], ["-"], ["--"], [files[0]])))
    rng.shuffle(parts)
    early = [rng.choice(FAILS_EARLY[words])] if words in FAILS_EARLY else []
    return [*words, *early, *(word for part in parts for word in part)], written


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def problems(exited: Exited) -> str:
    """What is wrong with how a call ended; empty if nothing."""
    if exited.error is not None:
        return f"{type(exited.error).__name__}: {exited.error}"
    if exited.code not in (0, 1, 2, 130):
        return f"exit code {exited.code}"
    if "Traceback" in exited.stdout + exited.stderr:
        return "Traceback"
    lines = [line for line in exited.stderr.splitlines() if line.strip() and "━" not in line]  # no progress bars
    strange = [line for line in lines if not line.startswith("oamface: ")]
    if strange:
        return f"not one of oamface's lines: {strange[0]}"
    return "no error" if exited.code and not lines and "Usage: " not in exited.stdout else ""


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("fuzz")


@settings(max_examples=40, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_random_calls_end_without_traceback_or_lost_files(
    rng: random.Random, new_folder: Callable[[], Path], untrained_model: Path
) -> None:
    with inside(new_folder()) as folder:
        files = litter(rng, folder)
        arguments, written = command_line(rng, files, (str(untrained_model),), QUICK)
        before = read_all(folder)
        exited = call(arguments, damaged(rng, IMAGES[0]), rng.choice(("utf-8", "ascii", "latin-1")))
        assert not problems(exited), (arguments, exited)
        after = read_all(folder)
        lost = {name for name, data in before.items() if after.get(name) != data}
        assert lost <= written, (arguments, lost)


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until the program has its signal handlers; before, Python's own end it."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("only Linux shows which signals a program handles")
    while process.poll() is None:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("seed", range(6))
def test_signals_leave_complete_lines(seed: int, tmp_path: Path, untrained_model: Path) -> None:
    rng = random.Random(seed)
    sent, existed, wait = SIGNALS[seed % 3], seed >= 3, rng.uniform(0, 3)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(SIGNALLED_IMAGES):
        (images / f"{number}.png").write_bytes(IMAGES[0])
    table, output = tmp_path / "out.csv", tmp_path / "output.jsonl"
    if existed:
        table.write_text("old\n")
    with output.open("w") as out:
        arguments = [PROGRAM, "analyze", images, "--csv", table, "--json", "--crops", "--weights", untrained_model]
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.PIPE, text=True)
        wait_for_handlers(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        finished = process.poll() is not None
        process.send_signal(sent)
        error = process.communicate(timeout=60)[1]
    check_outputs(process.returncode, sent, finished=finished, table=table, old="old\n" if existed else None)
    lines = output.read_text().splitlines(keepends=True)
    for line in lines[:-1] if sent == signal.SIGKILL else lines:
        assert line.endswith("\n")
        assert json.loads(line)["schema"] == "oamface/1"
    assert "Traceback" not in error, (sent, wait, error)


def check_outputs(code: int, sent: signal.Signals, *, finished: bool, table: Path, old: str | None) -> None:
    """The exit code, and what lies in the folder of the table."""
    if finished:
        assert code == 0
    elif sent == signal.SIGKILL:
        assert code in (0, -signal.SIGKILL)
    else:
        assert code in (0, 130)  # 0: it was about to end
    if old is not None and code:
        text = table.read_text()
        # SIGKILL may come after the table is complete and before the program ends.
        assert text == old or (sent == signal.SIGKILL and text.count("\n") == SIGNALLED_IMAGES + 1)
    if sent != signal.SIGKILL:
        assert not list(table.parent.glob("**/.oamface-*"))
    partial = table.with_name("out.partial.csv")
    for path in (table if old is None or not code else partial, partial):
        if not path.exists() or not path.stat().st_size:
            continue
        data = path.read_text()
        assert data.endswith("\n")
        rows = list(csv.reader(io.StringIO(data, newline=""), strict=True))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert code or len(rows) == SIGNALLED_IMAGES + 1
