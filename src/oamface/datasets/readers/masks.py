"""ImageResults sorted into the folders with_mask and without_mask, as Face-Mask-Detection publishes them."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, own_split
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label

FOLDERS = {"with_mask": WITH_MASK, "without_mask": WITHOUT_MASK}


def read(source: Source) -> Catalogue:
    """Every image below one of the two folders; others are refused. Only the mask is known.

    The set holds augmented copies of some images; the split goes by each file's own name and does not see that.
    """
    catalogue = Catalogue("masks")
    for name in filter(is_image, source.names):
        folders = [folder for folder in PurePosixPath(name).parts[:-1] if folder in FOLDERS]
        if folders:
            catalogue.entries.append(Entry(name, own_split(name), Label(mask=FOLDERS[folders[-1]])))
        else:
            catalogue.refused[name] = f"lies in none of the folders {', '.join(FOLDERS)}"
    return catalogue
