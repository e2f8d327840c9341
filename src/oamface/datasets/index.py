"""The list of a data set's images with their labels, and of the images that were skipped."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from zlib import crc32

from oamface.atomic import escape
from oamface.labels import Label
from oamface.results import Box


@dataclass(frozen=True)
class Record:
    """One face. name: the image's path in the archive. split: "train", "calibrate" (never trained on) or "test".

    box: of the face in the image's pixels, where the data set says which of several faces is meant.
    """

    name: str
    split: str
    label: Label
    box: Box | None = None


@dataclass
class Index:
    """The records of a data set in a fixed order. skipped: names of images or faces left out, each with the reason."""

    data_set: str
    records: list[Record] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def face_name(name: str, box: Box | None) -> str:
    """The image's name, and where there is a box its corner: an image may show several faces."""
    return name if box is None else f"{name}@{box[0]:.0f},{box[1]:.0f}"


def stem(name: str) -> str:
    """The file name up to its first dot."""
    return PurePosixPath(name).name.split(".")[0]


def _checksum(name: str) -> int:
    return crc32(escape(stem(name)).encode())


def train_or_calibrate(name: str) -> str:
    """The split of an image outside the test split: "calibrate" for a tenth, chosen by the checksum of its stem."""
    return "calibrate" if _checksum(name) % 10 == 1 else "train"


def split_by_checksum(name: str) -> str:
    """The split of an image whose data set defines none: "test" for a fifth, chosen by the checksum of its stem."""
    return "test" if _checksum(name) % 5 == 0 else train_or_calibrate(name)
