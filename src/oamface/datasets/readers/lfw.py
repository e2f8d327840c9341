"""LFW (Huang et al., 2007): images of public figures, one folder a person; gender in two published lists."""

from pathlib import PurePosixPath

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, split_by_checksum
from oamface.images import is_image
from oamface.labels import GENDERS, WITHOUT_MASK, Label

GENDER_FILES = {"male_names.txt": "male", "female_names.txt": "female"}


def read(archive: Archive) -> Index:
    """Every image named [person]/[person]_[number]; others are skipped. All images of a person are in one split.

    Gender is labelled where male_names.txt and female_names.txt lie beside the images. LFW does not label masks; it
    predates their everyday use, so its faces count as having none.
    """
    genders = _read_genders(archive)
    index = Index("lfw")
    for name in filter(is_image, archive.names):
        path = PurePosixPath(name)
        folder, (person, _, number) = path.parent.name, path.stem.rpartition("_")
        if not folder or person != folder or not number.isdigit():
            index.skipped[name] = "the name is not [person]/[person]_[number]"
            continue
        gender = frozenset({genders[path.stem]}) if path.stem in genders else frozenset(GENDERS)
        index.records.append(Record(name, split_by_checksum(person), Label(gender=gender, mask=WITHOUT_MASK)))
    return index


def _read_genders(archive: Archive) -> dict[str, str]:
    """Gender by the stem of an image's name."""
    genders = {}
    for file in archive.names:
        gender = GENDER_FILES.get(PurePosixPath(file).name)
        if gender is not None:
            for line in archive.read(file).decode("utf-8", errors="replace").splitlines():
                genders[PurePosixPath(line.strip()).stem] = gender
    return genders
