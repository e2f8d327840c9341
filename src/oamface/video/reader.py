"""Recordings, cameras and streams: frames in, lines of JSON and an annotated video out."""

import os
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urlsplit

import av
import av.error
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import Colorspace

from oamface.analyzer import Analyzer
from oamface.annotate import annotate
from oamface.atomic import OutputFile
from oamface.errors import FileError, Interrupted, VideoError
from oamface.images import RGBImage
from oamface.results import SCHEMA, Face, ImageResult
from oamface.video.tracker import Track, Tracker

USUAL_RATE = 25.0  # frames a second where a source does not say
WAIT = 5.0  # seconds for which an address may stay silent
RECONNECT = 3  # attempts in a row to open a stream again
_LONGEST_PAUSE = 8.0  # seconds between two of them
_TICKS = 60000  # a second, of the annotated video's clock: whole for 24, 25, 30 and 30000/1001 frames a second
_FAILURES = 100  # reads in a row that give nothing but damage
_HD = 720  # rows from which colours that a video does not name are those of BT.709, as players take them
_UNNAMED = 2  # the colour space of a video that names none (ITU-T H.273)
_IMAGE_BRANDS = {"avif", "heic", "heix", "mif1"}  # files that hold an image in the container of .mp4

Warn = Callable[[str], object]


@dataclass(frozen=True)
class Frame:
    """number: from 0, counting those that were dropped. seconds: since the start. image: (H, W, 3) uint8 RGB."""

    number: int
    seconds: float
    image: RGBImage


@dataclass(frozen=True)
class _Decoded:
    """seconds: when the frame is shown, by the source's own clock, if it says. lasts: seconds, 0 if unknown."""

    seconds: float | None
    lasts: float
    rgb: Callable[[], RGBImage]


def local_path(source: str) -> Path | None:
    """The file that a source names by its path or by file://; None for cameras and other addresses."""
    if source.isdecimal():
        return None
    if source.lower().startswith("file://"):
        path = os.fsdecode(unquote_to_bytes(urlsplit(source).path))
        return Path(path.lstrip("/") if os.name == "nt" else path)
    return None if "://" in source else Path(source)


class _Stream:
    """A file or an address that is open. length: seconds, None if it has no end. rate: frames a second on average.

    damaged: how many packets or frames could not be decoded so far. Raises VideoError.
    """

    def __init__(self, source: str, name: str) -> None:
        self.damaged = 0
        options = {"rtsp_transport": "tcp"} if name.startswith("rtsp") else {}
        if name.startswith("http"):  # a recording goes on where the connection broke, if the server can
            options = {"reconnect": "1", "reconnect_delay_max": "2"}
        timeout = None if name.startswith("file:") else WAIT
        try:
            self._container: Any = av.open(name, options=options, timeout=timeout, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"{source}: cannot be opened as a video ({_reason(error)})") from error
        try:
            self._stream = self._video(source)
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        rate = float(self._stream.average_rate or self._stream.guessed_rate or USUAL_RATE)
        self.rate = rate if 1e-3 <= rate <= 1000 else USUAL_RATE
        self.length = self._length(local=timeout is None)

    def _video(self, source: str) -> Any:
        kind, brand = self._container.format.name, self._container.metadata.get("major_brand")
        if kind == "image2" or kind.endswith("_pipe") or brand in _IMAGE_BRANDS:
            raise VideoError(f"{source}: is an image, not a video; use `oamface analyze`")
        streams = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if kind == "tty" or not streams:
            raise VideoError(f"{source}: holds no video; name a recording, a camera's number or a stream's address")
        best = self._container.streams.best("video")
        return best if best in streams else streams[0]

    def _length(self, *, local: bool) -> float | None:
        container, stream = self._container, self._stream
        if container.format.name == "avi" and stream.frames:  # its duration is guessed from the file's size
            return stream.frames / self.rate
        if container.duration:
            return container.duration / 1e6
        # A playlist has a size, but what it lists may go on for ever.
        return 0.0 if local or (container.format.name != "hls" and container.size > 0) else None

    def __iter__(self) -> Iterator[_Decoded]:
        start = self._stream.start_time
        aspect = self._stream.sample_aspect_ratio
        for frame in self._frames():
            start = frame.pts if start is None else start
            seconds = None if frame.pts is None else float((frame.pts - start) * frame.time_base)
            lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
            yield _Decoded(seconds, lasts, lambda frame=frame: _rgb(frame, aspect))  # type: ignore[misc]

    def _frames(self) -> Iterator[Any]:
        """What can be decoded, past all damage. Raises VideoError: the source breaks off."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            self.damaged += sum(frame.is_corrupt for frame in frames)
            yield from (frame for frame in frames if not frame.is_corrupt)

    def _packets(self) -> Iterator[Any]:
        failures = 0
        while failures < _FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except av.error.InvalidDataError:
                failures += 1
                self.damaged += 1
            except av.FFmpegError as error:
                raise VideoError(_reason(error)) from error

    def close(self) -> None:
        self._container.close()


class _Camera:
    """A camera by its number. OpenCV finds it on every system by the number alone. Raises VideoError."""

    length, damaged = None, 0

    def __init__(self, source: str) -> None:
        self._capture = cv2.VideoCapture(int(source))
        if not self._capture.isOpened():
            raise VideoError(f"{source}: there is no such camera, or another program uses it")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if np.isfinite(rate) and 1 <= rate <= 1000 else USUAL_RATE

    def __iter__(self) -> Iterator[_Decoded]:
        while True:
            there, image = self._capture.read()
            if not there or image is None:
                return
            code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
            yield _Decoded(None, 0.0, lambda image=image, code=code: cv2.cvtColor(image, code))  # type: ignore[misc]

    def close(self) -> None:
        self._capture.release()


def _opened(source: str) -> "_Stream | _Camera":
    path = local_path(source)
    if path is None:
        return _Camera(source) if source.isdecimal() else _Stream(source, source)
    if not path.exists():
        raise VideoError(f"{source}: no such file; name a video, a camera's number or a stream's address")
    if not path.is_file() and not path.is_fifo():
        raise VideoError(f"{source}: is no file; name a video, a camera's number or a stream's address")
    return _Stream(source, f"file:{path.absolute()}")  # or a colon in a name would make it an address


class Frames:
    """The frames of a recording (a path, file:// or http://), a camera (its number) or a stream, in order.

    Of a recording every frame comes out, at its own time. What has no length is live: while a frame is worked on, newer
    ones replace each other, so that the next is always the latest and nothing lags; its times are those of arrival.
    Use it as a context.

    realtime: treat a recording like a live source. reconnect: attempts in a row to open a live source again that ended,
    fell silent or broke off. stop: ends the frames once it is set. warn: is told what goes wrong meanwhile.
    dropped: how many frames were skipped so far. damaged: how many could not be decoded. reconnected: how often the
    source was opened again. incomplete: what is missing at the end, if anything.
    Raises VideoError: the source cannot be opened, or gives not one frame.
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
        self._copy: Path | None = None
        self._damaged = 0
        self._input = _opened(source)
        try:
            self._rest = self._begun()
        except BaseException:
            self._input.close()
            self._forget_copy()
            raise
        self.live, self.rate = self._input.length is None, self._input.rate

    @property
    def damaged(self) -> int:
        return self._damaged + self._input.damaged

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._input.close()
        self._forget_copy()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._latest() if self.live else self._all():
            if self._stop.is_set():
                return
            yield frame

    def _begun(self) -> Iterator[_Decoded]:
        """The decoded frames, the first of which is there."""
        try:
            try:
                return _with_first(self._input)
            except VideoError:
                if self._input.length is None or not self.source.lower().startswith(("http:", "https:")):
                    raise
            # The index may lie at the end where a server gives no parts of a file: fetch it whole.
            self._input.close()
            self._copy = _fetched(self.source)
            self._input = _Stream(self.source, f"file:{self._copy}")
            return _with_first(self._input)
        except VideoError as error:
            raise VideoError(f"{self.source}: holds no frame that can be read ({error})") from error

    def _forget_copy(self) -> None:
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)

    def _all(self) -> Iterator[Frame]:
        number, last, shift, began, end = 0, -1 / self.rate, 0.0, time.monotonic(), 0.0
        try:
            for decoded in self._rest:
                following = last + 1 / self.rate
                seconds = following if decoded.seconds is None else decoded.seconds + shift
                if seconds <= last and number:
                    if last - seconds > 1:  # spliced: its clock began anew
                        shift += following - seconds
                    seconds = following
                last, end = seconds, seconds + (decoded.lasts or 1 / self.rate)
                late = time.monotonic() - began - seconds > 1 / self.rate
                if self._realtime and number and late:  # its time has passed: not even converted
                    self.dropped += 1
                else:
                    yield Frame(number, seconds, decoded.rgb())
                number += 1
        except VideoError as error:
            self.incomplete = f"breaks off after {end:.1f} seconds ({error})"
        else:
            length = self._input.length or 0.0
            if length - end > 0.2 + 2 / self.rate:
                self.incomplete = f"ends after {end:.1f} of {length:.1f} seconds"

    def _latest(self) -> Iterator[Frame]:
        newest: list[Any] = [None, 0.0, -1]  # the frame, when it arrived, and its number
        fresh, ended, began = threading.Condition(), threading.Event(), time.monotonic()

        def read() -> None:
            try:
                for decoded in self._lasting(ended):
                    with fresh:
                        newest[:] = [decoded, time.monotonic() - began, newest[2] + 1]
                        fresh.notify()
            finally:
                ended.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        number = -1
        try:
            while not self._stop.is_set():
                over = ended.is_set()  # asked before the frame is taken, or the last one could be missed
                with fresh:
                    fresh.wait_for(lambda seen=number: newest[2] > seen, 0.0 if over else 0.1)  # type: ignore[misc]
                    decoded, seconds, latest = newest
                if latest > number:
                    self.dropped += latest - number - 1
                    number = latest
                    yield Frame(number, seconds, decoded.rgb())
                elif over:
                    return
        finally:
            ended.set()
            reader.join(2 * WAIT)

    def _lasting(self, ended: threading.Event) -> Iterator[_Decoded]:
        """The frames of a live source over every reconnection, until it is gone for good or `ended` is set."""
        attempts, rest, why = 0, self._rest, "it ended"
        while not ended.is_set():
            try:
                for decoded in rest:
                    attempts = 0
                    yield decoded
                    if ended.is_set():
                        return
                why = "it ended"
            except VideoError as error:
                why = str(error)
            if attempts >= self._reconnect:
                self.incomplete = f"the stream was lost ({why}); {attempts} attempts to open it again failed"
                return
            attempts += 1
            self._warn(f"{self.source}: the stream was lost ({why}); opening it again, attempt {attempts}")
            if ended.wait(min(2 ** (attempts - 2), _LONGEST_PAUSE)):
                return
            rest = self._again()

    def _again(self) -> Iterator[_Decoded]:
        """The frames of a source that is opened anew. Raises VideoError, when the first is asked for."""
        before = self._input
        before.close()
        self._input = _opened(self.source)
        self._damaged += before.damaged
        rest = _with_first(self._input)
        self.reconnected += 1
        yield from rest


def _with_first(source: Iterable[_Decoded]) -> Iterator[_Decoded]:
    """All frames. Raises VideoError at once if there are none."""
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise VideoError("it ended at once")
    return chain([first], frames)


def _fetched(address: str) -> Path:
    """A temporary copy of what lies at a http address. Raises VideoError."""
    try:
        with (
            urllib.request.urlopen(address, timeout=WAIT) as reply,
            tempfile.NamedTemporaryFile(prefix="oamface-", delete=False) as copy,
        ):
            try:
                shutil.copyfileobj(reply, copy)
            except BaseException:
                Path(copy.name).unlink()
                raise
        return Path(copy.name)
    except (OSError, ValueError) as error:
        raise VideoError(f"{address}: cannot be fetched ({error})") from error


class AnnotatedVideo:
    """Writes frames with what was found into an .mp4, each at its time.

    path: checked, and its draft opened, when the constructor returns; see OutputFile. source: the video that is read.
    Raises FileError: it cannot be written.
    """

    def __init__(self, path: Path, rate: float, source: str) -> None:
        read = local_path(source)
        self._path, self._last, self._stream = path, -1, None  # type: tuple[Path, int, Any]
        self._output = OutputFile(path, inputs=[] if read is None else [read], suffixes=(".mp4",))
        self._rate = Fraction(rate).limit_denominator(1001)
        # In fragments, so that what is written can be played even if the end never comes.
        options = {"movflags": "hybrid_fragmented"}
        with self._refused():
            self._container: Any = av.open(str(self._output.draft), "w", format="mp4", container_options=options)

    def add(self, frame: RGBImage, faces: list[tuple[Track, Face]], seconds: float) -> None:
        """seconds: when it is shown. A frame of another size than the first is fitted into that one's."""
        height, width = frame.shape[:2]
        drawn = annotate(frame, ImageResult(width, height, tuple(face for _, face in faces)), attention=False)
        for track, face in faces:
            at = (round(face.box[0]), max(12, round(face.box[1]) - 6))
            cv2.putText(drawn, f"#{track.number}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        if self._stream is None:
            self._stream = self._encoder(width, height)
        size = self._stream.width, self._stream.height
        image = av.VideoFrame.from_ndarray(_fitted(drawn, *size), format="rgb24")
        image = image.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        image.pts = self._last = max(round(seconds * _TICKS), self._last + 1)
        image.time_base = Fraction(1, _TICKS)
        with self._refused():
            self._container.mux(self._stream.encode(image))

    def _encoder(self, width: int, height: int) -> Any:
        """H.264 where this build of FFmpeg has an encoder for it, which takes even sizes alone."""
        with self._refused():
            coder = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            stream = self._container.add_stream(coder, rate=self._rate)
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": "20", "bf": "0"} if coder == "libx264" else {"qscale": "4"}
            context = stream.codec_context
            context.time_base, context.gop_size = Fraction(1, _TICKS), 50
            context.colorspace = context.color_primaries = context.color_trc = int(Colorspace.ITU709)
            return stream

    def close(self, *, whole: bool) -> Path | None:
        """Make the file playable, and return where it lies: None if no frame was added, and see OutputFile.close."""
        if self._stream is None:
            self._container.close()
            self._output.discard()
            return None
        try:
            with self._refused():
                self._container.mux(self._stream.encode(None))
                self._container.close()
        except FileError:
            with suppress(Exception):
                self._container.close()
            self._output.close(whole=False)  # its fragments up to here can be played
            raise
        return self._output.close(whole=whole)

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise FileError(
                f"{self._path}: cannot be written ({_reason(error)}); free some space or name another place"
            ) from error


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
    """One dictionary a frame (`frame`, `seconds`, `faces`, each with its `track`), and one `summary` at the end.

    The summary has the `frames` analysed and `dropped` and, for every track, when it was seen and what all its frames
    together say; where there is something to tell, also the `damaged` frames, how often the source was `reconnected`
    and what is `incomplete`. It comes even if something fails midway, before the error is raised.
    every: frames from one look for faces to the next. annotated: an .mp4 to write. limit: frames to analyse.
    realtime, reconnect, stop, warn: see `Frames`. Raises VideoError (the source), FileError (the .mp4).
    """
    stop = stop or threading.Event()
    tracker, shown, failure = Tracker(analyzer, every=every), 0, None  # type: tuple[Tracker, int, Exception | None]
    with Frames(source, realtime=realtime, reconnect=reconnect, stop=stop, warn=warn) as frames:
        video = AnnotatedVideo(annotated, frames.rate, source) if annotated is not None else None
        whole = False
        try:
            for frame in frames:
                faces = tracker.update(frame.image, frame.seconds)
                if video is not None:
                    video.add(frame.image, faces, frame.seconds)
                shown += 1
                yield {
                    "schema": SCHEMA,
                    "frame": frame.number,
                    "seconds": round(frame.seconds, 3),
                    "faces": [{"track": track.number, **face.to_dict()} for track, face in faces],
                }
                if limit is not None and shown >= limit:
                    break
            whole = not stop.is_set()
        except Exception as error:
            failure = error
        finally:
            try:
                place = video.close(whole=whole) if video is not None else None
                if place is not None and place != annotated:
                    warn(f"{annotated}: is as it was; the new video up to here is {place}")
            except FileError as error:
                failure = failure or error
        if frames.incomplete:
            warn(f"{source}: {frames.incomplete}")
        told = {"damaged": frames.damaged, "reconnected": frames.reconnected, "incomplete": frames.incomplete}
        yield {
            "schema": SCHEMA,
            "source": source,
            "frames": shown,
            "dropped": frames.dropped,
            **{key: value for key, value in told.items() if value},
            "summary": _tracks(tracker),
        }
    if failure is not None:
        raise failure


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set meanwhile, so that no line and no frame is cut in two.

    Raises Interrupted at the end if one came. For the main thread alone.
    """
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if stop.is_set():
        raise Interrupted


def _tracks(tracker: Tracker) -> list[dict[str, Any]]:
    """What is known of every person that appeared; where the face was last is no part of it."""
    people = []
    for track, face in tracker.summary():
        answers = {key: value for key, value in face.to_dict().items() if key not in ("box", "score", "landmarks")}
        span = {"first": round(track.first, 3), "last": round(track.last, 3), "frames": track.frames}
        people.append({"track": track.number, **span, **answers})
    return people


def _rgb(frame: Any, aspect: Fraction | None) -> RGBImage:
    """A decoded frame as a screen shows it. aspect: width of a pixel over its height, where it is known."""
    width, height = frame.width, frame.height
    if aspect and 1 / 8 <= aspect <= 8:  # others are damage
        width, height = max(width, round(width * aspect)), max(height, round(height / aspect))
    named = frame.colorspace not in (0, _UNNAMED)
    colours = None if named else Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
    image: RGBImage = frame.reformat(width, height, "rgb24", src_colorspace=colours).to_ndarray()
    for side in frame.side_data:
        if side.type == Type.DISPLAYMATRIX:
            return _turned(image, np.frombuffer(bytes(side), np.int32))
    return image


def _turned(image: RGBImage, matrix: Any) -> RGBImage:
    """An image under a display matrix, (9,): quarter turns and mirroring; (x, y) goes to (ax + cy, bx + dy)."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _fitted(image: RGBImage, width: int, height: int) -> RGBImage:
    """An image at another size: an odd side grows by its last row or column, other shapes get a black border."""
    high, wide = image.shape[:2]
    if (width - wide, height - high) not in ((0, 0), (0, 1), (1, 0), (1, 1)):
        scale = min(width / wide, height / high)
        wide, high = min(width, max(1, round(wide * scale))), min(height, max(1, round(high * scale)))
        image = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left, top = (width - wide) // 2, (height - high) // 2
        return cv2.copyMakeBorder(
            image, top, height - high - top, left, width - wide - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
    return cv2.copyMakeBorder(image, 0, height - high, 0, width - wide, cv2.BORDER_REPLICATE)


def _reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its number and the address."""
    return str(getattr(error, "strerror", None) or error)
