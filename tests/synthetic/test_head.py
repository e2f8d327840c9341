import numpy as np
import pytest

from oamface.synthetic.head import EYE, MOUTH, SKIN, normals, stage_of
from oamface.synthetic.images import coefficients
from oamface.synthetic.people import Person
from oamface.synthetic.scene import Scene


def shaped(shapes, *people: Person, expression: str = "neutral") -> np.ndarray:
    return shapes.head.shape(coefficients(shapes, [(person, Scene(expression=expression)) for person in people]))


def test_years_become_stages() -> None:
    assert stage_of(np.array([1, 11, 25, 90])) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert float(stage_of(18)) == pytest.approx(0.5, abs=0.01)


def test_the_mesh_is_whole(shapes) -> None:
    head = shapes.head
    assert head.faces.min() == 0
    assert head.faces.max() == len(head.place) - 1
    assert {SKIN, EYE, MOUTH} == set(head.part)
    for values in (head.lips, head.lids, head.ears, head.open):
        assert values.min() >= 0
        assert values.max() <= 1
    assert head.landmarks.sum(1) == pytest.approx(1)
    away = head.place[head.part == SKIN]
    outward = normals(head.place, head.faces)[head.part == SKIN]
    assert np.mean(np.einsum("vk,vk->v", outward, away - (0, 60, -10)) > 0) > 0.75


def test_landmarks_lie_where_faces_have_them(shapes) -> None:
    """Left of the image first; the nose between, the mouth under it; symmetric on the average head."""
    left, right, nose, corner, other = shapes.head.landmarks @ shapes.head.place
    assert left[0] == pytest.approx(-right[0], abs=0.1)
    assert corner * (-1, 1, 1) == pytest.approx(other, abs=1.5)
    assert abs(nose[0]) < 0.5
    assert left[2] > nose[2] > corner[2]
    assert nose[1] < min(left[1], corner[1])


def test_proportions_are_those_of_people(shapes) -> None:
    """Eyes to mouth over the eyes' distance: 0.92 by our detector on real faces from in front, a tenth less or more."""
    people = [
        Person(30, gender, race, i)
        for i in range(10)
        for gender in ("male", "female")
        for race in ("White", "Black", "Asian")
    ]
    landmarks = np.einsum("kv,nvd->nkd", shapes.head.landmarks, shaped(shapes, *people))
    between = landmarks[:, 1, 0] - landmarks[:, 0, 0]
    mouth = -landmarks[:, 3:, 2].mean(1) / between
    assert mouth.min() > 0.85
    assert mouth.max() < 1.12
    assert np.mean(between) == pytest.approx(63, abs=4)  # mm


def test_children_are_smaller_and_men_larger_than_women(shapes) -> None:
    child, woman, man = shaped(
        shapes, Person(4, "female", "White", 1), Person(30, "female", "White", 1), Person(30, "male", "White", 1)
    )
    height = [float(np.ptp(points[:, 2])) for points in (child, woman, man)]
    assert height[0] < 0.85 * height[1]
    assert height[1] < height[2]


def test_ancestry_age_and_identity_change_the_shape(shapes) -> None:
    base = Person(30, "male", "White", 1)
    others = [
        Person(30, "male", "Black", 1),
        Person(30, "male", "Asian", 1),
        Person(75, "male", "White", 1),
        Person(30, "male", "White", 2),
    ]
    first, *rest = shaped(shapes, base, *others)
    assert all(np.abs(points - first).max() > 3 for points in rest)
    assert np.abs(shaped(shapes, base)[0] - first).max() < 1e-3


def test_expressions_move_the_mouth(shapes) -> None:
    person = Person(30, "female", "Black", 4)
    still, smile, talk = (shaped(shapes, person, expression=name)[0] for name in ("neutral", "smile", "talking"))
    landmarks = [shapes.head.landmarks @ points for points in (still, smile)]
    assert np.ptp(landmarks[1][3:, 0]) > np.ptp(landmarks[0][3:, 0]) + 2  # wider
    chin = np.argmin(np.abs(shapes.head.place - (0, -15, -113)).sum(1))
    assert talk[chin, 2] < still[chin, 2] - 2  # the jaw drops
