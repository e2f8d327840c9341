"""`oamface models`: which models there are, what they are good for, how fast they are here."""

import sys
from typing import Annotated

import typer

from oamface.atomic import write_text
from oamface.cli import options as opt
from oamface.cli.checks import check_json_file, model_files, needs
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import json_text, print_table
from oamface.weights import WEIGHTS, operating_points

app = typer.Typer(no_args_is_help=True, help="List, describe, time and select models.")

RoundsOption = Annotated[int, typer.Option("--rounds", min=2, help="How often everything is timed, in turns.")]


@app.command("list")
def list_models(json: opt.Json = False) -> None:
    """List the package's own models: size, licence, precision, accuracy.

    Measured on clean faces of the test splits: age on UTKFace, gender and race on FairFace, mask on the masks set.
    """
    from oamface import zoo

    models = zoo.list_models()
    if json:
        print(json_text([model.to_dict() for model in models]), end="")
        return
    print_table(
        ("model", "MB", "precision", "licence", "UTKFace age MAE", "FairFace gender", "FairFace race", "mask"),
        [
            (
                model.name,
                f"{model.size / 1e6:.1f}",
                model.precision,
                model.licence,
                f"{model.figures['utkface/age/mae'].value:.2f} years",
                f"{model.figures['fairface/gender/accuracy'].value:.1%}",
                f"{model.figures['fairface/race/accuracy'].value:.1%}",
                f"{model.figures['masks/mask/accuracy'].value:.1%}",
            )
            for model in models
        ],
    )


@app.command()
def card(weights: Annotated[str, typer.Argument(help=f"{', '.join(WEIGHTS)}, or a model file.")] = WEIGHTS[0]) -> None:
    """Print the model card of a model file, in Markdown."""
    from oamface.export.model_card import model_card
    from oamface.predictor import Predictor

    predictor = Predictor(weights)
    print(model_card(predictor.description, operating_points(predictor.digest)), end="")


@app.command()
@needs("benchmark")
def benchmark(
    weights: opt.WeightsList = None,
    peer: opt.Peers = None,
    device: opt.Device = "auto",
    threads: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="CPU threads of the networks; repeatable. Default: 1 and 2.", rich_help_panel=opt.MODEL
        ),
    ] = None,
    rounds: RoundsOption = 40,
    json: opt.Json = False,
    output: opt.JsonFile = None,
) -> None:
    """Measure how fast models are on this machine: networks alone, from a file to JSON, cold starts."""
    from oamface.benchmark import run_benchmark, tables

    names = weights or [WEIGHTS[0]]
    check_json_file(output, inputs=[path for name in names for path in model_files(name)])
    with ProgressBar("benchmark") as bar:
        measured = run_benchmark(
            names,
            device=device,
            threads=threads or (1, 2),
            peers=peer or [],
            rounds=rounds,
            on_progress=bar.update_stage,
        )
    if output is not None:
        write_text(output, json_text(measured))
    if json:
        print(json_text(measured), end="")
        return
    for title, headings, rows in tables(measured):
        print(title)  # a table's own title is broken to its width
        print_table(headings, rows)


@app.command()
def select(
    budget_ms: Annotated[float, typer.Option(help="Milliseconds that predicting one aligned face may take.")],
    weights: opt.WeightsList = None,
    device: opt.Device = "auto",
    threads: opt.Threads = 1,
    rounds: RoundsOption = 40,
) -> None:
    """Select the most accurate model within a time budget, measured on this machine.

    Exit code 1 when none is fast enough.
    """
    from oamface.selection import select_model

    with ProgressBar("select") as bar:
        best, candidates = select_model(
            budget_ms, weights or WEIGHTS, device=device, threads=threads, rounds=rounds, on_round=bar.update
        )
    rows = [
        (
            candidate.weights,
            f"{candidate.timing.median:.2f}",
            f"{candidate.timing.p95:.2f}",
            f"{candidate.accuracy:.1%}",
            "-" if candidate.multiply_adds is None else f"{candidate.multiply_adds / 1e9:.2f}",
        )
        for candidate in candidates
    ]
    print_table(("model", "ms", "p95", "accuracy", "GMACs"), rows)
    if best is None:
        print(f"oamface: no model is within {budget_ms:g} ms here; {candidates[0].weights} is closest", file=sys.stderr)
        sys.exit(1)
    print(best.weights)
