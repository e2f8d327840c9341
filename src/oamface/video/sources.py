"""Opens what frames come from: a file or network stream through FFmpeg (PyAV), or a camera through OpenCV."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import Colorspace

from oamface.errors import VideoError
from oamface.images import RGBImage

DEFAULT_FPS = 25.0  # where a source does not name a frame rate
TIMEOUT = 5.0  # seconds that a network source may be silent
_MAX_FAILURES = 100  # reads in a row that return only damaged data
_HD_HEIGHT = 720  # from which a video without a colour space is taken as BT.709, as players do
_UNSPECIFIED = 2  # the colour space of a video that names none (ITU-T H.273)
# PyAV before 19 raises where metadata is not UTF-8; 19 takes all bytes and knows no such option.
_OPEN_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_IMAGE_BRANDS = {"avif", "heic", "heix", "mif1"}  # images in the container of .mp4


@dataclass(frozen=True)
class DecodedFrame:
    """A frame before its conversion to RGB, which dropped frames never need.

    seconds: presentation time by the source's clock, None if it has none. duration: seconds, 0 if unknown.
    to_rgb: returns the image, (H, W, 3) uint8.
    """

    seconds: float | None
    duration: float
    to_rgb: Callable[[], RGBImage]


class StreamSource:
    """An open file or network stream; iterate over it for its frames. Raises VideoError.

    name: the source as the user wrote it, for messages; address: as FFmpeg takes it.
    fps: average frame rate. duration: seconds, 0 if unknown, None for a live stream.
    damaged: packets and frames that could not be decoded so far.
    """

    def __init__(self, name: str, address: str) -> None:
        self.damaged = 0
        options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
        if address.startswith("http"):  # resumes a recording where the connection broke, if the server allows it
            options = {"reconnect": "1", "reconnect_delay_max": "2"}
        timeout = None if address.startswith("file:") else TIMEOUT
        try:
            self._container: Any = av.open(address, options=options, timeout=timeout, **_OPEN_OPTIONS)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"{name}: cannot be opened as a video ({reason(error)})") from error
        try:
            self._stream = self._find_video(name)
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        fps = float(self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FPS)
        self.fps = fps if 1e-3 <= fps <= 1000 else DEFAULT_FPS
        self.duration = self._find_duration(local=timeout is None)

    def _find_video(self, name: str) -> Any:
        container_format, brand = self._container.format.name, self._container.metadata.get("major_brand")
        if container_format == "image2" or container_format.endswith("_pipe") or brand in _IMAGE_BRANDS:
            raise VideoError(f"{name}: is an image, not a video; use `oamface analyze`")
        streams = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if container_format == "tty" or not streams:
            raise VideoError(f"{name}: has no video; name a video file, a camera's number or a stream's address")
        best = self._container.streams.best("video")
        return best if best in streams else streams[0]

    def _find_duration(self, *, local: bool) -> float | None:
        container, stream = self._container, self._stream
        if container.format.name == "avi" and stream.frames:  # FFmpeg guesses its duration from the file's size
            return stream.frames / self.fps
        if container.duration:
            return container.duration / 1e6
        # A playlist has a size, but the stream that it lists may be endless.
        return 0.0 if local or (container.format.name != "hls" and (container.size or 0) > 0) else None

    def __iter__(self) -> Iterator[DecodedFrame]:
        start = self._stream.start_time
        pixel_aspect = self._stream.sample_aspect_ratio
        for frame in self._decode():
            start = frame.pts if start is None else start
            seconds = None if frame.pts is None else float((frame.pts - start) * frame.time_base)
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
            yield DecodedFrame(seconds, duration, lambda frame=frame: _to_rgb(frame, pixel_aspect))  # type: ignore[misc]

    def _decode(self) -> Iterator[Any]:
        """Every frame that can be decoded. Raises VideoError: the source breaks off."""
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
        while failures < _MAX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except av.error.InvalidDataError:
                failures += 1
                self.damaged += 1
            except av.FFmpegError as error:
                raise VideoError(reason(error)) from error

    def close(self) -> None:
        self._container.close()


class CameraSource:
    """An open camera; iterate over it for its frames. Raises VideoError: it is not there or in use.

    name: the camera's number, by which OpenCV finds it on every operating system.
    """

    duration, damaged = None, 0

    def __init__(self, name: str) -> None:
        self._capture = cv2.VideoCapture(int(name))
        if not self._capture.isOpened():
            raise VideoError(f"{name}: there is no such camera, or another program uses it")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if np.isfinite(fps) and 1 <= fps <= 1000 else DEFAULT_FPS

    def __iter__(self) -> Iterator[DecodedFrame]:
        while True:
            success, image = self._capture.read()
            if not success or image is None:
                return
            code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
            yield DecodedFrame(None, 0.0, lambda image=image, code=code: cv2.cvtColor(image, code))  # type: ignore[misc]

    def close(self) -> None:
        self._capture.release()


def open_source(name: str, path: Path | None) -> StreamSource | CameraSource:
    """Open a video. path: of the local file, None for a camera's number or an address. Raises VideoError."""
    if path is None:
        return CameraSource(name) if name.isdecimal() else StreamSource(name, name)
    if not path.exists():
        raise VideoError(f"{name}: no such file; name a video file, a camera's number or a stream's address")
    if not path.is_file() and not path.is_fifo():
        raise VideoError(f"{name}: is not a file; name a video file, a camera's number or a stream's address")
    return StreamSource(name, f"file:{path.absolute()}")  # without file:, a colon in the name would make it an address


def reason(error: Exception) -> str:
    """FFmpeg's message without its error number and the address."""
    return str(getattr(error, "strerror", None) or error)


def _to_rgb(frame: Any, pixel_aspect: Fraction | None) -> RGBImage:
    """A decoded frame as a screen shows it: square pixels, upright. pixel_aspect: width of a pixel over its height."""
    width, height = frame.width, frame.height
    if pixel_aspect and 1 / 8 <= pixel_aspect <= 8:  # others are damaged metadata
        width, height = max(width, round(width * pixel_aspect)), max(height, round(height / pixel_aspect))
    default = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    colorspace = default if frame.colorspace in (0, _UNSPECIFIED) else None
    image: RGBImage = frame.reformat(width, height, "rgb24", src_colorspace=colorspace).to_ndarray()
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    return image if matrix is None else _rotate(image, np.frombuffer(bytes(matrix), np.int32))


def _rotate(image: RGBImage, matrix: npt.NDArray[np.int32]) -> RGBImage:
    """An image under a display matrix, (9,): quarter turns and mirroring; (x, y) goes to (ax + cy, bx + dy)."""
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
