"""All-Age-Faces (Cheng et al., 2019): mostly East Asian faces of 2 to 80 years, [number]A[age]. For research.

Copies of one image in it bore ages that differ by 5.5 years on average: an age is an annotator's estimate.
"""

import re

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum, stem
from oamface.images import is_image
from oamface.labels import AGES, WITHOUT_MASK, Label

LAST_FEMALE = 7380  # numbers up to it show women and girls, larger ones men and boys
_ALIGNED = re.compile(r"aligned|aglined", re.IGNORECASE)  # the folder of aligned faces, as it was published, too
_ORIGINAL = re.compile(r"original", re.IGNORECASE)
_NAME = re.compile(r"(\d{5})A(\d{2,3})", re.ASCII)


def read(archive: Archive) -> Index:
    """Every image whose name has both parts; others are skipped, and original images where aligned ones are there.

    Races are not labelled. The images predate the everyday use of masks, so their faces count as having none.
    """
    index = Index("aaf")
    names = [name for name in archive.names if is_image(name)]
    both = any(_ALIGNED.search(name) for name in names)
    for name in names:
        parts = _NAME.fullmatch(stem(name))
        if parts is None or int(parts[2]) > 120:
            index.skipped[name] = "the name is not [number]A[age]"
        elif both and _ORIGINAL.search(name) and not _ALIGNED.search(name):
            index.skipped[name] = "the aligned face of the same number is used"
        else:
            years = min(int(parts[2]), AGES[-1])
            gender = frozenset({"female" if int(parts[1]) <= LAST_FEMALE else "male"})
            label = Label((years, years), gender, mask=WITHOUT_MASK)
            index.records.append(Record(name, split_by_checksum(name), label))
    return index
