"""The run itself: Ray Data hands parts to analyzers on every core; each part becomes one file, whole or not at all."""

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from oamface.analyzer import Analyzer
from oamface.bulk import plan, rows
from oamface.bulk.plan import PART, Part, Place, parts_of, pictures_of, place
from oamface.errors import DataError, FileError, OamfaceError
from oamface.weights import WEIGHTS

JOB, PLAN = "job.json", "plan.parquet"  # beside the answers, which are part-*.parquet
_BLOCKS = 10_000  # of work that Ray plans at once; a part each, until there are more
_STORE_BYTES = 100 * 2**20  # of Ray's shared memory, through which only numbers of parts go

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report this machine's use to its makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns that it will change its mind about GPUs
for _switch in ("enable_metrics_collection", "event_stats", "task_events_report_interval_ms"):
    os.environ.setdefault(f"RAY_{_switch}", "0")  # nobody looks at a Ray of our own, and its workers share these cores


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
class Summary:
    """pictures, faces, errors: of this run and of those before it. parts: of the plan. done: by this run."""

    pictures: int
    faces: int
    errors: int
    parts: int
    done: int


def bulk(
    source: str,
    out: str,
    *,
    weights: str = WEIGHTS[0],
    tasks: tuple[str, ...],
    crop: bool = False,
    size: int = PART,
    column: str = "image",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[int, int, int], None] = lambda done, total, pictures: None,
) -> Summary:
    """Analyse every picture of a source into Parquet files under `out`, a folder that all machines reach.

    Killed at any moment it goes on where it was when started again: every part of the plan is one file, which is there
    whole or not at all, so that each picture is answered for exactly once. workers: analyzers of one thread each, as
    many as the cluster has cores when None. address: of a running Ray cluster ("auto" finds it); None starts one here.
    on_progress: parts done, parts in all, pictures of this run.
    Raises DataError (source, or a folder that holds another job), FileError, ModelError, LabelError.
    """
    analyzed, where = place(source), place(out)
    analyzer = Analyzer(weights, tasks=tasks, threads=1)  # a mistake in these is told here, not by every worker
    job = Job(source, analyzer.engine.digest, analyzer.tasks, crop, size, column)
    total = _planned(where, job, analyzed)
    _sweep(where)
    left = _left(where, total)
    on_progress(total - len(left), total, 0)
    pictures = 0
    if left:
        settings = {"source": source, "out": out, "weights": weights, "tasks": analyzer.tasks, "crop": crop}
        for done, count in enumerate(_spread(left, settings, workers, address), total - len(left) + 1):
            pictures += count
            on_progress(done, total, pictures)
    missing = _left(where, total)
    if missing:
        raise FileError(
            f"{out}: {len(missing)} parts of {total} are missing, such as {_name(missing[0])}; start it again"
        )
    return _summary(where, total, len(left))


class Worker:
    """One process of Ray's: an analyzer of one thread, to which parts are given by number."""

    def __init__(self, source: str, out: str, weights: str, tasks: tuple[str, ...], crop: bool) -> None:
        import cv2

        cv2.setNumThreads(1)  # the other cores have workers of their own
        self.analyzer = Analyzer(weights, tasks=tasks, threads=1)
        self.source, self.out, self.crop = place(source), place(out), crop
        self.plan = pq.ParquetFile(self.out.files.open_input_file(self.out.child(PLAN).path))

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        return {"pictures": np.array([self.answer(int(number)) for number in batch["part"]])}

    def answer(self, number: int) -> int:
        """Write the part's file and return how many pictures it tells of."""
        part, told, pictures = Part.of(self.plan.read_row_group(number)), [], 0
        given = pictures_of(self.source.files, part)
        for photograph in self.analyzer.analyze_all(given, crop=self.crop):
            told += list(rows.rows_of(photograph))
            pictures += 1
        stream = pa.BufferOutputStream()
        table = pa.Table.from_pylist(told, rows.SCHEMA).replace_schema_metadata({"pictures": str(pictures)})
        pq.write_table(table, stream, compression="zstd")
        write(self.out.child(_name(number)), stream.getvalue())
        return pictures


def write(target: Place, data: pa.Buffer | bytes) -> None:
    """Whole or not at all, also where two workers write the same at once. Raises FileError."""
    # An object store shows an object when it is complete; a folder shows a file from its first byte.
    path = f"{target.path}.{uuid.uuid4().hex}.draft" if target.local else target.path
    try:
        with target.files.open_output_stream(path) as stream:
            stream.write(data)
        if target.local:
            target.files.move(path, target.path)
    except OSError as error:
        if target.local and target.files.get_file_info(path).is_file:
            target.files.delete_file(path)
        raise FileError(f"{target.path}: cannot be written ({error}); free some space and start it again") from error


def _planned(where: Place, job: Job, source: Place) -> int:
    """Write the plan, or find it; the number of its parts. The job is written last: with it, the plan is whole."""
    told, asked = where.child(JOB), json.loads(json.dumps(asdict(job)))  # as it is read again
    try:
        where.files.create_dir(where.path, recursive=True)
        known = where.files.get_file_info(told.path).is_file
        if known:
            with where.files.open_input_stream(told.path) as stream:
                kept = json.loads(bytes(stream.read()))
            differing = [f"{key} {kept.get(key)!r}, not {asked[key]!r}" for key in asked if kept.get(key) != asked[key]]
            if differing:
                raise DataError(
                    f"{where.path}: holds answers to another question ({', '.join(differing)}); name another"
                )
    except (OSError, ValueError) as error:
        raise FileError(f"{where.path}: cannot be used ({error})") from error
    path = where.child(PLAN)
    if not known:
        stream = pa.BufferOutputStream()
        with pq.ParquetWriter(stream, plan.SCHEMA) as writer:
            for part in parts_of(source, size=job.size, column=job.column):
                writer.write_table(part.table())  # a row group each
        write(path, stream.getvalue())
        write(told, json.dumps(asked, indent=1).encode())
    with where.files.open_input_file(path.path) as file:
        return int(pq.ParquetFile(file).num_row_groups)


def _name(number: int) -> str:
    return f"part-{number:08d}.parquet"


def _left(where: Place, total: int) -> list[int]:
    """The parts whose files are not there yet."""
    there = {entry.base_name for entry in where.files.get_file_info(pafs.FileSelector(where.path))}
    return [number for number in range(total) if _name(number) not in there]


def _sweep(where: Place) -> None:
    """Take away what a run that was killed had half written."""
    for entry in where.files.get_file_info(pafs.FileSelector(where.path)):
        if entry.base_name.endswith(".draft"):
            where.files.delete_file(entry.path)


def _spread(left: list[int], settings: dict[str, Any], workers: int | None, address: str | None) -> Iterator[int]:
    """Have every part done by some worker of the cluster; the pictures of each as it is done, in any order."""
    import ray
    import ray.data

    if address is None:
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    elif not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        count = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(left))
        blocks = min(len(left), _BLOCKS)
        numbers = ray.data.from_items([{"part": number} for number in left], override_num_blocks=blocks)
        pool = ray.data.ActorPoolStrategy(size=count)
        done = numbers.map_batches(Worker, fn_constructor_kwargs=settings, batch_size=1, compute=pool, num_cpus=1)
        for row in done.iter_rows():
            yield int(row["pictures"])
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise (
            cause
            if isinstance(cause, OamfaceError)
            else OamfaceError(
                f"Ray gave up ({str(error).strip().splitlines()[-1]}); what is done is kept: start it again"
            )
        ) from error
    finally:
        if address is None:
            ray.shutdown()


def _summary(where: Place, parts: int, done: int) -> Summary:
    """Counted from what lies there, a part at a time."""
    pictures = faces = errors = 0
    for number in range(parts):
        with where.files.open_input_file(where.child(_name(number)).path) as file:
            table = pq.read_table(file, columns=["error", "face"])
        pictures += int(table.schema.metadata[b"pictures"])
        faces += len(table) - table["face"].null_count
        errors += len(table) - table["error"].null_count
    return Summary(pictures, faces, errors, parts, done)
