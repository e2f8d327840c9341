"""The program `oamface`: its groups of commands, how it ends, and what signals do to it."""

import atexit
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import oamface
from oamface.cli import analyze, bulk, data, models, paper, serve, training, video
from oamface.cli.stdout import StdoutClosed, drop_stdout, printable
from oamface.errors import Interrupted, OamfaceError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer gives it no public name
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_interrupted = threading.Event()

log = logging.getLogger("oamface")

# Commands import the library when they are called, so that help is quick: no numpy, no ONNX Runtime.
HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", context_settings=HELP)
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Analyze": (analyze.analyze, video.video, bulk.bulk, serve.serve),
    "Train": (training.train, training.train_scanner, training.export, training.evaluate),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(models.app, name="models", rich_help_panel="Analyze")
app.add_typer(data.app, name="data", rich_help_panel="Train")
app.add_typer(paper.app, name="paper", rich_help_panel="Train")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"oamface {oamface.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log what is done, and where an error comes from, to standard error.")
    ] = False,
) -> None:
    """Apparent age, perceived gender and race, and mask of every face in an image."""
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)


def main() -> None:
    """Run the program and exit: 0 done, 1 some inputs failed, 2 nothing could be done, 130 after Ctrl-C or SIGTERM.

    An expected error is one line on standard error, never a traceback.
    """
    _prepare_process()
    try:
        try:
            code = app(standalone_mode=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
            _ignore_signals_at_exit()
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        _exit_usage(error)
    except OamfaceError as error:
        log.debug("", exc_info=error)
        _exit(str(error), 2)
    except (StdoutClosed, BrokenPipeError):
        drop_stdout()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        log.debug("", exc_info=error)
        drop_stdout()
        _exit(str(error), 2)
    except (Interrupted, ImportError) as error:
        # A native module makes an ImportError of a signal that comes while it is loaded.
        if isinstance(error, ImportError) and not _interrupted.is_set():
            raise
        _exit("interrupted; what was done is kept", 130)


def _prepare_process() -> None:
    # Pillow's warning is one too many: our own limit on pixels counts, and threads cannot silence it.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    for each in SIGNALS:
        signal.signal(each, _interrupt)
    if sys.stderr is None:  # closed: its text must not turn up in whatever file is opened next
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the encoding lacks must not end a batch


def _interrupt(number: int, frame: object) -> None:
    """Raise Interrupted once; a second signal must not cut short what the first one has to finish."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    _interrupted.set()
    raise Interrupted


def _ignore_signals_at_exit() -> None:
    """All is written: a signal while Python shuts down must not turn success into failure."""

    def ignore() -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    for each in SIGNALS:
        signal.signal(each, lambda *_: None)  # unlike SIG_IGN not inherited by child processes
    atexit.register(ignore)  # Python resets handlers, but not SIG_IGN, before its last steps


def _exit_usage(error: Exception) -> NoReturn:
    """A wrong option, argument or command, as one line; a group without a command has printed its help already."""
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if message:
        hint = f" (see {context.command_path} --help)" if context else ""
        _exit(message.rstrip(".") + hint, 2)
    sys.exit(2)


def _exit(line: str, code: int) -> NoReturn:
    print(f"oamface: {printable(line)}", file=sys.stderr)
    sys.exit(code)
