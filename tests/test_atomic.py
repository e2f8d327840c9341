import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface import atomic
from oamface.atomic import (
    OutputFile,
    append_line,
    check_output,
    fitting_name,
    make_folder,
    write_bytes,
    write_text,
    write_whole,
)
from oamface.errors import FileError


def test_write_whole_keeps_the_old_file_when_interrupted(tmp_path) -> None:
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


def test_write_whole_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(FileError, match=r"a\.txt: cannot be written \(No space left"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.fixture
def small_disk():
    """No file can grow beyond 1000 bytes."""
    resource = pytest.importorskip("resource", reason="limits of a process")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_write_bytes_leaves_no_draft_when_the_disk_is_full(tmp_path, small_disk) -> None:
    with pytest.raises(FileError, match=r"a\.txt: cannot be written \(File too large"):
        write_bytes(tmp_path / "a.txt", b"0" * 2000)
    assert list(tmp_path.iterdir()) == []


def test_output_file_keeps_the_lines_before_the_disk_was_full(tmp_path, small_disk) -> None:
    (tmp_path / "a.csv").write_text("old")
    output = OutputFile(tmp_path / "a.csv", lines=True)
    output.write_line("one")
    with pytest.raises(FileError):
        output.write_line("0" * 2000)
    assert output.close(whole=False) == tmp_path / "a.partial.csv"
    assert (tmp_path / "a.partial.csv").read_text().startswith("one\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.partial.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("end", [OutputFile.discard, lambda output: output.close(whole=False)])
def test_output_file_that_refused_is_closed(end) -> None:
    output = OutputFile(Path("/dev/full"))
    with pytest.raises(FileError):
        output.write_line("text")
    end(output)
    assert output.file.closed


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_output_file_keeps_the_mode_of_the_file_it_replaces(tmp_path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    path.chmod(0o600)
    write_text(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_write_whole_rejects_places_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for refused in (
        lambda: write_text(tmp_path / "missing/a.txt", ""),
        lambda: append_line(tmp_path / "missing/log", ""),
        lambda: make_folder(tmp_path / "file/below"),
    ):
        with pytest.raises(FileError):
            refused()


def test_append_line_adds_lines(tmp_path) -> None:
    append_line(tmp_path / "log", "one")
    append_line(tmp_path / "log", "zwei ü")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei ü\n"


def test_check_output_rejects_inputs_by_any_spelling_or_link(tmp_path, monkeypatch) -> None:
    source = tmp_path / "a.png"
    source.write_text("image")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "hard.csv").hardlink_to(source)
    monkeypatch.chdir(tmp_path)
    for spelling in ("a.png", "./a.png", "sub/../a.png", "link.csv", "hard.csv"):
        with pytest.raises(FileError):
            check_output(Path(spelling), inputs=[source])
    assert source.read_text() == "image"
    check_output(tmp_path / "b.csv", inputs=[source])


def test_check_output_rejects_folders_missing_folders_and_other_suffixes(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "missing/a.csv", tmp_path / "a.txt"):
        with pytest.raises(FileError):
            check_output(path, suffixes=(".csv",) if path.suffix == ".txt" else ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lines", [True, False])
def test_output_file_replaces_an_old_file_only_when_whole(tmp_path, lines: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    output = OutputFile(path, lines=lines)
    output.write_line("half")
    assert path.read_text() == "old"
    place = output.close(whole=False)
    assert place == tmp_path / "a.partial.csv"
    assert (path.read_text(), place.read_text()) == ("old", "half\n")
    output = OutputFile(path, lines=lines)
    output.write_line("new")
    assert output.close(whole=True) == path
    assert path.read_text() == "new\n"


@pytest.mark.parametrize("lines", [True, False])
def test_output_file_keeps_what_was_done_where_nothing_existed(tmp_path, lines: bool) -> None:
    path = tmp_path / "a.csv"
    output = OutputFile(path, lines=lines)
    output.write_line("half")
    assert path.exists() == lines
    assert output.close(whole=False) == path
    assert path.read_text() == "half\n"
    assert list(tmp_path.iterdir()) == [path]


def test_output_file_never_replaces_an_earlier_partial_file(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    for _ in range(2):
        output = OutputFile(path)
        output.write_line("half")
        output.close(whole=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.csv", "a.partial-2.csv", "a.partial.csv"]


def test_output_file_writes_through_a_link(tmp_path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write_text(tmp_path / "link.csv", "new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


def test_output_file_writes_to_devices() -> None:
    output = OutputFile(Path("/dev/null"), lines=True)
    output.write_line("text")
    output.close(whole=True)
    assert Path("/dev/null").is_char_device()


# Any text, and any bytes as names on Linux are: what is not UTF-8 becomes lone surrogates.
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
BYTE_NAMES = st.binary(min_size=1, max_size=300).map(os.fsdecode)


@given(NAMES | BYTE_NAMES, st.sampled_from([".png", "-12.png"]))
def test_fitting_name_fits_every_file_system(stem: str, suffix: str) -> None:
    name = fitting_name(stem, suffix)
    assert name.endswith(suffix)
    assert len(os.fsencode(name)) <= 255


def test_longest_names_can_be_written(tmp_path) -> None:
    write_text(tmp_path / ("a" * 251 + ".txt"), "text")
    assert (tmp_path / ("a" * 251 + ".txt")).read_text() == "text"
