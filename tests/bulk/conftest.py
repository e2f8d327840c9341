import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oamface.bulk.manifest import list_shards
from oamface.bulk.reader import read_images


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def read_all(source, size=2, column="image"):
    """The shards of a location, and names and bytes of all their images."""
    shards = list(list_shards(source, size=size, column=column))
    return shards, [image for shard in shards for image in read_images(source.filesystem, shard)]


@pytest.fixture
def folder(tmp_path):
    """Loose images in folders, two archives, a table of two row groups, and files that are skipped."""
    for name in ("b/2.jpg", "b/1.png", "a.jpeg", "c.webp", "d/e/f.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("notes.txt", ".hidden.jpg", "b/.thumbs/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no")
    write_tar(tmp_path / "shard.tar", {"0.jpg": b"zero", "0.json": b"{}", "1.png": b"one"})
    write_tar(tmp_path / "small.tar.gz", {"x/2.jpg": b"two"}, "w:gz")
    table = pa.table({"image": [b"r0", None, b"r2"], "label": [0, 1, 2]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    return tmp_path
