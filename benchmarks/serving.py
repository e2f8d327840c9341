"""Starts a real `oamface serve` for the benchmarks of the service."""

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


def start_server(port: int, *options: str) -> tuple[subprocess.Popen[bytes], float]:
    """A server that is ready, and the seconds that its start took."""
    started = time.monotonic()
    server = subprocess.Popen([PROGRAM, "serve", "--port", str(port), *options], stdout=subprocess.DEVNULL)
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return server, time.monotonic() - started
        except httpx.TransportError:
            time.sleep(0.02)
