"""Options that mean the same in every command, and checks that commands share."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec, TypeVar, get_args

import typer

from oamface.atomic import check_output, same_file
from oamface.errors import FileError, OamfaceError
from oamface.labels import TASKS
from oamface.weights import WEIGHTS, weights_file

if TYPE_CHECKING:
    from oamface.analyzer import Analyzer

P = ParamSpec("P")
R = TypeVar("R")

MODEL, DETECTION, OUTPUT, LIMITS = "Model", "Face detection", "Output", "Limits"  # panels of the help

Device = Literal["auto", "cpu", "cuda", "coreml", "directml", "openvino", "tensorrt"]

WeightsOption = Annotated[
    str, typer.Option("--weights", metavar="MODEL", help=f"{', '.join(WEIGHTS)}, or a file.", rich_help_panel=MODEL)
]
WeightsListOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", metavar="MODEL", help="A model's name or file; repeat for several.", rich_help_panel=MODEL
    ),
]
TasksOption = Annotated[
    str, typer.Option("--tasks", metavar="NAMES", help="What to predict, separated by commas.", rich_help_panel=MODEL)
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help=f"Where the networks run: {', '.join(get_args(Device))}.",
        rich_help_panel=MODEL,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads of the networks; 0 for all cores.", rich_help_panel=MODEL)
]
MinFaceOption = Annotated[
    float | None,
    typer.Option(
        "--min-face",
        metavar="PIXELS",
        min=4,
        help="Long side of the smallest face to detect. Default: 2 % of the image's long side.",
        rich_help_panel=DETECTION,
    ),
]
MaxSideOption = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        metavar="PIXELS",
        min=64,
        help="Resize images to this long side for detection: faster, but misses small faces.",
        rich_help_panel=DETECTION,
    ),
]
CropsOption = Annotated[
    bool, typer.Option("--crops", help="Every image is a crop of exactly one face.", rich_help_panel=DETECTION)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.", rich_help_panel=OUTPUT)]
JsonFileOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Write all figures to this .json file.", rich_help_panel=OUTPUT),
]
StoreOption = Annotated[
    list[Path], typer.Option("--store", metavar="FOLDER", help="A prepared data set; repeat for several.")
]
ALL_TASKS = ",".join(TASKS)


def needs(extra: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a command that imports packages of an extra of pyproject.toml; one that is missing is then a clear error."""

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except ModuleNotFoundError as error:
                package = (error.name or "").partition(".")[0]
                if package in ("", "oamface"):
                    raise
                raise OamfaceError(
                    f'this command needs the package {package}: pip install "oamface[{extra}]"'
                ) from error

        return run

    return decorate


def split_names(text: str) -> list[str]:
    """Names that are separated by commas."""
    return [name.strip() for name in text.split(",")]


def suffixes(path: Path, *allowed: str) -> tuple[str, ...]:
    """For `check_output`: the endings that a file may have; any where it has none, such as /dev/null."""
    return allowed if path.suffix else ()


def check_json_file(path: Path | None, *, inputs: Iterable[Path]) -> None:
    """Make sure that `--output` can be written before the work starts. Raises FileError."""
    if path is not None:
        check_output(path, inputs=inputs, suffixes=suffixes(path, ".json"))


def check_folder(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Make sure, before the work starts, that a folder can be made or written to; nothing is touched.

    inputs: files and folders that the command reads; the folder may be none of them. Raises FileError.
    """
    if any(same_file(path, other) for other in inputs):
        raise FileError(f"{path}: is also read by this command; name another folder")
    existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise FileError(f"{path}: {existing} is not a folder; name another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written to (no permission)")


def store_files(folders: Iterable[Path]) -> list[Path]:
    """The files of prepared data sets."""
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def model_files(weights: str) -> list[Path]:
    """The files of a model: the second holds the weights of OpenVINO's form."""
    path = weights_file(weights)
    return [path, path.with_suffix(".bin")]


def load_analyzer(
    weights: str, tasks: str, device: Device, threads: int, *, min_face: float | None, max_side: int | None
) -> "Analyzer":
    """The Analyzer that the options describe. Raises ModelError, LabelError, OptionError."""
    from oamface.analyzer import Analyzer
    from oamface.centerface import CenterFace

    detector = CenterFace(min_face=min_face, max_side=max_side, device=device, threads=threads)
    return Analyzer(weights, tasks=split_names(tasks), device=device, threads=threads, detector=detector)
