from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from oamface.annotate import annotate, describe, place_labels
from oamface.errors import ImageError
from oamface.label_placement import overlap
from oamface.results import Age, AgeDecision, Box, Classification, Face, ImageResult

LANDMARKS = np.array([[90, 90], [130, 90], [110, 112], [93, 135], [127, 135]], np.float32)
FACE = Face(Box(70.0, 55.0, 80.0, 105.0), LANDMARKS, 0.9, 0.8, {}, attention=np.ones((6, 6), np.float32))
GREY = np.full((220, 220, 3), 128, np.uint8)


def test_annotate_draws_on_a_copy() -> None:
    before = GREY.copy()
    drawn = annotate(GREY, ImageResult(220, 220, (FACE,)))
    assert (before == GREY).all()
    assert drawn.shape == GREY.shape
    assert (annotate(GREY, ImageResult(220, 220, ())) == GREY).all()


def test_visible_parts_are_tinted_blue_and_occluded_ones_vermilion() -> None:
    visible = annotate(GREY, ImageResult(220, 220, (FACE,)))[112, 110].astype(int)
    hidden = replace(FACE, attention=np.zeros((6, 6), np.float32))
    occluded = annotate(GREY, ImageResult(220, 220, (hidden,)))[112, 110].astype(int)
    assert visible[2] > visible[0]
    assert occluded[0] > occluded[2]
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


TEXT = ("34 years (27-42)", "female 97%", "mask 99%")
IMAGE = (640, 400)
EDGE = st.floats(-40, 640, allow_nan=False)
SIDE = st.floats(4, 300, allow_nan=False)
BOXES = st.lists(st.builds(Box, EDGE, EDGE, SIDE, SIDE), min_size=1, max_size=25)


@settings(deadline=None, max_examples=60)
@given(boxes=BOXES)
def test_labels_lie_inside_the_image_and_over_no_other_face_or_label(boxes) -> None:
    labels = place_labels(boxes, [TEXT] * len(boxes), IMAGE)
    assert len(labels) == len(boxes)
    placed = [(number, label.place) for number, label in enumerate(labels) if label is not None]
    for number, place in placed:
        left, top, right, bottom = place.xyxy
        assert left >= 0 and top >= 0 and right <= IMAGE[0] and bottom <= IMAGE[1]
        assert not any(overlap(place, box) for other, box in enumerate(boxes) if other != number)
    assert not any(overlap(one, other) for (_, one), (_, other) in combinations(placed, 2))


@pytest.mark.parametrize(
    ("box", "side"),
    [
        (Box(250, 100, 100, 130), "below"),
        (Box(250, 260, 100, 130), "above"),
        (Box(100, 5, 150, 390), "beside"),
    ],
)
def test_label_touches_its_face_below_above_or_beside(box, side) -> None:
    (label,) = place_labels([box], [TEXT], IMAGE)
    assert label is not None
    left, top, right, bottom = label.place.xyxy
    x1, y1, x2, y2 = box.xyxy
    found = {"below": top == y2, "above": bottom == y1, "beside": left == x2 or right == x1}
    assert found[side] and not overlap(label.place, box)


def test_label_is_smaller_where_room_is_short_and_left_out_where_there_is_none() -> None:
    alone = place_labels([Box(250, 100, 100, 130)], [TEXT], IMAGE)[0]
    crowd = [Box(x, y, 100, 130) for x in range(0, 640, 160) for y in (20, 200)]
    sizes = [label.size for label in place_labels(crowd, [TEXT] * len(crowd), IMAGE) if label is not None]
    assert len(sizes) == len(crowd) and min(sizes) < alone.size
    assert place_labels([Box(0, 0, 640, 400), Box(10, 10, 100, 100)], [TEXT] * 2, IMAGE)[1] is None
    assert place_labels([Box(0, 0, 12, 12)], [TEXT], (12, 12)) == [None]
    assert place_labels([Box(900, 0, 50, 50)], [TEXT], IMAGE) == [None]


def luminance(colour) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in colour / 255]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_text_contrasts_with_its_plate_on_any_ground(ground) -> None:
    gender = Classification("female", 0.97, {})
    face = replace(FACE, predictions={"gender": gender})
    drawn = annotate(np.full((220, 220, 3), ground, np.uint8), ImageResult(220, 220, (face,)), attention=False)
    (label,) = place_labels([face.box], [tuple(describe(face))], (220, 220))
    x, y, width, height = (int(value) for value in label.place)
    plate = drawn[y : y + height, x + label.size // 2 : x + width].reshape(-1, 3)  # right of the coloured bar
    colours, counts = np.unique(plate, axis=0, return_counts=True)
    by_luminance = sorted(luminance(colour) for colour in colours)
    background = luminance(colours[counts.argmax()])
    assert (by_luminance[-1] + 0.05) / (background + 0.05) >= 4.5
    assert len(colours) > 2  # letters, not a plain plate


def test_uncertain_masks_and_assumed_faces_have_dashed_boxes() -> None:
    def edge(face: Face) -> int:
        drawn = annotate(GREY, ImageResult(220, 220, (face,)), attention=False)
        return int((drawn[60:150, 70] != 128).any(-1).sum())  # the left edge, above the label

    uncertain = replace(FACE, predictions={"mask": Classification("uncertain", 0.4, {})})
    worn = replace(FACE, predictions={"mask": Classification("worn", 0.9, {})})
    assert edge(worn) == 90
    assert edge(uncertain) < 80
    assert edge(replace(FACE, detected=False)) < 80


def test_mask_states_differ_without_colour() -> None:
    labels = ("none", "incorrect", "worn", "uncertain")
    faces = [replace(FACE, predictions={"mask": Classification(label, 0.9, {})}) for label in labels]
    assert len({tuple(describe(face)) for face in faces}) == 4


OUTCOMES = ("accept", "refer", "refuse")
# Severe forms of the three kinds of colour blindness, for linear RGB: Machado, Oliveira and Fernandes (2009).
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def decided(outcome: str) -> Face:
    predictions = {"gender": Classification("female", 0.97, {}), "mask": Classification("worn", 0.9, {})}
    return replace(FACE, predictions=predictions, decision=AgeDecision(outcome, 0.9))


def test_decision_is_the_first_word_of_a_label() -> None:
    assert [describe(decided(outcome))[0] for outcome in OUTCOMES] == [*OUTCOMES]
    assert describe(decided("refer"))[1:] == describe(replace(decided("refer"), decision=None))


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_of_decisions_differ_for_colour_blind_readers(blindness) -> None:
    labs = []
    for outcome in OUTCOMES:
        drawn = annotate(GREY, ImageResult(220, 220, (decided(outcome),)), attention=False)
        colour = drawn[100, 70] / 255  # on the left edge of the box
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        seen = np.clip(BLINDNESS[blindness] @ linear, 0, 1)
        labs.append(rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)))
    assert min(np.linalg.norm(one - other) for one, other in combinations(labs, 2)) > 20  # 2.3 can just be seen


def test_decision_about_an_image_without_a_face_is_drawn_where_it_fits() -> None:
    refer = AgeDecision("refer", None, ("no face",))
    drawn = annotate(GREY, ImageResult(220, 220, (), decision=refer))
    assert (drawn[:20, :4] != 128).all() and (drawn[100:] == 128).all()
    small = np.full((9, 9, 3), 128, np.uint8)
    assert (annotate(small, ImageResult(9, 9, (), decision=refer)) == small).all()


def test_title_and_decision_share_the_first_line() -> None:
    texts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oamface.annotate.place_labels", lambda boxes, lines, size: texts.extend(lines) or [None])
        annotate(GREY, ImageResult(220, 220, (decided("refer"),)), titles=["#7"])
    assert texts == [("#7 refer", "female 97%", "mask 90%")]


def test_titles_come_first() -> None:
    face = replace(FACE, predictions={"gender": Classification("female", 0.97, {})})
    result = ImageResult(220, 220, (face,))
    plain, titled = annotate(GREY, result), annotate(GREY, result, titles=["#7"])
    assert (plain != titled).any()
