"""Writes the annotated video: an .mp4 with every face's box, track and predictions, at the frames' own times."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import Colorspace

from oamface.annotate import annotate
from oamface.atomic import OutputFile
from oamface.errors import FileError
from oamface.images import RGBImage
from oamface.results import Face, ImageResult
from oamface.video.sources import reason
from oamface.video.tracker import Track

_TICKS = 60000  # of the video's clock per second: exact for 24, 25, 30 and 30000/1001 frames per second
_FRAGMENT = 50  # frames from one key frame to the next


class VideoWriter:
    """An .mp4 being written. path: checked, and opened as a draft, when the constructor returns; see OutputFile.

    fps: of the source. inputs: files that may not be overwritten. Raises FileError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, *, inputs: Sequence[Path] = ()) -> None:
        self._path, self._fps = path, Fraction(fps).limit_denominator(1001)
        self._last_tick = -1
        self._stream: Any = None
        self._output = OutputFile(path, inputs=inputs, suffixes=(".mp4",))
        # Fragmented, so that what was written can be played even if the process is killed.
        options = {"movflags": "hybrid_fragmented"}
        try:
            with self._file_errors():
                self._container: Any = av.open(str(self._output.draft), "w", format="mp4", container_options=options)
        except FileError:
            self._output.discard()
            raise

    def add(self, frame: RGBImage, faces: Sequence[tuple[Track, Face]], seconds: float) -> None:
        """Append a frame, (H, W, 3) uint8 RGB, at its time; one of another size than the first is resized to that."""
        height, width = frame.shape[:2]
        result = ImageResult(width, height, tuple(face for _, face in faces))
        drawn = annotate(frame, result, attention=False, titles=[f"#{track.id}" for track, _ in faces])
        if self._stream is None:
            self._stream = self._add_stream(width, height)
        resized = _fit(drawn, self._stream.width, self._stream.height)
        image = av.VideoFrame.from_ndarray(resized, format="rgb24")
        image = image.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        image.pts = self._last_tick = max(round(seconds * _TICKS), self._last_tick + 1)
        image.time_base = Fraction(1, _TICKS)
        with self._file_errors():
            self._container.mux(self._stream.encode(image))

    def _add_stream(self, width: int, height: int) -> Any:
        """H.264 where FFmpeg was built with libx264, else MPEG-4 part 2; both need even sizes."""
        with self._file_errors():
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            stream = self._container.add_stream(codec, rate=self._fps)
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": "20", "bf": "0"} if codec == "libx264" else {"qscale": "4"}
            context = stream.codec_context
            context.time_base, context.gop_size = Fraction(1, _TICKS), _FRAGMENT
            context.colorspace = context.color_primaries = context.color_trc = int(Colorspace.ITU709)
            return stream

    def close(self, *, complete: bool) -> Path | None:
        """Finish the file and return its path, which differs from the requested one if an old file was kept.

        None if no frame was added. complete: whether it may replace an existing file. Raises FileError.
        """
        if self._stream is None:
            self._container.close()
            self._output.discard()
            return None
        try:
            with self._file_errors():
                self._container.mux(self._stream.encode(None))
                self._container.close()
        except FileError:
            with suppress(Exception):
                self._container.close()
            self._output.close(whole=False)  # the fragments so far can be played
            raise
        return self._output.close(whole=complete)

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise FileError(
                f"{self._path}: cannot be written ({reason(error)}); free some space or name another file"
            ) from error


def _fit(image: RGBImage, width: int, height: int) -> RGBImage:
    """An image at another size, in its own proportions, with a black border where it does not fill that size.

    An image that lacks one row or column, since sizes have to be even, gets its last one twice.
    """
    rows, columns = image.shape[:2]
    if width - columns in (0, 1) and height - rows in (0, 1):
        return cv2.copyMakeBorder(image, 0, height - rows, 0, width - columns, cv2.BORDER_REPLICATE)
    scale = min(width / columns, height / rows)
    columns, rows = min(width, max(1, round(columns * scale))), min(height, max(1, round(rows * scale)))
    resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - columns) // 2, (height - rows) // 2
    canvas[top : top + rows, left : left + columns] = resized
    return canvas
