"""`oamface paper`: everything that exists to replicate the paper's study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oamface.atomic import write_text
from oamface.cli import options as opt
from oamface.cli.checks import check_folder, check_json_file, model_files, needs
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import json_text
from oamface.cli.training import validation_figures

if TYPE_CHECKING:
    from oamface.evaluation.predictors import FacePredictor

app = typer.Typer(no_args_is_help=True, help="Replicate the paper: study, benchmark, report.")


@app.command()
@needs("train")
def study(
    study: Annotated[Path, typer.Argument(help="A TOML file of variants such as recipes/paper/ablation.toml.")],
    store: opt.Stores,
    output: opt.OutputFolder,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
) -> None:
    """Train variants of the network on equal budgets, to compare them with `paper benchmark`."""
    from oamface.paper.study import run_study

    check_folder(output, inputs=store)
    with ProgressBar("study") as bar:

        def show(name: str, number: int, runs: int, event: dict[str, Any]) -> None:
            bar.update(number, runs, name)
            if event["event"] == "epoch":
                bar.print(f"{name}: {validation_figures(event)}")

        checkpoints = run_study(study, store, output, workers=workers, on_event=show)
    print(*checkpoints, sep="\n")


@app.command()
@needs("train")
def benchmark(
    store: opt.Stores,
    output: opt.OutputFolder,
    weights: opt.WeightsList = None,
    study: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A study: all its runs take part.")] = None,
    peer: opt.Peers = None,
    table: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A CSV of predictions made elsewhere.")
    ] = None,
    device: opt.Device = "auto",
    core: Annotated[bool, typer.Option("--core", help="Only clean and occluded faces, no corruptions.")] = False,
) -> None:
    """Measure models, peers and tables of predictions by the fixed protocol of docs/benchmark.md. Default: oam."""
    from oamface.datasets.store import open_stores
    from oamface.paper.benchmark import benchmark as measure

    check_folder(output, inputs=[*store, *([] if study is None else [study])])
    stores = open_stores(store)
    predictors = _load_predictors(weights or [], device, study, peer or [], table or [])
    with ProgressBar("benchmark") as bar:
        results = measure(predictors, stores, output, core=core, on_progress=bar.update)
    print(*results, sep="\n")


def _load_predictors(
    weights: list[str], device: str, study: Path | None, peers: list[str], tables: list[Path]
) -> "list[FacePredictor]":
    from oamface.evaluation.predictors import CheckpointPredictor, ModelPredictor, TablePredictor, load_peer
    from oamface.predictor import Predictor

    named = weights or ([] if study or peers or tables else ["oam"])
    predictors: list[FacePredictor] = [
        ModelPredictor(Predictor(name, device=device), Path(name).stem) for name in named
    ]
    if study is not None:
        from oamface.paper.study import checkpoints  # imports torch

        predictors += [CheckpointPredictor(path, path.parent.name) for path in checkpoints(study)]
    predictors += [load_peer(name) for name in peers]
    return [*predictors, *(TablePredictor(path, path.stem) for path in tables)]


@app.command()
@needs("synth")
def sensitivity(
    weights: opt.Weights = "oam",
    device: opt.Device = "auto",
    people: Annotated[int, typer.Option(min=1, help="How many, each at every level of every factor.")] = 60,
    seed: opt.Seed = 0,
    workers: opt.RenderWorkers = None,
    json: opt.Json = False,
    output: opt.JsonFile = None,
) -> None:
    """Change one thing at a time about synthetic people and print how the predictions change, in Markdown."""
    from oamface.analyzer import Analyzer
    from oamface.paper.sensitivity import markdown, measure_sensitivity
    from oamface.synthetic.head import HeadModel

    check_json_file(output, inputs=model_files(weights))
    analyzer, head_model = Analyzer(weights, device=device), HeadModel()
    with ProgressBar("sensitivity") as bar:
        figures = measure_sensitivity(
            analyzer, head_model, count=people, seed=seed, workers=workers, on_progress=bar.update
        )
    if output is not None:
        write_text(output, json_text(figures))
    print(json_text(figures) if json else markdown(figures), end="")


@app.command()
@needs("synth,train")  # synth for --quick
def report(
    results: Annotated[Path | None, typer.Argument(help="The folder that `paper benchmark` wrote.")] = None,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for index.html, report.json and README.md.")
    ] = Path("report"),
    main: Annotated[str | None, typer.Option(help="The result that the report is about.")] = None,
    log: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A training run's log.jsonl; repeat, oldest first.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Results of a study, instead of the folder's checkpoints.")
    ] = None,
    compact: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write results small enough to commit here.")
    ] = None,
    faces: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="Show the worst faces of this prepared data set.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="All of it on synthetic faces, without any data.")] = False,
) -> None:
    """Write every claim of the paper beside what was measured, as one page that opens anywhere."""
    from oamface.datasets.store import open_stores
    from oamface.paper.report import check_report
    from oamface.paper.report import report as write_report

    if (results is None) != quick:
        raise typer.BadParameter("name a folder of results, or --quick")
    check_folder(output, inputs=[*([] if results is None else [results]), *(faces or [])])
    check_report(output)
    if results is None:
        from oamface.paper.quick import quick_report  # imports torch

        with ProgressBar("report") as bar:
            summary = quick_report(output, on_progress=bar.update_stage)
    else:
        stores = open_stores(faces or [])
        summary = write_report(
            results, output, main=main, study=study, compact=compact, logs=log or [], faces_of=stores
        )
    print(*(f"{count} {verdict}" for verdict, count in summary["verdicts"].items()), sep=", ")
    print(output / "index.html")
