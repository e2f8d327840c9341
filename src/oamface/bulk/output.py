"""The output folder: one Parquet file per shard, and the manifest that lists all shards.

Settings and manifest are Parquet files of the same schema without a row; their content is in the file metadata. So
everything that reads a folder of Parquet files (pandas, pyarrow, polars, DuckDB) reads this one.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.bulk.locations import DRAFT, Location, write_file
from oamface.bulk.manifest import Shard, list_shards
from oamface.bulk.rows import SCHEMA
from oamface.errors import DataError, FileError

SETTINGS = "_job.parquet"
SHARDS_PER_FILE = 64  # of the manifest
_MANIFEST = "_manifest-"
_EARLIER_VERSIONS = {"job.json", "_plan-00000000.parquet"}  # names of files that they wrote


@dataclass(frozen=True)
class JobSettings:
    """What is analyzed and how. All runs into one folder must have the same settings.

    source: an absolute path, or an address. digest: of the model file. shard_size, column: see list_shards.
    at_least: see Analyzer. policy: as text, or "".
    """

    source: str
    digest: str
    tasks: tuple[str, ...]
    crop: bool
    shard_size: int
    column: str
    at_least: tuple[int, ...] = ()
    policy: str = ""


@dataclass(frozen=True)
class Counts:
    """Totals of all shards. skipped: hidden files and files that are not images, tar archives or Parquet files."""

    images: int
    faces: int
    errors: int
    skipped: int


class OutputFolder:
    """The folder of results, at a location that all machines reach."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._cached: tuple[int, list[Shard]] = (-1, [])  # number and shards of the manifest file that was read last
        self._skipped = 0  # files of the source

    def start(self, settings: JobSettings, source: Location) -> int:
        """The number of shards, from the folder's manifest, which is written if there is none.

        The settings are written last, so that their file means that the manifest is complete.
        Raises DataError (the source, or a folder with other content), FileError.
        """
        requested = json.loads(json.dumps(asdict(settings)))  # as it is read again
        stored = self._read_settings(source, requested)
        if stored is None:
            stored = {**requested, **self._write_manifest(settings, source)}
            self._write(SETTINGS, SCHEMA.empty_table(), {"job": json.dumps(stored, indent=1)})
        self._skipped = int(stored["skipped"])
        return int(stored["shards"])

    def shard(self, number: int) -> Shard:
        """A shard of the manifest."""
        file_number, index = divmod(number, SHARDS_PER_FILE)
        if self._cached[0] != file_number:
            packed = self._read_metadata(_manifest_name(file_number))["manifest"]
            values = json.loads(zlib.decompress(base64.b64decode(packed)))
            self._cached = file_number, [Shard.from_list(shard) for shard in values]
        return self._cached[1][index]

    def missing(self, total: int) -> list[int]:
        """The numbers of the shards that have no file yet."""
        names = set(self._names())
        return [number for number in range(total) if shard_name(number) not in names]

    def write_shard(self, number: int, rows: Iterable[dict[str, Any]], images: int, skipped: int) -> None:
        """Write a shard's file completely or not at all. rows: under SCHEMA. Raises FileError."""
        counts = {"images": str(images), "skipped": str(skipped)}
        self._write(shard_name(number), pa.Table.from_pylist(list(rows), SCHEMA), counts)

    def remove_drafts(self) -> None:
        """Delete the incomplete files of a run that was killed. Raises FileError."""
        try:
            for name in self._names():
                if name.startswith(DRAFT[0]) and name.endswith(DRAFT[1]):
                    self._delete(name)
        except OSError as error:
            raise FileError(f"{self.location.path}: cannot be used ({error})") from error

    def count(self, total: int) -> Counts:
        """Totals of what the folder holds, read one shard at a time. Raises DataError: a file is damaged."""
        images = faces = errors = 0
        skipped = self._skipped
        for number in range(total):
            counts = self._count_shard(number)
            images += counts.images
            skipped += counts.skipped
            faces += counts.faces
            errors += counts.errors
        return Counts(images, faces, errors, skipped)

    def _count_shard(self, number: int) -> Counts:
        path = self.location.child(shard_name(number)).path
        try:
            with self.location.filesystem.open_input_file(path) as file:
                shard = pq.ParquetFile(file)
                metadata, table = shard.metadata.metadata or {}, shard.read(columns=["error", "face"])
            faces, errors = (len(table) - table[name].null_count for name in ("face", "error"))
            return Counts(int(metadata[b"images"]), faces, errors, int(metadata[b"skipped"]))
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise DataError(f"{path}: is damaged or cannot be read ({error}); delete it and run again") from error

    def _read_settings(self, source: Location, requested: dict[str, Any]) -> dict[str, Any] | None:
        """The settings of an earlier run, or None where the folder is new. Raises DataError: they differ."""
        path = self.location.path
        if source.is_same(self.location):
            raise DataError(f"{path}: is the source; name another folder for the output")
        names = self._names()
        if not _EARLIER_VERSIONS.isdisjoint(names):
            raise DataError(f"{path}: was written by an earlier version of oamface; name another folder")
        if SETTINGS not in names:
            other = [name for name in names if not name.startswith((_MANIFEST, DRAFT[0]))]
            if other:
                raise DataError(f"{path}: contains {other[0]!r}, which is no output of oamface; name an empty folder")
            return None
        try:
            stored: dict[str, Any] = json.loads(self._read_metadata(SETTINGS)["job"])
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: its {SETTINGS} is damaged ({error}); name another folder") from error
        differences = ", ".join(
            f"{key} {stored.get(key)!r}, not {value!r}" for key, value in requested.items() if stored.get(key) != value
        )
        if differences:
            raise DataError(f"{path}: was written with other settings ({differences}); name another folder")
        return stored

    def _write_manifest(self, settings: JobSettings, source: Location) -> dict[str, int]:
        """The numbers of shards and of skipped files. Leaves no file where it cannot be completed."""
        existed = self.location.is_folder()
        skipped: list[str] = []
        shards = list_shards(
            source,
            size=settings.shard_size,
            column=settings.column,
            exclude=self.location,
            on_skip=lambda path: skipped.append(""),
        )
        batch = [next(shards)]  # an unusable source raises before the folder is made
        total = 0
        self.location.make_folder()
        try:
            for shard in shards:
                if len(batch) == SHARDS_PER_FILE:
                    self._write_manifest_file(total // SHARDS_PER_FILE, batch)
                    total, batch = total + SHARDS_PER_FILE, []
                batch.append(shard)
            self._write_manifest_file(total // SHARDS_PER_FILE, batch)
        except BaseException:
            self._remove(folder=not existed)
            raise
        return {"shards": total + len(batch), "skipped": len(skipped)}

    def _write_manifest_file(self, number: int, shards: list[Shard]) -> None:
        values = json.dumps([shard.to_list() for shard in shards])  # ASCII: other bytes of paths are escaped
        packed = base64.b64encode(zlib.compress(values.encode())).decode()
        self._write(_manifest_name(number), SCHEMA.empty_table(), {"manifest": packed})

    def _remove(self, *, folder: bool) -> None:
        with suppress(OSError):
            for name in self._names():
                self._delete(name)
            if folder:
                self.location.filesystem.delete_dir(self.location.path)

    def _delete(self, name: str) -> None:
        self.location.filesystem.delete_file(self.location.child(name).path)

    def _names(self) -> list[str]:
        """The names of all files in the folder; none where there is no folder yet. Raises FileError."""
        try:
            selector = pafs.FileSelector(self.location.path, allow_not_found=True)
            return [file.base_name for file in self.location.filesystem.get_file_info(selector)]
        except (OSError, ValueError) as error:  # UnicodeEncodeError: Arrow opens no path that is not UTF-8
            raise FileError(f"{self.location.path!r}: cannot be used ({error}); name another folder") from error

    def _read_metadata(self, name: str) -> dict[str, str]:
        try:
            with self.location.filesystem.open_input_file(self.location.child(name).path) as file:
                metadata = pq.ParquetFile(file).metadata.metadata or {}
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.location.path}: its {name} is damaged ({error}); name another folder") from error
        return {key.decode(): value.decode() for key, value in metadata.items()}

    def _write(self, name: str, table: pa.Table, metadata: Mapping[str, str]) -> None:
        stream = pa.BufferOutputStream()
        with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(metadata)  # of the file, not of the schema, which is the same in all files
        write_file(self.location.child(name), stream.getvalue())


def shard_name(number: int) -> str:
    return f"part-{number:08d}.parquet"


def _manifest_name(number: int) -> str:
    return f"{_MANIFEST}{number:08d}.parquet"
