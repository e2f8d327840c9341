"""Writes files whole or not at all; every refusal of the disk is a FileError."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from oamface.errors import FileError


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write through a draft beside it: whatever interrupts, `path` is the old file or the new one. Raises FileError."""
    draft = path.with_name(path.name + ".draft")
    try:
        try:
            with draft.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refused(path, error) from error


def write_text(path: Path, text: str) -> None:
    """UTF-8, whole or not at all. Raises FileError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises FileError."""
    write_whole(path, lambda file: file.write(data))


def append_line(path: Path, line: str) -> None:
    """Add a line to a log. Raises FileError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _refused(path, error) from error


def make_folder(path: Path) -> None:
    """With its parents, unless it is there. Raises FileError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> FileError:
    reason = error.strerror or error
    return FileError(
        f"{path}: cannot be written ({reason}); what is there is kept: free some space or name another place"
    )
