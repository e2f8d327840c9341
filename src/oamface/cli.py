"""Every command of oamface: parses, calls, prints. Exit code 2 and one line on stderr when nothing could be done."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from oamface.errors import OamfaceError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class DataSet(StrEnum):
    utkface = "utkface"
    fairface = "fairface"
    masks = "masks"


@app.callback()
def oamface() -> None:
    """Apparent age, perceived gender and race, and mask of every face in a photograph."""


@app.command()
def prepare(
    data_set: Annotated[DataSet, typer.Argument(help="Whose published layout the source has.")],
    source: Annotated[Path, typer.Argument(help="Folder, .tar, .tar.gz or .zip.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; go on there after an interruption.")],
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a chip in pixels.")] = 128,
) -> None:
    """Detect, align and store every face of a data set."""
    # Here, so that no other command pays for pyarrow.
    from oamface.data import fairface, mask_folders, store, utkface

    readers = {DataSet.utkface: utkface.read, DataSet.fairface: fairface.read, DataSet.masks: mask_folders.read}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{data_set} -> {out}")
        card = store.prepare(
            source,
            readers[data_set],
            out,
            size=size,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    faces = ", ".join(f"{count} {split}" for split, count in sorted(card["faces"].items()))
    print(f"{out}: {faces}; {len(card['refused'])} pictures refused, listed with reasons in {out / 'card.json'}")


def main() -> None:
    """The program: an error of ours is one line and exit code 2, never a traceback."""
    try:
        app()
    except OamfaceError as error:
        print(f"oamface: {error}", file=sys.stderr)
        sys.exit(2)
