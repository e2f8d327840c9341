"""Lists a source as shards: units of work, always the same ones in the same order."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.bulk.locations import Location, open_file
from oamface.errors import DataError
from oamface.images import is_image, is_image_bytes

SHARD_SIZE = 256  # images per shard, where the source is a folder of them
HEAD_BYTES = 64  # by which an image without a file extension is recognised
_TARS = (".tar", ".tar.gz", ".tgz")
_PARQUET = ".parquet"

OnSkip = Callable[[str], object]


@dataclass(frozen=True)
class Shard:
    """A unit of work, which is written completely or not at all.

    kind: "files" (one image each), "tar" (one archive) or "parquet" (one row group with a column of images).
    paths: of the files, or of the archive or table alone. row_group: None for all of a table that could not be opened.
    """

    kind: str
    paths: tuple[str, ...]
    row_group: int | None = None
    column: str | None = None

    def to_list(self) -> list[Any]:
        """As JSON values."""
        return [self.kind, list(self.paths), self.row_group, self.column]

    @classmethod
    def from_list(cls, values: list[Any]) -> Self:
        kind, paths, row_group, column = values
        return cls(kind, tuple(paths), row_group, column)


def list_shards(
    source: Location,
    *,
    size: int = SHARD_SIZE,
    column: str = "image",
    exclude: Location | None = None,
    on_skip: OnSkip = lambda path: None,
) -> Iterator[Shard]:
    """The shards of a folder of images, tar archives or Parquet files, or of one such file, in a fixed order.

    size: images per shard of a folder of them. column: of a table. exclude: a folder that is left out, wherever it is.
    on_skip: called with the path of every hidden file or folder and every file of another kind.
    Raises DataError: nothing there, nothing of a known kind, a table without that column of bytes, or a source that is
    one damaged table.
    """
    images: list[str] = []
    empty = True
    for path in _list_files(source, exclude, on_skip):
        if path.lower().endswith(_PARQUET):
            groups = _row_groups(source, path, column)
            empty = empty and not groups
            yield from groups
            continue
        empty = False
        if path.lower().endswith(_TARS):
            yield Shard("tar", (path,))
        else:
            images.append(path)
            if len(images) == size:
                yield Shard("files", tuple(images))
                images = []
    if images:
        yield Shard("files", tuple(images))
    if empty:
        raise DataError(f"{source.path}: has no image, tar archive or Parquet file with rows")


def lacks_extension(name: str) -> bool:
    """Whether a file has neither an extension nor a hidden name."""
    path = PurePosixPath(name)
    return not path.suffix and not path.name.startswith(".")


def _list_files(source: Location, exclude: Location | None, on_skip: OnSkip) -> Iterator[str]:
    """Every file of a known kind below a folder, sorted, linked folders once; or the one file that the source is."""
    filesystem = source.filesystem
    kind = _file_type(filesystem, source.path)
    if kind == pafs.FileType.File:
        yield source.path
        return
    if kind != pafs.FileType.Directory:
        raise DataError(f"{source.path}: there is no such file or folder")
    visited = set() if exclude is None else {_identity(filesystem, exclude.path)}
    stack = [source.path]
    while stack:  # folder by folder, so that a large tree is never in memory at once
        folder = stack.pop()
        identity = _identity(filesystem, folder)
        if identity in visited:
            continue
        visited.add(identity)
        try:
            children = _list_folder(filesystem, folder)
        except OSError as error:
            if folder == source.path:
                raise DataError(f"{source.path}: cannot be listed ({error})") from error
            yield folder  # becomes a row with an error, so that its images are not missed silently
            continue
        subfolders = []
        for path, kind in children:
            if PurePosixPath(path).name.startswith("."):
                on_skip(path)
            elif kind == pafs.FileType.Directory:
                subfolders.append(path)
            elif _is_input(filesystem, path, kind):
                yield path
            else:
                on_skip(path)
        stack += reversed(subfolders)


def _list_folder(filesystem: pafs.FileSystem, folder: str) -> list[tuple[str, pafs.FileType]]:
    """Path and type of everything in a folder, sorted by path."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        paths = sorted(f"{folder.rstrip('/')}/{name}" for name in os.listdir(folder))  # noqa: PTH208 (no Path each)
        return [(path, _local_file_type(path)) for path in paths]
    children = filesystem.get_file_info(pafs.FileSelector(folder))
    return sorted(((child.path, child.type) for child in children), key=lambda child: child[0])


def _file_type(filesystem: pafs.FileSystem, path: str) -> pafs.FileType:
    if isinstance(filesystem, pafs.LocalFileSystem):
        return _local_file_type(path)
    try:
        return filesystem.get_file_info(path).type
    except OSError as error:
        raise DataError(f"{path}: cannot be accessed ({error})") from error


def _local_file_type(path: str) -> pafs.FileType:
    """File or Directory, through links; NotFound also for a broken link; Unknown for pipes and devices."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return pafs.FileType.NotFound
    if stat.S_ISDIR(mode):
        return pafs.FileType.Directory
    return pafs.FileType.File if stat.S_ISREG(mode) else pafs.FileType.Unknown


def _identity(filesystem: pafs.FileSystem, folder: str) -> object:
    """Equal for two paths of one folder."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        try:
            status = Path(folder).stat()
        except OSError:
            return folder
        return status.st_dev, status.st_ino
    return folder.rstrip("/")


def _is_input(filesystem: pafs.FileSystem, path: str, kind: pafs.FileType) -> bool:
    """Whether a file is analyzed: by its extension, or by its first bytes where it has none."""
    if kind == pafs.FileType.NotFound:  # a broken link: if it names an image, it becomes a row with an error
        return is_image(path)
    if kind != pafs.FileType.File:
        return False
    if is_image(path) or path.lower().endswith((*_TARS, _PARQUET)):
        return True
    return lacks_extension(path) and is_image_bytes(_head(filesystem, path))


def _head(filesystem: pafs.FileSystem, path: str) -> bytes:
    try:
        with open_file(filesystem, path) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _row_groups(source: Location, path: str, column: str) -> list[Shard]:
    try:
        with open_file(source.filesystem, path) as file:
            table = pq.ParquetFile(file)
            schema, count = table.schema_arrow, table.num_row_groups
            names = schema.names
    except (OSError, ValueError, pa.ArrowException) as error:  # UnicodeDecodeError: a damaged name
        if path == source.path:
            raise DataError(f"{path}: is not a Parquet file ({error})") from error
        return [Shard("parquet", (path,), None, column)]  # becomes a row with an error, as a damaged archive does
    if column not in names or not _can_hold_images(schema.field(column).type):
        raise DataError(f"{path}: has no column {column!r} of images (it has {', '.join(names)}); name it: --column")
    return [Shard("parquet", (path,), number, column) for number in range(count)]


def _can_hold_images(kind: pa.DataType) -> bool:
    """Bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        kind = kind.field(index).type if index >= 0 else pa.null()
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
