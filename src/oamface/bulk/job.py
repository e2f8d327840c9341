"""The run itself: Ray Data hands parts to analyzers on every core; each part becomes one file, whole or not at all."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.analyzer import Analyzer
from oamface.bulk import rows
from oamface.bulk.manifest import PART, place, preprocess_batch
from oamface.bulk.output import Counted, Folder, Job, part_name
from oamface.errors import FileError, OamfaceError
from oamface.weights import WEIGHTS

_BLOCKS = 10_000  # of work that Ray plans at once; a part each, until there are more
_STORE_BYTES = 100 * 2**20  # of Ray's shared memory, through which only numbers of parts go

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report this machine's use to its makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns that it will change its mind about GPUs
for _switch in ("enable_metrics_collection", "event_stats", "task_events_report_interval_ms"):
    os.environ.setdefault(f"RAY_{_switch}", "0")  # nobody looks at a Ray of our own, and its workers share these cores


@dataclass(frozen=True)
class Summary:
    """counted: of this run and of those before it. parts: of the plan. done: by this run."""

    counted: Counted
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
    on_progress: Callable[[int, int, int], None] = lambda done, total, images: None,
) -> Summary:
    """Analyse every image of a source into Parquet files under `out`, a folder that all machines reach.

    Killed at any moment it goes on where it was when started again: every part of the plan is one file, which is there
    whole or not at all, so that each image is answered for exactly once. workers: analyzers of one thread each, as
    many as the cluster has cores when None. address: of a running Ray cluster ("auto" finds it); None starts one here.
    on_progress: parts done, parts in all, images of this run.
    Raises DataError (source, or a folder that holds something else), FileError, ModelError, LabelError.
    """
    if find_spec("ray") is None:  # told before a folder is made; importing it takes seconds
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    analyzed, folder = place(source), Folder(place(out))
    analyzer = Analyzer(weights, tasks=tasks, threads=1)  # a mistake in these is told here, not by every worker
    job = Job(source, analyzer.predictor.digest, analyzer.tasks, crop, size, column)
    total = folder.start(job, analyzed)
    folder.sweep()
    left = folder.left(total)
    on_progress(total - len(left), total, 0)
    images = 0
    if left:
        # Workers of a cluster are in another folder than we are.
        paths = {"source": _absolute(source), "out": _absolute(out), "weights": _absolute(weights, unless=WEIGHTS)}
        settings = {**paths, "tasks": analyzer.tasks, "crop": crop}
        try:
            for done, count in enumerate(_spread(left, settings, workers, address), total - len(left) + 1):
                images += count
                on_progress(done, total, images)
        finally:
            if address is None:  # nobody writes any more
                folder.sweep()
    missing = folder.left(total)
    if missing:
        raise FileError(
            f"{out}: {len(missing)} parts of {total} are missing, such as {part_name(missing[0])}; start it again"
        )
    return Summary(folder.count(total), total, len(left))


class Worker:
    """One process of Ray's: an analyzer of one thread, to which parts are given by number."""

    def __init__(self, source: str, out: str, weights: str, tasks: tuple[str, ...], crop: bool) -> None:
        import cv2

        cv2.setNumThreads(1)  # the other cores have workers of their own
        self.analyzer = Analyzer(weights, tasks=tasks, threads=1)
        self.source, self.folder, self.crop = place(source), Folder(place(out)), crop

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        return {"images": np.array([self.answer(int(number)) for number in batch["part"]])}

    def answer(self, number: int) -> int:
        """Write the part's file and return how many images it tells of."""
        told: list[dict[str, Any]] = []
        skipped: list[str] = []
        images = 0
        given = preprocess_batch(self.source.files, self.folder.part(number), on_skip=skipped.append)
        for image in self.analyzer.analyze_all(given, crop=self.crop):
            told += rows.rows_of(image)
            images += 1
        self.folder.write_part(number, told, images, len(skipped))
        return images


def _absolute(path: str, unless: tuple[str, ...] = ()) -> str:
    return path if "://" in path or path in unless else str(Path(path).absolute())


def _spread(left: list[int], settings: dict[str, Any], workers: int | None, address: str | None) -> Iterator[int]:
    """Have every part done by some worker of the cluster; the images of each as it is done, in any order."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with _signals_kept():
            _join(address, workers)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        count = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(left))
        blocks = min(len(left), _BLOCKS)
        numbers = ray.data.from_items([{"part": number} for number in left], override_num_blocks=blocks)
        pool = ray.data.ActorPoolStrategy(size=count)
        done = numbers.map_batches(Worker, fn_constructor_kwargs=settings, batch_size=1, compute=pool, num_cpus=1)
        for row in done.iter_rows():
            yield int(row["images"])
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
            with _signals_kept():
                ray.shutdown()


def _join(address: str | None, workers: int | None) -> None:
    """Start a Ray of our own, or join a running one. Raises OamfaceError: there is none."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        elif not ray.is_initialized():
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises a plain Exception where its processes start too slowly
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "start it again" if address is None else "name a running cluster, or leave --address out"
        raise OamfaceError(f"Ray did not start ({reason}); what is done is kept: {remedy}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give SIGINT and SIGTERM back to whoever had them: Ray would end the program its own way."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)
