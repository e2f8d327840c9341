"""The service as a process of its own: what it leaves behind, how it stops, what it does to bad callers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from oamface.errors import ServeError
from oamface.serve.run import read_keys


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(folder: Path, weights: Path, *options: object):
    """A server with a home, a working and a temporary folder of its own; yields its process, address and output."""
    port = free_port()
    for name in ("home", "work", "tmp"):
        (folder / name).mkdir(parents=True)
    program = Path(sys.executable).with_name("oamface")
    environment = {**os.environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    command = [program, "serve", "--port", str(port), "--weights", weights, *map(str, options)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)], cwd=folder / "work", env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{address}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert process.poll() is None, (folder / "output").read_text()
                time.sleep(0.05)
            yield process, address
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server(untrained_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server") / "one"
    with serving(folder, untrained_model, "--seconds", 2) as (_, address):
        yield folder, address


def test_after_a_hundred_requests_nothing_is_left(server, jpeg) -> None:
    folder, address = server
    with httpx.Client(base_url=address) as client:
        for number in range(50):
            name = f"secret-{number}.jpg"
            assert client.post("/v1/analyze", content=jpeg, headers={"x-name": name}).status_code == 200
            big = jpeg + b"\0" * 2_000_000  # what a form parser would spool to disk
            assert client.post("/v1/analyze", files={"image": (name, big)}).status_code == 200
        client.post("/v1/analyze", content=b"secret text")
        client.get("/secret-path")
    assert [path for name in ("home", "work", "tmp") for path in (folder / name).rglob("*")] == []
    output = (folder / "output").read_text()
    assert output.startswith("oamface: http://127.0.0.1:")
    assert len(output.splitlines()) == 1, output


def test_slow_senders_and_cut_connections_do_no_harm(server, jpeg) -> None:
    _, address = server
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head + b"x" * 10)  # and no more: 408 after the time that a body may take
        slow.settimeout(10)
        assert b" 408 " in slow.recv(200)
    for sent in (
        head + jpeg[:50],
        b"POST /v1/ana",
        b"\x16\x03\x01\x02" * 30,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000,
    ):
        with socket.create_connection((host, int(port))) as rude:
            try:
                rude.sendall(sent)
            except OSError:
                continue
    assert httpx.post(f"{address}/v1/analyze", content=jpeg).status_code == 200


def test_told_to_stop_it_answers_what_it_accepted(untrained_model, jpeg, tmp_path) -> None:
    with serving(tmp_path / "two", untrained_model) as (process, address):
        codes: list[int | str] = []

        def ask() -> None:
            try:
                codes.append(httpx.post(f"{address}/v1/analyze", content=jpeg, timeout=20).status_code)
            except httpx.TransportError as error:
                codes.append(type(error).__name__)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        while not codes:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(20) in (0, -signal.SIGTERM)
    # Answered, or never accepted: nothing in between.
    assert set(codes) <= {200, 503, "ConnectError", "RemoteProtocolError", "ReadError"}
    assert codes.count(200) > 1  # the first, and those that it had accepted by then


def test_a_taken_port_is_a_clear_error(server, untrained_model) -> None:
    _, address = server
    program = Path(sys.executable).with_name("oamface")
    port = address.rsplit(":", 1)[1]
    done = subprocess.run(
        [program, "serve", "--port", port, "--weights", untrained_model], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "# only a comment\n", "short\n", "long-enough-for-a-key\nshort\n"])
def test_keys_that_are_none_or_too_short(tmp_path, text) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ServeError, match="at least 16"):
        read_keys(tmp_path / "keys")
    with pytest.raises(ServeError, match="cannot be read"):
        read_keys(tmp_path / "missing")


def test_keys_come_one_a_line(tmp_path) -> None:
    (tmp_path / "keys").write_text("# team\nlong-enough-for-a-key\n\n  another-one-of-the-keys  \n")
    assert read_keys(tmp_path / "keys") == ["long-enough-for-a-key", "another-one-of-the-keys"]
