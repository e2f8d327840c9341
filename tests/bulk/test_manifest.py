import io
import json
import os
import tarfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oamface.bulk.manifest import Part, parts_of, place, preprocess_batch
from oamface.errors import DataError


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path):
    """Loose images in folders, two archives, a table of two row groups, and what is none of these."""
    for name in ("b/2.jpg", "b/1.png", "a.jpeg", "c.webp", "d/e/f.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("notes.txt", ".hidden.jpg", "b/.thumbs/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no")
    tar_of(tmp_path / "shard.tar", {"0.jpg": b"zero", "0.json": b"{}", "1.png": b"one"})
    tar_of(tmp_path / "small.tar.gz", {"x/2.jpg": b"two"}, "w:gz")
    table = pa.table({"image": [b"r0", None, b"r2"], "label": [0, 1, 2]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    return tmp_path


def read(source, size=2, column="image"):
    parts = list(parts_of(source, size=size, column=column))
    return parts, [item for part in parts for item in preprocess_batch(source.files, part)]


def test_a_folder_of_everything_comes_in_parts_and_every_picture_once(folder) -> None:
    parts, given = read(place(str(folder)))
    assert Counter(part.kind for part in parts) == {"files": 3, "tar": 2, "parquet": 2}
    names = [name.removeprefix(f"{folder}/") for name, _ in given]
    assert sorted(names) == sorted(
        ["a.jpeg", "b/1.png", "b/2.jpg", "c.webp", "d/e/f.gif", "shard.tar:0.jpg", "shard.tar:1.png"]
        + ["small.tar.gz:x/2.jpg", "rows.parquet:0", "rows.parquet:1", "rows.parquet:2"]
    )
    told = {name.removeprefix(f"{folder}/"): data for name, data in given}
    assert told["shard.tar:1.png"] == b"one"
    assert told["rows.parquet:2"] == b"r2"
    assert told["b/2.jpg"] == b"b/2.jpg"
    assert isinstance(told["rows.parquet:1"], OSError)
    assert parts == list(parts_of(place(f"file://{folder}"), size=2))


def test_one_file_alone_and_other_columns(folder) -> None:
    _, given = read(place(str(folder / "shard.tar")))
    assert [data for _, data in given] == [b"zero", b"one"]
    struct = pa.array([{"bytes": b"hf", "path": "x.jpg"}])
    pq.write_table(pa.table({"photo": struct}), folder / "hf.parquet")
    _, given = read(place(str(folder / "hf.parquet")), column="photo")
    assert given == [(f"{folder}/hf.parquet:0", b"hf")]
    with pytest.raises(DataError, match="no column 'image'"):
        read(place(str(folder / "hf.parquet")))
    (folder / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no Parquet file"):
        read(place(str(folder / "bad.parquet")))


def test_any_file_system_that_fsspec_knows() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/a.jpg", b"image")
    _, given = read(place("memory://shop"))
    assert [data for _, data in given] == [b"image"]


def test_what_is_not_there(tmp_path, folder) -> None:
    for address, reason in (
        (str(tmp_path / "missing"), "no such file"),
        ("nowhere://bucket/x", "cannot be opened"),
    ):
        with pytest.raises(DataError, match=reason):
            read(place(address))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        read(place(str(tmp_path / "empty")))
    (folder / "a.jpeg").unlink()
    part = Part("files", (str(folder / "a.jpeg"), str(folder / "c.webp")))
    (_, gone), (_, there) = preprocess_batch(place(str(folder)).files, part)
    assert isinstance(gone, OSError)
    assert there == b"c.webp"


def test_a_damaged_archive_gives_what_it_still_holds(folder) -> None:
    whole = (folder / "shard.tar").read_bytes()
    # In the middle of an image, of a header, and before a header; an image takes 1024 bytes here.
    for kept in (2561, 1024 + 100, 1024):
        (folder / "cut.tar").write_bytes(whole[:kept])
        _, given = read(place(str(folder / "cut.tar")))
        assert given[0] == (f"{folder}/cut.tar:0.jpg", b"zero")
        assert given[-1][0] == f"{folder}/cut.tar"
        assert isinstance(given[-1][1], OSError)
    (folder / "text.tar").write_bytes(b"text" * 300)
    _, ((name, error),) = read(place(str(folder / "text.tar")))
    assert name == f"{folder}/text.tar"
    assert "damaged" in str(error)


def test_a_damaged_table_is_an_error_and_not_the_end(folder) -> None:
    part = Part("parquet", (str(folder / "rows.parquet"),), 1, "image")
    (folder / "rows.parquet").write_bytes(b"PAR1")
    ((name, error),) = preprocess_batch(place(str(folder)).files, part)
    assert name == part.paths[0]
    assert isinstance(error, OSError)


def test_names_of_any_bytes_are_read(tmp_path) -> None:
    names = [b"\xff\xfe.png", b"line\nbreak.png", b"[bold]x[]b.png", b"'quoted', \"twice\".png", b"x" * 251 + b".png"]
    for number, name in enumerate(names):
        (tmp_path / os.fsdecode(name)).write_bytes(b"%d" % number)
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    folder.mkdir()
    tar_of(folder / "shard.tar", {os.fsdecode(b"m\xff.png"): b"member"})
    pq.write_table(pa.table({"image": [b"row"]}), tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").rename(folder / "rows.parquet")
    _, given = read(place(str(tmp_path)))
    found = {os.fsencode(name.removeprefix(f"{tmp_path}/")): data for name, data in given}
    assert found == {name: b"%d" % number for number, name in enumerate(names)} | {
        b"\xe9t\xe9/shard.tar:m\xff.png": b"member",
        b"\xe9t\xe9/rows.parquet:0": b"row",
    }


def test_links_are_followed_once_and_nothing_hangs(tmp_path) -> None:
    (tmp_path / "source/real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("source/real/a.png", "elsewhere/b.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "source/real/loop").symlink_to("..")
    (tmp_path / "source/self").symlink_to("self")
    (tmp_path / "source/again").symlink_to("real")
    (tmp_path / "source/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "source/file.png").symlink_to("real/a.png")
    (tmp_path / "source/nothing.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "source/pipe.png")
    skipped: list[str] = []
    source = place(str(tmp_path / "source"))
    (part,) = parts_of(source, on_skip=skipped.append)
    given = dict(preprocess_batch(source.files, part))
    assert Counter(type(data) for data in given.values()) == {bytes: 3, FileNotFoundError: 1}
    assert sorted(data for data in given.values() if isinstance(data, bytes)) == [
        b"elsewhere/b.png",
        b"source/real/a.png",
        b"source/real/a.png",  # by a link to the file itself, which has a name of its own
    ]
    assert {os.path.basename(path) for path in skipped} == {"self", "pipe.png"}  # noqa: PTH119


def test_files_without_an_ending_are_known_by_their_first_bytes(tmp_path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "png")
    for name, data in {"image": stream.getvalue(), "text": b"text", "empty": b"", ".hidden": stream.getvalue()}.items():
        (tmp_path / name).write_bytes(data)
    tar_of(tmp_path / "shard.tar", {"member": stream.getvalue(), "LICENSE": b"text", "0.json": b"{}"})
    skipped: list[str] = []
    source = place(str(tmp_path))
    parts = list(parts_of(source, on_skip=skipped.append))
    given = [item for part in parts for item in preprocess_batch(source.files, part, on_skip=skipped.append)]
    names = ["image", "shard.tar:member"]
    assert sorted(given) == [(f"{tmp_path}/{name}", stream.getvalue()) for name in names]
    left = {name.removeprefix(f"{tmp_path}/") for name in skipped}
    assert left == {"text", "empty", ".hidden", "shard.tar:LICENSE", "shard.tar:0.json"}


def test_a_folder_inside_is_left_out_by_any_name(folder) -> None:
    (folder / "link").symlink_to("b")
    _, all_of_it = read(place(str(folder)))
    for name in ("b", "link", "./d/../b"):
        parts = list(parts_of(place(str(folder)), without=place(str(folder / name))))
        paths = {path for part in parts for path in part.paths}
        assert len(all_of_it) - 2 == sum(len(list(preprocess_batch(place(str(folder)).files, part))) for part in parts)
        assert not [path for path in paths if path.endswith(("1.png", "2.jpg"))]


@given(st.lists(st.binary(min_size=1).map(os.fsdecode), min_size=1, max_size=9))
def test_a_part_survives_being_written_down(paths) -> None:
    for part in (Part("files", tuple(paths)), Part("parquet", (paths[0],), 3, "image")):
        assert Part.of(json.loads(json.dumps(part.plain()).encode("ascii"))) == part
