import io
import json
import os
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bulk.conftest import read_all, write_tar
from oamface.bulk.locations import locate
from oamface.bulk.manifest import Shard, list_shards
from oamface.bulk.reader import read_images
from oamface.errors import DataError


def test_list_shards_of_mixed_folder_has_every_image_once(folder) -> None:
    shards, images = read_all(locate(str(folder)))
    assert Counter(shard.kind for shard in shards) == {"files": 3, "tar": 2, "parquet": 2}
    names = [name.removeprefix(f"{folder}/") for name, _ in images]
    assert sorted(names) == sorted(
        ["a.jpeg", "b/1.png", "b/2.jpg", "c.webp", "d/e/f.gif", "shard.tar:0.jpg", "shard.tar:1.png"]
        + ["small.tar.gz:x/2.jpg", "rows.parquet:0", "rows.parquet:1", "rows.parquet:2"]
    )
    contents = {name.removeprefix(f"{folder}/"): data for name, data in images}
    assert contents["shard.tar:1.png"] == b"one"
    assert contents["rows.parquet:2"] == b"r2"
    assert contents["b/2.jpg"] == b"b/2.jpg"
    assert isinstance(contents["rows.parquet:1"], OSError)
    assert shards == list(list_shards(locate(f"file://{folder}"), size=2))


def test_list_shards_of_single_files(folder) -> None:
    _, images = read_all(locate(str(folder / "shard.tar")))
    assert [data for _, data in images] == [b"zero", b"one"]
    struct = pa.array([{"bytes": b"hf", "path": "x.jpg"}])
    pq.write_table(pa.table({"photo": struct}), folder / "hf.parquet")
    _, images = read_all(locate(str(folder / "hf.parquet")), column="photo")
    assert images == [(f"{folder}/hf.parquet:0", b"hf")]
    with pytest.raises(DataError, match="no column 'image'"):
        read_all(locate(str(folder / "hf.parquet")))
    for name, cell in {"text": {"bytes": "/etc/hostname"}, "nested": {"bytes": {"bytes": b"hf"}}}.items():
        pq.write_table(pa.table({"image": [cell]}), folder / f"{name}.parquet")
        with pytest.raises(DataError, match="no column 'image' of images"):
            read_all(locate(str(folder / f"{name}.parquet")))
    (folder / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_all(locate(str(folder / "bad.parquet")))


def test_list_shards_of_fsspec_address() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/a.jpg", b"image")
    _, images = read_all(locate("memory://shop"))
    assert [data for _, data in images] == [b"image"]


def test_list_shards_rejects_missing_and_empty_sources(tmp_path) -> None:
    for address, reason in (
        (str(tmp_path / "missing"), "no such file"),
        ("nowhere://bucket/x", "cannot be opened"),
    ):
        with pytest.raises(DataError, match=reason):
            read_all(locate(address))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no image"):
        read_all(locate(str(tmp_path / "empty")))
    pq.ParquetWriter(tmp_path / "empty/no.parquet", pa.schema({"image": pa.binary()})).close()
    for source in ("empty", "empty/no.parquet"):
        with pytest.raises(DataError, match="has no image"):
            read_all(locate(str(tmp_path / source)))


def test_damaged_table_beside_images_is_an_error_of_its_own(folder) -> None:
    _, before = read_all(locate(str(folder)))
    (folder / "bad.parquet").write_bytes(b"PAR1")
    shards, images = read_all(locate(str(folder)))
    assert len(images) == len(before) + 1
    assert "damaged" in str(dict(images)[f"{folder}/bad.parquet"])
    (folder / "rows.parquet").replace(folder / "bad.parquet")  # mended since it was listed
    shard = next(shard for shard in shards if shard.paths == (f"{folder}/bad.parquet",))
    images = list(read_images(locate(str(folder)).filesystem, shard))
    assert [name for name, _ in images] == [f"{folder}/bad.parquet:{row}" for row in range(3)]


def test_links_are_followed_once(tmp_path) -> None:
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
    source = locate(str(tmp_path / "source"))
    (shard,) = list_shards(source, on_skip=skipped.append)
    images = dict(read_images(source.filesystem, shard))
    assert Counter(type(data) for data in images.values()) == {bytes: 3, FileNotFoundError: 1}
    assert sorted(data for data in images.values() if isinstance(data, bytes)) == [
        b"elsewhere/b.png",
        b"source/real/a.png",
        b"source/real/a.png",  # by a link to the file itself, which has a name of its own
    ]
    assert {os.path.basename(path) for path in skipped} == {"self", "pipe.png"}  # noqa: PTH119


def test_files_without_extension_are_recognised_by_first_bytes(tmp_path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "png")
    for name, data in {"image": stream.getvalue(), "text": b"text", "empty": b"", ".hidden": stream.getvalue()}.items():
        (tmp_path / name).write_bytes(data)
    write_tar(tmp_path / "shard.tar", {"member": stream.getvalue(), "LICENSE": b"text", "0.json": b"{}"})
    skipped: list[str] = []
    source = locate(str(tmp_path))
    shards = list(list_shards(source, on_skip=skipped.append))
    images = [item for shard in shards for item in read_images(source.filesystem, shard, on_skip=skipped.append)]
    names = ["image", "shard.tar:member"]
    assert sorted(images) == [(f"{tmp_path}/{name}", stream.getvalue()) for name in names]
    assert {name.removeprefix(f"{tmp_path}/") for name in skipped} == {
        "text",
        "empty",
        ".hidden",
        "shard.tar:LICENSE",
        "shard.tar:0.json",
    }


def test_list_shards_excludes_folder_by_any_name(folder) -> None:
    (folder / "link").symlink_to("b")
    source = locate(str(folder))
    _, images = read_all(source)
    for name in ("b", "link", "./d/../b"):
        shards = list(list_shards(source, exclude=locate(str(folder / name))))
        assert sum(len(list(read_images(source.filesystem, shard))) for shard in shards) == len(images) - 2
        paths = {path for shard in shards for path in shard.paths}
        assert not [path for path in paths if path.endswith(("1.png", "2.jpg"))]


@given(st.lists(st.binary(min_size=1).map(os.fsdecode), min_size=1, max_size=9))
def test_shard_survives_json(paths) -> None:
    for shard in (Shard("files", tuple(paths)), Shard("parquet", (paths[0],), 3, "image")):
        assert Shard.from_list(json.loads(json.dumps(shard.to_list()).encode("ascii"))) == shard
