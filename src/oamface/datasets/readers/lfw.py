"""LFW (Huang et al., 2007): images of known people, one folder a person; gender in two published lists."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, own_split
from oamface.images import is_image
from oamface.labels import GENDERS, WITHOUT_MASK, Label

LISTS = {"male_names.txt": "male", "female_names.txt": "female"}


def read(source: Source) -> Catalogue:
    """Every image in a person's folder, as [person]/[person]_[number]; images elsewhere are refused.

    Gender is known where male_names.txt and female_names.txt lie beside the images. The set says nothing of masks; it
    is older than their everyday use, so its faces count as bare. All images of a person are in one split.
    """
    genders = _genders(source)
    catalogue = Catalogue("lfw")
    for name in filter(is_image, source.names):
        path = PurePosixPath(name)
        person, number = path.parent.name, path.stem.rpartition("_")
        if not person or number[0] != person or not number[2].isdigit():
            catalogue.refused[name] = "the name is not [person]/[person]_[number]"
            continue
        gender = frozenset({genders[path.stem]}) if path.stem in genders else frozenset(GENDERS)
        catalogue.entries.append(Entry(name, own_split(person), Label(gender=gender, mask=WITHOUT_MASK)))
    return catalogue


def _genders(source: Source) -> dict[str, str]:
    """Gender by the stem of an image's name."""
    known = {}
    for file in source.names:
        gender = LISTS.get(PurePosixPath(file).name)
        if gender is not None:
            for line in source.read(file).decode("utf-8", errors="replace").splitlines():
                known[PurePosixPath(line.strip()).stem] = gender
    return known
