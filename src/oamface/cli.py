"""Every command of oamface: parses, calls, prints. Exit code 2 and one line on stderr when nothing could be done."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

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


@app.command()
def teach(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared store.")],
    features: Annotated[Path, typer.Argument(help=".npz with `path` and `features`, one row a picture.")],
) -> None:
    """Keep a frozen teacher's features beside a store's chips, for training to distil from."""
    from oamface.data.store import attach_features

    count = attach_features(store, features)
    print(f"{store}: {count} faces have features now")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file; see recipes/.")],
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; goes on there after an interruption.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
) -> None:
    """Train the network by a recipe; the checkpoint lies in OUT."""
    # Here, so that no other command pays for torch.
    from oamface.train.loop import Run
    from oamface.train.recipe import load_recipe

    run = Run(load_recipe(recipe), store, out, workers=workers)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("train", total=run.total)

        def show(line: dict[str, Any]) -> None:
            progress.update(bar, completed=line["step"])
            if line["event"] == "start":
                console.print(f"{line['steps'] - line['step']} steps to go, about {line['expected_minutes']} minutes")
            elif line["event"] == "pass":
                figures = ", ".join(f"{name[6:]} {value:.3f}" for name, value in line.items() if name[:6] == "valid_")
                console.print(f"pass {line['pass'] + 1} at {line['size']} px: {figures}")

        run.on_event = show
        checkpoint = run.train()
    print(checkpoint)


def main() -> None:
    """The program: an error of ours is one line and exit code 2, never a traceback."""
    try:
        app()
    except OamfaceError as error:
        print(f"oamface: {error}", file=sys.stderr)
        sys.exit(2)
