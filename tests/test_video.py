import json
import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

from oamface import video
from oamface.analyzer import Analyzer
from oamface.errors import FileError, VideoError
from oamface.synth.people import Person
from oamface.synth.pictures import draw
from oamface.synth.scene import Scene
from oamface.video import Frames, analyze_video

LENGTH = 24


@pytest.fixture(scope="session")
def film(shapes, tmp_path_factory):
    """Two synthetic people who pass each other, 480 x 240 at 25 frames a second, as a list of RGB frames."""
    people = [Person(24, "female", "Asian", 3), Person(75, "male", "White", 8)]
    heads = [picture.image for picture in draw(shapes, people, [Scene(fill=0.8, noise=0.0)] * 2, size=176, workers=0)]
    frames = []
    for step in range(LENGTH):
        frame = np.full((240, 480, 3), 140, np.uint8)
        for head, x, y in ((heads[0], 10 + 2 * step, 10), (heads[1], 290 - 2 * step, 50)):
            frame[y : y + 176, x : x + 176] = head
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def clip(film, tmp_path_factory):
    return written(tmp_path_factory.mktemp("film") / "clip.avi", film)


@pytest.fixture(scope="session")
def analyzer():
    return Analyzer()


def written(path, frames):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def test_two_people_are_followed_and_summed_up(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, every=6)
    assert [line["frame"] for line in lines] == list(range(LENGTH))
    assert lines[5]["seconds"] == pytest.approx(0.2)
    for line in lines:
        assert [face["track"] for face in sorted(line["faces"], key=lambda face: face["track"])] == [1, 2]
    assert last["frames"] == LENGTH
    assert last["dropped"] == 0
    people = {track["track"]: track for track in last["summary"]}
    assert all(track["frames"] == LENGTH for track in people.values())
    left = {line["faces"][0]["track"] for line in lines if line["faces"][0]["box"][0] < 200}
    assert left
    ages = sorted(track["age"]["years"] for track in people.values())
    assert ages[1] - ages[0] > 15
    json.dumps(lines)
    for face in ("track", "box", "age", "gender", "race", "mask"):
        assert face in lines[0]["faces"][0]


def test_boxes_move_with_the_people(clip, analyzer) -> None:
    *lines, _ = analyze_video(str(clip), analyzer, every=8)
    for number, pace in ((1, 2), (2, -2)):
        places = [next(face["box"][0] for face in line["faces"] if face["track"] == number) for line in lines]
        steps = [later - earlier for earlier, later in pairwise(places)]
        pace = pace if abs(np.median(steps) - pace) < abs(np.median(steps) + pace) else -pace
        assert np.median(steps) == pytest.approx(pace, abs=0.7)
        assert max(abs(step) for step in steps) < 9


def test_the_annotated_video_has_every_frame(clip, analyzer, tmp_path) -> None:
    out = tmp_path / "new" / "out.mp4"
    assert len(list(analyze_video(str(clip), analyzer, annotated=out))) == LENGTH + 1
    with Frames(str(out)) as frames:
        seen = [frame.image for frame in frames]
    assert len(seen) == LENGTH
    assert seen[0].shape == (240, 480, 3)
    assert [path.name for path in out.parent.iterdir()] == ["out.mp4"]


def test_an_annotated_video_that_was_interrupted_is_not_left_behind(clip, analyzer, tmp_path) -> None:
    lines = analyze_video(str(clip), analyzer, annotated=tmp_path / "out.mp4")
    next(lines)
    lines.close()
    assert not list(tmp_path.iterdir())


def test_a_limit_ends_early(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, limit=3)
    assert len(lines) == last["frames"] == 3


def test_a_video_that_breaks_off_ends(clip, analyzer, tmp_path) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    *lines, last = analyze_video(str(tmp_path / "cut.avi"), analyzer)
    assert 3 < len(lines) < LENGTH
    assert last["frames"] == len(lines)


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_what_is_no_video_is_a_clear_error(analyzer, tmp_path, content) -> None:
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=r"film\.mp4"):
        list(analyze_video(str(path), analyzer))


def test_nowhere_to_write_is_a_clear_error(clip, analyzer, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        list(analyze_video(str(clip), analyzer, annotated=tmp_path / "file" / "out.mp4"))


def test_a_slow_machine_drops_frames_of_a_file_and_does_not_lag(clip, analyzer, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(video.Tracker, "update", lambda self, frame, seconds: time.sleep(0.13) or [])
    out = tmp_path / "out.mp4"
    *lines, last = analyze_video(str(clip), analyzer, realtime=True, annotated=out)
    assert last["dropped"] > LENGTH / 3
    assert len(lines) + last["dropped"] == LENGTH
    with Frames(str(out)) as frames:
        assert len(list(frames)) == lines[-1]["frame"] + 1  # what was dropped is shown as the frame after it


class Stream:
    """What OpenCV makes of a stream: a frame every few milliseconds, then silence or an end."""

    def __init__(self, source, frames=60) -> None:
        self.left = frames

    def isOpened(self) -> bool:
        return True

    def get(self, what) -> float:
        return float("nan")

    def release(self) -> None:
        self.left = 0

    def read(self):
        time.sleep(0.01)
        self.left -= 1
        if self.left < 0:
            return False, None
        return True, np.full((48, 64), self.left, np.uint8)


def test_a_live_stream_gives_the_latest_frame_and_ends_when_it_breaks(monkeypatch) -> None:
    monkeypatch.setattr(video.cv2, "VideoCapture", Stream)
    seen = []
    with Frames("rtsp://camera/1") as frames:
        assert frames.live
        assert frames.rate == video.USUAL_RATE
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            seen.append((frame.number, int(frame.image[0, 0, 0])))
            time.sleep(0.05)
    assert frames.dropped > 10
    assert len(seen) + frames.dropped <= 60
    assert all(number + value == 59 for number, value in seen)  # never an older picture than its number says
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})


def test_a_camera_that_gives_nothing_is_a_clear_error(monkeypatch) -> None:
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: Stream(source, frames=0))
    with Frames("0") as frames, pytest.raises(VideoError, match="no frame"):
        list(frames)
