"""The folder of the answers: one Parquet file a part, whole or not at all, and the plan that says which there will be.

Job and plan are Parquet files of the answers' schema without a row; what they say lies in their footers. So everything
that reads a folder of Parquet files (pandas, pyarrow, polars, DuckDB) opens this one as it is.
"""

import base64
import json
import uuid
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.atomic import make_folder
from oamface.bulk.manifest import Part, Place, parts_of
from oamface.bulk.rows import SCHEMA
from oamface.errors import DataError, FileError

JOB = "_job.parquet"
OLD_JOB = "job.json"  # of a folder that an earlier version wrote
TOGETHER = 64  # parts of one file of the plan
_DRAFT = (".oamface-", ".draft")  # how the name of a file that is being written begins and ends


@dataclass(frozen=True)
class Job:
    """What is asked, and of what. Two runs into one folder have to agree in all of it.

    digest: of the model file. size, column: see plan.parts_of.
    """

    source: str
    digest: str
    tasks: tuple[str, ...]
    crop: bool
    size: int
    column: str


@dataclass(frozen=True)
class Counted:
    """Of all parts. skipped: files that are no images, tar archives or Parquet files, and hidden ones."""

    images: int
    faces: int
    errors: int
    skipped: int


class Folder:
    """A folder of answers at a place that all machines reach."""

    def __init__(self, where: Place) -> None:
        self.where = where
        self._plan: tuple[int, list[Part]] = (-1, [])  # the file of the plan that was read last

    def start(self, job: Job, source: Place) -> int:
        """Write the plan, or find it where the folder holds it; the number of its parts.

        The job is written last: with it, the plan is whole. Raises DataError (source; a folder that holds something
        else), FileError.
        """
        asked = json.loads(json.dumps(asdict(job)))  # as it is read again
        told = self._told(source, asked)
        if told is None:
            told = self._write_plan(job, source)
            self._write(JOB, SCHEMA.empty_table(), {"job": json.dumps({**asked, **told}, indent=1)})
        self._skipped = int(told["skipped"])
        return int(told["parts"])

    def part(self, number: int) -> Part:
        """Of the plan, by number."""
        chunk, place = divmod(number, TOGETHER)
        if self._plan[0] != chunk:
            packed = self._footer(_plan_name(chunk))["plan"]
            plain = json.loads(zlib.decompress(base64.b64decode(packed)))
            self._plan = chunk, [Part.of(part) for part in plain]
        return self._plan[1][place]

    def left(self, total: int) -> list[int]:
        """The parts whose files are not there yet."""
        there = set(self._names())
        return [number for number in range(total) if part_name(number) not in there]

    def write_part(self, number: int, rows: Iterable[dict[str, Any]], images: int, skipped: int) -> None:
        """Whole or not at all. rows: under SCHEMA. Raises FileError."""
        counts = {"images": str(images), "skipped": str(skipped)}
        self._write(part_name(number), pa.Table.from_pylist(list(rows), SCHEMA), counts)

    def sweep(self) -> None:
        """Take away what a run that was killed had half written. Raises FileError."""
        try:
            for name in self._names():
                if name.startswith(_DRAFT[0]) and name.endswith(_DRAFT[1]):
                    self.where.files.delete_file(self.where.child(name).path)
        except OSError as error:
            raise FileError(f"{self.where.path}: cannot be used ({error})") from error

    def count(self, total: int) -> Counted:
        """From what lies there, a part at a time."""
        images = faces = errors = 0
        skipped = self._skipped
        for number in range(total):
            with self.where.files.open_input_file(self.where.child(part_name(number)).path) as file:
                part = pq.ParquetFile(file)
                told, table = part.metadata.metadata, part.read(columns=["error", "face"])
            images += int(told[b"images"])
            skipped += int(told[b"skipped"])
            faces += len(table) - table["face"].null_count
            errors += len(table) - table["error"].null_count
        return Counted(images, faces, errors, skipped)

    def _told(self, source: Place, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What the job's file says, or None where there is none and a plan can be written."""
        if source.same(self.where):
            raise DataError(f"{self.where.path}: is the source; name another folder for the answers")
        names = self._names()
        if OLD_JOB in names:
            raise DataError(f"{self.where.path}: holds answers of an earlier version of oamface; name another folder")
        if JOB not in names:
            foreign = [name for name in names if not name.startswith(("_plan-", _DRAFT[0]))]
            if foreign:
                raise DataError(f"{self.where.path}: holds {foreign[0]!r}, no answers of ours; name an empty folder")
            return None
        try:
            told: dict[str, Any] = json.loads(self._footer(JOB)["job"])
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.where.path}: its {JOB} is damaged ({error}); name another folder") from error
        differing = [f"{key} {told.get(key)!r}, not {asked[key]!r}" for key in asked if told.get(key) != asked[key]]
        if differing:
            reason = ", ".join(differing)
            raise DataError(f"{self.where.path}: holds answers to another question ({reason}); name another folder")
        return told

    def _write_plan(self, job: Job, source: Place) -> dict[str, int]:
        """Nothing of it stays where it cannot be whole."""
        existed = _is_folder(self.where)
        skipped: list[None] = []
        parts = parts_of(
            source,
            size=job.size,
            column=job.column,
            without=self.where,
            on_skip=lambda path: skipped.append(None),
        )
        waiting = [next(parts)]  # a source of which nothing can be made is told before a folder is
        total = 0
        _make(self.where)
        try:
            for part in parts:
                if len(waiting) == TOGETHER:
                    self._write_chunk(total // TOGETHER, waiting)
                    total, waiting = total + TOGETHER, []
                waiting.append(part)
            self._write_chunk(total // TOGETHER, waiting)
        except BaseException:
            self._take_back(existed)
            raise
        return {"parts": total + len(waiting), "skipped": len(skipped)}

    def _write_chunk(self, chunk: int, parts: list[Part]) -> None:
        plain = json.dumps([part.plain() for part in parts])  # ASCII: paths of other bytes are escaped
        packed = base64.b64encode(zlib.compress(plain.encode())).decode()
        self._write(_plan_name(chunk), SCHEMA.empty_table(), {"plan": packed})

    def _take_back(self, existed: bool) -> None:
        with suppress(OSError):
            for name in self._names():
                self.where.files.delete_file(self.where.child(name).path)
            if not existed:
                self.where.files.delete_dir(self.where.path)

    def _names(self) -> list[str]:
        """Of all that lies in the folder; none where there is no folder yet. Raises FileError."""
        try:
            selected = pafs.FileSelector(self.where.path, allow_not_found=True)
            return [entry.base_name for entry in self.where.files.get_file_info(selected)]
        except (OSError, ValueError) as error:  # UnicodeEncodeError: Arrow opens no path that is no UTF-8
            raise FileError(f"{self.where.path!r}: cannot be used ({error}); name another folder") from error

    def _footer(self, name: str) -> dict[str, str]:
        try:
            with self.where.files.open_input_file(self.where.child(name).path) as file:
                found = pq.ParquetFile(file).metadata.metadata or {}
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.where.path}: its {name} is damaged ({error}); name another folder") from error
        return {key.decode(): value.decode() for key, value in found.items()}

    def _write(self, name: str, table: pa.Table, told: Mapping[str, str]) -> None:
        stream = pa.BufferOutputStream()
        with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(told)  # in the footer alone, so that all files have one schema
        write(self.where.child(name), stream.getvalue())


def part_name(number: int) -> str:
    return f"part-{number:08d}.parquet"


def write(target: Place, data: pa.Buffer | bytes) -> None:
    """Whole or not at all, also where two workers write the same at once. Raises FileError."""
    # An object store shows an object when it is complete; a folder shows a file from its first byte.
    draft = uuid.uuid4().hex.join(_DRAFT)
    path = str(Path(target.path).with_name(draft)) if target.local else target.path
    try:
        with target.files.open_output_stream(path) as stream:
            stream.write(data)
        if target.local:
            target.files.move(path, target.path)
    except OSError as error:
        if target.local and target.files.get_file_info(path).is_file:
            target.files.delete_file(path)
        raise FileError(f"{target.path}: cannot be written ({error}); free some space and start it again") from error


def _plan_name(chunk: int) -> str:
    return f"_plan-{chunk:08d}.parquet"


def _is_folder(where: Place) -> bool:
    return bool(where.files.get_file_info(where.path).type == pafs.FileType.Directory)


def _make(where: Place) -> None:
    if where.local:
        make_folder(Path(where.path))
        return
    try:
        where.files.create_dir(where.path, recursive=True)
    except OSError as error:
        raise FileError(f"{where.path}: cannot be made ({error})") from error
