"""Analyzes a video: one JSON-ready dictionary per frame, a summary of every track, and an annotated video."""

import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from oamface.analyzer import Analyzer
from oamface.errors import FileError, Interrupted
from oamface.results import SCHEMA, Face
from oamface.video.reader import RECONNECT, Frame, VideoReader, Warn, local_path
from oamface.video.tracker import Track, Tracker
from oamface.video.writer import VideoWriter


def analyze_video(
    source: str,
    analyzer: Analyzer,
    *,
    every: int = 5,
    realtime: bool = False,
    annotated: Path | None = None,
    limit: int | None = None,
    reconnect: int = RECONNECT,
    stop: threading.Event | None = None,
    warn: Warn = lambda text: None,
) -> Generator[dict[str, Any]]:
    """Yield a dictionary for every frame, and one with the summary at the end, even if an error follows.

    A frame has `frame`, `seconds` and `faces`, each with its `track`. The summary has the `frames` analyzed and
    `dropped`; `damaged`, `reconnected` and `incomplete` where they apply; and for every track when it was visible and
    the predictions averaged over all its frames. An analyzer with a policy also decides about every track: in a frame
    by its predictions so far, in the summary by all of them, or that there was no face.

    every: frames from one detection pass to the next. annotated: an .mp4 to write. limit: most frames to analyze.
    realtime, reconnect, stop, warn: see VideoReader. Raises VideoError (the source), FileError (the .mp4).
    """
    stop = stop or threading.Event()
    tracker = Tracker(analyzer, every=every)
    failure: Exception | None = None
    with VideoReader(source, realtime=realtime, reconnect=reconnect, stop=stop, warn=warn) as reader:
        path = local_path(source)
        inputs = [] if path is None else [path]
        writer = VideoWriter(annotated, reader.fps, inputs=inputs) if annotated is not None else None
        count, complete = 0, False
        try:
            for frame in reader:
                faces = tracker.update(frame.image, frame.seconds)
                if writer is not None:
                    writer.add(frame.image, faces, frame.seconds)
                count += 1
                yield _frame_to_dict(frame, faces)
                if count == limit:
                    break
            complete = not stop.is_set() and not reader.incomplete
        except Exception as error:
            failure = error
        finally:  # also where the caller closes the generator
            try:
                written = writer.close(complete=complete) if writer is not None else None
                if written is not None and written != annotated:
                    warn(f"{annotated}: was kept; the incomplete new video is {written}")
            except FileError as error:
                failure = failure or error
        if reader.incomplete:
            warn(f"{source}: {reader.incomplete}")
        yield _summary_to_dict(reader, count, tracker)
    if failure is not None:
        raise failure


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of cutting a line or a frame in two. For the main thread only.

    Raises Interrupted at the end if a signal came.
    """
    stop = threading.Event()

    def set_event(number: int, frame: FrameType | None) -> None:
        stop.set()

    handlers = {number: signal.signal(number, set_event) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if stop.is_set():
        raise Interrupted


def _frame_to_dict(frame: Frame, faces: Sequence[tuple[Track, Face]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "frame": frame.number,
        "seconds": round(frame.seconds, 3),
        "faces": [{"track": track.id, **face.to_dict()} for track, face in faces],
    }


def _summary_to_dict(reader: VideoReader, frames: int, tracker: Tracker) -> dict[str, Any]:
    problems = {"damaged": reader.damaged, "reconnected": reader.reconnected, "incomplete": reader.incomplete}
    policy = tracker.analyzer.policy
    nobody = {} if policy is None or tracker.tracks else {"decision": policy.decide(None).to_dict()}
    return {
        "schema": SCHEMA,
        "source": reader.source,
        "frames": frames,
        "dropped": reader.dropped,
        **{key: value for key, value in problems.items() if value},
        **nobody,
        "summary": [_track_to_dict(track, face) for track, face in tracker.summary()],
    }


def _track_to_dict(track: Track, face: Face) -> dict[str, Any]:
    """When a track was visible and its averaged predictions; where the face was last is left out."""
    visible = {"first": round(track.first, 3), "last": round(track.last, 3), "frames": track.frames}
    predictions = {key: value for key, value in face.to_dict().items() if key not in ("box", "score", "landmarks")}
    return {"track": track.id, **visible, **predictions}
