"""Reads files from a folder, .tar, .tar.gz or .zip by name, without unpacking to disk."""

import lzma
import tarfile
import threading
import zipfile
import zlib
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from oamface.errors import DataError
from oamface.images import MAX_BYTES


class StrictTarInfo(tarfile.TarInfo):
    """Raises ReadError at a broken or missing header, which tarfile takes for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} before the end-of-archive marker") from error


class Archive:
    """The files of a folder or archive. Safe to share between threads.

    Raises DataError: no such path, or not a folder, tar or zip that can be read to its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # an archive has one read position
        self._tar: tarfile.TarFile | None = None
        self._zip: zipfile.ZipFile | None = None
        self._tar_members: dict[str, tarfile.TarInfo] = {}
        self._zip_members: dict[str, zipfile.ZipInfo] = {}
        try:
            if path.is_dir():
                pass  # listed when its names are needed
            elif zipfile.is_zipfile(path):
                self._zip = zipfile.ZipFile(path)
                self._zip_members = {_plain(info.filename): info for info in self._zip.infolist() if not info.is_dir()}
            else:
                self._tar = tarfile.open(path, tarinfo=StrictTarInfo)  # noqa: SIM115 (closed in __exit__)
                self._tar_members = {_plain(member.name): member for member in self._tar if member.isfile()}
                _read_to_end(self._tar)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file or folder") from error
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            self.close()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")
            known = self._tar is not None
            problem = "the archive is damaged or cut off" if known else "not a readable folder, .tar, .tar.gz or .zip"
            raise DataError(f"{path}: {problem} ({reason})") from error

    @cached_property
    def names(self) -> list[str]:
        """The files' paths, in a fixed order."""
        if self._tar is not None:
            return list(self._tar_members)
        if self._zip is not None:
            return list(self._zip_members)
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())

    def has(self, name: str) -> bool:
        """Whether there is such a file; in a folder it may also lie outside, by ../ or an absolute path."""
        if self._tar is not None:
            return name in self._tar_members
        return (self.path / name).is_file() if self._zip is None else name in self._zip_members

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises DataError: no such file, unreadable, or larger than `images.MAX_BYTES`."""
        try:
            if self._tar is not None:
                with self._lock:
                    file = self._tar.extractfile(self._tar_members[name])
                    data = b"" if file is None else file.read(MAX_BYTES + 1)
            elif self._zip is not None:
                with self._lock, self._zip.open(self._zip_members[name]) as member:
                    data = member.read(MAX_BYTES + 1)
            else:
                with (self.path / name).open("rb") as file:
                    data = file.read(MAX_BYTES + 1)
        except Exception as error:  # decompressors raise many types on damaged archives
            raise DataError(f"{name}: cannot be read from {self.path} ({error})") from error
        if len(data) > MAX_BYTES:
            raise DataError(f"{name}: more than the limit of {MAX_BYTES} bytes")
        return data

    def close(self) -> None:
        for archive in (self._tar, self._zip):
            if archive is not None:
                with suppress(OSError):
                    archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_to_end(tar: tarfile.TarFile) -> None:
    """The checksum of compressed files comes after the last member. Raises what decompressors raise."""
    while tar.fileobj is not None and tar.fileobj.read(2**20):
        pass


def _plain(name: str) -> str:
    """A member's name without the "./" that `tar cf x.tar -C folder .` begins it with."""
    return PurePosixPath(name).as_posix()
