"""Calls of the command line: as a program of its own, in this process, or in processes that have torch imported."""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from typer.main import get_command

from oamface.cli.app import app, main

PROGRAM = Path(sys.executable).with_name("oamface")


def command_names(group: Any = None, prefix: str = "") -> Iterator[str]:
    """All commands, such as "models list"."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from command_names(command, f"{name} ")
        else:
            yield prefix + name


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The error of a call in this process, after checking that it is one line on stderr and the exit code 2."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exited:
        patch.setattr(sys, "argv", ["oamface", *map(str, arguments)])
        main()
    output = capsys.readouterr()
    assert (exited.value.code, output.out) == (2, ""), output
    (line,) = output.err.strip().splitlines()
    assert line.startswith("oamface: ")
    return line


# Fork processes that have torch imported, which takes seconds.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["oamface.training.trainer", "oamface.cli.training", "oamface.cli.paper"])


def run_forked(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As `run`, for the training half."""
    with TemporaryDirectory() as folder:
        outputs = Path(folder, "stdout"), Path(folder, "stderr")
        process = FORKS.Process(target=_call, args=({}, outputs, [*map(str, arguments)]))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in outputs))


def start_ranks(count: int, errors: Path, *arguments: object) -> list[BaseProcess]:
    """A call in `count` processes that train together, as torchrun starts them. errors: what they write to stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    group |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    processes: list[BaseProcess] = []
    for rank in range(count):
        environment = {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}
        outputs = Path(os.devnull), errors
        processes.append(FORKS.Process(target=_call, args=(environment, outputs, [*map(str, arguments)])))
        processes[-1].start()
    return processes


def _call(environment: dict[str, str], outputs: tuple[Path, Path], arguments: list[str]) -> None:
    os.environ.update(environment)
    for stream, path in enumerate(outputs, 1):
        with path.open("a") as file:
            os.dup2(file.fileno(), stream)
    sys.argv = ["oamface", *arguments]
    main()
