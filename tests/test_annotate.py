from dataclasses import replace

import numpy as np
import pytest

from oamface.annotate import annotate, describe
from oamface.errors import ImageError
from oamface.results import Age, Box, Classification, Face, ImageResult

LANDMARKS = np.array([[90, 90], [130, 90], [110, 112], [93, 135], [127, 135]], np.float32)
FACE = Face(Box(70.0, 55.0, 80.0, 105.0), LANDMARKS, 0.9, 0.8, {}, attention=np.ones((6, 6), np.float32))
GREY = np.full((220, 220, 3), 128, np.uint8)


def test_annotate_draws_on_a_copy() -> None:
    before = GREY.copy()
    drawn = annotate(GREY, ImageResult(220, 220, (FACE,)))
    assert (before == GREY).all()
    assert drawn.shape == GREY.shape
    assert (annotate(GREY, ImageResult(220, 220, ())) == GREY).all()


def test_visible_parts_are_tinted_green_and_occluded_ones_red() -> None:
    visible = annotate(GREY, ImageResult(220, 220, (FACE,)))[112, 110].astype(int)
    hidden = replace(FACE, attention=np.zeros((6, 6), np.float32))
    occluded = annotate(GREY, ImageResult(220, 220, (hidden,)))[112, 110].astype(int)
    assert visible[1] > visible[0]
    assert occluded[0] > occluded[1]
    plain = annotate(GREY, ImageResult(220, 220, (FACE,)), attention=False)
    assert (plain[112, 110] == 128).all()


@pytest.mark.parametrize("shift", [(-500, 0), (150, 150), (0, -80), (3000, 3000)])
def test_annotate_draws_faces_that_reach_outside(shift) -> None:
    landmarks = LANDMARKS + np.array(shift, np.float32)
    box = Box(FACE.box.x + shift[0], FACE.box.y + shift[1], FACE.box.width, FACE.box.height)
    assert annotate(GREY, ImageResult(220, 220, (replace(FACE, box=box, landmarks=landmarks),))).shape == GREY.shape


def test_describe_gives_a_line_for_every_requested_task() -> None:
    gender = Classification("female", 0.97, {})
    age = Age(34.4, 27.0, 42.1, 0.9, np.zeros(101, np.float32))
    face = replace(FACE, predictions={"age": age, "gender": gender, "mask": Classification("incorrect", 0.6, {})})
    assert describe(face) == ["34 years (27-42)", "female 97%", "mask worn wrongly 60%"]
    uncertain = Classification("uncertain", 0.4, {})
    unsure = replace(face, predictions={"gender": gender, "race": uncertain, "mask": uncertain})
    assert describe(unsure) == ["female 97%", "race uncertain", "mask uncertain"]


def test_annotate_rejects_other_arrays() -> None:
    with pytest.raises(ImageError):
        annotate(np.zeros((5, 5), np.uint8), ImageResult(5, 5, ()))
