"""What commands make sure of before the work starts: packages, and places to write to."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from oamface.atomic import check_output, same_file
from oamface.errors import FileError, OamfaceError
from oamface.weights import weights_file

P = ParamSpec("P")
R = TypeVar("R")


def needs(extra: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a command that imports packages of an extra of pyproject.toml; one that is missing is then a clear error."""

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except ModuleNotFoundError as error:
                package = (error.name or "").partition(".")[0]
                if package in ("", "oamface"):
                    raise
                install = f'pip install "oamface[{extra}]"'
                raise OamfaceError(f"this command needs the package {package}: {install}") from error

        return run

    return decorate


def suffixes(path: Path, *allowed: str) -> tuple[str, ...]:
    """For `check_output`: the endings that a file may have; any where it has none, such as /dev/null."""
    return allowed if path.suffix else ()


def check_json_file(path: Path | None, *, inputs: Iterable[Path]) -> None:
    """Make sure that `--output` can be written. Raises FileError."""
    if path is not None:
        check_output(path, inputs=inputs, suffixes=suffixes(path, ".json"))


def check_folder(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Make sure that a folder can be made or written to; nothing is touched.

    inputs: files and folders that the command reads; the folder may be none of them. Raises FileError.
    """
    if any(same_file(path, other) for other in inputs):
        raise FileError(f"{path}: is also read by this command; name another folder")
    existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise FileError(f"{path}: {existing} is not a folder; name another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written to (no permission)")


def store_files(folders: Iterable[Path]) -> list[Path]:
    """The files of prepared data sets."""
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def model_files(weights: str) -> list[Path]:
    """The files of a model: the second holds the weights of OpenVINO's form."""
    path = weights_file(weights)
    return [path, path.with_suffix(".bin")]
