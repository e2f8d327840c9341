"""Videos, cameras and streams: frames in, lines of JSON and annotated frames out."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from oamface.analyzer import Analyzer
from oamface.annotate import annotate
from oamface.errors import FileError, VideoError
from oamface.faces import SCHEMA, Face, Photograph
from oamface.files import make_folder
from oamface.imaging import RGBImage
from oamface.tracks import Track, Tracker

USUAL_RATE = 25.0  # frames a second where a source does not say
WAIT = 5.0  # seconds for which a live source may stay silent


@dataclass(frozen=True)
class Frame:
    """number: from 0, counting those that were dropped. seconds: since the start. image: (H, W, 3) uint8 RGB."""

    number: int
    seconds: float
    image: RGBImage


class Frames:
    """The frames of a file, a camera (its number) or a stream (its address), in order. Use it as a context.

    A camera or stream is live: while a frame is worked on, newer ones replace each other, so that the next is always
    the latest and nothing lags. realtime: treat a file like that too. dropped: how many were skipped so far.
    A source that breaks off just ends. Raises VideoError: it cannot be opened, or gives not one frame.
    """

    def __init__(self, source: str, *, realtime: bool = False) -> None:
        self.source, self.dropped = source, 0
        camera = source.isdecimal()
        self.live = camera or "://" in source
        if not self.live and not Path(source).is_file():
            raise VideoError(f"{source}: no such file; name a video, a camera's number or a stream's address")
        self._paced = realtime and not self.live
        self._capture = cv2.VideoCapture(int(source) if camera else source)
        if not self._capture.isOpened():
            raise VideoError(f"{source}: cannot be opened as a video")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if np.isfinite(rate) and 1 <= rate <= 1000 else USUAL_RATE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        for frame in self._latest() if self.live else self._all():
            count += 1
            yield frame
        if not count:
            raise VideoError(f"{self.source}: holds no frame that can be read")

    def _all(self) -> Iterator[Frame]:
        number, began = 0, time.monotonic()
        while True:
            behind = (time.monotonic() - began) * self.rate - number if self._paced else 0
            if behind > 1 and number:  # a frame whose time has passed is not even decoded
                if not self._capture.grab():
                    return
                self.dropped += 1
                number += 1
                continue
            there, image = self._capture.read()
            if not there or image is None:
                return
            yield Frame(number, number / self.rate, _rgb(image))
            number += 1

    def _latest(self) -> Iterator[Frame]:
        newest: list[Any] = [None, -1]  # the picture, and its number
        fresh, ended, began = threading.Condition(), threading.Event(), time.monotonic()

        def read() -> None:
            while not ended.is_set():
                there, image = self._capture.read()
                with fresh:
                    if not there or image is None:
                        ended.set()
                    else:
                        newest[:] = [image, newest[1] + 1]
                    fresh.notify()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        number = -1
        try:
            while True:
                with fresh:
                    fresh.wait_for(lambda seen=number: newest[1] > seen or ended.is_set(), WAIT)  # type: ignore[misc]
                    image, latest = newest
                if latest <= number:
                    return
                self.dropped += latest - number - 1
                number = latest
                yield Frame(number, time.monotonic() - began, _rgb(image))
        finally:
            ended.set()
            with suppress(RuntimeError):
                reader.join(WAIT)


class AnnotatedVideo:
    """Writes frames with what was found into an .mp4; whole under its name only when closed without an error.

    Raises FileError: it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._draft, self._rate = path, path.with_name(f".draft-{path.stem}.mp4"), rate
        self._writer: Any = None
        make_folder(path.parent)

    def add(self, frame: RGBImage, faces: list[tuple[Track, Face]], repeat: int = 1) -> None:
        """repeat: how often the frame is shown, for those that were dropped before it."""
        height, width = frame.shape[:2]
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._draft), code, self._rate, (width, height))
            if not self._writer.isOpened():
                raise FileError(f"{self._path}: cannot be written; name an .mp4 in a folder that can")
        drawn = annotate(frame, Photograph(width, height, tuple(face for _, face in faces)), attention=False)
        for track, face in faces:
            at = (round(face.box[0]), max(12, round(face.box[1]) - 6))
            cv2.putText(drawn, f"#{track.number}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        for _ in range(repeat):
            self._writer.write(drawn[..., ::-1])

    def close(self, *, whole: bool) -> None:
        """Release the file; keep it if it is whole."""
        if self._writer is None:
            return
        self._writer.release()
        if whole and self._draft.exists() and self._draft.stat().st_size:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)
            if whole:
                raise FileError(f"{self._path}: nothing could be written; is there space?")


def analyze_video(
    source: str,
    analyzer: Analyzer,
    *,
    every: int = 5,
    realtime: bool = False,
    annotated: Path | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """One dictionary a frame (`frame`, `seconds`, `faces`, each with its `track`), and one `summary` at the end.

    The summary has the `frames` analysed and `dropped` and, for every track, when it was seen and what all its frames
    together say. every: frames between two looks for faces. annotated: an .mp4 to write. limit: frames to analyse.
    Raises VideoError (the source), FileError (the .mp4).
    """
    tracker, shown, last = Tracker(analyzer, every=every), 0, -1
    with Frames(source, realtime=realtime) as frames:
        writer = AnnotatedVideo(annotated, frames.rate) if annotated is not None else None
        whole = False
        try:
            for frame in frames:
                faces = tracker.update(frame.image, frame.seconds)
                if writer is not None:
                    writer.add(frame.image, faces, frame.number - last)
                last, shown = frame.number, shown + 1
                yield {
                    "schema": SCHEMA,
                    "frame": frame.number,
                    "seconds": round(frame.seconds, 3),
                    "faces": [{"track": track.number, **face.to_dict()} for track, face in faces],
                }
                if limit is not None and shown >= limit:
                    break
            whole = True
        finally:
            if writer is not None:
                writer.close(whole=whole)
        yield {
            "schema": SCHEMA,
            "source": source,
            "frames": shown,
            "dropped": frames.dropped,
            "summary": _tracks(tracker),
        }


def _tracks(tracker: Tracker) -> list[dict[str, Any]]:
    """What is known of every person that appeared; where the face was last is no part of it."""
    people = []
    for track, face in tracker.summary():
        answers = {key: value for key, value in face.to_dict().items() if key not in ("box", "score", "landmarks")}
        span = {"first": round(track.first, 3), "last": round(track.last, 3), "frames": track.frames}
        people.append({"track": track.number, **span, **answers})
    return people


def _rgb(image: Any) -> RGBImage:
    """OpenCV's frames are BGR, or grey from some cameras."""
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    frame: RGBImage = cv2.cvtColor(image, code)
    return frame
