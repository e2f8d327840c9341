"""Starts the service: networks, keys, a server that logs no request."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from oamface.analyzer import Analyzer
from oamface.errors import ServeError

_LEAST = 16  # characters of a key


def run(
    host: str,
    port: int,
    weights: str,
    *,
    keys: Path | None,
    origins: Sequence[str],
    waiting: int,
    megabytes: int,
    seconds: float,
) -> None:
    """Serve until told to stop; what was accepted by then is still answered. Raises ServeError, ModelError."""
    missing = [
        name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client") if find_spec(name) is None
    ]
    if missing:
        raise ServeError(f'serving needs {", ".join(missing)}: pip install "oamface[serve]"')
    import uvicorn

    from oamface.serve.app import Limits, create_app

    limits = Limits(bytes=megabytes * 2**20, waiting=waiting, seconds=seconds)
    app = create_app(Analyzer(weights, threads=1), limits=limits, keys=read_keys(keys) if keys else (), origins=origins)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,  # an address and a time are personal data
        log_level="warning",
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=round(seconds) + 1,
    )
    server = uvicorn.Server(config)
    print(f"oamface: http://{host}:{port}", flush=True)
    server.run()
    if not server.started:
        raise ServeError(f"{host}:{port}: cannot listen there; is it taken?")


def read_keys(path: Path) -> list[str]:
    """Tokens, one a line; empty lines and those that begin with # are none. Raises ServeError: none, or too short."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{path}: cannot be read ({error})") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or min(map(len, keys)) < _LEAST:
        raise ServeError(f"{path}: expected one key a line, each of at least {_LEAST} characters")
    return keys
