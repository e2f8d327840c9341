"""Writes files whole or not at all; every refusal of the disk is a FileError. Knows nothing of what is written."""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO

from oamface.errors import FileError

_STANDARD = ("/dev/stdin", "/dev/stdout", "/dev/stderr")
_LEAST_ROOM = 2**20  # bytes that have to be free before work on a file starts


def check_output(path: Path, *, inputs: Iterable[str | os.PathLike[str]] = (), suffixes: Sequence[str] = ()) -> None:
    """Make sure that a file can be written there before the work starts; nothing is touched.

    inputs: files that the command reads or writes besides; none of them may be this one, by any spelling or link.
    suffixes: the endings that the file may have, such as (".png", ".jpg"); any if empty.
    Raises FileError: another ending, a folder, an input, no such folder, no right to write there, or a full disk.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise FileError(f"{path}: the name has to end in {' or '.join(suffixes)}")
    if (number := _descriptor(path)) is not None:
        _check_descriptor(path, number, inputs)
        return
    target = _target(path)
    if target.is_dir():
        raise FileError(f"{path}: is a folder; name a file")
    identity = _identity(target)
    if any(_target(Path(other)) == target or (identity and _identity(Path(other)) == identity) for other in inputs):
        raise FileError(f"{path}: is also an input or another output of this command; name another file")
    if _is_device(target):
        return
    folder = target.parent
    if not folder.is_dir():
        raise FileError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise FileError(f"{path}: cannot be written (no permission)")
    _check_room(path, folder)


class OutputFile:
    """A file that is written while the work goes on. Checked and opened when the constructor returns.

    What is written lies in a draft beside it and takes the file's name in `close`, so that what existed before is
    replaced only by its whole successor. A device such as /dev/stdout is written to at once.

    path, inputs, suffixes: see `check_output`. lines: each write is a result of its own; a file that did not exist is
    then written under its own name from the start, so that others can follow it.
    file: the open binary stream; draft: the path that it writes to, for libraries that open files themselves.
    Raises FileError.
    """

    def __init__(
        self,
        path: Path,
        *,
        inputs: Iterable[str | os.PathLike[str]] = (),
        suffixes: Sequence[str] = (),
        lines: bool = False,
    ) -> None:
        check_output(path, inputs=inputs, suffixes=suffixes)
        number = _descriptor(path)
        self.path, self._target = path, _target(path) if number is None else path
        self._existed = self._target.exists()
        in_place = number is not None or _is_device(self._target) or (lines and not self._existed)
        self.draft = self._target if in_place else _draft(self._target)
        try:
            # An open descriptor goes on where it stands: what was written there before is not ours to cut off.
            self.file: IO[bytes] = self.draft.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
        except OSError as error:
            raise _refused(path, error) from error
        if self._existed and not in_place:
            with suppress(OSError):  # a file system without modes
                shutil.copymode(self._target, self.draft)

    def write(self, data: bytes) -> None:
        """Add bytes and hand them to the system. Raises FileError."""
        try:
            self.file.write(data)
            self.file.flush()
        except OSError as error:
            raise _refused(self.path, error) from error

    def write_line(self, text: str) -> None:
        """Add a line of UTF-8; bytes of a name that are none are escaped as \\udcXX. Raises FileError."""
        self.write((escape(text) + "\n").encode())

    def close(self, *, whole: bool) -> Path | None:
        """Give the draft its name and return where what was written lies now; None if it was empty and dropped.

        whole: the work is done. Where it is not, a file that existed stays, and the draft lies beside it as
        NAME.partial.SUFFIX. Raises FileError.
        """
        try:
            # What a full disk refuses is lost; what it took before is kept.
            with nullcontext() if whole else suppress(OSError):
                self._sync()
            if self.draft == self._target:
                return self.path
            if not whole and not self.draft.stat().st_size:
                self.draft.unlink()
                return None
            place = self._target if whole or not self._existed else _partial(self._target)
            self.draft.replace(place)
            return self.path if place == self._target else place
        except OSError as error:
            raise _refused(self.path, error) from error

    def discard(self) -> None:
        """Drop what was written; what existed before stays."""
        with suppress(OSError):  # a full disk refuses the last bytes once more
            self.file.close()
        if _descriptor(self.draft) is None and not _is_device(self.draft):
            self.draft.unlink(missing_ok=True)

    def _sync(self) -> None:
        if self.file.closed:
            return
        try:
            self.file.flush()
            if stat.S_ISREG(os.fstat(self.file.fileno()).st_mode):
                os.fsync(self.file.fileno())
        finally:
            self.file.close()


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write through a draft beside it: whatever interrupts, `path` is the old file or the new one. Raises FileError."""
    output = OutputFile(path)
    try:
        fill(output.file)
        output.close(whole=True)
    except OSError as error:
        output.discard()
        raise _refused(path, error) from error
    except BaseException:
        output.discard()
        raise


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


def escape(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file's name that are none become \\udcXX."""
    return text.encode("utf-8", "backslashreplace").decode()


def make_folder(path: Path) -> None:
    """With its parents, unless it is there; it can be written to, or a FileError is raised."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{path}: is a file; name a folder") from error
    except OSError as error:
        raise _refused(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written to (no permission)")
    _check_room(path, path)


def visible_names(folder: Path) -> list[str]:
    """What a folder holds, sorted; none where there is no folder. Hidden files do not count."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file, by any spelling or link."""
    identity = _identity(Path(one))
    return _target(Path(one)) == _target(Path(other)) or (identity is not None and identity == _identity(Path(other)))


def fitting_name(stem: str, suffix: str) -> str:
    """stem + suffix, with the stem cut where a file system would refuse a name of more than 255 bytes."""
    room = 255 - len(os.fsencode(suffix))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + suffix


def _check_room(path: Path, folder: Path) -> None:
    usage = shutil.disk_usage(folder)
    if not usage.total:  # such as /proc
        raise FileError(f"{path}: cannot be written to (the folder keeps no files)")
    if usage.free < _LEAST_ROOM:
        raise FileError(f"{path}: the disk is full; free some space or name another place")


def _descriptor(path: Path) -> int | None:
    """The number of an open file that a path such as /dev/stdout or /dev/fd/5 stands for."""
    if str(path) in _STANDARD:
        return _STANDARD.index(str(path))
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    return int(match.group(1)) if match else None


def _check_descriptor(path: Path, number: int, inputs: Iterable[str | os.PathLike[str]]) -> None:
    try:
        status = os.fstat(number)
    except OSError as error:
        raise FileError(f"{path}: is not open") from error
    identity = (status.st_dev, status.st_ino)
    if stat.S_ISREG(status.st_mode) and any(_identity(Path(other)) == identity for other in inputs):
        raise FileError(f"{path}: is also an input or another output of this command; name another file")


def _target(path: Path) -> Path:
    """Where a path leads to through every link."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_device(path: Path) -> bool:
    """Something that exists and is neither a file nor a folder: a terminal, a pipe, /dev/null."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _draft(path: Path) -> Path:
    return path.with_name(f".oamface-{uuid.uuid4().hex[:12]}{path.suffix if len(path.suffix) < 16 else ''}")


def _partial(path: Path) -> Path:
    """A free name beside a file for its unfinished successor."""
    number, middle = 1, ".partial"
    while (place := path.with_name(fitting_name(path.stem, middle + path.suffix))).exists():
        number += 1
        middle = f".partial-{number}"
    return place


def _refused(path: Path, error: OSError) -> FileError:
    reason = error.strerror or error
    return FileError(
        f"{path}: cannot be written ({reason}); what is there is kept: free some space or name another place"
    )
