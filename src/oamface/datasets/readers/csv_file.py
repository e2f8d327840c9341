"""One's own faces: a CSV file with a row for each image, and whichever labels there are."""

import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum
from oamface.datasets.readers.label_text import read_label
from oamface.errors import DataError, LabelError

LABELS = ("age", "gender", "race", "mask")
COLUMNS = ("image", *LABELS, "split", "person")
SPLITS = {"train": "train", "calibration": "calibrate", "calibrate": "calibrate", "test": "test"}
_MISSING = "there is no such file"


def read(archive: Archive, table: str | None = None) -> Index:
    """Every row whose image exists; the others are skipped.

    table: the CSV file's name in the archive; by default the only one there. Columns, in any order: image (its path
    from the CSV file), and any of age (years, or a range such as 20-29), gender, race, mask, split (train, calibration
    or test) and person. A cell may be empty: the label is then unknown, and the split is chosen by the checksum of the
    person, or else of the image's stem. All images of a person are in one split, whatever the capitals.
    Raises DataError: a column or label that is not known, an image or a person that is in two places, no image at all.
    """
    name = table or _only_table(archive)
    rows = [(number, row) for number, row in _read_rows(archive, name) if any(row.values())]
    splits = _splits_of_persons(name, rows)
    index, seen, errors = Index("csv"), dict[str, int](), []
    for number, row in rows:
        try:
            image = _image_path(name, row["image"])
            place = os.path.normpath(archive.path.absolute() / image)  # a path may also be absolute
            if place in seen:
                raise LabelError(f"{row['image']} is also the image of row {seen[place]}")
            seen[place] = number
            label = read_label({task: row.get(task, "") for task in LABELS})
            named = _split(row.get("split", ""))  # checked where the person's rows decide, too
            split = splits.get(_person(row)) or named or split_by_name(image)
        except LabelError as error:
            errors.append(f"row {number}: {error}")
            continue
        if archive.has(image):
            index.records.append(Record(image, split, label))
        else:
            index.skipped[image] = _MISSING
    if errors:
        others = f" (and {len(errors) - 1} more rows with errors)" if len(errors) > 1 else ""
        raise DataError(f"{archive.path / name}, {errors[0]}{others}")
    if not index.records:
        example = f", such as {next(iter(index.skipped))}" if index.skipped else ""
        raise DataError(
            f"{archive.path / name}: none of its {len(rows)} images exists{example}; "
            "the paths in the column image start at the CSV file's folder"
        )
    return index


def split_by_name(name: str) -> str:
    """The split of an image, a person or a group, by the checksum of its name without the ending."""
    return split_by_checksum(PurePosixPath(name).stem.replace(".", "_"))


def _only_table(archive: Archive) -> str:
    tables = [name for name in archive.names if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise DataError(f"{archive.path}: expected one .csv file in it, got {len(tables)}; name the file itself")
    return tables[0]


def _read_rows(archive: Archive, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of every row, as a spreadsheet shows it, and its cells by column. Raises DataError."""
    path = archive.path / name
    try:
        text = archive.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8; save it as CSV UTF-8") from error
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        columns = [cell.strip().lower() for cell in next(rows, [])]
        unknown = [column for column in columns if column not in COLUMNS]
        if unknown or "image" not in columns or len(set(columns)) < len(columns):
            problem = f"unknown column {unknown[0]!r}" if unknown else f"its columns are {', '.join(columns) or 'none'}"
            raise DataError(f"{path}, row 1: {problem}; expected image and any of {', '.join(COLUMNS[1:])}, each once")
        for number, cells in enumerate(rows, 2):
            if not cells:  # an empty line
                continue
            if len(cells) != len(columns):
                raise DataError(f"{path}, row {number}: has {len(cells)} cells for {len(columns)} columns")
            yield number, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from error


def _image_path(table: str, image: str) -> str:
    """The image's path in the archive. Raises LabelError: there is none."""
    if not image:
        raise LabelError("names no image")
    return posixpath.normpath(PurePosixPath(table).parent / image.replace("\\", "/"))


def _split(text: str) -> str:
    """The split that a cell names, "" for none. Raises LabelError: an unknown one."""
    if text.lower() not in ("", *SPLITS):
        raise LabelError(f"split {text!r}: expected train, calibration or test")
    return SPLITS.get(text.lower(), "")


def _person(row: dict[str, str]) -> str:
    """Whom a row shows, whatever the capitals; "" if it does not say."""
    return row.get("person", "").casefold()


def _splits_of_persons(table: str, rows: list[tuple[int, dict[str, str]]]) -> dict[str, str]:
    """Person to split: what any row says, or by checksum. Raises DataError: a person in two splits."""
    splits, first = dict[str, str](), dict[str, int]()
    for number, row in rows:
        person, split = _person(row), SPLITS.get(row.get("split", "").lower(), "")
        if person and split:
            if splits.setdefault(person, split) != split:
                raise DataError(
                    f"{table}, row {number}: the person {row['person']!r} is in the split {split}, "
                    f"and in {splits[person]} in row {first[person]}"
                )
            first.setdefault(person, number)
    persons = Counter(_person(row) for _, row in rows)
    return {person: splits.get(person) or split_by_name(person) for person in persons if person}
