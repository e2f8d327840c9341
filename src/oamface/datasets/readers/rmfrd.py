"""RMFRD (Wang et al., 2020): images of public figures with and without masks, one folder a person."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label

FOLDERS = {"AFDB_masked_face_dataset": WITH_MASK, "AFDB_face_dataset": WITHOUT_MASK}


def read(archive: Archive) -> Index:
    """Every image in a person's folder below one of the two folders; others are skipped. Only the mask is labelled.

    All images of a person are in one split: nobody is both trained on and tested on.
    """
    index = Index("rmfrd")
    for name in filter(is_image, archive.names):
        parts = PurePosixPath(name).parts
        depth = next((depth for depth, folder in enumerate(parts[:-2]) if folder in FOLDERS), None)
        if depth is None:
            index.skipped[name] = f"not in a person's folder below {' or '.join(FOLDERS)}"
        else:
            folder, person = parts[depth : depth + 2]
            index.records.append(Record(name, split_by_checksum(person), Label(mask=FOLDERS[folder])))
    return index
