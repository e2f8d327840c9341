import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers.program import error_of
from helpers.videos import gray_frames, noise_frames, read_video, write_video
from oamface.age_policy import AgePolicy
from oamface.analyzer import Analyzer
from oamface.errors import FileError, VideoError
from oamface.video import Tracker, analyze_video

pytestmark = pytest.mark.slow


def test_analyze_video_at_one_frame_per_second_gives_one_track(head, analyzer, tmp_path) -> None:
    path = write_video(tmp_path / "slow.mp4", [head] * 8, range(8))
    *lines, last = analyze_video(str(path), analyzer, every=5)
    assert [line["seconds"] for line in lines] == list(range(8))
    assert [[face["track"] for face in line["faces"]] for line in lines] == [[1]] * 8
    ((person),) = last["summary"]
    assert (person["frames"], person["first"]) == (8, 0)


def test_analyze_video_with_rare_detection_passes_gives_one_track(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, every=30)
    assert all(len(line["faces"]) == 1 for line in lines)
    assert len(last["summary"]) == 1
    for key in ("track", "box", "age", "gender", "race", "mask"):
        assert key in lines[0]["faces"][0]
    json.dumps([*lines, last])


def test_annotated_video_keeps_presentation_times(head, analyzer, tmp_path) -> None:
    times = [0, 0.04, 0.08, 0.5, 1.0, 1.5]
    path = write_video(tmp_path / "variable.mp4", [head] * 6, times)
    list(analyze_video(str(path), analyzer, annotated=tmp_path / "out.mp4"))
    assert read_video(tmp_path / "out.mp4")[0] == pytest.approx(times, abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "variable.mp4"]


def test_annotated_video_is_playable_after_generator_is_closed(clip, analyzer, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    lines = analyze_video(str(clip), analyzer, annotated=out)
    assert [next(lines)["frame"], next(lines)["frame"]] == [0, 1]
    lines.close()
    assert len(read_video(out)[0]) == 2
    assert list(tmp_path.iterdir()) == [out]


def test_error_midway_keeps_summary_and_partial_video(clip, analyzer, tmp_path, monkeypatch) -> None:
    original = Tracker.update

    def update(self, frame, seconds):
        if seconds > 0.3:
            raise FileError("no more")
        return original(self, frame, seconds)

    monkeypatch.setattr(Tracker, "update", update)
    old = tmp_path / "out.mp4"
    old.write_bytes(b"old")
    lines, warnings = [], []
    with pytest.raises(FileError):
        for line in analyze_video(str(clip), analyzer, annotated=old, warn=warnings.append):
            lines.append(line)
    assert lines[-1]["frames"] == len(lines) - 1 == 8
    assert len(lines[-1]["summary"]) == 1
    assert old.read_bytes() == b"old"
    (partial,) = set(tmp_path.iterdir()) - {old}
    assert len(read_video(partial)[0]) == 8
    assert partial.name in warnings[0]


def test_policy_decides_about_every_track_and_refers_a_video_without_a_face(head, tmp_path) -> None:
    analyzer = Analyzer("oam-small", policy=AgePolicy(18, challenge=25, max_false_accept=0.5))
    path = write_video(tmp_path / "faces.mp4", [head] * 3)
    *frames, last = analyze_video(str(path), analyzer, annotated=tmp_path / "out.mp4")
    assert [line["faces"][0]["decision"]["outcome"] for line in frames] == ["accept"] * 3
    assert last["summary"][0]["decision"] == frames[-1]["faces"][0]["decision"]
    assert "decision" not in last
    empty = write_video(tmp_path / "empty.mp4", gray_frames(3))
    *_, last = analyze_video(str(empty), analyzer)
    assert last["decision"] == {"outcome": "refer", "probability": None, "reasons": ["no face"]}


def test_limit_stops_after_so_many_frames(clip, analyzer) -> None:
    *lines, last = analyze_video(str(clip), analyzer, limit=3)
    assert len(lines) == last["frames"] == 3
    assert "incomplete" not in last


def test_incomplete_recording_replaces_no_video(clip, analyzer, tmp_path) -> None:
    cut, out, messages = tmp_path / "cut.mp4", tmp_path / "out.mp4", []
    write_video(tmp_path / "whole.mp4", noise_frames(24), options={"movflags": "faststart"})
    data = (tmp_path / "whole.mp4").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    out.write_bytes(b"old")
    *_, last = analyze_video(str(cut), analyzer, annotated=out, warn=messages.append)
    assert last["incomplete"]
    assert out.read_bytes() == b"old"
    assert any("was kept" in text for text in messages)


def test_analyze_video_with_changing_frame_size(analyzer, head, tmp_path) -> None:
    """Two MPEG streams, one after the other in one file."""
    parts = [write_video(tmp_path / f"{size}.ts", [head[:size]] * 5, codec="mpeg2video") for size in (256, 208)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    *lines, last = analyze_video(str(tmp_path / "both.ts"), analyzer, annotated=tmp_path / "out.mp4")
    seconds = [line["seconds"] for line in lines]
    assert len(seconds) > 7
    assert seconds == sorted(set(seconds))
    assert len(read_video(tmp_path / "out.mp4")[0]) == last["frames"] == len(lines)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "binary", "image", "folder", "sound"])
def test_analyze_video_rejects_non_videos_and_keeps_output(kind, portrait, analyzer, tmp_path) -> None:
    path, out = tmp_path / "film.mp4", tmp_path / "out.mp4"
    out.write_bytes(b"old")
    if kind == "folder":
        path.mkdir()
    elif kind == "image":
        Image.fromarray(portrait).save(path, "PNG")
    elif kind == "sound":
        with av.open(str(path), "w", format="wav") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"no video at all\n" * 100, "binary": bytes(range(256)) * 9}[kind])
    with pytest.raises(VideoError, match=r"film\.mp4") as rejected:
        list(analyze_video(str(path), analyzer, annotated=out))
    assert "\n" not in str(rejected.value)
    assert out.read_bytes() == b"old"
    assert {file.name for file in tmp_path.iterdir()} <= {"film.mp4", "out.mp4"}


def test_analyze_video_rejects_invalid_outputs(clip, analyzer, tmp_path) -> None:
    linked = tmp_path / "linked.mp4"
    linked.symlink_to(clip)
    before = clip.read_bytes()
    for source in (str(clip), clip.as_uri()):
        for out in (clip, linked, tmp_path / "none" / "out.mp4", tmp_path / "out.avi"):
            with pytest.raises(FileError):
                list(analyze_video(source, analyzer, annotated=out))
    assert clip.read_bytes() == before
    assert list(tmp_path.iterdir()) == [linked]


def test_realtime_drops_frames_of_a_recording(clip, analyzer, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(Tracker, "update", lambda self, frame, seconds: time.sleep(0.13) or [])
    out = tmp_path / "out.mp4"
    *lines, last = analyze_video(str(clip), analyzer, realtime=True, annotated=out)
    assert last["dropped"] > 8
    assert len(lines) + last["dropped"] == 24
    assert read_video(out)[0] == pytest.approx([line["seconds"] for line in lines], abs=2e-3)


def run_video_command(*arguments: object, **options) -> subprocess.Popen:
    program = Path(sys.executable).with_name("oamface")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([program, "video", *map(str, arguments)], **pipes, **options)


@pytest.fixture(scope="session")
def long_clip(head, tmp_path_factory):
    """A still face, 500 frames at 25 per second."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_video(path, [head] * 500, [number / 25 for number in range(500)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_keeps_lines_summary_and_video(number, long_clip, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")
    process = run_video_command(long_clip, "--output", out, "--annotate", tmp_path / "out.mp4", "--every", 1)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if any(draft.stat().st_size > 3000 for draft in tmp_path.glob(".oamface-*.jsonl")):
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert out.read_text() == "old\n"
    *lines, last = [json.loads(line) for line in (tmp_path / "out.partial.jsonl").read_text().splitlines()]
    assert 0 < len(lines) < 500
    assert last["frames"] == len(lines)
    assert len(last["summary"]) == 1
    assert len(read_video(tmp_path / "out.mp4")[0]) == len(lines)


def test_signal_prints_summary_to_stdout(long_clip) -> None:
    process = run_video_command(long_clip, "--every", 1, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    try:
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    *lines, last = [json.loads(line) for line in (first + rest).splitlines()]
    assert last["frames"] == len(lines)


def test_video_command_rejects_its_source_as_output(clip, tmp_path, capsys) -> None:
    source, old = tmp_path / "clip.mp4", tmp_path / "old.jsonl"
    source.write_bytes(clip.read_bytes())
    old.write_text("old\n")
    source_link, annotated_link = tmp_path / "source.jsonl", tmp_path / "annotated.jsonl"
    source_link.symlink_to(source)
    annotated_link.symlink_to(tmp_path / "annotated.mp4")
    for arguments in (
        (source, "--output", source),
        (source, "--output", source_link),
        (source.as_uri(), "--annotate", source),
        (source, "--output", annotated_link, "--annotate", tmp_path / "annotated.mp4"),
        (tmp_path / "missing.mp4", "--output", old),
    ):
        error_of(capsys, "video", *arguments)
    assert source.read_bytes() == clip.read_bytes()
    assert old.read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "old.jsonl", "source.jsonl", "annotated.jsonl"}
