"""Calls of the command line: as a program of its own, or in this process, which saves its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oamface.cli.app import main

PROGRAM = Path(sys.executable).with_name("oamface")


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
