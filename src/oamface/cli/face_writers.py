"""What the command `analyze` reads and writes: lists of images, a table for people, JSON, CSV, annotated images."""

import csv
import glob
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from oamface.annotate import annotate
from oamface.atomic import OutputFile, fitting_name, make_folder, same_file
from oamface.errors import DataError
from oamface.images import EXTENSIONS, decode, is_image, is_image_bytes, write_image
from oamface.labels import TASKS
from oamface.results import Face, Failure, ImageResult

STDIN = "-"  # the source that is read from standard input
_MARK = {"oamface": "annotated"}  # text inside an annotated PNG, by which it is known again
_MARK_BYTES = b"tEXtoamface\0annotated"
_HEAD = 512  # bytes of a file in which its kind, or the mark, is found
_NAME_WIDTH = 40  # terminal cells; longer names get a line of their own
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Source:
    """An image to analyze. path: of its file, or STDIN. place: of its outputs, below the folder of outputs."""

    path: str
    place: str


@dataclass
class Listing:
    """What paths, folders and globs lead to, in a fixed order. Each file is listed once.

    sources: images, and names that lead nowhere, so that their error stands beside the others' results.
    unread: files in folders that are of another format. annotated: images in folders that oamface has drawn itself.
    """

    sources: list[Source] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    annotated: list[str] = field(default_factory=list)
    _files: set[str] = field(default_factory=set, repr=False)
    _folders: set[tuple[int, int]] = field(default_factory=set, repr=False)

    def add(self, path: str, place: str) -> None:
        if path not in self._files:
            self._files.add(path)
            self.sources.append(Source(path, place))

    def add_folder(self, folder: str, place: str = "") -> None:
        """Everything below a folder, through links as well, but each folder once."""
        try:
            found = os.stat(folder)  # noqa: PTH116 (names may be no text)
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            self.add(folder, place)  # reading it will say why
            return
        if (found.st_dev, found.st_ino) in self._folders:
            return
        self._folders.add((found.st_dev, found.st_ino))
        for entry in entries:
            below = f"{place}/{entry.name}" if place else entry.name
            if entry.is_dir():
                self.add_folder(entry.path, below)
            elif not entry.name.startswith("."):
                self._add_entry(entry.path, below)

    def _add_entry(self, path: str, place: str) -> None:
        if is_image(path):
            if path.lower().endswith(".png") and _MARK_BYTES in _head(path):
                self.annotated.append(path)
            else:
                self.add(path, place)
        elif not Path(path).suffix and is_image_bytes(_head(path)):
            self.add(path, place)
        else:
            self.unread.append(path)


def expand(paths: Sequence[str]) -> Listing:
    """Files, folders with all below them, and globs as one list. "-" is standard input.

    Raises DataError when folders and globs hold no image at all.
    """
    listing = Listing()
    for path in paths:
        if Path(path).is_dir():
            listing.add_folder(path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            base = _fixed_part(path)
            for match in sorted(glob.glob(path, recursive=True), key=os.fsencode):  # noqa: PTH207 (may be absolute)
                place = os.path.relpath(match, base)
                if Path(match).is_dir():
                    listing.add_folder(match, "" if place == "." else place)
                else:
                    listing.add(match, place)
        else:
            listing.add(path, "stdin" if path == STDIN else Path(path).name or path)
    if not listing.sources:
        formats = ", ".join(sorted(EXTENSIONS))
        rest = f"; {skipped(listing, 0)}" if skipped(listing, 0) else ""
        raise DataError(f"{', '.join(paths)}: no image there (looked for {formats}){rest}")
    return listing


def _fixed_part(pattern: str) -> str:
    """The folders of a glob before the first that holds a wildcard."""
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:fixed])) if fixed else "."


def _head(path: str) -> bytes:
    try:
        # A pipe or device is no image and must not be waited for.
        if not Path(path).is_file():
            return b""
        with Path(path).open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def skipped(listing: Listing, unreadable: int) -> str:
    """What was left out and why, in a few words; empty if nothing was."""
    reasons = []
    for count, reason, names in (
        (len(listing.unread), "of a format not read", listing.unread),
        (len(listing.annotated), "annotated by oamface", listing.annotated),
        (unreadable, "unreadable", []),
    ):
        if count:
            shown = ", ".join(printable(Path(name).name) for name in names[:5])
            more = f" and {count - 5} more" if len(names) > 5 else ""
            reasons.append(f"{count} {reason}" + (f" ({shown}{more})" if names else ""))
    total = len(listing.unread) + len(listing.annotated) + unreadable
    return f"{total} skipped: {', '.join(reasons)}" if total else ""


def printable(text: str) -> str:
    """The text on one line, with everything that a terminal would obey or cannot show escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def json_line(item: dict[str, Any], encoding: str = "utf-8") -> str:
    """A JSON object on one line that every reader gets back as it was, whatever the encoding of the output."""
    if re.sub("[-_]", "", encoding.lower()) not in ("utf8", "utf8sig"):
        return json.dumps(item)
    text = json.dumps(item, ensure_ascii=False)
    # Bytes of a name that are no UTF-8 are lone surrogates in Python, which UTF-8 cannot hold.
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found.group()):04x}", text)


def answers_of(face: Face) -> dict[str, str]:
    """Task to what people read of its answer."""
    texts = {}
    for task in TASKS:
        answer = getattr(face, task)
        if answer is None:
            continue
        if task == "age":
            texts[task] = f"{answer.years:.0f} ({answer.low:.0f}-{answer.high:.0f})"
        else:
            texts[task] = f"{answer.label} {answer.probability:.0%}"
    return texts


class TextTable:
    """Lines of a table for people, each ready as soon as its image is. names: of all images that will come."""

    def __init__(self, tasks: Sequence[str], names: Sequence[str]) -> None:
        longest = max((cell_len(printable(name)) for name in names), default=0)
        self._widths = {"image": min(max(longest, 5), _NAME_WIDTH), "face": 4}
        self._widths |= {task: 14 if task == "age" else 20 for task in tasks}
        self._heading: tuple[str, ...] = (self._line([*self._widths, "visible"]),)

    def rows(self, image: ImageResult) -> Iterator[str]:
        """One line a face, or one that says that there is none; before the first of all the heading."""
        yield from self._heading
        self._heading = ()
        name = printable(str(image.source))
        if cell_len(name) > self._widths["image"]:
            yield name
            name = ""
        if not image.faces:
            yield self._line([name, "no face found"])
        for number, face in enumerate(image.faces, 1):
            note = "" if face.detected else "  no face detected, answered for the whole image"
            yield self._line([name, str(number), *answers_of(face).values(), f"{face.visibility:.0%}{note}"])

    def _line(self, cells: Sequence[str]) -> str:
        widths = [*self._widths.values(), 0]
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=False))
        return "  ".join(padded).rstrip()


class CsvRows:
    """Rows for a spreadsheet: one a face, one for an image without any, one for an image that could not be read.

    Written line by line into `output`.
    """

    def __init__(self, output: OutputFile, tasks: Sequence[str]) -> None:
        self._output, self._tasks = output, [task for task in TASKS if task in tasks]
        place = ["source", "error", "face", "x", "y", "width", "height", "score", "detected", "visibility"]
        answers = []
        for task in self._tasks:
            answers += ["age", "age_low", "age_high"] if task == "age" else [task, f"{task}_probability"]
        self._columns = [*place, *answers]
        self._write(self._columns)

    def add(self, item: ImageResult | Failure) -> None:
        """Raises FileError when the disk refuses."""
        if isinstance(item, Failure):
            self._write([item.source, str(item.error)])
        elif not item.faces:
            self._write([item.source])
        else:
            for number, face in enumerate(item.faces, 1):
                self._write(self._row(item.source, number, face.to_dict()))

    def _row(self, source: str | None, number: int, plain: dict[str, Any]) -> list[Any]:
        row = [source, None, number, *plain["box"], plain["score"], plain["detected"], plain["visibility"]]
        for task in self._tasks:
            answer = plain[task]
            row += [answer[key] for key in (("years", "low", "high") if task == "age" else ("label", "probability"))]
        return row

    def _write(self, cells: Sequence[Any]) -> None:
        line = io.StringIO()
        padded = [*cells, *[None] * (len(self._columns) - len(cells))]
        csv.writer(line).writerow([_harmless(cell) for cell in padded])
        self._output.write(line.getvalue().encode("utf-8", "backslashreplace"))


def _harmless(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe, as spreadsheets themselves write it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_RUN_BY_SPREADSHEETS) else cell


class AnnotatedImages:
    """Writes annotated images into a folder, in the tree of their sources. Makes the folder; raises FileError.

    sources: none of which is ever replaced. Nor is any image that oamface has not drawn, or that this run has.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        make_folder(folder)
        self.folder, self._sources, self._written = folder, [source.path for source in sources], set[Path]()

    def write(self, source: Source, image: ImageResult, data: bytes | None = None) -> Path:
        """Write one image; returns where. data: the file's bytes where it cannot be read again.

        Raises FileError, ImageError.
        """
        name = str(image.source)
        page = int(name.removeprefix(f"{source.path}#")) - 1 if name != source.path else 0
        first = decode(source.path if data is None else data)
        decoded = decode(source.path if data is None else data, page=first.pages[page]) if page else first
        target = self._free_place(source.place, f"#{page + 1}" if page else "")
        write_image(target, annotate(decoded.image, image), text=_MARK)
        self._written.add(target)
        return target

    def _free_place(self, place: str, page: str) -> Path:
        """Where the annotated image goes: its source's name with .png, numbered where that is taken."""
        parts = [part for part in Path(place).parts if part not in ("..", "/")]
        folder = self.folder.joinpath(*parts[:-1])
        make_folder(folder)
        stem, number = Path(parts[-1]).stem if parts else "image", 1
        while True:
            suffix = f"{page}-{number}.png" if number > 1 else f"{page}.png"
            target = folder / fitting_name(stem, suffix)
            if not os.path.lexists(target) or self._may_replace(target):
                return target
            number += 1

    def _may_replace(self, target: Path) -> bool:
        ours = target not in self._written and _MARK_BYTES in _head(str(target))
        return ours and not any(same_file(target, source) for source in self._sources if source != STDIN)
