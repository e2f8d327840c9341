"""The service as a process of its own: files, output, signals, hostile clients."""

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

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def run_server(folder: Path, weights: Path, *options: object):
    """A server with a home, working and temporary folder of its own; yields its process and address."""
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
    with run_server(folder, untrained_model, "--timeout", 2) as (_, address):
        yield folder, address


def test_requests_leave_no_file_and_no_log(server, jpeg) -> None:
    folder, address = server
    with httpx.Client(base_url=address) as client:
        for number in range(10):
            name = f"secret-{number}.jpg"
            assert client.post("/v1/analyze", content=jpeg, headers={"x-name": name}).status_code == 200
            large = jpeg + b"\0" * 2_000_000  # a form parser would spool it to disk
            assert client.post("/v1/analyze", files={"image": (name, large)}).status_code == 200
        client.post("/v1/analyze", content=b"secret text")
        client.get("/secret-path")
    assert [path for name in ("home", "work", "tmp") for path in (folder / name).rglob("*")] == []
    output = (folder / "output").read_text()
    assert output.startswith("oamface: http://127.0.0.1:")
    assert len(output.splitlines()) == 1, output


def test_server_survives_slow_senders_and_closed_connections(server, jpeg) -> None:
    _, address = server
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head + b"x" * 10)  # and no more: 408 after the timeout
        slow.settimeout(10)
        assert b" 408 " in slow.recv(200)
    for data in (
        head + jpeg[:50],
        b"POST /v1/ana",
        b"\x16\x03\x01\x02" * 30,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000,
    ):
        with socket.create_connection((host, int(port))) as connection:
            try:
                connection.sendall(data)
            except OSError:
                continue
    assert httpx.post(f"{address}/v1/analyze", content=jpeg).status_code == 200


def test_sigterm_completes_accepted_requests(untrained_model, jpeg, tmp_path) -> None:
    with run_server(tmp_path / "two", untrained_model) as (process, address):
        codes: list[int | str] = []

        def post() -> None:
            try:
                codes.append(httpx.post(f"{address}/v1/analyze", content=jpeg, timeout=20).status_code)
            except httpx.TransportError as error:
                codes.append(type(error).__name__)

        threads = [threading.Thread(target=post) for _ in range(12)]
        for thread in threads:
            thread.start()
        while not codes:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(20) == 0
        assert len((tmp_path / "two" / "output").read_text().splitlines()) == 1  # its address, and no traceback
    # Completed, or never accepted: nothing in between.
    assert set(codes) <= {200, 503, "ConnectError", "RemoteProtocolError", "ReadError"}
    assert codes.count(200) > 1  # the first, and those accepted by then


def start_error(*options: object) -> str:
    """The only line that a server prints when it cannot start."""
    program = Path(sys.executable).with_name("oamface")
    command = [program, "serve", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_taken_port_is_reported_before_networks_are_loaded(server) -> None:
    _, address = server
    port = address.rsplit(":", 1)[1]
    assert port in start_error("--port", port, "--weights", "missing.onnx")


def test_invalid_hosts_and_weights_are_errors() -> None:
    assert "no-such-host.invalid" in start_error("--host", "no-such-host.invalid", "--weights", "missing.onnx")
    assert "203.0.113.9" in start_error("--host", "203.0.113.9", "--weights", "missing.onnx")
    assert "missing.onnx" in start_error("--port", 0, "--weights", "missing.onnx")


def test_missing_keys_are_reported_before_the_port(server, tmp_path) -> None:
    port = server[1].rsplit(":", 1)[1]
    assert "missing-keys" in start_error("--keys", tmp_path / "missing-keys", "--port", port)


def test_memory_below_one_body_is_an_error() -> None:
    assert "--max-memory" in start_error("--max-memory", 16, "--port", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_listen_uses_one_port_for_all_addresses(host) -> None:
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
def test_port_zero_is_printed_and_signal_exits_with_zero(untrained_model, number) -> None:
    program = Path(sys.executable).with_name("oamface")
    command = [program, "serve", "--port", "0", "--weights", untrained_model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert httpx.get(f"{address}/readyz", timeout=20).status_code == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_too_large_content_length_is_rejected_before_the_body(server) -> None:
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(200)


HEADERS = (
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


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "line", [b"POST /v1/analyze", b"GET /page.css", b"HEAD /v1/analyze/?\xff=%zz", b"POST /v1/%ff"]
)
def test_hostile_headers_never_give_500(server, header, line) -> None:
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nConnection: close\r\n" + header + b"\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")
        status = connection.recv(200).split(b" ")[1]
    assert status[:1] in (b"2", b"4"), status


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "short\n", "long-enough-for-a-key\nshort\n", "ein-schlüssel-der-lang-ist\n"]
)
def test_read_keys_rejects_missing_short_and_non_ascii_keys(tmp_path, text) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ServeError, match="at least 16"):
        read_keys(tmp_path / "keys")
    with pytest.raises(ServeError, match="cannot be read"):
        read_keys(tmp_path / "missing")


def test_read_keys_gives_one_key_per_line(tmp_path) -> None:
    (tmp_path / "keys").write_text("# team\nlong-enough-for-a-key\n\n  another-one-of-the-keys  \n")
    assert read_keys(tmp_path / "keys") == ["long-enough-for-a-key", "another-one-of-the-keys"]


@pytest.mark.parametrize("weights", ["oam-int8", "oam-small"])
def test_terms_of_the_weights_are_said_in_a_line_at_the_start(weights, tmp_path) -> None:
    with run_server(tmp_path / "one", weights):
        said = (tmp_path / "one/output").read_text()
    assert ("for research only" in said) == (weights == "oam-int8")
    assert said.count("\n") == (2 if weights == "oam-int8" else 1)
