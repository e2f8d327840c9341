"""A real `oamface serve` on a free port, for the benchmarks that ask one."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

PROGRAM = Path(sys.executable).with_name("oamface")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def started(port: int, *options: str) -> tuple[subprocess.Popen[bytes], float]:
    """A server that is ready, and how many seconds that took."""
    began = time.monotonic()
    server = subprocess.Popen([PROGRAM, "serve", "--port", str(port), *options], stdout=subprocess.DEVNULL)
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return server, time.monotonic() - began
        except httpx.TransportError:
            time.sleep(0.02)
