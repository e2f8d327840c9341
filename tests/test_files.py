import errno

import pytest

from oamface import files
from oamface.errors import FileError
from oamface.files import append_line, make_folder, write_text, write_whole


def test_an_interruption_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def cut(file) -> None:
        file.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, cut)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FileError, match=r"a\.txt: cannot be written \(No space left"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_places_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for refused in (
        lambda: write_text(tmp_path / "missing/a.txt", ""),
        lambda: append_line(tmp_path / "missing/log", ""),
        lambda: make_folder(tmp_path / "file/below"),
    ):
        with pytest.raises(FileError, match="cannot be written"):
            refused()


def test_lines_are_added(tmp_path) -> None:
    append_line(tmp_path / "log", "one")
    append_line(tmp_path / "log", "zwei ü")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei ü\n"
