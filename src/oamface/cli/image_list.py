"""Paths, folders, globs and standard input to the list of images that `analyze` reads."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oamface.annotate import is_annotated
from oamface.cli.stdout import printable
from oamface.errors import DataError
from oamface.images import EXTENSIONS, is_image, is_image_bytes

STDIN = "-"  # the path that stands for standard input
_HEAD = 512  # bytes of a file that hold its format's signature and whether it is annotated


@dataclass(frozen=True)
class InputImage:
    """path: of the file, or STDIN. relative: where outputs made from it go, below the folder of outputs."""

    path: str
    relative: str


@dataclass
class ImageList:
    """Images in a fixed order, each file once.

    images: also paths that do not exist, so that their errors stand beside the others' results.
    unsupported: files in folders that are of another format. annotated: images in folders that oamface has annotated.
    empty: folders and globs that hold neither images nor annotated ones.
    """

    images: list[InputImage] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    annotated: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    _found: int = field(default=0, repr=False)  # images, and folders that are listed already
    _paths: set[str] = field(default_factory=set, repr=False)
    _folders: set[tuple[int, int]] = field(default_factory=set, repr=False)

    def add_argument(self, path: str) -> None:
        """A file, a folder with all below it, a glob, or STDIN."""
        before = self._found
        if _is_folder(path):
            self.add_folder(path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            base = _folder_of_glob(path)
            for match in sorted(glob.glob(path, recursive=True), key=os.fsencode):  # noqa: PTH207 (may be absolute)
                relative = os.path.relpath(match, base)
                if _is_folder(match):
                    self.add_folder(match, "" if relative == "." else relative)
                else:
                    self.add(match, relative)
        else:
            self.add(path, "stdin" if path == STDIN else Path(path).name or path)
        if self._found == before:
            self.empty.append(path)

    def add(self, path: str, relative: str) -> None:
        self._found += 1
        if path not in self._paths:
            self._paths.add(path)
            self.images.append(InputImage(path, relative))

    def add_folder(self, folder: str, relative: str = "") -> None:
        """All files below a folder, through links as well, but each folder once."""
        try:
            status = os.stat(folder)  # noqa: PTH116 (names may be bytes that are not text)
            children = sorted(os.scandir(folder), key=lambda child: os.fsencode(child.name))
        except OSError:
            self.add(folder, relative)  # reading it will raise the error
            return
        if (status.st_dev, status.st_ino) in self._folders:
            self._found += 1
            return
        self._folders.add((status.st_dev, status.st_ino))
        for child in children:
            below = f"{relative}/{child.name}" if relative else child.name
            if _is_folder(child.path):
                self.add_folder(child.path, below)
            elif not child.name.startswith("."):
                self._add_file(child.path, below)

    def _add_file(self, path: str, relative: str) -> None:
        if is_image(path):
            if path.lower().endswith(".png") and is_annotated_file(path):
                self.annotated.append(path)
                self._found += 1
            else:
                self.add(path, relative)
        elif not Path(path).suffix and is_image_bytes(_head(path)):
            self.add(path, relative)
        else:
            self.unsupported.append(path)

    def skipped(self, failures: int) -> str:
        """How many files were skipped and why; empty if none. failures: images that could not be read."""
        reasons = []
        for count, reason, paths in (
            (len(self.unsupported), "of an unsupported format", self.unsupported),
            (len(self.annotated), "annotated by oamface", self.annotated),
            (failures, "unreadable", []),
        ):
            if count:
                names = ", ".join(printable(Path(path).name) for path in paths[:5])
                more = f" and {count - 5} more" if len(paths) > 5 else ""
                reasons.append(f"{count} {reason}" + (f" ({names}{more})" if paths else ""))
        total = len(self.unsupported) + len(self.annotated) + failures
        return f"{total} skipped: {', '.join(reasons)}" if total else ""


def list_images(paths: Sequence[str]) -> ImageList:
    """Files, folders with all below them, and globs as one list. "-" is standard input.

    Raises DataError: folders and globs hold no image at all.
    """
    listed = ImageList()
    for path in paths:
        listed.add_argument(path)
    if not listed.images:
        formats = ", ".join(sorted(EXTENSIONS))
        skipped = f"; {text}" if (text := listed.skipped(0)) else ""
        raise DataError(f"{', '.join(paths)}: no image there (expected {formats}){skipped}")
    return listed


def is_annotated_file(path: str) -> bool:
    """Whether a file is a PNG that oamface has annotated."""
    return is_annotated(_head(path))


def _folder_of_glob(pattern: str) -> str:
    """The folders of a glob before the first that holds a wildcard."""
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:fixed])) if fixed else "."


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (pathlib raises where a name is too long or a link leads to itself)


def _head(path: str) -> bytes:
    try:
        if not Path(path).is_file():  # a pipe or device is no image and must not be waited for
            return b""
        with Path(path).open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
