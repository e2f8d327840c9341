import numpy as np
import pytest

from helpers.videos import write_video
from oamface.analyzer import Analyzer


@pytest.fixture(scope="session")
def head(portrait):
    """A face, (256, 256, 3)."""
    return np.ascontiguousarray(portrait[:256, 100:356])


@pytest.fixture(scope="session")
def analyzer():
    return Analyzer()


@pytest.fixture(scope="session")
def clip(head, tmp_path_factory):
    """A still face, 24 frames at 25 per second."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", [head] * 24)
