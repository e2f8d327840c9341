"""Starts the service: reads the keys, opens the port, loads the networks, and serves without an access log."""

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import uvicorn

from oamface.analyzer import Analyzer
from oamface.errors import Interrupted, ServeError
from oamface.server.app import create_app
from oamface.server.limits import Limits
from oamface.weights import terms

_MIN_KEY_LENGTH = 16
_REASONS = {
    errno.EADDRINUSE: "is taken; stop what listens there, or name another --port",
    errno.EACCES: "is not allowed for this user; name a --port above 1023",
    errno.EADDRNOTAVAIL: "is not an address of this machine; name another --host",
}


def run(
    host: str,
    port: int,
    weights: str,
    *,
    device: str = "auto",
    keys: Path | None,
    origins: Sequence[str],
    max_queued: int,
    max_image: int,
    max_memory: int,
    timeout: float,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that were accepted by then still get their response.

    port: 0 for any free one. keys: a file of bearer tokens. max_image: MiB of one image. max_memory: MiB of all bodies
    at once. timeout: seconds. Raises ServeError, ModelError, DeviceError.
    """
    tokens = read_keys(keys) if keys else ()
    image_bytes, memory = max_image * 2**20, max_memory * 2**20
    body_bytes = max(Limits.body_bytes, 2 * image_bytes)  # base64 takes a third more than the image
    if memory < body_bytes:
        raise ServeError(f"--max-memory {max_memory}: must be enough for one body, {body_bytes // 2**20} MiB")
    limits = Limits(image_bytes=image_bytes, body_bytes=body_bytes, memory=memory, queued=max_queued, timeout=timeout)
    with ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in listen(host, port)]
        analyzer = Analyzer(weights, device=device, threads=1)
        config = uvicorn.Config(
            create_app(analyzer, limits=limits, keys=tokens, origins=origins),
            access_log=False,  # an address and a time are personal data
            log_level="warning",
            server_header=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=round(timeout) + 1,
        )
        if line := terms(weights):
            print(f"oamface: {line}", file=sys.stderr, flush=True)
        print(f"oamface: {_url(host, sockets[0].getsockname()[1])}", flush=True)
        with suppress(Interrupted):  # uvicorn re-raises the signal after a graceful stop, which is not an error
            uvicorn.Server(config).run(sockets=sockets)


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address of a host name; with port 0 all at the same free port.

    Raises ServeError: an unknown host, or a port that is taken or not allowed.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ServeError(f"--host {host}: cannot be found ({reason}); name an address of this machine") from error
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in infos):
        actual_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen_at(family, (address[0], actual_port, *address[2:])))
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # such as ::1 where there is no IPv6
                break
    else:
        if sockets:
            return sockets
    for each in sockets:
        each.close()
    assert failure is not None
    reason = _REASONS.get(failure.errno or 0, f"cannot be listened at ({failure.strerror})")
    raise ServeError(f"{_url(host, port)} {reason}") from failure


def _listen_at(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignores connections of the last server
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_keys(path: Path) -> list[str]:
    """Bearer tokens, one per line; empty lines and lines that start with # are ignored.

    Raises ServeError: no such file, no key, or one that is too short or not of ASCII, which alone headers carry.
    """
    if path.exists() and not path.is_file():
        raise ServeError(f"{path}: is not a file")  # a device may never end
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ServeError(f"{path}: cannot be read ({reason})") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or any(len(key) < _MIN_KEY_LENGTH or not key.isascii() for key in keys):
        raise ServeError(f"{path}: expected one key per line, each of at least {_MIN_KEY_LENGTH} ASCII characters")
    return keys
