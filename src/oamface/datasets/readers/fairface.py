"""FairFace (Karkkainen and Joo, 2021): crops in train/ and val/, labels in two CSV files. CC BY 4.0."""

import csv
import io

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, stem, training_split
from oamface.errors import DataError
from oamface.images import is_image
from oamface.labels import FAIRFACE_AGES, FAIRFACE_RACES, GENDERS, WITHOUT_MASK, Label

COLUMNS = ("file", "age", "gender", "race")


def read(source: Source) -> Catalogue:
    """Every image with a row of labels; val is the test part. Pictures without a row, or an odd one, are refused.

    The set says nothing of masks; it is older than their everyday use, so its faces count as bare.
    Raises DataError when a file of labels is missing or lacks a column.
    """
    rows = {part: _rows(source, f"fairface_label_{part}.csv") for part in ("train", "val")}
    catalogue = Catalogue("fairface")
    for name in filter(is_image, source.names):
        part = name.split("/")[-2] if "/" in name else ""
        row = rows.get(part, {}).get(stem(name))
        if row is None:
            catalogue.refused[name] = "no row of labels names this image"
            continue
        gender = row["gender"].lower()
        if row["age"] not in FAIRFACE_AGES or row["race"] not in FAIRFACE_RACES or gender not in GENDERS:
            catalogue.refused[name] = f"unknown label: {row['age']}, {row['gender']}, {row['race']}"
            continue
        label = Label(FAIRFACE_AGES[row["age"]], frozenset({gender}), FAIRFACE_RACES[row["race"]], WITHOUT_MASK)
        catalogue.entries.append(Entry(name, "test" if part == "val" else training_split(name), label))
    return catalogue


def _rows(source: Source, file: str) -> dict[str, dict[str, str]]:
    """The rows of a file of labels by the stem of the image they name."""
    found = [name for name in source.names if name.split("/")[-1] == file]
    if len(found) != 1:
        raise DataError(f"{source.path}: expected one {file}, found {len(found)}")
    table = csv.DictReader(io.StringIO(source.read(found[0]).decode("utf-8-sig", errors="replace")))
    missing = set(COLUMNS) - set(table.fieldnames or ())
    if missing:
        raise DataError(f"{found[0]}: lacks the columns {', '.join(sorted(missing))}")
    return {stem(row["file"]): {column: row[column] or "" for column in COLUMNS} for row in table if row["file"]}
