import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oamface.alignment import template
from oamface.errors import FaceError, LabelError
from oamface.occlusion import HELD_OUT, STYLES, WEARS, draw

MASKS = [name for name, style in STYLES.items() if style.mask]
OBJECTS = [name for name, style in STYLES.items() if not style.mask]


def cover(face, style, *, wear="right", seed=0):
    return draw(*face, style, np.random.default_rng(seed), wear=wear)


@pytest.mark.parametrize("style", STYLES)
def test_only_covered_pixels_and_their_shadow_change(face, style) -> None:
    drawn = cover(face, style)
    assert drawn.image.shape == face[0].shape
    assert drawn.image.dtype == np.uint8
    assert drawn.coverage.shape == face[0].shape[:2]
    assert 0 <= drawn.coverage.min() <= drawn.coverage.max() <= 1
    assert drawn.coverage.mean() > 0.01
    # What is far from everything drawn stays as it was.
    away = np.ones((128, 128), bool)
    rows, columns = np.nonzero(drawn.coverage > 0)
    away[max(0, rows.min() - 12) : rows.max() + 12, max(0, columns.min() - 12) : columns.max() + 12] = False
    assert (drawn.image[away] == face[0][away]).all()


@pytest.mark.parametrize("style", STYLES)
def test_coverage_follows_from_the_landmarks_alone(face, style) -> None:
    grey = np.full_like(face[0], 100)
    assert np.allclose(cover((grey, face[1]), style).coverage, cover(face, style).coverage)


@pytest.mark.parametrize("style", STYLES)
def test_the_same_seed_draws_the_same(face, style) -> None:
    assert (cover(face, style, seed=5).image == cover(face, style, seed=5).image).all()
    assert (cover(face, style, seed=5).image != cover(face, style, seed=6).image).any()


@pytest.mark.parametrize("style", MASKS)
def test_a_mask_covers_what_its_wear_says(face, style) -> None:
    nose, mouth = face[1][2], face[1][3:].mean(0)

    def hidden(wear, point):
        x, y = point.round().astype(int)
        return np.mean([cover(face, style, wear=wear, seed=seed).coverage[y, x] for seed in range(5)])

    least = 0.1 if style == "transparent" else 0.9
    assert hidden("right", nose) > least
    assert hidden("right", mouth) > least
    assert hidden("nose", nose) < 0.1
    assert hidden("nose", mouth) > least
    assert hidden("chin", mouth) < 0.1


def test_labels_tell_masks_from_other_things(face) -> None:
    for style in MASKS:
        assert [cover(face, style, wear=wear).mask for wear in WEARS] == ["worn", "incorrect", "incorrect"]
    assert {cover(face, style).mask for style in OBJECTS} == {"none"}


def test_masks_and_objects_are_held_out_for_evaluation() -> None:
    assert set(HELD_OUT) & set(MASKS)
    assert set(HELD_OUT) & set(OBJECTS)
    assert set(MASKS) - set(HELD_OUT)


@settings(max_examples=60, deadline=None)
@given(
    style=st.sampled_from(list(STYLES)),
    wear=st.sampled_from(WEARS),
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    scale=st.floats(0.05, 8),
    turn=st.floats(-3.2, 3.2),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_any_landmarks_on_any_picture(style, wear, shift, scale, turn, size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    around = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    landmarks = (template(64) - 32) * scale @ around + shift
    drawn = draw(image, landmarks, style, np.random.default_rng(1), wear=wear)
    assert drawn.image.shape == image.shape
    assert np.isfinite(drawn.coverage).all()


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), None])
def test_landmarks_that_are_no_face(face, landmarks) -> None:
    with pytest.raises(FaceError):
        draw(face[0], landmarks, "surgical", np.random.default_rng(0))


def test_unknown_names(face) -> None:
    with pytest.raises(LabelError, match="known are surgical"):
        cover(face, "helmet")
    with pytest.raises(LabelError, match="chin"):
        cover(face, "surgical", wear="sideways")
