"""Synthetic people, as `oamface synth` writes them: images and one table of what is true of each."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, training_split
from oamface.errors import DataError, LabelError
from oamface.labels import SYNTH_RACES, Label

LABELS = "labels.parquet"
COLUMNS = ("name", "split", "age", "gender", "race", "mask", "box")


def read(source: Source) -> Catalogue:
    """Every image that the table names. Raises DataError: no table, or one that lacks a column or cannot be read."""
    if LABELS not in source.names:
        raise DataError(f"{source.path}: expected {LABELS} beside the images")
    try:
        rows = pq.read_table(io.BytesIO(source.read(LABELS)), columns=list(COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{source.path}/{LABELS}: cannot be read ({error})") from error
    catalogue, there = Catalogue("synth"), set(source.names)
    for row in rows:
        name = str(row["name"])
        if name not in there:
            catalogue.refused[name] = "the table names it, but it is not there"
            continue
        try:
            races = SYNTH_RACES[row["race"]]
            gender, mask = frozenset({row["gender"]}), frozenset({row["mask"]})
            label = Label((row["age"], row["age"]), gender, races, mask)
            left, top, width, height = row["box"]
        except (LabelError, KeyError, TypeError, ValueError) as error:
            catalogue.refused[name] = f"unknown label: {error}"
            continue
        split = "test" if row["split"] == "test" else training_split(name)
        catalogue.entries.append(Entry(name, split, label, (left, top, width, height)))
    return catalogue
