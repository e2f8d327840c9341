"""Files and folders on any file system: local, S3, Google, Azure, HDFS, or one that fsspec knows."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs

from oamface.atomic import make_folder, same_file
from oamface.errors import DataError, FileError

DRAFT = (".oamface-", ".draft")  # prefix and suffix of the name of a file that is being written


@dataclass(frozen=True)
class Location:
    """A file system and a path in it.

    A local path may contain bytes that are not UTF-8, as Python escapes them; Arrow cannot open such a path.
    """

    filesystem: pafs.FileSystem
    path: str

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def child(self, name: str) -> "Location":
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}")

    def is_same(self, other: "Location") -> bool:
        """Whether both are one file or folder, by any local spelling or link."""
        if self.local and other.local:
            return same_file(self.path, other.path)
        return bool(self.filesystem.equals(other.filesystem)) and self.path.rstrip("/") == other.path.rstrip("/")

    def is_folder(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type == pafs.FileType.Directory)

    def make_folder(self) -> None:
        """With its parents, unless it exists. Raises FileError."""
        if self.local:
            make_folder(Path(self.path))
            return
        try:
            self.filesystem.create_dir(self.path, recursive=True)
        except OSError as error:
            raise FileError(f"{self.path}: cannot be made ({error})") from error


def locate(address: str) -> Location:
    """The location of a local path or an address such as s3://bucket/folder.

    Raises DataError: an unknown kind of address, or one whose package is not installed.
    """
    if not address:
        raise DataError("an empty path: name a folder, a file or an address such as s3://bucket/folder")
    try:
        if "://" not in address:
            return Location(pafs.LocalFileSystem(), str(Path(address).absolute()))
        try:
            return Location(*pafs.FileSystem.from_uri(address))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            filesystem, path = fsspec.core.url_to_fs(address)
            return Location(pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        raise DataError(f"{address}: cannot be opened ({error})") from error


def open_file(filesystem: pafs.FileSystem, path: str) -> IO[bytes]:
    """A file for reading; a local one by Python, which opens names that are not UTF-8."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return Path(path).open("rb")
    return filesystem.open_input_file(path)


def write_file(target: Location, data: pa.Buffer | bytes) -> None:
    """Write a file completely or not at all, also where two workers write the same one. Raises FileError."""
    # An object store shows an object once it is complete; a folder shows a file from its first byte.
    draft = Path(target.path).with_name(uuid.uuid4().hex.join(DRAFT))
    try:
        if not target.local:
            with target.filesystem.open_output_stream(target.path) as stream:
                stream.write(data)
            return
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file under the target's name
        draft.replace(target.path)
    except OSError as error:
        if target.local and draft.is_file():
            draft.unlink()
        raise FileError(f"{target.path}: cannot be written ({error}); free some space and run it again") from error
