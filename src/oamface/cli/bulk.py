"""`oamface bulk`: any number of images on any number of machines, into Parquet files."""

import sys
import time
from typing import Annotated

import typer

from oamface.cli import options as opt
from oamface.cli.checks import needs
from oamface.cli.progress import ProgressBar
from oamface.weights import WEIGHTS

CLUSTER = "Cluster"


@needs("bulk")
def bulk(
    source: Annotated[
        str,
        typer.Argument(help="A folder, .tar or .parquet, or a folder of these: a path or an address such as s3://..."),
    ],
    output: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder of the results, a path or an address; resumes there.")
    ],
    column: Annotated[str, typer.Option(help="Which column of Parquet files holds the images.")] = "image",
    crops: opt.Crops = False,
    tasks: opt.Tasks = opt.ALL_TASKS,
    at_least: opt.AtLeast = None,
    policy: opt.Policy = None,
    weights: opt.Weights = WEIGHTS[0],
    device: opt.Device = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes of one thread each. Default: one for each core or GPU.", rich_help_panel=CLUSTER
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a running Ray cluster, or auto. Default: start one here.", rich_help_panel=CLUSTER),
    ] = None,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Images of a folder that make one shard.", rich_help_panel=CLUSTER)
    ] = 256,
) -> None:
    """Analyze any number of images on any number of machines, into Parquet, each exactly once.

    Exit code 1 when some images could not be analyzed.
    """
    from oamface.bulk.job import run_bulk

    started = time.monotonic()
    with ProgressBar("bulk") as bar:

        def show(done: int, total: int, images: int) -> None:
            rate = images / (time.monotonic() - started)
            bar.update(done, total, f"shards; {images} images, {rate:.0f} a second")

        summary = run_bulk(
            source,
            output,
            weights=weights,
            tasks=tuple(opt.split_names(tasks)),
            at_least=opt.parse_years(at_least),
            policy=opt.parse_policy(policy),
            crop=crops,
            shard_size=shard_size,
            column=column,
            device=device,
            workers=workers,
            address=address,
            on_progress=show,
        )
    counts = summary.counts
    print(
        f"{output}: {counts.images} images, {counts.faces} faces, {counts.errors} unreadable, "
        f"{counts.skipped} files skipped; {summary.written} shards written now"
    )
    if counts.errors:
        sys.exit(1)
