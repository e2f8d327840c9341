"""`oamface serve`: the REST service and its page."""

from pathlib import Path
from typing import Annotated

import typer

from oamface.cli import options as opt
from oamface.cli.checks import needs
from oamface.weights import WEIGHTS

ACCESS, LIMITS, SITE = "Access", "Limits", "Static site"


@needs("serve")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all.", rich_help_panel=ACCESS)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.", rich_help_panel=ACCESS)] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Bearer tokens, one a line; /v1, /metrics and /models then need one.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Another site whose pages may call /v1; repeat for several.", rich_help_panel=ACCESS),
    ] = None,
    max_queued: Annotated[
        int, typer.Option(min=0, help="Requests that may queue; more get status 503.", rich_help_panel=LIMITS)
    ] = 32,
    max_image: Annotated[int, typer.Option(min=1, max=1024, help="MiB of one image.", rich_help_panel=LIMITS)] = 64,
    max_memory: Annotated[
        int, typer.Option(min=1, help="MiB of all request bodies held at once; more get 503.", rich_help_panel=LIMITS)
    ] = 512,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds for a request to arrive, and for its response.", rich_help_panel=LIMITS),
    ] = 30.0,
    weights: opt.Weights = WEIGHTS[0],
    device: opt.Device = "auto",
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the page with all it needs into a new folder, for any web server, and serve nothing.",
            rich_help_panel=SITE,
        ),
    ] = None,
) -> None:
    """Serve a REST API and a page. Keeps and logs nothing of the images it receives."""
    if export is not None:
        from oamface.server.site import Site

        Site(weights).export(export)
        return
    from oamface.server.run import run

    run(
        host,
        port,
        weights,
        device=device,
        keys=keys,
        origins=origin or [],
        max_queued=max_queued,
        max_image=max_image,
        max_memory=max_memory,
        timeout=timeout,
    )
