"""The images that scenes are drawn from, each with the faces that CenterFace finds in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oamface.centerface import CenterFace
from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record
from oamface.detection import Detection
from oamface.errors import DataError, OamfaceError
from oamface.images import RGBImage, read_image

SIDE = 320  # long side at which CenterFace sees an image
# Background images without a face that scikit-image and scikit-learn carry.
_BACKGROUNDS = (
    *("brick", "cat", "clock", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "immunohistochemistry"),
    *("moon", "page", "retina", "rocket", "text"),
)
SURE, FAINT = 0.5, 0.1  # scores: a face; perhaps one, which scenes neither ask for nor forbid


@dataclass(frozen=True)
class FaceImage:
    """An image of the training split. faces: its detections with scores above FAINT, best first."""

    pixels: RGBImage
    faces: tuple[Detection, ...]

    @property
    def sure(self) -> tuple[Detection, ...]:
        return tuple(face for face in self.faces if face.score > SURE)


def read_face_images(
    archives: Sequence[tuple[Callable[[Archive], Index], Path]],
    most: int,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[FaceImage]:
    """Up to `most` images of each data set's training split that show a sure face.

    archives: pairs of a data set's reader and its archive. Images that cannot be read are left out.
    Raises DataError: an archive that cannot be read, or no face in all of them.
    """
    network, images = CenterFace(threads=1), []
    rng = np.random.default_rng(seed)
    for read, path in archives:
        with Archive(path) as archive:
            records = _training_records(read(archive).records)
            chosen = sorted(rng.permutation(len(records))[:most])
            for done, number in enumerate(chosen):
                image = _detect(network, archive, records[number].name)
                images += [image] if image is not None and image.sure else []
                on_progress(done + 1, len(chosen))
    if not images:
        raise DataError("no face was found in the archives' training splits")
    return images


def _training_records(records: Sequence[Record]) -> list[Record]:
    """One record for each image."""
    return list({record.name: record for record in records if record.split == "train"}.values())


def _detect(network: CenterFace, archive: Archive, name: str) -> FaceImage | None:
    try:
        pixels = read_image(archive.read(name))
    except OamfaceError:
        return None
    return FaceImage(pixels, tuple(network.detect_in(pixels, SIDE, FAINT)))


def load_backgrounds() -> list[RGBImage]:
    """(H, W, 3) uint8 RGB images without a face."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    images = [getattr(skimage.data, name)() for name in _BACKGROUNDS]
    colored = [np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image for image in images]
    return [np.ascontiguousarray(image) for image in (*colored, *load_sample_images().images)]
