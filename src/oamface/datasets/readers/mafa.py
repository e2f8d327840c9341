"""MAFA (Ge et al., 2017): whole images of occluded faces, with boxes in MATLAB files."""

import io
from typing import Any

import numpy as np
from scipy.io import loadmat

from oamface.datasets.archive import Source
from oamface.datasets.index import Catalogue, Entry, training_split
from oamface.errors import DataError
from oamface.images import is_image
from oamface.labels import WITH_MASK, WITHOUT_MASK, Label

# The files of labels, the variable in each, and where a record keeps its image's name.
FILES = {"LabelTrainAll.mat": ("label_train", 1), "LabelTestAll.mat": ("label_test", 0)}
BODY = 3  # code of an occluder that is part of a body: a hand, hair
INVALID = 3  # code of a face in the test part that its authors set aside


def read(source: Source) -> Catalogue:
    """One entry for every labelled face of every image. Needs scipy.

    A record's first four numbers are the face's box. In the training part the 13th is the occluder's type (simple,
    textured, body); in the test part the fifth is the face's type (masked, unmasked, invalid) and the tenth the
    occluder's. What covers a face and is no part of a body counts as a mask: MAFA does not tell scarves apart.
    Raises DataError when neither file of labels is there, or one is no such file.
    """
    images = {name.split("/")[-1]: name for name in filter(is_image, source.names)}
    catalogue, labelled = Catalogue("mafa"), set()
    files = [name for name in source.names if name.split("/")[-1] in FILES]
    if not files:
        raise DataError(f"{source.path}: holds neither of {', '.join(FILES)}")
    for file in files:
        test = file.endswith("LabelTestAll.mat")
        for image, faces in _records(source, file):
            name = images.get(image)
            if name is None:
                catalogue.refused[image] = f"named in {file}, but not there"
                continue
            labelled.add(name)
            for face in faces:
                kind, occluder = (int(face[4]), int(face[9])) if test else (1, int(face[12]))
                x, y, width, height = (float(value) for value in face[:4])
                place = f"{name}@{x:.0f},{y:.0f}"
                if (test and kind == INVALID) or min(width, height) <= 0:
                    catalogue.refused[place] = "set aside as invalid by its authors, or a box without a size"
                    continue
                masked = kind == 1 and occluder != BODY
                label = Label(mask=WITH_MASK if masked else WITHOUT_MASK)
                split = "test" if test else training_split(name)
                catalogue.entries.append(Entry(name, split, label, (x, y, width, height)))
    for name in images.values():
        if name not in labelled:
            catalogue.refused[name] = "no record of labels names this image"
    return catalogue


def _records(source: Source, file: str) -> list[tuple[str, Any]]:
    """The image's name and its rows of numbers, for every record of a MATLAB file."""
    variable, at = FILES[file.split("/")[-1]]
    least = 10 if variable == "label_test" else 13
    try:
        table = loadmat(io.BytesIO(source.read(file)))[variable].reshape(-1)
        fields = table.dtype.names
        records = [(str(record[fields[at]].item()), np.atleast_2d(record[fields[-1]])) for record in table]
    except Exception as error:  # scipy raises anything at all on files of another kind
        raise DataError(f"{file}: no MATLAB file of MAFA's labels ({error})") from error
    if any(faces.shape[1] < least for _, faces in records):
        raise DataError(f"{file}: expected at least {least} numbers a face")
    return records
