import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from oamface import video
from oamface.analyzer import Analyzer
from oamface.errors import FileError, VideoError
from oamface.video.video import Frames, analyze_video

TICKS = 60000
STEADY = [number / 25 for number in range(24)]


@pytest.fixture(scope="session")
def head(portrait):
    return np.ascontiguousarray(portrait[:256, 100:356])


@pytest.fixture(scope="session")
def analyzer():
    return Analyzer()


def written(path, images, times=STEADY, *, aspect=None, turn=None, codec="libx264", options=None):
    """Images, each shown at its time."""
    with av.open(str(path), "w", container_options=options or {}) as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        ticks = TICKS if codec == "libx264" else 25
        if codec == "libx264":
            stream.codec_context.time_base = Fraction(1, TICKS)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn)
        for image, seconds in zip(images, times, strict=False):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = Fraction(1, ticks)
            frame.pts = round(seconds / frame.time_base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def played(path):
    """The times and the sizes of a video's frames, read without oamface."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.pts * frame.time_base) for frame in frames], [(frame.width, frame.height) for frame in frames]


def grey(count, height=48, width=64):
    return [np.full((height, width, 3), 60 + number, np.uint8) for number in range(count)]


@pytest.fixture(scope="session")
def clip(head, tmp_path_factory):
    """A still face, 24 frames at 25 a second."""
    return written(tmp_path_factory.mktemp("clip") / "clip.mp4", [head] * 24)


def test_one_frame_a_second_is_one_person_in_every_frame(head, analyzer, tmp_path) -> None:
    path = written(tmp_path / "slow.mp4", [head] * 8, range(8))
    *lines, last = analyze_video(str(path), analyzer, every=5)
    assert [line["seconds"] for line in lines] == list(range(8))
    assert [[face["track"] for face in line["faces"]] for line in lines] == [[1]] * 8
    ((person),) = last["summary"]
    assert (person["frames"], person["first"]) == (8, 0)


def test_looks_far_apart_are_one_person(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, every=30)
    assert all(len(line["faces"]) == 1 for line in lines)
    assert len(last["summary"]) == 1
    for key in ("track", "box", "age", "gender", "race", "mask"):
        assert key in lines[0]["faces"][0]
    json.dumps([*lines, last])


def test_seconds_are_the_frames_own(tmp_path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.0, 1.5]
    with Frames(str(written(tmp_path / "variable.mp4", grey(6), times))) as frames:
        assert [frame.seconds for frame in frames] == pytest.approx(times, abs=1e-3)


def test_seconds_count_from_the_start_of_the_stream(tmp_path) -> None:
    with Frames(str(written(tmp_path / "late.mp4", grey(3), [5.0, 5.1, 5.3]))) as frames:
        assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.3], abs=1e-3)


def test_pixels_that_are_not_square_are_shown_as_on_a_screen(head, analyzer, tmp_path) -> None:
    path = written(tmp_path / "anamorphic.mp4", [head[:, ::2]] * 3, aspect=Fraction(2, 1))
    with Frames(str(path)) as frames:
        image = next(iter(frames)).image
    assert image.shape == head.shape
    assert np.abs(image.astype(int) - head).mean() < 8


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (-90, 3), (180, 2)])
def test_turned_videos_are_upright(head, tmp_path, turn, quarters) -> None:
    path = written(tmp_path / "turned.mp4", [head[:200]] * 3, turn=turn)
    with Frames(str(path)) as frames:
        image = next(iter(frames)).image
    right = np.rot90(head[:200], quarters)
    assert image.shape == right.shape
    assert np.abs(image.astype(int) - right).mean() < 8


def test_the_annotated_video_keeps_the_times(head, analyzer, tmp_path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.0, 1.5]
    path = written(tmp_path / "variable.mp4", [head] * 6, times)
    list(analyze_video(str(path), analyzer, annotated=tmp_path / "out.mp4"))
    assert played(tmp_path / "out.mp4")[0] == pytest.approx(times, abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "variable.mp4"]


def test_the_annotated_video_of_odd_and_changing_sizes(analyzer, tmp_path) -> None:
    writer = video.AnnotatedVideo(tmp_path / "out.mp4", 25.0, "0")
    for number, (height, width) in enumerate(((51, 65), (51, 65), (80, 40), (20, 200))):
        writer.add(np.full((height, width, 3), 99, np.uint8), [], number / 25)
    assert writer.close(whole=True) == tmp_path / "out.mp4"
    times, sizes = played(tmp_path / "out.mp4")
    assert times == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)
    assert set(sizes) == {(66, 52)}


def test_an_annotated_video_that_was_left_early_can_be_played(clip, analyzer, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    lines = analyze_video(str(clip), analyzer, annotated=out)
    assert [next(lines)["frame"], next(lines)["frame"]] == [0, 1]
    lines.close()
    assert len(played(out)[0]) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_an_error_midway_keeps_what_was_done(clip, analyzer, tmp_path, monkeypatch) -> None:
    follow = video.Tracker.update

    def update(self, frame, seconds):
        if seconds > 0.3:
            raise FileError("no more")
        return follow(self, frame, seconds)

    monkeypatch.setattr(video.Tracker, "update", update)
    old = tmp_path / "out.mp4"
    old.write_bytes(b"old")
    lines, told = [], []
    with pytest.raises(FileError):
        for line in analyze_video(str(clip), analyzer, annotated=old, warn=told.append):
            lines.append(line)
    assert lines[-1]["frames"] == len(lines) - 1 == 8
    assert len(lines[-1]["summary"]) == 1
    assert old.read_bytes() == b"old"
    (partial,) = set(tmp_path.iterdir()) - {old}
    assert len(played(partial)[0]) == 8
    assert partial.name in told[0]


def test_a_limit_ends_early(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, limit=3)
    assert len(lines) == last["frames"] == 3
    assert "incomplete" not in last


def test_a_recording_that_breaks_off_says_so(tmp_path) -> None:
    data = written(tmp_path / "whole.avi", grey(50), [n / 25 for n in range(50)], codec="mjpeg").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    for name, complete in (("whole.avi", True), ("cut.avi", False)):
        with Frames(str(tmp_path / name)) as frames:
            count = len(list(frames))
        assert (count == 50) == complete
        assert (not frames.incomplete) == complete


def test_damage_in_the_middle_is_skipped_and_counted(head, tmp_path) -> None:
    images = [np.roll(head, number, 0) for number in range(24)]
    path = written(tmp_path / "clip.mp4", images, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    half = len(data) * 3 // 4
    data[half : half + 400] = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    path.write_bytes(data)
    with Frames(str(path)) as frames:
        seen = list(frames)
    assert frames.damaged > 0
    assert 12 < len(seen) < 24
    assert seen[-1].seconds > 0.8


def test_frames_that_change_their_size(analyzer, head, tmp_path) -> None:
    """Two MPEG streams, one after the other in one file."""
    parts = [written(tmp_path / f"{size}.ts", [head[:size]] * 5, codec="mpeg2video") for size in (256, 208)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    *lines, last = analyze_video(str(tmp_path / "both.ts"), analyzer, annotated=tmp_path / "out.mp4")
    seconds = [line["seconds"] for line in lines]
    assert len(seconds) > 7
    assert seconds == sorted(set(seconds))
    assert len(played(tmp_path / "out.mp4")[0]) == last["frames"] == len(lines)


@pytest.mark.parametrize("kind", ["nothing", "empty", "text", "binary", "image", "folder", "sound"])
def test_what_is_no_video_is_a_clear_error_and_touches_nothing(kind, portrait, analyzer, tmp_path) -> None:
    path, out = tmp_path / "film.mp4", tmp_path / "out.mp4"
    out.write_bytes(b"old")
    if kind == "folder":
        path.mkdir()
    elif kind == "image":
        from PIL import Image

        Image.fromarray(portrait).save(path, "PNG")
    elif kind == "sound":
        with av.open(str(path), "w", format="wav") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    elif kind != "nothing":
        path.write_bytes({"empty": b"", "text": b"no video at all\n" * 100, "binary": bytes(range(256)) * 9}[kind])
    with pytest.raises(VideoError, match=r"film\.mp4") as refused:
        list(analyze_video(str(path), analyzer, annotated=out))
    assert "\n" not in str(refused.value)
    assert out.read_bytes() == b"old"
    assert {each.name for each in tmp_path.iterdir()} <= {"film.mp4", "out.mp4"}


def test_outputs_that_cannot_be_are_refused(clip, analyzer, tmp_path) -> None:
    linked = tmp_path / "linked.mp4"
    linked.symlink_to(clip)
    before = clip.read_bytes()
    for source in (str(clip), clip.as_uri()):
        for out in (clip, linked, tmp_path / "none" / "out.mp4", tmp_path / "out.avi"):
            with pytest.raises(FileError):
                list(analyze_video(source, analyzer, annotated=out))
    assert clip.read_bytes() == before
    assert list(tmp_path.iterdir()) == [linked]


def test_a_slow_machine_drops_frames_of_a_recording_and_does_not_lag(clip, analyzer, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(video.Tracker, "update", lambda self, frame, seconds: time.sleep(0.13) or [])
    out = tmp_path / "out.mp4"
    *lines, last = analyze_video(str(clip), analyzer, realtime=True, annotated=out)
    assert last["dropped"] > 8
    assert len(lines) + last["dropped"] == 24
    assert played(out)[0] == pytest.approx([line["seconds"] for line in lines], abs=2e-3)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder. ranges: whether parts can be had. drops: connections that break off after half."""

    ranges, drops = False, 0

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        asked = self.headers.get("Range") if self.ranges else None
        first = int(asked.split("=")[1].split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - first))
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        kind = type(self)
        until = len(data)
        if kind.drops:
            kind.drops, until = kind.drops - 1, (first + len(data)) // 2
        self.wfile.write(data[first:until])
        self.close_connection = True


@pytest.fixture
def served(tmp_path):
    """Serves tmp_path by a handler; gives the address."""
    servers = []

    def serve(handler) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def noise(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("faststart", [True, False])
def test_a_recording_by_http_gives_every_frame(served, tmp_path, ranges, faststart) -> None:
    written(tmp_path / "clip.mp4", noise(24), options={"movflags": "faststart"} if faststart else {})
    address = served(type("Ranged", (Handler,), {"ranges": ranges}))
    with Frames(f"{address}/clip.mp4") as frames:
        assert not frames.live
        seen = []
        for frame in frames:
            seen.append(frame.seconds)
            time.sleep(0.005)
    assert seen == pytest.approx(STEADY, abs=1e-3)
    assert (frames.dropped, frames.incomplete) == (0, "")


def test_a_recording_by_http_that_breaks_off_goes_on_or_says_so(served, tmp_path) -> None:
    written(tmp_path / "clip.mp4", noise(24), options={"movflags": "faststart"})
    for ranges in (True, False):
        address = served(type("Dropping", (Handler,), {"ranges": ranges, "drops": 1}))
        with Frames(f"{address}/clip.mp4") as frames:
            count = len(list(frames))
        assert (count == 24) == (not frames.incomplete)
        assert count > 0


def test_a_file_address_gives_every_frame(tmp_path) -> None:
    path = written(tmp_path / "with space #1.mp4", grey(10))
    with Frames(path.as_uri()) as frames:
        assert not frames.live
        assert len(list(frames)) == 10


def test_names_that_are_not_utf8_or_look_like_addresses(tmp_path) -> None:
    data = written(tmp_path / "clip.mp4", grey(3)).read_bytes()
    for name in (os.fsdecode(b"caf\xe9.mp4"), "a:b.mp4", "100%d.mp4"):
        (tmp_path / name).write_bytes(data)
        with Frames(str(tmp_path / name)) as frames:
            assert len(list(frames)) == 3


class Endless(Handler):
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


def test_a_stream_that_drops_is_opened_again_within_a_limit(served, tmp_path) -> None:
    written(tmp_path / "live.ts", noise(40), [number / 25 for number in range(40)], codec="mpeg2video")
    handler, told = type("Live", (Endless,), {"connections": 0}), []
    with Frames(f"{served(handler)}/live.ts", reconnect=2, warn=told.append) as frames:
        assert frames.live
        seconds = []
        for frame in frames:
            seconds.append(frame.seconds)
            time.sleep(0.05)
    assert seconds == sorted(set(seconds))
    assert frames.dropped > 0
    assert frames.reconnected == 1
    assert frames.incomplete
    assert handler.connections == 4  # the first, one again, and two that were refused
    assert len(told) == 3


class Camera:
    """What OpenCV makes of a camera: a frame every few milliseconds, then an end."""

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


def test_a_camera_gives_the_latest_frame_and_ends_when_it_breaks(monkeypatch) -> None:
    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    seen = []
    with Frames("1", reconnect=0) as frames:
        assert frames.live
        assert frames.rate == video.USUAL_RATE
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            seen.append((frame.number, int(frame.image[0, 0, 0])))
            time.sleep(0.05)
    assert frames.dropped > 10
    assert len(seen) + frames.dropped == 60
    assert all(number + value == 59 for number, value in seen)  # never an older image than its number says
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})


def test_a_camera_that_gives_nothing_is_a_clear_error(monkeypatch) -> None:
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: Camera(source, frames=0))
    with pytest.raises(VideoError):
        Frames("0")


def program(*arguments: object, **more) -> subprocess.Popen:
    path = Path(sys.executable).with_name("oamface")
    return subprocess.Popen(
        [path, "video", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_done(number, head, tmp_path) -> None:
    path, out = written(tmp_path / "long.mp4", [head] * 2000, [n / 25 for n in range(2000)]), tmp_path / "out.jsonl"
    out.write_text("old\n")
    running = program(path, "--json", out, "--annotate", tmp_path / "out.mp4", "--every", 1)
    drafts = [out]
    try:
        until = time.monotonic() + 60
        while not any(draft.stat().st_size > 3000 for draft in drafts) and time.monotonic() < until:
            drafts = list(tmp_path.glob(".oamface-*.jsonl")) or [out]
            time.sleep(0.05)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert out.read_text() == "old\n"
    *lines, last = [json.loads(line) for line in (tmp_path / "out.partial.jsonl").read_text().splitlines()]
    assert 0 < len(lines) < 2000
    assert last["frames"] == len(lines)
    assert len(last["summary"]) == 1
    assert len(played(tmp_path / "out.mp4")[0]) == len(lines)


def test_a_signal_sums_up_on_standard_output(head, tmp_path) -> None:
    path = written(tmp_path / "long.mp4", [head] * 2000, [n / 25 for n in range(2000)])
    running = program(path, "--every", 1, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    try:
        first = running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        rest, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    *lines, last = [json.loads(line) for line in (first + rest).splitlines()]
    assert last["frames"] == len(lines)


def test_the_program_refuses_its_source_as_an_output(clip, tmp_path) -> None:
    source, old = tmp_path / "clip.mp4", tmp_path / "old.jsonl"
    source.write_bytes(clip.read_bytes())
    old.write_text("old\n")
    for arguments in (
        (source, "--json", source),
        (source.as_uri(), "--annotate", source),
        (source, "--json", tmp_path / "same.mp4", "--annotate", tmp_path / "same.mp4"),
        (tmp_path / "nowhere.mp4", "--json", old),
    ):
        running = program(*arguments)
        said, error = running.communicate(timeout=60)
        assert (running.returncode, said) == (2, b"")
        assert len(error.splitlines()) == 1
    assert source.read_bytes() == clip.read_bytes()
    assert old.read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "old.jsonl"}
