"""Reads a video file, camera or network stream: RGB frames in order, each with its time."""

import os
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes, urlsplit

from oamface.errors import VideoError
from oamface.images import RGBImage
from oamface.video.sources import TIMEOUT, DecodedFrame, StreamSource, open_source

RECONNECT = 3  # attempts in a row to reopen a live stream
_MAX_DELAY = 8.0  # seconds between two attempts
_END_TOLERANCE = 0.2  # seconds (and two frames) that a complete recording may end early

Warn = Callable[[str], object]


@dataclass(frozen=True)
class Frame:
    """number: from 0, dropped frames included. seconds: since the start. image: (H, W, 3) uint8 RGB."""

    number: int
    seconds: float
    image: RGBImage


@dataclass
class _Latest:
    """The newest frame of a live source, the seconds at which it arrived, and its number."""

    frame: DecodedFrame | None = None
    seconds: float = 0.0
    number: int = -1


class VideoReader:
    """The frames of a video, in order. Use it as a context manager and iterate over it once.

    source: a recording (path, file:// or http://), a camera (its number) or a stream (its address). A recording yields
    every frame at its presentation time. A live source (no duration) always yields its newest frame, at the time of
    its arrival; frames that come while the caller is busy are dropped, so that nothing lags.

    realtime: drop frames of a recording too, where the caller is slower than the video. reconnect: attempts in a row to
    reopen a live source that ended, fell silent or broke off. stop: ends the frames when set. warn: called with
    messages about lost connections.
    live, fps: of the source. dropped, damaged: frames so far that were skipped, or could not be decoded. reconnected:
    times that the source was reopened. incomplete: what is missing at the end; empty if nothing is.
    Raises VideoError: the source cannot be opened, or has no frame that can be decoded.
    """

    def __init__(
        self,
        source: str,
        *,
        realtime: bool = False,
        reconnect: int = RECONNECT,
        stop: threading.Event | None = None,
        warn: Warn = lambda text: None,
    ) -> None:
        self.source, self.dropped, self.reconnected, self.incomplete = source, 0, 0, ""
        self._realtime, self._reconnect, self._stop, self._warn = realtime, reconnect, stop or threading.Event(), warn
        self._download: Path | None = None
        self._damaged_before = 0  # in connections that were closed
        self._input = open_source(source, local_path(source))
        try:
            self._frames = self._open_frames()
        except BaseException:
            self._close()
            raise
        self.live, self.fps = self._input.duration is None, self._input.fps

    @property
    def damaged(self) -> int:
        return self._damaged_before + self._input.damaged

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._iterate_live() if self.live else self._iterate_recording():
            if self._stop.is_set():
                return
            yield frame

    def _close(self) -> None:
        self._input.close()
        if self._download is not None:
            self._download.unlink(missing_ok=True)

    def _open_frames(self) -> Iterator[DecodedFrame]:
        """The source's frames, of which the first is already decoded."""
        try:
            try:
                return _require_frame(self._input)
            except VideoError:
                if self._input.duration is None or not self.source.lower().startswith(("http:", "https:")):
                    raise
            # A file's index may lie at its end, which a server without byte ranges cannot give: download all of it.
            self._input.close()
            self._download = _download(self.source)
            self._input = StreamSource(self.source, f"file:{self._download}")
            return _require_frame(self._input)
        except VideoError as error:
            raise VideoError(f"{self.source}: has no frame that can be decoded ({error})") from error

    def _iterate_recording(self) -> Iterator[Frame]:
        """Every frame, at strictly increasing times."""
        interval = 1 / self.fps
        number, seconds, offset, end, started = 0, -interval, 0.0, 0.0, time.monotonic()
        try:
            for decoded in self._frames:
                previous, expected = seconds, seconds + interval
                seconds = expected if decoded.seconds is None else decoded.seconds + offset
                if seconds <= previous and number:
                    if previous - seconds > 1:  # two clips joined into one: the clock restarted
                        offset += expected - seconds
                    seconds = expected
                end = seconds + (decoded.duration or interval)
                late = time.monotonic() - started - seconds > interval
                if self._realtime and number and late:
                    self.dropped += 1
                else:
                    yield Frame(number, seconds, decoded.to_rgb())
                number += 1
        except VideoError as error:
            self.incomplete = f"breaks off after {end:.1f} seconds ({error})"
        else:
            duration = self._input.duration or 0.0
            if duration - end > _END_TOLERANCE + 2 * interval:
                self.incomplete = f"ends after {end:.1f} of {duration:.1f} seconds"

    def _iterate_live(self) -> Iterator[Frame]:
        """Always the newest frame; a thread reads on meanwhile."""
        latest, arrived, ended, started = _Latest(), threading.Condition(), threading.Event(), time.monotonic()

        def read() -> None:
            try:
                for decoded in self._read_with_reconnects(ended):
                    with arrived:
                        latest.frame, latest.seconds = decoded, time.monotonic() - started
                        latest.number += 1
                        arrived.notify()
            except Exception as error:  # this thread has no caller who would see it
                self.incomplete = f"the stream broke off ({error!r})"
            finally:
                ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        number = -1
        try:
            while not self._stop.is_set():
                finished = ended.is_set()  # checked before the frame is taken, or the last one could be missed
                with arrived:
                    arrived.wait_for(lambda number=number: latest.number > number, 0.0 if finished else 0.1)  # type: ignore[misc]
                    decoded, seconds, newest = latest.frame, latest.seconds, latest.number
                if decoded is not None and newest > number:
                    self.dropped += newest - number - 1
                    number = newest
                    yield Frame(number, seconds, decoded.to_rgb())
                elif finished:
                    return
        finally:
            ended.set()
            thread.join(2 * TIMEOUT)

    def _read_with_reconnects(self, ended: threading.Event) -> Iterator[DecodedFrame]:
        """The frames of a live source, reopened whenever it fails, until `ended` is set or no attempt is left."""
        attempts, frames, cause = 0, self._frames, "it ended"
        while not ended.is_set():
            try:
                for decoded in frames:
                    attempts = 0
                    yield decoded
                    if ended.is_set():
                        return
                cause = "it ended"
            except VideoError as error:
                cause = str(error)
            if attempts >= self._reconnect:
                self.incomplete = f"the stream was lost ({cause}); {attempts} attempts to reopen it failed"
                return
            attempts += 1
            self._warn(f"{self.source}: the stream was lost ({cause}); reopening it, attempt {attempts}")
            if ended.wait(min(2 ** (attempts - 2), _MAX_DELAY)):
                return
            frames = self._reopen()

    def _reopen(self) -> Iterator[DecodedFrame]:
        """The frames of the reopened source. Raises VideoError when the first is requested."""
        self._input.close()
        damaged = self._input.damaged
        self._input = open_source(self.source, local_path(self.source))
        self._damaged_before += damaged
        frames = _require_frame(self._input)
        self.reconnected += 1
        yield from frames


def local_path(source: str) -> Path | None:
    """The file that a source names by its path or by file://; None for cameras and other addresses."""
    if source.isdecimal():
        return None
    if source.lower().startswith("file://"):
        path = os.fsdecode(unquote_to_bytes(urlsplit(source).path))
        return Path(path.lstrip("/") if os.name == "nt" else path)
    return None if "://" in source else Path(source)


def _require_frame(frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
    """The same frames. Raises VideoError at once if there are none."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise VideoError("it ended at once")
    return chain([first], iterator)


def _download(address: str) -> Path:
    """A temporary copy of the file at an http address. Raises VideoError."""
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT) as response,
            tempfile.NamedTemporaryFile(prefix="oamface-", delete=False) as copy,
        ):
            try:
                shutil.copyfileobj(response, copy)
            except BaseException:
                Path(copy.name).unlink()
                raise
        return Path(copy.name)
    except (OSError, ValueError) as error:
        raise VideoError(f"{address}: cannot be downloaded ({error})") from error
