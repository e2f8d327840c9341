"""`oamface video`: the faces of a video file, camera or stream as JSON lines and an annotated video."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oamface.atomic import check_output
from oamface.cli import options as opt
from oamface.cli.checks import needs, suffixes
from oamface.cli.progress import ProgressBar
from oamface.cli.stdout import Stdout, check_stdout, json_line
from oamface.weights import WEIGHTS

STREAM = "Stream"


@needs("video")
def video(
    source: Annotated[str, typer.Argument(help="A video file, a camera's number, or a stream's address.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the lines to this .jsonl file instead of standard output.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an annotated video to this .mp4 file.", rich_help_panel=opt.OUTPUT),
    ] = None,
    every: Annotated[
        int,
        typer.Option(
            min=1, help="Detect faces in every Nth frame and track them in between.", rich_help_panel=opt.DETECTION
        ),
    ] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after N frames.", rich_help_panel=STREAM)] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Drop frames of a file rather than lag.", rich_help_panel=STREAM)
    ] = False,
    reconnect: Annotated[
        int, typer.Option(min=0, help="How often to try again in a row when a stream is lost.", rich_help_panel=STREAM)
    ] = 3,
    min_face: opt.MinFace = None,
    max_side: opt.MaxSide = None,
    tasks: opt.Tasks = opt.ALL_TASKS,
    at_least: opt.AtLeast = None,
    policy: opt.Policy = None,
    weights: opt.Weights = WEIGHTS[0],
    device: opt.Device = "auto",
    threads: opt.Threads = 0,
) -> None:
    """Track the faces of a video: one line of JSON a frame, and at the end a summary of every person.

    Ctrl-C ends it after the current frame: the lines, the summary and the annotated video up to there are kept.
    """
    from oamface.atomic import OutputFile
    from oamface.video.analyze import analyze_video, stop_on_signals
    from oamface.video.reader import local_path

    local = local_path(source)
    if output is None:
        check_stdout([] if local is None else [str(local)])
    if annotate is not None:
        inputs = [path for path in (local, output) if path is not None]
        check_output(annotate, inputs=inputs, suffixes=(".mp4",))
    if output is not None:
        check_output(output, inputs=[] if local is None else [local], suffixes=suffixes(output, ".jsonl", ".json"))
    analyzer = opt.load_analyzer(
        weights, tasks, device, threads, min_face=min_face, max_side=max_side, at_least=at_least, policy=policy
    )
    file = None if output is None else OutputFile(output, lines=True)
    count, finished, stdout = 0, False, Stdout()
    with stop_on_signals() as stop, ProgressBar("video", shown=sys.stderr.isatty() and output is not None) as bar:
        lines = analyze_video(
            source,
            analyzer,
            every=every,
            realtime=realtime,
            annotated=annotate,
            limit=limit,
            reconnect=reconnect,
            stop=stop,
            warn=lambda text: bar.print(f"oamface: {text}"),
        )
        try:
            for count, line in enumerate(lines, 1):
                if file is not None:
                    file.write_line(json_line(line))
                    bar.update(count, count)
                else:
                    stdout.print(json_line(line, stdout.encoding))
            finished = not stop.is_set() and "incomplete" not in line
        finally:
            lines.close()  # keeps the annotated video
            if file is not None and not count:
                file.discard()
            elif file is not None and (written := file.close(whole=finished)) != output:
                bar.print(f"oamface: {output} is unchanged; the new lines up to here are in {written}")
