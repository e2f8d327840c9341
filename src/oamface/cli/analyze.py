"""`oamface analyze`: the faces of images as a table, JSON, CSV or annotated images."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oamface.atomic import check_output
from oamface.cli import options as opt
from oamface.cli.checks import suffixes
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import Stdout, check_stdout, json_line, printable, read_stdin
from oamface.errors import FileError, ImageError
from oamface.weights import WEIGHTS

if TYPE_CHECKING:
    from oamface.analyzer import Analyzer
    from oamface.cli.image_list import ImageList, InputImage
    from oamface.results import Failure, ImageResult


def analyze(
    paths: Annotated[list[str], typer.Argument(help="Images, folders, quoted globs, or - for standard input.")],
    json: opt.Json = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write one row a face to this .csv file.", rich_help_panel=opt.OUTPUT),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write annotated images into this folder.", rich_help_panel=opt.OUTPUT),
    ] = None,
    crops: opt.Crops = False,
    min_face: opt.MinFace = None,
    max_side: opt.MaxSide = None,
    tasks: opt.Tasks = opt.ALL_TASKS,
    at_least: opt.AtLeast = None,
    policy: opt.Policy = None,
    weights: opt.Weights = WEIGHTS[0],
    device: opt.Device = "auto",
    threads: opt.Threads = 0,
) -> None:
    """Predict age, gender, race and mask of every face in images.

    Prints a table, or with --json one line of JSON an image. Ctrl-C keeps what was done.
    Exit code 1 when some images could not be analyzed or a folder or glob holds none, 2 when no image could, 130 after
    Ctrl-C.
    """
    from oamface.cli.image_list import STDIN, list_images

    listed = list_images(paths)
    inputs = ["/dev/stdin" if image.path == STDIN else image.path for image in listed.images]
    check_stdout(inputs)
    analyzer = opt.load_analyzer(
        weights, tasks, device, threads, min_face=min_face, max_side=max_side, at_least=at_least, policy=policy
    )
    opt.show_terms(weights, analyzer.description)
    if csv is not None:
        check_output(csv, inputs=inputs, suffixes=suffixes(csv, ".csv"))
    run = _Run(analyzer, listed, inputs, json=json, csv=csv, annotate=annotate)
    run.analyze(crops=crops)
    if run.failed or listed.empty:
        sys.exit(2 if run.failed == run.done else 1)


class _Run:
    """One call of the command: its outputs, opened, and how many images are done."""

    def __init__(
        self,
        analyzer: "Analyzer",
        listed: "ImageList",
        inputs: list[str],
        *,
        json: bool,
        csv: Path | None,
        annotate: Path | None,
    ) -> None:
        from oamface.atomic import OutputFile
        from oamface.cli.face_writers import AnnotatedImages, CsvWriter, TextTable
        from oamface.cli.image_list import STDIN

        self._analyzer, self._listed, self._json = analyzer, listed, json
        self._images = {image.path: image for image in listed.images}
        # What can be read only once: standard input, and pipes until they are annotated.
        self._data: dict[str, bytes] = {STDIN: read_stdin()} if STDIN in self._images else {}
        self._table = TextTable(analyzer.tasks, list(self._images), analyzer.at_least)
        self._stdout = Stdout(required=csv is None and annotate is None)
        self._last = ""  # path of the last result
        self.done = self.failed = 0
        # Outputs last, so that no error above leaves a draft.
        self._annotated = None if annotate is None else AnnotatedImages(annotate, listed.images)
        self._csv_file = None if csv is None else OutputFile(csv, inputs=inputs, lines=True)
        self._csv = None
        if self._csv_file is not None:
            try:
                self._csv = CsvWriter(
                    self._csv_file, analyzer.tasks, analyzer.at_least, decided=analyzer.policy is not None
                )
            except FileError:  # for its headings
                self._csv_file.discard()
                raise

    def analyze(self, *, crops: bool) -> None:
        """Analyze and write every image; say on standard error where there is none, and at last how many there were."""
        for path in self._listed.empty:
            print(f"oamface: {printable(path)}: no image there", file=sys.stderr)
        finished = False
        shown = sys.stderr.isatty() and not sys.stdout.isatty() and not self._json
        try:
            with ProgressBar("analyze", shown=shown) as bar:
                for result in self._analyzer.analyze_batch(self._inputs(), crop=crops):
                    self.done += 1
                    bar.update(self.done, max(self.done, len(self._images)))
                    self._write(result, bar)
            finished = True
        finally:
            self._close(finished=finished)

    def _inputs(self) -> "Iterator[tuple[str, str | bytes]]":
        """Every image, pipes as their bytes: read here, since a thread that waits for one cannot be interrupted."""
        from oamface.images import readable_again

        for path in self._images:
            data = self._data[path] if path in self._data else readable_again(path)
            if isinstance(data, bytes) and self._annotated is not None:
                self._data[path] = data
            yield path, data

    def _write(self, result: "ImageResult | Failure", bar: ProgressBar) -> None:
        from oamface.results import Failure

        image = self._image(str(result.source))
        if self._json:
            self._stdout.print(json_line(result.to_dict(), self._stdout.encoding))
        if self._csv is not None:
            self._csv.add(result)
        if isinstance(result, Failure):
            self._fail(result.error, bar)
            return
        if not self._json:
            for line in self._table.lines(result):
                self._stdout.print(line)
        if self._annotated is not None:
            try:
                self._annotated.write(image, result, self._data.get(image.path))
            except ImageError as error:  # the file is no longer what it was
                self._fail(error, bar)

    def _image(self, name: str) -> "InputImage":
        """The input of a result; PATH#2 is its second page. What the input before gave is no longer needed."""
        image = self._images.get(name) or self._images[name.rpartition("#")[0]]
        if image.path != self._last:
            self._data.pop(self._last, None)
            self._last = image.path
        return image

    def _fail(self, error: Exception, bar: ProgressBar) -> None:
        self.failed += 1
        bar.print(f"oamface: {printable(str(error))}")

    def _close(self, *, finished: bool) -> None:
        csv = self._csv_file
        if csv is not None and (written := csv.close(whole=finished)) not in (csv.path, None):
            print(f"oamface: {csv.path} is unchanged; the rows up to here are in {written}", file=sys.stderr)
        if skipped := self._listed.skipped(self.failed):
            print(f"oamface: {self.done - self.failed} images, {skipped}", file=sys.stderr)
        elif self.done > 1:
            print(f"oamface: {self.done} images", file=sys.stderr)
