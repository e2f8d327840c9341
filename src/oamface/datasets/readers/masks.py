"""Images sorted into the folders with_mask and without_mask, as Face-Mask-Detection publishes them."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label

FOLDERS = {"with_mask": WITH_MASK, "without_mask": WITHOUT_MASK}


def read(archive: Archive) -> Index:
    """Every image below one of the two folders; others are skipped. Only the mask is labelled.

    The data set holds augmented copies of some images. The split goes by each file's own name and does not see that.
    """
    index = Index("masks")
    for name in filter(is_image, archive.names):
        folders = [folder for folder in PurePosixPath(name).parts[:-1] if folder in FOLDERS]
        if folders:
            index.records.append(Record(name, split_by_checksum(name), Label(mask=FOLDERS[folders[-1]])))
        else:
            index.skipped[name] = f"not below one of the folders {', '.join(FOLDERS)}"
    return index
