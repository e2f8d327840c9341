"""Starts the service: keys, a socket, networks, a server that logs no request."""

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from oamface.analyzer import Analyzer
from oamface.errors import Interrupted, ServeError

_LEAST = 16  # characters of a key
_REASONS = {
    errno.EADDRINUSE: "is taken; stop what listens there, or name another --port",
    errno.EACCES: "is not allowed to this user; name a --port above 1023",
    errno.EADDRNOTAVAIL: "is no address of this machine; name another --host",
}


def run(
    host: str,
    port: int,
    weights: str,
    *,
    keys: Path | None,
    origins: Sequence[str],
    waiting: int,
    megabytes: int,
    memory: int,
    seconds: float,
) -> None:
    """Serve until told to stop; what was accepted by then is still answered.

    port: 0 for any free one. megabytes: of one image; memory: MiB of all bodies that are held at once.
    Raises ServeError, ModelError, and nothing when SIGINT or SIGTERM stopped it.
    """
    tokens = read_keys(keys) if keys else ()
    missing = [
        name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client") if find_spec(name) is None
    ]
    if missing:
        raise ServeError(f'serving needs {", ".join(missing)}: pip install "oamface[serve]"')
    import uvicorn

    from oamface.server.app import create_app
    from oamface.server.limits import Limits

    body = max(Limits.body, 2 * megabytes * 2**20)  # base64 takes a third more than the image
    if memory * 2**20 < body:
        raise ServeError(f"--memory {memory}: has to hold one body, which is {body // 2**20} MiB")
    limits = Limits(bytes=megabytes * 2**20, body=body, memory=memory * 2**20, waiting=waiting, seconds=seconds)
    with ExitStack() as held:
        sockets = [held.enter_context(each) for each in listen(host, port)]
        app = create_app(Analyzer(weights, threads=1), limits=limits, keys=tokens, origins=origins)
        config = uvicorn.Config(
            app,
            access_log=False,  # an address and a time are personal data
            log_level="warning",
            server_header=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=round(seconds) + 1,
        )
        print(f"oamface: {_address(host, sockets[0].getsockname()[1])}", flush=True)
        with suppress(Interrupted):  # uvicorn hands the signal on once it has stopped in order, which is no error
            uvicorn.Server(config).run(sockets=sockets)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at every address of a host's name; with port 0 all at the same free port.

    Raises ServeError: no such host, taken, or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise ServeError(f"--host {host}: cannot be found ({reason}); name an address of this machine") from error
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        taken = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listening(family, (address[0], taken, *address[2:])))
        except OSError as error:
            refused = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # such as ::1 where there is no IPv6
                break
    else:
        if sockets:
            return sockets
    for each in sockets:
        each.close()
    assert refused is not None
    reason = _REASONS.get(refused.errno or 0, f"cannot be listened at ({refused.strerror})")
    raise ServeError(f"{_address(host, port)} {reason}") from refused


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what the last server left does not count as taken
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 may have a socket of its own
        made.bind(address)
        made.listen(2048)
    except OSError:
        made.close()
        raise
    return made


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_keys(path: Path) -> list[str]:
    """Tokens, one a line; empty lines and those that begin with # are none. Raises ServeError: none, or too short."""
    if path.exists() and not path.is_file():
        raise ServeError(f"{path}: no file of keys")  # a device may never end
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ServeError(f"{path}: cannot be read ({reason})") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or min(map(len, keys)) < _LEAST:
        raise ServeError(f"{path}: expected one key a line, each of at least {_LEAST} characters")
    return keys
