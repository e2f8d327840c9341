"""What there is to do: a source as parts, written down before anything starts: a second start finds the same."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.errors import DataError
from oamface.imaging import MAX_BYTES, is_picture

PART = 256  # pictures of a part, where the source does not already come in parts

SCHEMA = pa.schema([("kind", pa.string()), ("path", pa.string()), ("row_group", pa.int32()), ("column", pa.string())])
_TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Place:
    """A file system and a path in it: a local path, or an address such as s3://bucket/folder."""

    files: pafs.FileSystem
    path: str

    @property
    def local(self) -> bool:
        return isinstance(self.files, pafs.LocalFileSystem)

    def child(self, name: str) -> "Place":
        return Place(self.files, f"{self.path.rstrip('/')}/{name}")


def place(address: str) -> Place:
    """Arrow's own file systems (local, S3, Google, Azure, HDFS), or any that fsspec knows.

    Raises DataError: neither knows it, or what it takes is not installed.
    """
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

    kind: "files" (a picture each), "tar" (one archive) or "parquet" (a row group with a column of pictures).
    paths: of the files, or the archive or table alone.
    """

    kind: str
    paths: tuple[str, ...]
    row_group: int | None = None
    column: str | None = None

    def table(self) -> pa.Table:
        """As it is written down, a row for each path."""
        rows = [(self.kind, path, self.row_group, self.column) for path in self.paths]
        return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)

    @classmethod
    def of(cls, table: pa.Table) -> "Part":
        rows = table.to_pylist()
        first = rows[0]
        return cls(first["kind"], tuple(row["path"] for row in rows), first["row_group"], first["column"])


def parts_of(source: Place, *, size: int = PART, column: str = "image") -> Iterator[Part]:
    """A folder of pictures, tar archives or Parquet files, or one such file, as parts, always in the same order.

    Raises DataError: nothing there, nothing of a known kind, or a table without that column of bytes.
    """
    loose: list[str] = []
    found = False
    for path in _listed(source):
        found = True
        if path.endswith(_TARS):
            yield Part("tar", (path,))
        elif path.endswith(".parquet"):
            yield from _row_groups(source.files, path, column)
        else:
            loose.append(path)
            if len(loose) == size:
                yield Part("files", tuple(loose))
                loose = []
    if loose:
        yield Part("files", tuple(loose))
    if not found:
        raise DataError(f"{source.path}: holds no picture, tar archive or Parquet file")


def pictures_of(files: pafs.FileSystem, part: Part) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and bytes of every picture of a part, one after the other; an error where there are none to be had.

    A name is the file's path; in an archive or table it is PATH:MEMBER or PATH:ROW.
    """
    if part.kind == "files":
        for path in part.paths:
            yield path, _read(files, path)
    elif part.kind == "tar":
        yield from _members(files, part.paths[0])
    else:
        yield from _cells(files, part)


def _listed(source: Place) -> Iterator[str]:
    """Every file of a known kind below a folder, sorted, hidden ones left out; or the one file that it is."""
    try:
        info = source.files.get_file_info(source.path)
        if info.type == pafs.FileType.NotFound:
            raise DataError(f"{source.path}: there is no such file or folder")
        if info.type == pafs.FileType.File:
            yield source.path
            return
        waiting = [source.path]
        while waiting:  # folder by folder, so that a large tree never lies in memory whole
            entries = source.files.get_file_info(pafs.FileSelector(waiting.pop()))
            entries.sort(key=lambda entry: cast(str, entry.path))
            names = [entry for entry in entries if not entry.base_name.startswith(".")]
            waiting += [entry.path for entry in reversed(names) if entry.type == pafs.FileType.Directory]
            for entry in names:
                if entry.type == pafs.FileType.File and (
                    is_picture(entry.path) or entry.path.endswith((*_TARS, ".parquet"))
                ):
                    yield entry.path
    except OSError as error:
        raise DataError(f"{source.path}: cannot be listed ({error})") from error


def _row_groups(files: pafs.FileSystem, path: str, column: str) -> Iterator[Part]:
    try:
        table = pq.ParquetFile(files.open_input_file(path))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: no Parquet file ({error})") from error
    names = table.schema_arrow.names
    if column not in names or not _holds_pictures(table.schema_arrow.field(column).type):
        raise DataError(f"{path}: has no column {column!r} of pictures (it has {', '.join(names)}); name it: --column")
    for number in range(table.num_row_groups):
        yield Part("parquet", (path,), number, column)


def _holds_pictures(kind: pa.DataType) -> bool:
    """Bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _cells(files: pafs.FileSystem, part: Part) -> Iterator[tuple[str, bytes | OSError]]:
    path, group, column = part.paths[0], part.row_group, part.column
    table = pq.ParquetFile(files.open_input_file(path))
    row = sum(table.metadata.row_group(before).num_rows for before in range(group or 0))
    for batch in table.iter_batches(32, row_groups=[group], columns=[column]):
        for cell in batch.column(0).to_pylist():
            data: Any = cell.get("bytes") if isinstance(cell, dict) else cell
            yield f"{path}:{row}", data if data is not None else OSError("the cell is empty")
            row += 1


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


def _members(files: pafs.FileSystem, path: str) -> Iterator[tuple[str, bytes | OSError]]:
    try:
        with (
            files.open_input_stream(path, compression=None) as stream,
            tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Member) as tar,
        ):
            for member in tar:
                if member.isfile() and is_picture(member.name):
                    file = tar.extractfile(member)
                    yield f"{path}:{member.name}", OSError("is a link") if file is None else file.read(MAX_BYTES + 1)
    except (OSError, tarfile.TarError, EOFError) as error:  # what was read so far stands
        yield path, OSError(f"the archive is damaged or cannot be read ({error})")


def _read(files: pafs.FileSystem, path: str) -> bytes | OSError:
    try:
        with files.open_input_stream(path) as stream:
            return bytes(stream.read(MAX_BYTES + 1))
    except OSError as error:
        return error
