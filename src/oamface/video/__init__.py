"""Faces in videos, cameras and streams: read frames, track each face, write JSON lines and an annotated video."""

from importlib.util import find_spec

from oamface.errors import OamfaceError

if find_spec("av") is None:
    raise OamfaceError('videos need av: pip install "oamface[video]"')

from oamface.video.analyze import analyze_video
from oamface.video.reader import Frame, VideoReader
from oamface.video.tracker import Track, Tracker
from oamface.video.writer import VideoWriter

__all__ = ["Frame", "Track", "Tracker", "VideoReader", "VideoWriter", "analyze_video"]
