"""FairFace (Karkkainen and Joo, 2021): crops in train/ and val/, labels in two CSV files. CC BY 4.0."""

import csv
import io

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, stem, train_or_calibrate
from oamface.errors import DataError
from oamface.images import is_image
from oamface.labels import GENDERS, RACES, WITHOUT_MASK, Label

_DECADES = {f"{first}-{first + 9}": (first, first + 9) for first in range(10, 70, 10)}
AGE_GROUPS = {"0-2": (0, 2), "3-9": (3, 9), **_DECADES, "more than 70": (70, 100)}
RACE_NAMES = {race: frozenset({race}) for race in RACES} | {"Latino_Hispanic": frozenset({"Latino"})}
COLUMNS = ("file", "age", "gender", "race")


def read(archive: Archive) -> Index:
    """Every image that has a row of known labels; val is the test split. All other images are skipped.

    FairFace does not label masks; it predates their everyday use, so its faces count as having none.
    Raises DataError: a label file is missing or lacks a column.
    """
    rows = {folder: _read_rows(archive, f"fairface_label_{folder}.csv") for folder in ("train", "val")}
    index = Index("fairface")
    for name in filter(is_image, archive.names):
        folder = name.split("/")[-2] if "/" in name else ""
        row = rows.get(folder, {}).get(stem(name))
        if row is None:
            index.skipped[name] = "the label files have no row for this image"
            continue
        gender = row["gender"].lower()
        if row["age"] not in AGE_GROUPS or row["race"] not in RACE_NAMES or gender not in GENDERS:
            index.skipped[name] = f"unknown label: {row['age']}, {row['gender']}, {row['race']}"
            continue
        label = Label(AGE_GROUPS[row["age"]], frozenset({gender}), RACE_NAMES[row["race"]], WITHOUT_MASK)
        index.records.append(Record(name, "test" if folder == "val" else train_or_calibrate(name), label))
    return index


def _read_rows(archive: Archive, file: str) -> dict[str, dict[str, str]]:
    """The rows of a label file by the stem of their image."""
    paths = [name for name in archive.names if name.split("/")[-1] == file]
    if len(paths) != 1:
        raise DataError(f"{archive.path}: expected one {file}, got {len(paths)}")
    table = csv.DictReader(io.StringIO(archive.read(paths[0]).decode("utf-8-sig", errors="replace")))
    missing = set(COLUMNS) - set(table.fieldnames or ())
    if missing:
        raise DataError(f"{paths[0]}: lacks the columns {', '.join(sorted(missing))}")
    return {stem(row["file"]): {column: row[column] or "" for column in COLUMNS} for row in table if row["file"]}
