import numpy as np
import pytest

from helpers.videos import gray_frames, read_video
from oamface.errors import FileError
from oamface.video import VideoWriter


def test_writer_fits_odd_and_changing_sizes_into_the_first(tmp_path) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", 25.0)
    for number, (height, width) in enumerate(((51, 65), (51, 65), (80, 40), (20, 200))):
        writer.add(np.full((height, width, 3), 99, np.uint8), [], number / 25)
    assert writer.close(complete=True) == tmp_path / "out.mp4"
    times, sizes = read_video(tmp_path / "out.mp4")
    assert times == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)
    assert set(sizes) == {(66, 52)}


def test_writer_keeps_existing_file_when_incomplete(tmp_path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(path, 25.0)
    for number, image in enumerate(gray_frames(3)):
        writer.add(image, [], number / 25)
    written = writer.close(complete=False)
    assert path.read_bytes() == b"old"
    assert len(read_video(written)[0]) == 3


def test_writer_without_frames_leaves_no_file(tmp_path) -> None:
    assert VideoWriter(tmp_path / "out.mp4", 25.0).close(complete=True) is None
    assert not list(tmp_path.iterdir())


def test_writer_rejects_other_suffixes_and_its_input(tmp_path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"video")
    for path in (tmp_path / "out.avi", clip):
        with pytest.raises(FileError):
            VideoWriter(path, 25.0, inputs=[clip])
    assert clip.read_bytes() == b"video"


def test_writer_that_cannot_start_leaves_no_file(tmp_path, monkeypatch) -> None:
    def fail(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("av.open", fail)
    with pytest.raises(FileError, match="No space left"):
        VideoWriter(tmp_path / "out.mp4", 25.0)
    assert not list(tmp_path.iterdir())
