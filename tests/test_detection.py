from dataclasses import replace

import numpy as np

from oamface.detection import assumed, moved, prominent
from oamface.results import Box


def test_prominent_prefers_a_score_to_none() -> None:
    unscored = assumed(Box(30, 30, 40, 40))
    scored = replace(assumed(Box(0, 0, 20, 20)), score=0.5)
    image = np.zeros((100, 100, 3), np.uint8)
    assert prominent([unscored, scored], image) is prominent([scored, unscored], image) is scored


def test_moved_keeps_whether_landmarks_are_assumed() -> None:
    face = moved(assumed(Box(1, 2, 10, 20)), np.array([[2.0, 0, 3], [0, 2, 4]]))
    assert face.box == Box(5, 8, 20, 40)
    assert face.assumed
    assert np.isnan(face.score)
