"""RMFRD (Wang et al., 2020): images of known people with and without masks, one folder a person."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, own_split
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label

FOLDERS = {"AFDB_masked_face_dataset": WITH_MASK, "AFDB_face_dataset": WITHOUT_MASK}


def read(source: Source) -> Catalogue:
    """Every image of a person below one of the two folders; only the mask is known.

    All images of a person are in one split, so that no face is tested on that was trained on.
    """
    catalogue = Catalogue("rmfrd")
    for name in filter(is_image, source.names):
        parts = PurePosixPath(name).parts
        at = next((place for place, part in enumerate(parts[:-2]) if part in FOLDERS), None)
        if at is None:
            catalogue.refused[name] = f"lies in no person's folder below {' or '.join(FOLDERS)}"
        else:
            person = parts[at + 1]
            catalogue.entries.append(Entry(name, own_split(person), Label(mask=FOLDERS[parts[at]])))
    return catalogue
