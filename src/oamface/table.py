"""What the command `analyze` reads and writes besides JSON: paths, tables for people, CSV, annotated pictures."""

import csv
import glob
import io
from pathlib import Path

from rich.table import Table

from oamface.annotate import annotate
from oamface.errors import DataError
from oamface.faces import Photograph
from oamface.files import write_text
from oamface.imaging import EXTENSIONS, is_picture, read_image, write_image
from oamface.labels import TASKS


def expand(paths: list[str]) -> list[str]:
    """Files, all pictures below folders, and globs as a list of files, each once, in a fixed order.

    A path that names nothing stays, so that its error is reported beside the others' results.
    Raises DataError when folders and globs hold no picture at all.
    """
    found: dict[str, None] = {}
    for path in paths:
        if Path(path).is_dir():
            found |= dict.fromkeys(_pictures(Path(path)))
        elif glob.has_magic(path) and not Path(path).exists():
            for match in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207 (a pattern may be absolute)
                found |= dict.fromkeys(_pictures(Path(match)) if Path(match).is_dir() else [match])
        else:
            found[path] = None
    if not found:
        raise DataError(f"{', '.join(paths)}: no picture there (looked for {', '.join(sorted(EXTENSIONS))})")
    return list(found)


def _pictures(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if is_picture(path.as_posix()) and path.is_file())


def for_people(tasks: tuple[str, ...]) -> Table:
    """An empty table; `add_rows` fills it."""
    table = Table(box=None, header_style="bold")
    for name in ("picture", "face", *tasks, "visible"):
        table.add_column(name, overflow="fold")
    return table


def add_rows(table: Table, photograph: Photograph) -> None:
    """One row a face, or one that says that there is none."""
    source = str(photograph.source)
    if not photograph.faces:
        table.add_row(source, "no face found")
    for number, face in enumerate(photograph.faces, 1):
        answers = []
        for task in TASKS:
            answer = getattr(face, task)
            if answer is None:
                continue
            if task == "age":
                answers.append(f"{answer.years:.0f} ({answer.low:.0f}-{answer.high:.0f})")
            else:
                answers.append(f"{answer.label} {answer.probability:.0%}")
        table.add_row(source, str(number), *answers, f"{face.visibility:.0%}")


class CsvRows:
    """Rows for a spreadsheet, one a face; written whole at the end."""

    def __init__(self, path: Path, tasks: tuple[str, ...]) -> None:
        self.path = path
        self._file = io.StringIO()
        place = ["source", "face", "x", "y", "width", "height", "score", "visibility"]
        answers = []
        for task in TASKS:
            if task in tasks:
                answers += ["age", "age_low", "age_high"] if task == "age" else [task, f"{task}_probability"]
        self._writer = csv.writer(self._file)
        self._writer.writerow([*place, *answers])

    def add(self, photograph: Photograph) -> None:
        """One row for every face."""
        for number, face in enumerate(photograph.faces, 1):
            plain = face.to_dict()
            row = [photograph.source, number, *plain["box"], plain["score"], plain["visibility"]]
            for task in TASKS:
                answer = plain.get(task)
                if answer is not None:
                    keys = ("years", "low", "high") if task == "age" else ("label", "probability")
                    row += [answer[key] for key in keys]
            self._writer.writerow(row)

    def write(self) -> None:
        """Raises FileError when the disk refuses."""
        write_text(self.path, self._file.getvalue())


def write_annotated(folder: Path, photograph: Photograph) -> Path:
    """Write the annotated picture into the folder under its own name, numbered where taken; returns its path."""
    source = Path(str(photograph.source))
    target = folder / f"{source.stem}.png"
    number = 2
    while target.exists():
        target = folder / f"{source.stem}-{number}.png"
        number += 1
    write_image(target, annotate(read_image(source), photograph))
    return target
