"""Writes the faces of images as a text table, as CSV, and as annotated images."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from oamface.annotate import ANNOTATED, annotate
from oamface.atomic import OutputFile, fitting_name, make_folder, same_file
from oamface.cli.image_list import STDIN, InputImage, is_annotated_file
from oamface.cli.stdout import printable
from oamface.images import decode, write_image
from oamface.labels import TASKS
from oamface.results import (
    BOX_COLUMNS,
    DECISION_COLUMNS,
    UNCERTAIN,
    Age,
    AgeDecision,
    Face,
    Failure,
    ImageResult,
    Quality,
    decision_columns,
)

_NAME_WIDTH = 40  # terminal cells; longer names get a line of their own
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class TextTable:
    """Lines of a table for people, each ready as soon as its image is. names: of all images that will come.

    at_least: years of which it shows the probability, in the age's cell.
    """

    def __init__(self, tasks: Sequence[str], names: Sequence[str], at_least: Sequence[int] = ()) -> None:
        longest = max((cell_len(printable(name)) + _room_for_page(name) for name in names), default=0)
        self._widths = {"image": min(max(longest, 5), _NAME_WIDTH), "face": 4}
        self._widths |= {task: 14 + 12 * len(at_least) if task == "age" else 20 for task in tasks} | {"visible": 7}
        self._heading: tuple[str, ...] = (self._line([*self._widths, "note"]),)

    def lines(self, result: ImageResult) -> Iterator[str]:
        """One line a face, or one for an image without faces; the heading before the first of all."""
        yield from self._heading
        self._heading = ()
        name = printable(str(result.source))
        if cell_len(name) > self._widths["image"]:
            yield name
            name = ""
        if not result.faces:
            yield self._line([name, f"no face found  {_decided(result.decision)}"])
        for number, face in enumerate(result.faces, 1):
            yield self._line([name, str(number), *_cells(face), f"{face.visibility:.0%}", _note(face)])

    def _line(self, cells: Sequence[str]) -> str:
        widths = [*self._widths.values(), 0]
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=False))
        return "  ".join(padded).rstrip()


def _room_for_page(name: str) -> int:
    """Cells of #2 to #99, which the name of a TIFF's page ends with."""
    return 3 if name.lower().endswith((".tif", ".tiff")) else 0


def _note(face: Face) -> str:
    """What a person has to know about a face: its decision, or else what is wrong with its image."""
    if not face.detected:
        return f"no face detected, predicted from the whole image  {_decided(face.decision)}"
    if face.decision is not None or face.quality is None or not face.quality.reasons:
        return _decided(face.decision)
    return ", ".join(face.quality.reasons)


def _decided(decision: AgeDecision | None) -> str:
    return "" if decision is None else ": ".join(filter(None, (decision.outcome, ", ".join(decision.reasons))))


def _cells(face: Face) -> Iterator[str]:
    """The predictions of a face as text, in the order of its tasks."""
    for task in face.tasks:
        prediction = face.predictions[task]
        if isinstance(prediction, Age):
            tails = (f", {years}+: {prediction.at_least(years):.0%}" for years in prediction.thresholds)
            yield f"{prediction.years:.0f} ({prediction.low:.0f}-{prediction.high:.0f}){''.join(tails)}"
        else:
            likely = "" if prediction.label == UNCERTAIN else f" {prediction.probability:.0%}"
            yield f"{prediction.label}{likely}"


class CsvWriter:
    """Rows for a spreadsheet: one a face, one for an image without faces, one for an image that could not be read.

    Written line by line into `output`. at_least: years whose probability gets a column. decided: whether there are
    columns for decisions.
    """

    def __init__(
        self, output: OutputFile, tasks: Sequence[str], at_least: Sequence[int] = (), *, decided: bool = False
    ) -> None:
        self._output, self._tasks = output, [task for task in TASKS if task in tasks]
        columns = ["source", "error", "face", *BOX_COLUMNS, "score", "detected", "visibility"]
        for task in self._tasks:
            if task == "age":
                columns += ["age", "age_low", "age_high", *(f"age_at_least_{years}" for years in at_least)]
            else:
                columns += [task, f"{task}_probability"]
        columns += ["quality", "quality_reasons", *(DECISION_COLUMNS if decided else ())]
        self._columns = columns
        self._write(columns)

    def add(self, result: ImageResult | Failure) -> None:
        """Raises FileError when the disk refuses."""
        if isinstance(result, Failure):
            self._write([result.source, str(result.error)])
        elif not result.faces:
            decision = decision_cells(result.decision)
            blank = [None] * (len(self._columns) - 1 - len(decision))
            self._write([result.source, *blank, *decision])
        else:
            for number, face in enumerate(result.faces, 1):
                row = self._row(result.source, number, face.to_dict())
                self._write([*row, *quality_cells(face.quality), *decision_cells(face.decision)])

    def _row(self, source: str | None, number: int, face: dict[str, Any]) -> list[Any]:
        row = [source, None, number, *face["box"], face["score"], face["detected"], face["visibility"]]
        for task in self._tasks:
            keys = ("years", "low", "high") if task == "age" else ("label", "probability")
            row += [*(face[task][key] for key in keys), *face[task].get("at_least", {}).values()]
        return row

    def _write(self, cells: Sequence[Any]) -> None:
        line = io.StringIO()
        padded = [*cells, *[None] * (len(self._columns) - len(cells))]
        csv.writer(line).writerow([_without_formula(cell) for cell in padded])
        self._output.write(line.getvalue().encode("utf-8", "backslashreplace"))


def quality_cells(quality: Quality | None) -> tuple[Any, Any]:
    """The score, and the reasons as one text."""
    return (None, None) if quality is None else (round(quality.score, 4), ", ".join(quality.reasons))


def decision_cells(decision: AgeDecision | None) -> tuple[Any, ...]:
    """The DECISION_COLUMNS, the reasons as one text; no cells without a decision."""
    values = decision_columns(decision).values()
    return tuple(", ".join(value) if isinstance(value, list) else value for value in values)


def _without_formula(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe, as spreadsheets themselves write it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


class AnnotatedImages:
    """Writes annotated images into a folder, in the tree of their inputs. Makes the folder; raises FileError.

    inputs: none of which is ever replaced. Nor is any image that oamface has not annotated, or that this run has.
    """

    def __init__(self, folder: Path, inputs: Sequence[InputImage]) -> None:
        make_folder(folder)
        self.folder, self._inputs, self._written = folder, [image.path for image in inputs], set[Path]()

    def write(self, image: InputImage, result: ImageResult, data: bytes | None = None) -> Path:
        """Write one annotated image and return its path. data: the file's bytes where it cannot be read again.

        Raises FileError, ImageError.
        """
        name = str(result.source)
        page = int(name.removeprefix(f"{image.path}#")) - 1 if name != image.path else 0
        decoded = decode(image.path if data is None else data, page=page)
        target = self._free_path(image.relative, f"#{page + 1}" if page else "")
        write_image(target, annotate(decoded.image, result), text=ANNOTATED)
        self._written.add(target)
        return target

    def _free_path(self, relative: str, page: str) -> Path:
        """Where the annotated image goes: its input's name with .png, numbered where that is taken."""
        parts = [part for part in Path(relative).parts if part not in ("..", "/")]
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
        ours = target not in self._written and is_annotated_file(str(target))
        return ours and not any(same_file(target, path) for path in self._inputs if path != STDIN)
