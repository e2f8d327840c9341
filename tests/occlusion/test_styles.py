import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oamface.alignment import template
from oamface.errors import FaceError, LabelError
from oamface.occlusion import HELD_OUT, MASK_POSITIONS, STYLES, occlude

MASKS = [name for name, style in STYLES.items() if style.is_mask]
OBJECTS = [name for name, style in STYLES.items() if not style.is_mask]


def occluded(face, style, *, position="correct", seed=0):
    return occlude(*face, style, np.random.default_rng(seed), position=position)


@pytest.mark.parametrize("style", STYLES)
def test_occlude_changes_only_pixels_near_the_occluder(face, style) -> None:
    result = occluded(face, style)
    assert result.image.shape == face[0].shape
    assert result.image.dtype == np.uint8
    assert result.occlusion_mask.shape == face[0].shape[:2]
    assert 0 <= result.occlusion_mask.min() <= result.occlusion_mask.max() <= 1
    assert result.occlusion_mask.mean() > 0.01
    away = np.ones((128, 128), bool)
    rows, columns = np.nonzero(result.occlusion_mask > 0)
    away[max(0, rows.min() - 12) : rows.max() + 12, max(0, columns.min() - 12) : columns.max() + 12] = False
    assert (result.image[away] == face[0][away]).all()


@pytest.mark.parametrize("style", STYLES)
def test_occlusion_mask_depends_on_landmarks_only(face, style) -> None:
    grey = np.full_like(face[0], 100)
    assert np.allclose(occluded((grey, face[1]), style).occlusion_mask, occluded(face, style).occlusion_mask)


@pytest.mark.parametrize("style", STYLES)
def test_occlude_is_reproducible(face, style) -> None:
    assert (occluded(face, style, seed=5).image == occluded(face, style, seed=5).image).all()
    assert (occluded(face, style, seed=5).image != occluded(face, style, seed=6).image).any()


@pytest.mark.parametrize("style", MASKS)
def test_mask_positions_hide_nose_and_mouth_accordingly(face, style) -> None:
    nose, mouth = face[1][2], face[1][3:].mean(0)

    def hidden(position, point):
        x, y = point.round().astype(int)
        return np.mean([occluded(face, style, position=position, seed=seed).occlusion_mask[y, x] for seed in range(5)])

    least = 0.1 if style == "transparent" else 0.9
    assert hidden("correct", nose) > least
    assert hidden("correct", mouth) > least
    assert hidden("below_nose", nose) < 0.1
    assert hidden("below_nose", mouth) > least
    assert hidden("on_chin", mouth) < 0.1


def test_occluded_mask_label(face) -> None:
    for style in MASKS:
        assert [occluded(face, style, position=position).mask for position in MASK_POSITIONS] == [
            "worn",
            "incorrect",
            "incorrect",
        ]
    assert {occluded(face, style).mask for style in OBJECTS} == {"none"}


def test_held_out_styles_include_masks_and_objects() -> None:
    assert set(HELD_OUT) & set(MASKS)
    assert set(HELD_OUT) & set(OBJECTS)
    assert set(MASKS) - set(HELD_OUT)


@settings(max_examples=60, deadline=None)
@given(
    style=st.sampled_from(list(STYLES)),
    position=st.sampled_from(MASK_POSITIONS),
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    scale=st.floats(0.05, 8),
    turn=st.floats(-3.2, 3.2),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_occlude_accepts_any_landmarks_and_image_size(style, position, shift, scale, turn, size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    around = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    landmarks = (template(64) - 32) * scale @ around + shift
    result = occlude(image, landmarks, style, np.random.default_rng(1), position=position)
    assert result.image.shape == image.shape
    assert np.isfinite(result.occlusion_mask).all()


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), None])
def test_occlude_rejects_invalid_landmarks(face, landmarks) -> None:
    with pytest.raises(FaceError):
        occlude(face[0], landmarks, "surgical", np.random.default_rng(0))


def test_occlude_rejects_unknown_style_and_position(face) -> None:
    with pytest.raises(LabelError, match="helmet"):
        occluded(face, "helmet")
    with pytest.raises(LabelError, match="sideways"):
        occluded(face, "surgical", position="sideways")
