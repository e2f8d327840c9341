"""`oamface data`: prepared data sets, teacher features, synthetic people, occlusion masks."""

import sys
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from oamface.atomic import check_output, make_folder
from oamface.cli import options as opt
from oamface.cli.checks import check_folder, needs
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import printable

app = typer.Typer(no_args_is_help=True, help="Prepare data sets, draw synthetic people and occlusions.")

SHOWN_SKIPPED = 10  # images
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")


class DataSet(StrEnum):
    utkface = "utkface"
    fairface = "fairface"
    masks = "masks"
    rmfrd = "rmfrd"
    mafa = "mafa"
    lfw = "lfw"
    aaf = "aaf"
    synth = "synth"
    csv = "csv"
    folders = "folders"


@app.command()
@needs("train")
def prepare(
    data_set: Annotated[DataSet, typer.Argument(metavar="NAME", help=f"The data set: {', '.join(DataSet)}.")],
    source: Annotated[
        Path, typer.Argument(help="Its published files: a folder, .tar, .tar.gz or .zip; for csv also the .csv file.")
    ],
    output: opt.OutputFolder,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a crop in pixels.")] = 128,
) -> None:
    """Detect, align and store the most prominent face of every image of a data set.

    csv and folders are for your own faces: a CSV file with the columns image and any of age, gender, race, mask, split
    and person, or folders that are named after labels.
    """
    from oamface.datasets import preparation
    from oamface.datasets.readers import aaf, csv_file, fairface, folders, lfw, mafa, masks, rmfrd, synthetic, utkface
    from oamface.datasets.store import Store, count_labels

    readers = {
        DataSet.utkface: utkface.read,
        DataSet.fairface: fairface.read,
        DataSet.masks: masks.read,
        DataSet.rmfrd: rmfrd.read,
        DataSet.mafa: mafa.read,
        DataSet.lfw: lfw.read,
        DataSet.aaf: aaf.read,
        DataSet.synth: synthetic.read,
        DataSet.csv: csv_file.read,
        DataSet.folders: folders.read,
    }
    read, archive = readers[data_set], source
    if data_set == DataSet.csv and source.is_file() and source.suffix.lower() == ".csv":
        read, archive = partial(csv_file.read, table=source.name), source.parent
    check_folder(output, inputs=[source])
    with ProgressBar(f"{data_set} -> {output}") as bar:
        card = preparation.prepare(archive, read, output, size=size, on_progress=bar.update)
    for name, reason in islice(card["skipped"].items(), SHOWN_SKIPPED):
        print(f"oamface: skipped {printable(name)}: {printable(reason)}", file=sys.stderr)
    faces = ", ".join(f"{count} {split}" for split, count in sorted(card["faces"].items())) or "no face"
    print(f"{output}: {faces}; {len(card['skipped'])} images skipped, listed with reasons in {output / 'card.json'}")
    print(f"labels: {', '.join(f'{count} {task}' for task, count in count_labels(Store.open(output)).items())}")


@app.command()
@needs("train")
def features(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared data set.")],
    file: Annotated[
        Path | None, typer.Argument(help="An .npz file of `path` and `features`, one row an image, made elsewhere.")
    ] = None,
) -> None:
    """Store a teacher's features beside a data set's crops, for distillation. Default: dlib's face network's."""
    from oamface.datasets.store import Store, attach_features, save_features

    if file is None:
        from oamface.training.distillation import extract_features

        with ProgressBar("features") as bar:
            extracted = extract_features(Store.open(store), on_progress=bar.update)
        save_features(store, extracted)
        count = len(extracted)
    else:
        count = attach_features(store, file)
    print(f"{store}: {count} faces have features now")


@app.command()
@needs("synth")
def synthesize(
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the data set, or of the contact sheets.")],
    count: Annotated[int, typer.Option(help="How many people.")] = 1000,
    seed: opt.Seed = 0,
    ages: Annotated[str, typer.Option(help="First and last year.")] = "18-80",
    races: Annotated[str, typer.Option(help="Of White, Black and Asian.")] = "White,Black,Asian",
    genders: Annotated[str, typer.Option(help="Of male and female.")] = "male,female",
    mask_share: Annotated[float, typer.Option(help="Share of people who wear a mask, 0 to 1.")] = 0.4,
    size: Annotated[int, typer.Option(help="Side of an image in pixels, 96 to 1024.")] = 256,
    workers: opt.RenderWorkers = None,
    sheets: Annotated[bool, typer.Option("--sheets", help="Only contact sheets of ages, masks and lights.")] = False,
) -> None:
    """Render synthetic people, balanced, with exact labels: images, labels.parquet, and a prepared data set."""
    from oamface.errors import SynthError
    from oamface.synthetic.dataset import make_dataset
    from oamface.synthetic.people import balanced

    check_folder(output)
    years = ages.split("-")
    if len(years) != 2 or not all(year.strip().isdecimal() for year in years):
        raise SynthError(f"ages {ages!r}: expected two years such as 18-80")
    people = balanced(
        count,
        seed=seed,
        ages=(int(years[0]), int(years[1])),
        races=opt.split_names(races),
        genders=opt.split_names(genders),
        mask_share=mask_share,
    )
    if sheets:
        _write_sheets(output, seed=seed, workers=workers)
        return
    with ProgressBar("load anny") as bar:
        card = make_dataset(people, output, seed=seed, size=size, workers=workers, on_progress=bar.update_stage)
    faces = ", ".join(f"{number} {split}" for split, number in sorted(card["faces"].items()))
    print(f"{output}: {len(people)} people; faces detected: {faces}; {len(card['skipped'])} undetected")


def _write_sheets(folder: Path, *, seed: int, workers: int | None) -> None:
    from oamface.images import write_image
    from oamface.synthetic.contact_sheet import age_sheet, light_sheet, mask_sheet
    from oamface.synthetic.head import HeadModel

    sheets = {"ages.jpg": age_sheet, "masks.jpg": mask_sheet, "lights.jpg": light_sheet}
    head_model = HeadModel()  # raises for a missing anny before anything is made
    make_folder(folder)
    for name in sheets:
        check_output(folder / name)
    with ProgressBar("sheets") as bar:
        for number, (name, sheet) in enumerate(sheets.items()):
            bar.update(number, len(sheets), name)
            write_image(folder / name, sheet(head_model, seed=seed, workers=workers))
            print(folder / name)


@app.command()
def occlude(
    image: Annotated[Path | None, typer.Argument(help="An image. Default: a drawn face.")] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The contact sheet, an image file.")] = Path(
        "occlusion.png"
    ),
    seed: opt.Seed = 0,
) -> None:
    """Draw every mask and other occluder on a face, beside its exact occlusion mask, as one contact sheet."""
    from oamface.errors import FaceError
    from oamface.face_detector import FaceDetector
    from oamface.images import read_image, write_image
    from oamface.occlusion.contact_sheet import contact_sheet, plain_face

    check_output(output, inputs=[] if image is None else [image], suffixes=IMAGE_SUFFIXES)
    if image is None:
        faces = [plain_face()]
    else:
        pixels = read_image(image)
        faces = [(pixels, face.landmarks) for face in FaceDetector().detect(pixels)]
        if not faces:
            raise FaceError(f"{image}: no face found")
    write_image(output, contact_sheet(faces, seed=seed))
    print(output)
