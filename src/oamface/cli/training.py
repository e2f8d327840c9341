"""`oamface train`, `export`, `evaluate`: a prepared data set to a network, a model file, and its figures."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from oamface.atomic import write_text
from oamface.cli import options as opt
from oamface.cli.checks import check_folder, check_json_file, model_files, needs, store_files
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import json_text, print_table


@needs("train")
def train(
    store: opt.Stores,
    output: opt.OutputFolder,
    recipe: Annotated[
        Path | None, typer.Argument(help="A TOML file such as those in recipes/. Default with --from: fine-tuning.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Fine-tune this model, such as oam-open, a file or a checkpoint."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: faster on a GPU, after a minute or two.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="End after this time instead of after the recipe's epochs.")
    ] = None,
) -> None:
    """Train the network by a recipe, or fine-tune a model, and write a checkpoint.

    The folder also gets log.jsonl, and curves.png with losses and metrics by epoch.
    """
    from oamface.training.config import load_recipe
    from oamface.training.fine_tuning import RECIPE, fine_tuning_recipe
    from oamface.training.trainer import Trainer

    check_folder(output, inputs=store)
    if start is not None:
        settings = fine_tuning_recipe(start, recipe or RECIPE)
    elif recipe is not None:
        settings = load_recipe(recipe)
    else:
        raise typer.BadParameter("name a recipe, or with --from a model to fine-tune")
    with ProgressBar("train") as bar:

        def show(event: dict[str, Any]) -> None:
            bar.update(event["step"], trainer.total_steps)
            if line := _progress_line(event):
                bar.print(line)

        trainer = Trainer(settings, store, output, workers=workers, compiled=compiled, minutes=minutes, on_event=show)
        checkpoint = trainer.train()
    print(checkpoint)


def validation_figures(event: dict[str, Any]) -> str:
    """The validation figures of a training log's line."""
    return ", ".join(f"{name[6:]} {value:.3f}" for name, value in event.items() if name.startswith("valid_"))


def _progress_line(event: dict[str, Any]) -> str:
    """What a person reads of an event in a training log, "" of most."""
    if event["event"] == "start":
        return f"{event['faces']} faces with {', '.join(event['tasks'])}; {event['steps'] - event['step']} steps to go"
    if event["event"] == "teacher":
        return f"the teacher predicts {event['faces']} faces first"
    if event["event"] == "estimate":
        return f"about {event['minutes']:.0f} minutes to go"
    if event["event"] == "epoch":
        name = f"epoch {event['epoch'] + 1}" if event["epoch"] >= 0 else "before training"
        return f"{name} at {event['image_size']} px: {validation_figures(event)}"
    if event["event"] == "best":
        name = f"epoch {event['epoch'] + 1} was the best" if event["epoch"] >= 0 else "no epoch was better than before"
        return f"{name}; its weights are kept"
    return ""


@needs("train")
def train_scanner(
    fairface: Annotated[Path, typer.Argument(help="FairFace's published files: a folder, .tar, .tar.gz or .zip.")],
    masks: Annotated[Path, typer.Argument(help="The images of masks, likewise.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx file to write.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train.")] = 50.0,
    images: Annotated[int, typer.Option(min=1, help="Most images of each data set.")] = 16000,
    seed: opt.Seed = 0,
) -> None:
    """Train the face scanner, the first of the detector's two networks."""
    from oamface.atomic import check_output
    from oamface.datasets.readers import fairface as fairface_reader
    from oamface.datasets.readers import masks as masks_reader
    from oamface.training.scanner.faces import load_backgrounds, read_face_images
    from oamface.training.scanner.trainer import export_scanner
    from oamface.training.scanner.trainer import train_scanner as train_network

    check_output(output, inputs=[fairface, masks], suffixes=(".onnx",))
    archives = [(fairface_reader.read, fairface), (masks_reader.read, masks)]
    with ProgressBar("read") as bar:
        faces = read_face_images(archives, images, seed=seed, on_progress=bar.update)
    seconds = round(60 * minutes)
    with ProgressBar("train") as bar:

        def show(minute: float, step: int, score_loss: float, geometry_loss: float) -> None:
            bar.update(
                min(round(60 * minute), seconds),
                seconds,
                f"s; step {step}, losses {score_loss:.3f} {geometry_loss:.3f}",
            )

        network = train_network(faces, load_backgrounds(), minutes, seed=seed, on_progress=show)
    export_scanner(network, output)
    print(output)


@needs("train")
def export(
    source: Annotated[str, typer.Argument(help="A run's checkpoint.safetensors, or a model such as oam.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The model file to write: .onnx, or .xml for OpenVINO.")],
    store: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A prepared data set to calibrate and measure on; repeatable."),
    ] = None,
    test_store: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="One to measure on, but not to calibrate on.")
    ] = None,
    precision: Annotated[
        Literal["float16", "int8"], typer.Option(help="Of an .onnx file's weights; int8 is for the backbone.")
    ] = "float16",
) -> None:
    """Export a trained network to a model file: calibrated, checked, measured, with its own description.

    A model file is converted to OpenVINO as it is when no data set is named.
    """
    from oamface.datasets.store import open_stores
    from oamface.export.exporter import check_export
    from oamface.export.exporter import export as export_model
    from oamface.export.model_card import kept_calibration, terms_of_use

    if output.suffix == ".xml" and precision != "float16":
        raise typer.BadParameter("an .xml file for OpenVINO keeps the precision of what it is made from")
    own = store or []
    stores = open_stores([*own, *(test_store or [])])
    check_export(source, stores[: len(own)], output, precision)
    with ProgressBar("export") as bar:
        description = export_model(
            source,
            stores[: len(own)],
            output,
            precision=precision,
            test_stores=stores[len(own) :],
            on_progress=bar.update_stage,
        )
    if line := kept_calibration(description):
        print(f"oamface: {line}", file=sys.stderr)
    if output.suffix == ".onnx" and description["figures"] is None:
        print("oamface: no figures are in the file: the stores hold no face of the split 'test'", file=sys.stderr)
    if start := description.get("fine_tuned_from"):
        print(f"oamface: fine-tuned from {start['weights']}: {terms_of_use(description['training'])}", file=sys.stderr)
    print(output)


@needs("train")
def evaluate(
    store: opt.Stores,
    weights: opt.Weights = "oam",
    device: opt.Device = "auto",
    split: Annotated[Literal["test", "calibrate", "train"], typer.Option(help="Whose faces.")] = "test",
    json: opt.Json = False,
    output: opt.JsonFile = None,
) -> None:
    """Measure a model on the test split, on clean faces and under occluders that training never draws."""
    from oamface.datasets.store import open_stores
    from oamface.evaluation import tables
    from oamface.evaluation.model_file import evaluate as measure
    from oamface.evaluation.task_metrics import MIN_FACES
    from oamface.predictor import Predictor

    check_json_file(output, inputs=[*model_files(weights), *store_files(store)])
    predictor, stores = Predictor(weights, device=device), open_stores(store)
    with ProgressBar("evaluate") as bar:
        figures = measure(predictor, stores, split=split, on_progress=bar.update)
    if output is not None:
        write_text(output, json_text(figures))
    rows = tables.rows(figures)
    if json:
        print(json_text(figures), end="")
    else:
        print_table(tables.HEADINGS, rows, numbers=False)
    if {task for _, _, _, task, *_ in rows} <= {"attention"}:  # which takes no labels
        print(f"oamface: no figures: they take {MIN_FACES} labelled faces of the split {split!r}", file=sys.stderr)
