import functools
import http.server
import os
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.videos import STEADY, gray_frames, noise_frames, write_video
from oamface.errors import VideoError
from oamface.video import VideoReader, sources


def test_reader_gives_presentation_times(tmp_path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.0, 1.5]
    with VideoReader(str(write_video(tmp_path / "variable.mp4", gray_frames(6), times))) as reader:
        assert [frame.seconds for frame in reader] == pytest.approx(times, abs=1e-3)


def test_reader_counts_seconds_from_start_of_stream(tmp_path) -> None:
    with VideoReader(str(write_video(tmp_path / "late.mp4", gray_frames(3), [5.0, 5.1, 5.3]))) as reader:
        assert [frame.seconds for frame in reader] == pytest.approx([0, 0.1, 0.3], abs=1e-3)


def test_reader_resamples_non_square_pixels(head, tmp_path) -> None:
    path = write_video(tmp_path / "anamorphic.mp4", [head[:, ::2]] * 3, aspect=Fraction(2, 1))
    with VideoReader(str(path)) as reader:
        image = next(iter(reader)).image
    assert image.shape == head.shape
    assert np.abs(image.astype(int) - head).mean() < 8


@pytest.mark.parametrize(("rotation", "quarters"), [(90, 1), (-90, 3), (180, 2)])
def test_reader_applies_rotation(head, tmp_path, rotation, quarters) -> None:
    path = write_video(tmp_path / "rotated.mp4", [head[:200]] * 3, rotation=rotation)
    with VideoReader(str(path)) as reader:
        image = next(iter(reader)).image
    upright = np.rot90(head[:200], quarters)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 8


def test_reader_reports_truncated_recording(tmp_path) -> None:
    data = write_video(tmp_path / "whole.avi", gray_frames(50), [n / 25 for n in range(50)], codec="mjpeg").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    for name, complete in (("whole.avi", True), ("cut.avi", False)):
        with VideoReader(str(tmp_path / name)) as reader:
            count = len(list(reader))
        assert (count == 50) == complete
        assert (not reader.incomplete) == complete


def test_reader_skips_and_counts_damaged_frames(head, tmp_path) -> None:
    images = [np.roll(head, number, 0) for number in range(24)]
    path = write_video(tmp_path / "clip.mp4", images, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    start = len(data) * 3 // 4
    data[start : start + 400] = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    path.write_bytes(data)
    with VideoReader(str(path)) as reader:
        frames = list(reader)
    assert reader.damaged > 0
    assert 12 < len(frames) < 24
    assert frames[-1].seconds > 0.8


class FileHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder. ranges: whether it takes range requests. drops: connections that break off after half."""

    ranges, drops = False, 0

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        requested = self.headers.get("Range") if self.ranges else None
        first = int(requested.split("=")[1].split("-")[0]) if requested else 0
        self.send_response(206 if requested else 200)
        self.send_header("Content-Length", str(len(data) - first))
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if requested:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        handler, end = type(self), len(data)
        if handler.drops:
            handler.drops, end = handler.drops - 1, (first + len(data)) // 2
        self.wfile.write(data[first:end])
        self.close_connection = True


@pytest.fixture
def serve(tmp_path):
    """A function that serves tmp_path by a handler and returns the address."""
    servers = []

    def start(handler) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("faststart", [True, False])
def test_reader_gives_every_frame_of_http_recording(serve, tmp_path, ranges, faststart) -> None:
    write_video(tmp_path / "clip.mp4", noise_frames(24), options={"movflags": "faststart"} if faststart else {})
    address = serve(type("Ranged", (FileHandler,), {"ranges": ranges}))
    with VideoReader(f"{address}/clip.mp4") as reader:
        assert not reader.live
        seconds = []
        for frame in reader:
            seconds.append(frame.seconds)
            time.sleep(0.005)
    assert seconds == pytest.approx(STEADY, abs=1e-3)
    assert (reader.dropped, reader.incomplete) == (0, "")


def test_reader_resumes_broken_http_recording_or_reports_it(serve, tmp_path) -> None:
    write_video(tmp_path / "clip.mp4", noise_frames(24), options={"movflags": "faststart"})
    for ranges in (True, False):
        address = serve(type("Dropping", (FileHandler,), {"ranges": ranges, "drops": 1}))
        with VideoReader(f"{address}/clip.mp4") as reader:
            count = len(list(reader))
        assert (count == 24) == (not reader.incomplete)
        assert count > 0


def test_reader_takes_file_urls(tmp_path) -> None:
    path = write_video(tmp_path / "with space #1.mp4", gray_frames(10))
    with VideoReader(path.as_uri()) as reader:
        assert not reader.live
        assert len(list(reader)) == 10


def test_reader_takes_names_that_are_not_utf8_or_look_like_addresses(tmp_path) -> None:
    data = write_video(tmp_path / "clip.mp4", gray_frames(3)).read_bytes()
    for name in (os.fsdecode(b"caf\xe9.mp4"), "a:b.mp4", "100%d.mp4"):
        (tmp_path / name).write_bytes(data)
        with VideoReader(str(tmp_path / name)) as reader:
            assert len(list(reader)) == 3


def test_reader_takes_metadata_that_is_not_utf8(tmp_path) -> None:
    path = write_video(tmp_path / "clip.mp4", gray_frames(3), metadata={"title": "café"})
    data = path.read_bytes()
    assert b"caf\xc3\xa9" in data
    path.write_bytes(data.replace(b"caf\xc3\xa9", b"caf\xe9\xe9"))
    with VideoReader(str(path)) as reader:
        assert len(list(reader)) == 3


def test_reader_takes_a_stream_of_which_no_size_is_known(monkeypatch) -> None:
    """As PyAV 19 opens it, which has no metadata_errors and gives None for a size."""
    stream = SimpleNamespace(average_rate=25, disposition=0)
    streams = SimpleNamespace(video=[stream], best=lambda kind: stream)
    container_format = SimpleNamespace(name="mov,mp4")
    opened = SimpleNamespace(format=container_format, metadata={}, streams=streams, duration=None, size=None)
    monkeypatch.setattr(sources.av, "open", lambda address, options, timeout: opened)
    monkeypatch.setattr(sources, "_OPEN_OPTIONS", {})
    assert sources.StreamSource("http://host/a.mp4", "http://host/a.mp4").duration is None


class LiveHandler(FileHandler):
    """A stream without a length, which the server drops after a second's frames."""

    connections = 0

    def do_GET(self) -> None:
        type(self).connections += 1
        if self.connections > 2:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        data = Path(self.translate_path(self.path)).read_bytes()
        for start in range(0, len(data), 8192):
            self.wfile.write(data[start : start + 8192])
            time.sleep(0.005)
        self.close_connection = True


def test_reader_reopens_lost_stream_up_to_limit(serve, tmp_path) -> None:
    write_video(tmp_path / "live.ts", noise_frames(40), [number / 25 for number in range(40)], codec="mpeg2video")
    handler, warnings = type("Live", (LiveHandler,), {"connections": 0}), []
    with VideoReader(f"{serve(handler)}/live.ts", reconnect=2, warn=warnings.append) as reader:
        assert reader.live
        seconds = []
        for frame in reader:
            seconds.append(frame.seconds)
            time.sleep(0.05)
    assert seconds == sorted(set(seconds))
    assert reader.dropped > 0
    assert reader.reconnected == 1
    assert reader.incomplete
    assert handler.connections == 4  # the first, one again, and two that got a 503
    assert len(warnings) == 3


class FakeCamera:
    """Stands in for cv2.VideoCapture: a frame every 10 ms, then an end."""

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


def test_reader_gives_latest_camera_frame_until_it_ends(monkeypatch) -> None:
    monkeypatch.setattr(sources.cv2, "VideoCapture", FakeCamera)
    frames = []
    with VideoReader("1", reconnect=0) as reader:
        assert reader.live
        assert reader.fps == sources.DEFAULT_FPS
        for frame in reader:
            assert frame.image.shape == (48, 64, 3)
            frames.append((frame.number, int(frame.image[0, 0, 0])))
            time.sleep(0.05)
    assert reader.dropped > 10
    assert len(frames) + reader.dropped == 60
    assert all(number + value == 59 for number, value in frames)  # each image has its own number
    assert [number for number, _ in frames] == sorted({number for number, _ in frames})


def test_reader_rejects_camera_without_frames(monkeypatch) -> None:
    monkeypatch.setattr(sources.cv2, "VideoCapture", lambda source: FakeCamera(source, frames=0))
    with pytest.raises(VideoError):
        VideoReader("0")
