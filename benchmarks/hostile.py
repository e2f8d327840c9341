"""Attacks a real server with malformed requests: python benchmarks/hostile.py [--requests 500] [--seed 0]

Fuzzed images, wrong types, broken forms, huge headers, false lengths, slow senders, closed connections. Counts the
outcomes, checks that the server still works, then kills it under load and measures its restart.
"""

import argparse
import os
import random
import signal
import socket
import threading
import time
from collections import Counter

import httpx
from serving import free_port, start_server

from oamface.benchmark import PERSON

TYPES = ("image/jpeg", "image/png", "text/html", "application/json", "multipart/form-data", "", "x" * 300, "image/\x7f")


def random_body(rng: random.Random, image: bytes) -> bytes:
    """An image with bytes changed, cut, repeated or replaced; or not an image at all."""
    kind, data = rng.randrange(6), bytearray(image)
    if kind == 0:
        for _ in range(rng.randrange(1, 200)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 1:
        del data[rng.randrange(len(data)) :]
    elif kind == 2:
        start = rng.randrange(len(data))
        data[start:start] = data[:start] * rng.randrange(1, 4)
    elif kind == 3:
        data = bytearray(rng.randbytes(rng.randrange(1, 50_000)))
    elif kind == 4:  # a decompression bomb: a small file whose header claims a huge image
        side = rng.choice((30_000, 65_000)).to_bytes(4, "big")
        header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + side + side + b"\x08\x02\x00\x00\x00"
        data = bytearray(header + rng.randbytes(500))
    else:
        data = bytearray(b"--x\r\nContent-Disposition: form-data; name=image" + rng.randbytes(rng.randrange(200)))
    return bytes(data)


def attack(port: int, rng: random.Random, image: bytes) -> str:
    """Send one malformed request over a plain socket; returns the status code or what happened instead."""
    data = random_body(rng, image)
    length = rng.choice((len(data), len(data), len(data), len(data) + 50, max(0, len(data) - 50), 10**12, -5))
    path = rng.choice(
        ("/v1/analyze", "/v1/batch", "/v1/analyze?tasks=x", "/v1/analyze?crop=maybe", "/v1/" + "a" * 5000)
    )
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {rng.choice(TYPES)}\r\nContent-Length: {length}\r\n"
    if rng.random() < 0.1:
        head += f"X-Huge: {'y' * rng.choice((1000, 100_000))}\r\n"
    request = head.encode("latin-1") + b"\r\n" + data
    behaviour = rng.random()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
            if behaviour < 0.1:
                connection.sendall(request[: rng.randrange(len(request))])
                return "closed by the client"
            if behaviour < 0.15:
                for start in range(0, 30):  # one byte at a time
                    connection.sendall(request[start : start + 1])
                    time.sleep(0.1)
            else:
                connection.sendall(request)
            response = connection.recv(100)
    except TimeoutError:
        return "no response in 8 s"
    except OSError:
        return "closed by the server"
    return response.split(b" ")[1].decode() if response.startswith(b"HTTP/1.1 ") else "closed by the server"


def attack_repeatedly(port: int, image: bytes, *, requests: int, seed: int) -> Counter[str]:
    """Send malformed requests from eight threads; returns the outcomes."""
    outcomes: Counter[str] = Counter()
    lock, numbers = threading.Lock(), iter(range(requests))

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            outcome = attack(port, random.Random(seed * 1_000_003 + number), image)
            with lock:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    image = PERSON.read_bytes()
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/analyze"
    server, seconds = start_server(port, "--timeout", "2")
    print(f"ready in {seconds:.1f} s")
    outcomes = attack_repeatedly(port, image, requests=options.requests, seed=options.seed)
    print("malformed requests:", dict(sorted(outcomes.items())))
    good = httpx.post(url, content=image, timeout=30)
    alive = server.poll() is None
    print(f"then a valid image: {good.status_code}, {len(good.json()['faces'])} face; server alive: {alive}")

    results: Counter[str] = Counter()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                results[str(httpx.post(url, content=image, timeout=30).status_code)] += 1
            except httpx.TransportError as error:
                results[type(error).__name__] += 1
                return

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    stop.set()
    for thread in threads:
        thread.join()
    print("killed under load; clients got:", dict(results))
    server, seconds = start_server(port, "--timeout", "2")
    print(f"restarted in {seconds:.1f} s")
    server.terminate()
    print("exit code after SIGTERM:", server.wait())


if __name__ == "__main__":
    main()
