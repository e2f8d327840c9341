"""What a data set says of its images: one entry for each, and what was refused, with the reason."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from zlib import crc32

from oamface.labels import Label


@dataclass(frozen=True)
class Entry:
    """One face. split: "train", "calibrate" (never trained on) or "test"; name: the image's path inside the source.

    box: x, y, width, height in the image's pixels where the data set says which of several faces is meant.
    """

    name: str
    split: str
    label: Label
    box: tuple[float, float, float, float] | None = None


@dataclass
class Catalogue:
    """The faces of a data set in a fixed order, and a reason for everything left out."""

    data_set: str
    entries: list[Entry] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def stem(name: str) -> str:
    """The file name up to its first dot."""
    return PurePosixPath(name).name.split(".")[0]


def training_split(name: str) -> str:
    """The split of an image that its data set does not test on: a tenth calibrates, by the name's checksum."""
    return "calibrate" if crc32(stem(name).encode()) % 10 == 1 else "train"


def own_split(name: str) -> str:
    """The split of an image whose data set names none: a fifth tests, by the name's checksum."""
    return "test" if crc32(stem(name).encode()) % 5 == 0 else training_split(name)
