"""Standard output and input: lines, tables and JSON that survive closed pipes, full disks and narrow encodings."""

import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from oamface.atomic import check_output
from oamface.errors import FileError


class StdoutClosed(BaseException):
    """The reader of standard output, such as `head`, has gone."""


class Stdout:
    """Standard output, line by line.

    required: the command has no other output, so a reader that has gone ends it (StdoutClosed); otherwise the work
    goes on without printing.
    """

    def __init__(self, *, required: bool = True) -> None:
        self._required, self._open = required, True
        self.encoding = getattr(sys.stdout, "encoding", None) or "utf-8"

    def print(self, line: str) -> None:
        """Raises FileError: the disk refuses, StdoutClosed."""
        if not self._open:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            self._open = False
            drop_stdout()
            if self._required:
                raise StdoutClosed from None
        except OSError as error:
            drop_stdout()
            raise FileError(f"standard output: cannot be written ({error.strerror or error})") from error


def drop_stdout() -> None:
    """Let Python's last flush of standard output go nowhere; it would fail once more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_stdout(inputs: Iterable[str] = ()) -> None:
    """Make sure that results can be printed before the work starts.

    Raises FileError: standard output is closed, its disk is full, or it is one of the inputs.
    """
    if sys.stdout is None:
        raise FileError("standard output is closed; redirect it to a file")
    try:
        number = sys.stdout.fileno()
        status = os.fstat(number)
    except (OSError, ValueError):  # a stream without a file, as in tests
        return
    device_full = Path("/dev/full")
    full = stat.S_ISCHR(status.st_mode) and device_full.exists() and status.st_rdev == device_full.stat().st_rdev
    if stat.S_ISREG(status.st_mode):
        check_output(Path(f"/dev/fd/{number}"), inputs=inputs)
        full = hasattr(os, "fstatvfs") and os.fstatvfs(number).f_bavail == 0
    if full:
        raise FileError("standard output: the disk is full; free some space or name another place")


def read_stdin() -> bytes:
    """At most one byte more than an image may have. Raises FileError: closed."""
    from oamface.images import MAX_BYTES

    if sys.stdin is None:
        raise FileError("standard input is closed; pipe an image into it")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def printable(text: str) -> str:
    """The text on one line, with everything that a terminal would obey or cannot show escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def json_line(item: dict[str, Any], encoding: str = "utf-8") -> str:
    """JSON on one line that every reader gets back unchanged, whatever the encoding of the output."""
    if re.sub("[-_]", "", encoding.lower()) not in ("utf8", "utf8sig"):
        return json.dumps(item)
    text = json.dumps(item, ensure_ascii=False)
    # Bytes of a file name that are not UTF-8 are lone surrogates in Python, which UTF-8 cannot hold.
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match.group()):04x}", text)


def json_text(data: Any) -> str:
    """Indented JSON with a newline at its end."""
    return json.dumps(data, indent=1) + "\n"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> None:
    """numbers: all columns but the first are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A pipe has no width of its own; a narrow guess would cut cells off.
    Console(width=None if console.is_terminal else 160).print(table)
