"""Reads the images of a shard: files, members of a tar archive, or rows of a Parquet file."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.annotate import is_annotated
from oamface.bulk.locations import open_file
from oamface.bulk.manifest import HEAD_BYTES, OnSkip, Shard, lacks_extension
from oamface.datasets.archive import StrictTarInfo
from oamface.images import MAX_BYTES, is_image, is_image_bytes

_ROWS = 32  # read at once


def read_images(
    filesystem: pafs.FileSystem, shard: Shard, *, on_skip: OnSkip = lambda path: None
) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and bytes of every image of a shard, one after the other; an error instead of bytes that cannot be read.

    A name is the file's path; in an archive or table it is PATH:MEMBER or PATH:ROW. on_skip: called with the name of
    every file in an archive that is not an image, and of every PNG file that oamface has annotated.
    """
    if shard.kind == "files":
        for path in shard.paths:
            data = _read_file(filesystem, path)
            if isinstance(data, bytes) and is_annotated(data):
                on_skip(path)
            else:
                yield path, data
    elif shard.kind == "tar":
        yield from _read_tar(filesystem, shard.paths[0], on_skip)
    else:
        yield from _read_row_group(filesystem, shard)


def _read_file(filesystem: pafs.FileSystem, path: str) -> bytes | OSError:
    try:
        with open_file(filesystem, path) as stream:
            return bytes(stream.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))


def _read_tar(filesystem: pafs.FileSystem, path: str, on_skip: OnSkip) -> Iterator[tuple[str, bytes | OSError]]:
    try:
        with (
            open_file(filesystem, path) as stream,
            tarfile.open(fileobj=stream, mode="r|*", tarinfo=StrictTarInfo, bufsize=2**20) as archive,
        ):
            for member in archive:
                if member.isdir():
                    continue
                name = f"{path}:{member.name}"
                file = archive.extractfile(member) if member.isfile() else None
                if is_image(member.name):
                    yield name, OSError("is a link or not a file") if file is None else file.read(MAX_BYTES + 1)
                elif (
                    file is not None and lacks_extension(member.name) and is_image_bytes(head := file.read(HEAD_BYTES))
                ):
                    yield name, head + file.read(MAX_BYTES + 1 - len(head))
                else:
                    on_skip(name)
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:  # images so far are kept
        yield path, OSError(f"the archive is damaged or cannot be read ({error})")


def _read_row_group(filesystem: pafs.FileSystem, shard: Shard) -> Iterator[tuple[str, bytes | OSError]]:
    path, group = shard.paths[0], shard.row_group
    try:
        with open_file(filesystem, path) as file:
            table = pq.ParquetFile(file)
            row = sum(table.metadata.row_group(previous).num_rows for previous in range(group or 0))
            groups = None if group is None else [group]
            for batch in table.iter_batches(_ROWS, row_groups=groups, columns=[shard.column]):
                for cell in batch.column(0).to_pylist():
                    data: Any = cell.get("bytes") if isinstance(cell, dict) else cell
                    # A text would be opened as a path: the table may have changed since it was listed.
                    yield f"{path}:{row}", data if isinstance(data, bytes) else OSError("the cell holds no bytes")
                    row += 1
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:  # images so far are kept
        yield path, OSError(f"the table is damaged or cannot be read ({error})")
