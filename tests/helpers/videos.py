"""Small videos for tests, written and read with PyAV alone."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 60000  # per second
STEADY = [number / 25 for number in range(24)]


def write_video(
    path, images, times=STEADY, *, aspect=None, rotation=None, codec="libx264", options=None, metadata=None
) -> Path:
    """Images, each shown at its time. aspect: width of a pixel over its height. rotation: degrees."""
    with av.open(str(path), "w", container_options=options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        ticks = TICKS if codec == "libx264" else 25
        if codec == "libx264":
            stream.codec_context.time_base = Fraction(1, TICKS)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for image, seconds in zip(images, times, strict=False):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = Fraction(1, ticks)
            frame.pts = round(seconds / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_video(path) -> tuple[list[float], list[tuple[int, int]]]:
    """Seconds and (width, height) of every frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.pts * frame.time_base) for frame in frames], [(frame.width, frame.height) for frame in frames]


def gray_frames(count, height=48, width=64) -> list[np.ndarray]:
    return [np.full((height, width, 3), 60 + number, np.uint8) for number in range(count)]


def noise_frames(count) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(count)]
