import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bulk.conftest import read_all, write_tar
from oamface.annotate import ANNOTATED
from oamface.bulk.locations import locate
from oamface.bulk.manifest import Shard
from oamface.bulk.reader import read_images
from oamface.images import write_image


def test_read_images_of_missing_file_gives_error(folder) -> None:
    (folder / "a.jpeg").unlink()
    shard = Shard("files", (str(folder / "a.jpeg"), str(folder / "c.webp")))
    (_, missing), (_, data) = read_images(locate(str(folder)).filesystem, shard)
    assert isinstance(missing, OSError)
    assert data == b"c.webp"


def test_read_images_skips_what_oamface_has_annotated(folder) -> None:
    write_image(folder / "drawn.png", np.zeros((9, 9, 3), np.uint8), text=ANNOTATED)
    shard, skipped = Shard("files", (str(folder / "a.jpeg"), str(folder / "drawn.png"))), []
    images = list(read_images(locate(str(folder)).filesystem, shard, on_skip=skipped.append))
    assert images == [(str(folder / "a.jpeg"), b"a.jpeg")]
    assert skipped == [str(folder / "drawn.png")]


def test_read_images_of_damaged_archive_gives_images_before_damage(folder) -> None:
    archive = (folder / "shard.tar").read_bytes()
    # In the middle of an image, of a header, and before a header; an image takes 1024 bytes here.
    for size in (2561, 1024 + 100, 1024):
        (folder / "cut.tar").write_bytes(archive[:size])
        _, images = read_all(locate(str(folder / "cut.tar")))
        assert images[0] == (f"{folder}/cut.tar:0.jpg", b"zero")
        assert images[-1][0] == f"{folder}/cut.tar"
        assert isinstance(images[-1][1], OSError)
    (folder / "text.tar").write_bytes(b"text" * 300)
    _, ((name, error),) = read_all(locate(str(folder / "text.tar")))
    assert name == f"{folder}/text.tar"
    assert "damaged" in str(error)


def test_read_images_of_damaged_table_gives_error(folder) -> None:
    shard = Shard("parquet", (str(folder / "rows.parquet"),), 1, "image")
    other = pa.BufferOutputStream()
    pq.write_table(pa.table({"label": [1, 2, 3]}), other, row_group_size=2)
    for content in (b"PAR1", other.getvalue()):  # of another table: written since it was listed
        (folder / "rows.parquet").write_bytes(content)
        ((name, error),) = read_images(locate(str(folder)).filesystem, shard)
        assert name == shard.paths[0]
        assert isinstance(error, OSError)


def test_read_images_never_gives_text_which_would_be_opened_as_a_path(folder) -> None:
    shard = Shard("parquet", (str(folder / "rows.parquet"),), 0, "image")
    for cell in ("/etc/hostname", {"bytes": "/etc/hostname"}):  # since it was listed
        pq.write_table(pa.table({"image": [cell]}), folder / "rows.parquet")
        ((_, error),) = read_images(locate(str(folder)).filesystem, shard)
        assert isinstance(error, OSError)


def test_read_images_with_names_of_any_bytes(tmp_path) -> None:
    names = [b"\xff\xfe.png", b"line\nbreak.png", b"[bold]x[]b.png", b"'quoted', \"twice\".png", b"x" * 251 + b".png"]
    for number, name in enumerate(names):
        (tmp_path / os.fsdecode(name)).write_bytes(b"%d" % number)
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    folder.mkdir()
    write_tar(folder / "shard.tar", {os.fsdecode(b"m\xff.png"): b"member"})
    pq.write_table(pa.table({"image": [b"row"]}), tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").rename(folder / "rows.parquet")
    _, images = read_all(locate(str(tmp_path)))
    contents = {os.fsencode(name.removeprefix(f"{tmp_path}/")): data for name, data in images}
    assert contents == {name: b"%d" % number for number, name in enumerate(names)} | {
        b"\xe9t\xe9/shard.tar:m\xff.png": b"member",
        b"\xe9t\xe9/rows.parquet:0": b"row",
    }
