import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oamface.alignment import template
from oamface.errors import FaceError, LabelError
from oamface.occlusion import HELD_OUT, MASK_POSITIONS, STYLES, occlude

MASKS = [name for name, style in STYLES.items() if style.is_mask]
INCORRECT = MASK_POSITIONS[1:]
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


@pytest.mark.parametrize("position", INCORRECT)
@pytest.mark.parametrize("style", MASKS)
def test_every_position_is_reproducible_and_varied(face, style, position) -> None:
    first, again, other = (occluded(face, style, position=position, seed=seed) for seed in (5, 5, 6))
    assert (first.image == again.image).all()
    assert (first.occlusion_mask == again.occlusion_mask).all()
    assert np.abs(first.occlusion_mask - other.occlusion_mask).mean() > 0.002


def hidden(face, style, position, point):
    """How much of a pixel is hidden, for ten masks."""
    x, y = np.round(point).astype(int)
    return [occluded(face, style, position=position, seed=seed).occlusion_mask[y, x] for seed in range(10)]


@pytest.mark.parametrize("style", MASKS)
def test_mask_positions_hide_nose_and_mouth_accordingly(face, style) -> None:
    nose, mouth = face[1][2], face[1][3:].mean(0)
    least = 0.1 if style == "transparent" else 0.9
    assert min(hidden(face, style, "correct", nose)) > least
    assert min(hidden(face, style, "correct", mouth)) > least
    assert min(hidden(face, style, "below_nose", mouth)) > least
    for position in INCORRECT:
        assert max(hidden(face, style, position, nose)) < 0.1
    for position in ("on_chin", "under_chin", "one_ear"):
        for point in (mouth, *face[1][3:]):
            assert max(hidden(face, style, position, point)) < 0.1


@pytest.mark.parametrize("style", MASKS)
def test_askew_mask_leaves_more_free_on_one_side(face, style) -> None:
    for seed in range(10):
        mask = occluded(face, style, position="askew", seed=seed).occlusion_mask
        left, right = (int(np.argmax(mask[:, column] > 0.1)) for column in (48, 80))  # rows of the upper edge
        assert abs(left - right) >= 6


@pytest.mark.parametrize("style", MASKS)
def test_mask_under_chin_has_straps_on_both_cheeks(face, style) -> None:
    eyes, mouth = face[1][:2].mean(0), face[1][3:].mean(0)
    row = round(float(eyes[1] + 0.4 * (mouth - eyes)[1]))
    for seed in range(10):
        mask = occluded(face, style, position="under_chin", seed=seed).occlusion_mask
        assert mask[row, :45].max() > 0.3
        assert mask[row, 83:].max() > 0.3
        assert mask[110:, 50:78].max() > 0.1


@pytest.mark.parametrize("style", MASKS)
def test_mask_on_one_ear_hangs_from_the_ear_that_shows(face, style) -> None:
    image, landmarks = face
    sides = {hanging_side((image, landmarks), style, seed) for seed in range(10)}
    assert sides == {"left", "right"}
    turned = landmarks + np.array([(0, 0), (0, 0), (12, 0), (0, 0), (0, 0)], np.float32)
    assert {hanging_side((image, turned), style, seed) for seed in range(5)} == {"left"}


def hanging_side(face, style, seed):
    mask = occluded(face, style, position="one_ear", seed=seed).occlusion_mask
    left, right = mask[:, :64].sum(), mask[:, 64:].sum()
    assert min(left, right) == 0
    return "left" if left else "right"


@pytest.mark.parametrize("style", MASKS)
def test_mask_below_nose_follows_a_head_bent_down(face, style) -> None:
    bent = face[1] + np.array([(0, 0), (0, 0), (0, 9), (0, 0), (0, 0)], np.float32)
    assert max(hidden((face[0], bent), style, "below_nose", bent[2])) < 0.1


def test_occluded_mask_label(face) -> None:
    for style in MASKS:
        assert occluded(face, style).mask == "worn"
        assert {occluded(face, style, position=position).mask for position in INCORRECT} == {"incorrect"}
    for style in OBJECTS:
        assert {occluded(face, style, position=position).mask for position in MASK_POSITIONS} == {"none"}


def test_beard_leaves_eyes_nose_and_lips_free(face) -> None:
    for seed in range(10):
        mask = occluded(face, "beard", seed=seed).occlusion_mask
        for point in (*face[1][:3], face[1][3:].mean(0)):
            x, y = point.round().astype(int)
            assert mask[y, x] < 0.1
        assert mask[112:122, 56:72].mean() > 0.15


def test_helmet_leaves_the_landmarks_free(face) -> None:
    for seed in range(10):
        mask = occluded(face, "helmet", seed=seed).occlusion_mask
        assert max(mask[y, x] for x, y in face[1].round().astype(int)) < 0.1
        assert mask[:20, 50:78].mean() > 0.5
        assert mask[110:, 60:68].max() > 0.5


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
    with pytest.raises(LabelError, match="umbrella"):
        occluded(face, "umbrella")
    with pytest.raises(LabelError, match="upside_down"):
        occluded(face, "surgical", position="upside_down")
