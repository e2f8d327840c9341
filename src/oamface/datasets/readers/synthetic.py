"""Synthetic people, as `oamface data synthesize` writes them: images and one table of exact labels."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, train_or_calibrate
from oamface.errors import DataError, LabelError
from oamface.labels import Label
from oamface.results import Box

RACES = {  # what synthetic people can look like
    "White": frozenset({"White"}),
    "Black": frozenset({"Black"}),
    "Asian": frozenset({"East Asian", "Southeast Asian"}),
}
TABLE = "labels.parquet"
COLUMNS = ("name", "split", "age", "gender", "race", "mask", "box")


def read(archive: Archive) -> Index:
    """Every image that the table names. Raises DataError: no table, or one that lacks a column or cannot be read."""
    if TABLE not in archive.names:
        raise DataError(f"{archive.path}: expected {TABLE} beside the images")
    try:
        rows = pq.read_table(io.BytesIO(archive.read(TABLE)), columns=list(COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{archive.path}/{TABLE}: cannot be read ({error})") from error
    index, files = Index("synth"), set(archive.names)
    for row in rows:
        name = str(row["name"])
        if name not in files:
            index.skipped[name] = "the table names it, but it is missing"
            continue
        try:
            gender, mask = frozenset({row["gender"]}), frozenset({row["mask"]})
            label = Label((row["age"], row["age"]), gender, RACES[row["race"]], mask)
            box = Box(*row["box"])
        except (LabelError, KeyError, TypeError, ValueError) as error:
            index.skipped[name] = f"unknown label: {error}"
            continue
        split = "test" if row["split"] == "test" else train_or_calibrate(name)
        index.records.append(Record(name, split, label, box))
    return index
