"""Runs a bulk job: Ray Data gives shards to analyzers on every core, and each shard becomes one Parquet file."""

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

from oamface.age_policy import AgePolicy
from oamface.analyzer import Analyzer
from oamface.bulk.locations import locate
from oamface.bulk.manifest import SHARD_SIZE
from oamface.bulk.output import Counts, JobSettings, OutputFolder, shard_name
from oamface.bulk.reader import read_images
from oamface.bulk.rows import to_rows
from oamface.devices import GPUS, check_device
from oamface.errors import DeviceError, FileError, OamfaceError
from oamface.weights import WEIGHTS

_MAX_BLOCKS = 10_000  # that Ray schedules at once; one shard each, until there are more shards
_STORE_BYTES = 100 * 2**20  # of Ray's shared memory, through which only shard numbers go
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report this machine's use to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without it Ray warns that its treatment of GPUs will change
    # Monitoring of a private Ray, which nobody reads and which shares the workers' cores
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}


@dataclass(frozen=True)
class Summary:
    """counts: of this run and all before it. shards: of the manifest. written: shards that this run wrote."""

    counts: Counts
    shards: int
    written: int


def run_bulk(
    source: str,
    output: str,
    *,
    weights: str = WEIGHTS[0],
    tasks: tuple[str, ...],
    at_least: tuple[int, ...] = (),
    policy: AgePolicy | None = None,
    crop: bool = False,
    shard_size: int = SHARD_SIZE,
    column: str = "image",
    device: str = "cpu",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[int, int, int], None] = lambda done, total, images: None,
) -> Summary:
    """Analyze every image of a source into Parquet files in the folder `output`, which all machines must reach.

    A run that was killed resumes when it is started again: every shard of the manifest is one file, written completely
    or not at all, so that each image is in the output exactly once.
    at_least, policy: see Analyzer. crop, shard_size, column: see Analyzer.analyze_batch and list_shards.
    device: see `devices.DEVICES`; with "cuda" or "tensorrt" each worker takes one GPU. workers: processes with one
    thread each, as many as the cluster has cores or GPUs if None. address: of a running Ray cluster ("auto" finds it);
    None starts one here.
    on_progress: called with the shards done, all shards, and the images of this run.
    Raises DataError (the source, or a folder with other content), FileError, ModelError, LabelError, OptionError
    (another device), DeviceError (fewer GPUs than workers).
    """
    if find_spec("ray") is None:  # checked before the folder is made; importing it takes seconds
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    check_device(device)
    source_location, folder = locate(source), OutputFolder(locate(output))
    # Raises once, here, and not in every worker; other machines may have what this one lacks.
    here = device if address is None else "cpu"
    analyzer = Analyzer(weights, tasks=tasks, device=here, threads=1, at_least=at_least, policy=policy)
    decided = "" if policy is None else str(policy)
    settings = JobSettings(
        _absolute(source), analyzer.digest, analyzer.tasks, crop, shard_size, column, analyzer.at_least, decided
    )
    total = folder.start(settings, source_location)
    if address is None:  # other runs on a cluster may be writing theirs
        folder.remove_drafts()
    missing = folder.missing(total)
    on_progress(total - len(missing), total, 0)
    images = 0
    if missing:
        # Workers of a cluster have another working directory.
        arguments = {
            "source": settings.source,
            "output": _absolute(output),
            "weights": weights if weights in WEIGHTS else _absolute(weights),
            "tasks": analyzer.tasks,
            "at_least": analyzer.at_least,
            "policy": policy,
            "crop": crop,
            "device": device,
        }
        try:
            for done, count in enumerate(_process(missing, arguments, workers, address), total - len(missing) + 1):
                images += count
                on_progress(done, total, images)
        finally:
            if address is None:  # no worker writes any more
                folder.remove_drafts()
    if still_missing := folder.missing(total):
        example = shard_name(still_missing[0])
        raise FileError(
            f"{output}: {len(still_missing)} of {total} shards are missing, such as {example}; run it again"
        )
    return Summary(folder.count(total), total, len(missing))


class Worker:
    """A Ray process: an analyzer with one thread, which writes the shards whose numbers it gets."""

    def __init__(
        self,
        source: str,
        output: str,
        weights: str,
        tasks: tuple[str, ...],
        at_least: tuple[int, ...],
        policy: AgePolicy | None,
        crop: bool,
        device: str,
    ) -> None:
        import cv2

        cv2.setNumThreads(1)  # the other cores have workers of their own
        self.analyzer = Analyzer(weights, tasks=tasks, device=device, threads=1, at_least=at_least, policy=policy)
        self.source, self.folder, self.crop = locate(source), OutputFolder(locate(output)), crop

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        return {"images": np.array([self.process(int(number)) for number in batch["shard"]])}

    def process(self, number: int) -> int:
        """Write the shard's file and return its number of images."""
        rows: list[dict[str, Any]] = []
        skipped: list[str] = []
        count = 0
        images = read_images(self.source.filesystem, self.folder.shard(number), on_skip=skipped.append)
        for result in self.analyzer.analyze_batch(images, crop=self.crop):
            rows += to_rows(result)
            count += 1
        self.folder.write_shard(number, rows, count, len(skipped))
        return count


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _process(shards: list[int], arguments: dict[str, Any], workers: int | None, address: str | None) -> Iterator[int]:
    """Have every shard processed by a worker; the number of images of each as it is done, in any order."""
    with _ray_environment():
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            with _keep_signal_handlers():
                _start_ray(address, workers)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            gpus = 1 if arguments["device"] in GPUS else 0
            places = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
            if gpus and places < (workers or 1):
                raise DeviceError(
                    f"device {arguments['device']!r}: Ray's cluster has {places} GPUs; name fewer workers, or cpu"
                )
            count = min(workers or max(places, 1), len(shards))
            blocks = min(len(shards), _MAX_BLOCKS)
            numbers = ray.data.from_items([{"shard": number} for number in shards], override_num_blocks=blocks)
            pool = ray.data.ActorPoolStrategy(size=count)
            done = numbers.map_batches(
                Worker, fn_constructor_kwargs=arguments, batch_size=1, compute=pool, num_cpus=1, num_gpus=gpus
            )
            for row in done.iter_rows():
                yield int(row["images"])
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, OamfaceError):
                raise cause from error
            reason = str(error).strip().splitlines()[-1]
            raise OamfaceError(f"Ray failed ({reason}); finished shards are kept: run it again") from error
        finally:
            if address is None:
                with _keep_signal_handlers():
                    ray.shutdown()


def _start_ray(address: str | None, workers: int | None) -> None:
    """Start Ray on this machine, or connect to a running cluster. Raises OamfaceError: neither is possible."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        elif not ray.is_initialized():
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises a plain Exception where its processes start too slowly
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "run it again" if address is None else "name a running cluster, or leave --address out"
        raise OamfaceError(f"Ray did not start ({reason}); finished shards are kept: {remedy}") from error


@contextmanager
def _ray_environment() -> Iterator[None]:
    """Sets Ray's environment variables, unless the caller has, until the end."""
    added = _RAY_ENVIRONMENT.keys() - os.environ.keys()
    os.environ.update({name: _RAY_ENVIRONMENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Restores the handlers of SIGINT and SIGTERM, which Ray replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
