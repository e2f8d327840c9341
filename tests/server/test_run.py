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
from oamface.server.run import listen, read_keys


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
        assert process.wait(20) == 0
        assert len((tmp_path / "two" / "output").read_text().splitlines()) == 1  # where it serves, and no traceback
    # Answered, or never accepted: nothing in between.
    assert set(codes) <= {200, 503, "ConnectError", "RemoteProtocolError", "ReadError"}
    assert codes.count(200) > 1  # the first, and those that it had accepted by then


def refused(*options: object) -> str:
    """What a server that cannot start says, in one line and nothing else."""
    program = Path(sys.executable).with_name("oamface")
    command = [program, "serve", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_a_taken_port_is_said_before_anything_else(server) -> None:
    _, address = server
    port = address.rsplit(":", 1)[1]
    # Before the networks are loaded: the model that is not there is not missed.
    assert port in refused("--port", port, "--weights", "nowhere.onnx")


def test_hosts_that_are_none() -> None:
    assert "no-such-host.invalid" in refused("--host", "no-such-host.invalid", "--weights", "nowhere.onnx")
    assert "203.0.113.9" in refused("--host", "203.0.113.9", "--weights", "nowhere.onnx")
    assert "nowhere.onnx" in refused("--port", 0, "--weights", "nowhere.onnx")


def test_keys_are_looked_at_first(server, tmp_path) -> None:
    port = server[1].rsplit(":", 1)[1]
    assert "missing-keys" in refused("--keys", tmp_path / "missing-keys", "--port", port)


def test_memory_that_holds_no_body() -> None:
    assert "--memory" in refused("--memory", 16, "--port", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_every_address_of_a_host_listens_at_one_port(host) -> None:
    try:
        sockets = listen(host, 0)
    except ServeError:
        pytest.skip(f"this machine has no {host}")
    try:
        names = {each.getsockname()[:2] for each in sockets}
        (port,) = {port for _, port in names}
        for address, _ in names:
            socket.create_connection((address, port), timeout=5).close()
        with pytest.raises(ServeError, match="taken"):
            listen(host, port)
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_port_zero_is_told_and_a_stop_is_no_error(untrained_model, number) -> None:
    program = Path(sys.executable).with_name("oamface")
    command = [program, "serve", "--port", "0", "--weights", untrained_model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert httpx.get(f"{address}/readyz", timeout=20).status_code == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_bodies_that_are_too_large_are_refused_before_they_are_sent(server) -> None:
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(200)


HEADS = (
    b"Content-Type: multipart/form-data; boundary=\xff\x00",
    b"Content-Type: " + b"a" * 30_000,
    b"Content-Type: application/json\r\nContent-Type: image/png",
    b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked",
    b"Host: [\r\nX-Forwarded-For: \xff",
    b"Authorization: Bearer \xff\xfe",
    b"Accept-Encoding: \xff, gzip;q=\xff",
    b"Origin: \xff\r\nRange: bytes=5-1,9-\r\nIf-None-Match: \xff",
    b"Expect: 100-continue\r\nContent-Length: 5",
    b"Content-Length: 3\r\nContent-Length: 4",
)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "line", [b"POST /v1/analyze", b"GET /page.css", b"HEAD /v1/analyze/?\xff=%zz", b"POST /v1/%ff"]
)
def test_hostile_heads_get_an_answer_and_never_500(server, head, line) -> None:
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nConnection: close\r\n" + head + b"\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")
        status = connection.recv(200).split(b" ")[1]
    assert status[:1] in (b"2", b"4"), status


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
