"""MAFA (Ge et al., 2017): whole images of occluded faces, with boxes in MATLAB files."""

import io
from typing import Any

import numpy as np
from scipy.io import loadmat

from oamface.datasets.archive import Archive
from oamface.datasets.index import Index, Record, face_name, train_or_calibrate
from oamface.errors import DataError
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label
from oamface.results import Box

# The label files, the variable in each, and which field of its rows is the image's name.
LABEL_FILES = {"LabelTrainAll.mat": ("label_train", 1), "LabelTestAll.mat": ("label_test", 0)}
MASKED_FACE, INVALID_FACE = 1, 3  # codes of a face's type, in the test file alone
BODY = 3  # code of an occluder that belongs to a body: a hand, hair


def read(archive: Archive) -> Index:
    """One record for every labelled face of every image. Needs scipy.

    An occluder that does not belong to a body counts as a mask: MAFA does not tell scarves from masks.
    Raises DataError: both label files are missing, or one cannot be read.
    """
    images = {name.split("/")[-1]: name for name in filter(is_image, archive.names)}
    files = [name for name in archive.names if name.split("/")[-1] in LABEL_FILES]
    if not files:
        raise DataError(f"{archive.path}: holds neither of {', '.join(LABEL_FILES)}")
    index, labelled = Index("mafa"), set()
    for file in files:
        for image, faces in _read_labels(archive, file):
            if image not in images:
                index.skipped[image] = f"{file} names it, but it is missing"
                continue
            labelled.add(image)
            for face in faces:
                _add_face(index, images[image], face, test=file.endswith("LabelTestAll.mat"))
    for image, name in images.items():
        if image not in labelled:
            index.skipped[name] = "the label files do not name this image"
    return index


def _add_face(index: Index, name: str, face: Any, *, test: bool) -> None:
    """Add one face's row of numbers to the index.

    The first four are its box. In the training file the 13th is the occluder's type (simple, textured, body); in the
    test file the fifth is the face's type (masked, unmasked, invalid) and the tenth the occluder's.
    """
    face_type, occluder = (int(face[4]), int(face[9])) if test else (MASKED_FACE, int(face[12]))
    box = Box(*(float(value) for value in face[:4]))
    if face_type == INVALID_FACE or min(box.width, box.height) <= 0:
        index.skipped[face_name(name, box)] = "the data set calls it invalid, or its box has no size"
        return
    masked = face_type == MASKED_FACE and occluder != BODY
    label = Label(mask=WITH_MASK if masked else WITHOUT_MASK)
    split = "test" if test else train_or_calibrate(name)
    index.records.append(Record(name, split, label, box))


def _read_labels(archive: Archive, file: str) -> list[tuple[str, Any]]:
    """For every image of a MATLAB file its name and its faces (N, numbers)."""
    variable, name_field = LABEL_FILES[file.split("/")[-1]]
    columns = 10 if variable == "label_test" else 13
    try:
        table = loadmat(io.BytesIO(archive.read(file)))[variable].reshape(-1)
        fields = table.dtype.names
        images = [(str(row[fields[name_field]].item()), np.atleast_2d(row[fields[-1]])) for row in table]
    except Exception as error:  # scipy raises many types on files of another kind
        raise DataError(f"{file}: not a MATLAB file of MAFA's labels ({error})") from error
    if any(faces.shape[1] < columns for _, faces in images):
        raise DataError(f"{file}: expected at least {columns} numbers for each face")
    return images
