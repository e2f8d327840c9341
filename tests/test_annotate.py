from dataclasses import replace

import numpy as np
import pytest

from oamface.annotate import annotate, describe
from oamface.errors import ImageError
from oamface.results import Age, Classification, Face, ImageResult

LANDMARKS = ((90.0, 90.0), (130.0, 90.0), (110.0, 112.0), (93.0, 135.0), (127.0, 135.0))
FACE = Face((70.0, 55.0, 80.0, 105.0), 0.9, LANDMARKS, 0.8, attention=np.ones((6, 6), np.float32))
GREY = np.full((220, 220, 3), 128, np.uint8)


def test_the_picture_itself_is_left_alone() -> None:
    before = GREY.copy()
    drawn = annotate(GREY, ImageResult(220, 220, (FACE,)))
    assert (before == GREY).all()
    assert drawn.shape == GREY.shape
    assert (annotate(GREY, ImageResult(220, 220, ())) == GREY).all()


def test_bare_skin_is_tinted_green_and_covered_red() -> None:
    bare = annotate(GREY, ImageResult(220, 220, (FACE,)))[112, 110].astype(int)
    hidden = replace(FACE, attention=np.zeros((6, 6), np.float32))
    covered = annotate(GREY, ImageResult(220, 220, (hidden,)))[112, 110].astype(int)
    assert bare[1] > bare[0]
    assert covered[0] > covered[1]
    plain = annotate(GREY, ImageResult(220, 220, (FACE,)), attention=False)
    assert (plain[112, 110] == 128).all()


@pytest.mark.parametrize("shift", [(-500, 0), (150, 150), (0, -80), (3000, 3000)])
def test_faces_that_reach_outside(shift) -> None:
    landmarks = tuple((x + shift[0], y + shift[1]) for x, y in LANDMARKS)
    box = (FACE.box[0] + shift[0], FACE.box[1] + shift[1], *FACE.box[2:])
    assert annotate(GREY, ImageResult(220, 220, (replace(FACE, box=box, landmarks=landmarks),))).shape == GREY.shape


def test_lines() -> None:
    face = replace(
        FACE,
        age=Age(34.4, 27.0, 42.1, 0.9),
        gender=Classification("female", 0.97, {}),
        mask=Classification("incorrect", 0.6, {}),
    )
    assert describe(face) == ["34 years (27-42)", "female 97%", "mask worn wrongly 60%"]
    unsure = replace(
        face, age=None, race=Classification("uncertain", 0.4, {}), mask=Classification("uncertain", 0.5, {})
    )
    assert describe(unsure) == ["female 97%", "race uncertain", "mask uncertain"]


def test_only_rgb() -> None:
    with pytest.raises(ImageError):
        annotate(np.zeros((5, 5), np.uint8), ImageResult(5, 5, ()))
