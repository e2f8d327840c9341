"""One's own faces in folders that are named after labels: 20-29/female/anna.jpg."""

from contextlib import suppress
from pathlib import PurePosixPath

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record
from oamface.datasets.readers.csv_file import split_by_name
from oamface.datasets.readers.label_text import read_age, read_classes, read_label
from oamface.errors import LabelError
from oamface.images import is_image


def read(archive: Archive) -> Index:
    """Every image below a folder that is named after a label; other folders' names say nothing. Others are skipped.

    A label is an age (34), a range of ages (20-29), or a class of gender, race or mask. Of two for one task the inner
    one counts.
    """
    index = Index("folders")
    for name in filter(is_image, archive.names):
        texts: dict[str, str] = {}
        for folder in PurePosixPath(name).parts[:-1]:
            if task := _task(folder):
                texts[task] = folder
        if texts:
            index.records.append(Record(name, split_by_name(name), read_label(texts)))
        else:
            index.skipped[name] = "not below a folder that is named after a label, such as 20-29 or female"
    return index


def _task(folder: str) -> str:
    """The task that a folder's name is a label of, "" if of none."""
    with suppress(LabelError):
        read_age(folder)
        return "age"
    for task in ("gender", "race", "mask"):
        with suppress(LabelError):
            read_classes(task, folder)
            return task
    return ""
