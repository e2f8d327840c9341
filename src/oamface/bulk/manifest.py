"""What there is to do: a source as parts, always the same ones in the same order, and the images of each part."""

import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.atomic import same_file
from oamface.errors import DataError
from oamface.images import MAX_BYTES, is_image, is_image_bytes

PART = 256  # images of a part, where the source does not already come in parts

_TARS = (".tar", ".tar.gz", ".tgz")
_TABLE = ".parquet"
_HEAD = 64  # bytes by which a file without an ending is known

Skip = Callable[[str], object]


@dataclass(frozen=True)
class Place:
    """A file system and a path in it: a local path, or an address such as s3://bucket/folder.

    A local path may hold bytes that are no UTF-8, as Python escapes them; Arrow cannot open such a path.
    """

    files: pafs.FileSystem
    path: str

    @property
    def local(self) -> bool:
        return isinstance(self.files, pafs.LocalFileSystem)

    def child(self, name: str) -> "Place":
        return Place(self.files, f"{self.path.rstrip('/')}/{name}")

    def same(self, other: "Place") -> bool:
        """Whether both are one file or folder, by any local spelling or link."""
        if self.local and other.local:
            return same_file(self.path, other.path)
        return bool(self.files.equals(other.files)) and self.path.rstrip("/") == other.path.rstrip("/")


def place(address: str) -> Place:
    """Arrow's own file systems (local, S3, Google, Azure, HDFS), or any that fsspec knows.

    Raises DataError: neither knows it, or what it takes is not installed.
    """
    if not address:
        raise DataError("an empty path: name a folder, a file or an address such as s3://bucket/folder")
    try:
        if "://" not in address:
            return Place(pafs.LocalFileSystem(), str(Path(address).absolute()))
        try:
            return Place(*pafs.FileSystem.from_uri(address))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            files, path = fsspec.core.url_to_fs(address)
            return Place(pafs.PyFileSystem(pafs.FSSpecHandler(files)), path)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        raise DataError(f"{address}: cannot be opened ({error})") from error


@dataclass(frozen=True)
class Part:
    """A piece of work that is done whole or not at all.

    kind: "files" (an image each), "tar" (one archive) or "parquet" (a row group with a column of images).
    paths: of the files, or the archive or table alone.
    """

    kind: str
    paths: tuple[str, ...]
    row_group: int | None = None
    column: str | None = None

    def plain(self) -> list[Any]:
        """As values of JSON."""
        return [self.kind, list(self.paths), self.row_group, self.column]

    @classmethod
    def of(cls, plain: list[Any]) -> Self:
        kind, paths, row_group, column = plain
        return cls(kind, tuple(paths), row_group, column)


def parts_of(
    source: Place,
    *,
    size: int = PART,
    column: str = "image",
    without: Place | None = None,
    on_skip: Skip = lambda path: None,
) -> Iterator[Part]:
    """A folder of images, tar archives or Parquet files, or one such file, as parts, always in the same order.

    without: a folder that is left out, wherever it lies. on_skip: gets every file that is none of these and every
    hidden file or folder. Raises DataError: nothing there, nothing of a known kind, or a table without that column of
    bytes.
    """
    loose: list[str] = []
    found = False
    for path in _listed(source, without, on_skip):
        found = True
        if path.lower().endswith(_TARS):
            yield Part("tar", (path,))
        elif path.lower().endswith(_TABLE):
            yield from _row_groups(source.files, path, column)
        else:
            loose.append(path)
            if len(loose) == size:
                yield Part("files", tuple(loose))
                loose = []
    if loose:
        yield Part("files", tuple(loose))
    if not found:
        raise DataError(f"{source.path}: holds no image, tar archive or Parquet file")


def preprocess_batch(
    files: pafs.FileSystem, part: Part, *, on_skip: Skip = lambda path: None
) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and bytes of every image of a part, one after the other; an error where there are none to be had.

    A name is the file's path; in an archive or table it is PATH:MEMBER or PATH:ROW. on_skip: gets every file in an
    archive that is no image.
    """
    if part.kind == "files":
        for path in part.paths:
            yield path, _read(files, path)
    elif part.kind == "tar":
        yield from _members(files, part.paths[0], on_skip)
    else:
        yield from _cells(files, part)


def _open(files: pafs.FileSystem, path: str) -> IO[bytes]:
    """A local file by Python, which opens names that are no UTF-8."""
    if isinstance(files, pafs.LocalFileSystem):
        return Path(path).open("rb")
    return files.open_input_file(path)


def _listed(source: Place, without: Place | None, on_skip: Skip) -> Iterator[str]:
    """Every file of a known kind below a folder, sorted; or the one file that it is. Linked folders come once."""
    kind = _kind(source.files, source.path)
    if kind == pafs.FileType.File:
        yield source.path
        return
    if kind != pafs.FileType.Directory:
        raise DataError(f"{source.path}: there is no such file or folder")
    seen = set() if without is None else {_identity(source.files, without.path)}
    waiting = [source.path]
    while waiting:  # folder by folder, so that a large tree never lies in memory whole
        folder = waiting.pop()
        identity = _identity(source.files, folder)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            entries = _entries(source.files, folder)
        except OSError as error:
            if folder == source.path:
                raise DataError(f"{source.path}: cannot be listed ({error})") from error
            yield folder  # a row with an error, rather than images that nobody misses
            continue
        folders = []
        for path, kind in entries:
            if PurePosixPath(path).name.startswith("."):
                on_skip(path)
            elif kind == pafs.FileType.Directory:
                folders.append(path)
            elif _wanted(source.files, path, kind):
                yield path
            else:
                on_skip(path)
        waiting += reversed(folders)


def _entries(files: pafs.FileSystem, folder: str) -> list[tuple[str, pafs.FileType]]:
    """Path and kind of all that lies in a folder, sorted by path."""
    if isinstance(files, pafs.LocalFileSystem):
        paths = sorted(f"{folder.rstrip('/')}/{name}" for name in os.listdir(folder))  # noqa: PTH208 (no Path each)
        return [(path, _local_kind(path)) for path in paths]
    found = files.get_file_info(pafs.FileSelector(folder))
    return sorted(((entry.path, entry.type) for entry in found), key=lambda entry: entry[0])


def _kind(files: pafs.FileSystem, path: str) -> pafs.FileType:
    if isinstance(files, pafs.LocalFileSystem):
        return _local_kind(path)
    try:
        return files.get_file_info(path).type
    except OSError as error:
        raise DataError(f"{path}: cannot be looked at ({error})") from error


def _local_kind(path: str) -> pafs.FileType:
    """File or Directory, through links; NotFound also for a link to nothing; Unknown for pipes and devices."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return pafs.FileType.NotFound
    if stat.S_ISDIR(mode):
        return pafs.FileType.Directory
    return pafs.FileType.File if stat.S_ISREG(mode) else pafs.FileType.Unknown


def _identity(files: pafs.FileSystem, folder: str) -> object:
    """Equal for two paths of one folder."""
    if isinstance(files, pafs.LocalFileSystem):
        try:
            found = Path(folder).stat()
        except OSError:
            return folder
        return found.st_dev, found.st_ino
    return folder.rstrip("/")


def _wanted(files: pafs.FileSystem, path: str, kind: pafs.FileType) -> bool:
    """Whether a file is analysed: by its ending, or by its first bytes where it has none."""
    if kind == pafs.FileType.NotFound:  # a link to nothing: an image that is missed gets its row
        return is_image(path)
    if kind != pafs.FileType.File:
        return False
    if is_image(path) or path.lower().endswith((*_TARS, _TABLE)):
        return True
    return _is_bare(path) and is_image_bytes(_head(files, path))


def _head(files: pafs.FileSystem, path: str) -> bytes:
    try:
        with _open(files, path) as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _row_groups(files: pafs.FileSystem, path: str, column: str) -> Iterator[Part]:
    try:
        with _open(files, path) as file:
            table = pq.ParquetFile(file)
            schema, groups = table.schema_arrow, table.num_row_groups
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: no Parquet file ({error})") from error
    if column not in schema.names or not _holds_images(schema.field(column).type):
        known = ", ".join(schema.names)
        raise DataError(f"{path}: has no column {column!r} of images (it has {known}); name it: --column")
    for number in range(groups):
        yield Part("parquet", (path,), number, column)


def _holds_images(kind: pa.DataType) -> bool:
    """Bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _cells(files: pafs.FileSystem, part: Part) -> Iterator[tuple[str, bytes | OSError]]:
    path, group, column = part.paths[0], part.row_group, part.column
    try:
        with _open(files, path) as file:
            table = pq.ParquetFile(file)
            row = sum(table.metadata.row_group(before).num_rows for before in range(group or 0))
            for batch in table.iter_batches(32, row_groups=[group], columns=[column]):
                for cell in batch.column(0).to_pylist():
                    data: Any = cell.get("bytes") if isinstance(cell, dict) else cell
                    yield f"{path}:{row}", data if data is not None else OSError("the cell is empty")
                    row += 1
    except (OSError, pa.ArrowException) as error:  # what was read so far stands
        yield path, OSError(f"the table is damaged or cannot be read ({error})")


class _Member(tarfile.TarInfo):
    """tarfile takes a broken or missing header for the end of an archive; only the mark of the end is one."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no mark of its end: {error}") from error


def _members(files: pafs.FileSystem, path: str, on_skip: Skip) -> Iterator[tuple[str, bytes | OSError]]:
    try:
        with (
            _open(files, path) as stream,
            tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Member, bufsize=2**20) as tar,
        ):
            for member in tar:
                if member.isdir():
                    continue
                name = f"{path}:{member.name}"
                file = tar.extractfile(member) if member.isfile() else None
                if is_image(member.name):
                    yield name, OSError("is a link or no file") if file is None else file.read(MAX_BYTES + 1)
                elif file is not None and _is_bare(member.name) and is_image_bytes(head := file.read(_HEAD)):
                    yield name, head + file.read(MAX_BYTES + 1 - len(head))
                else:
                    on_skip(name)
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:  # what was read so far stands
        yield path, OSError(f"the archive is damaged or cannot be read ({error})")


def _is_bare(name: str) -> bool:
    """Whether a name has no ending and is not hidden."""
    path = PurePosixPath(name)
    return not path.suffix and not path.name.startswith(".")


def _read(files: pafs.FileSystem, path: str) -> bytes | OSError:
    try:
        with _open(files, path) as stream:
            return bytes(stream.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))
