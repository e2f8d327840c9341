"""Hostile clients at a real server: python benchmarks/hostile.py [--requests 500] [--seed 0]

Fuzzed images, wrong types, broken forms, huge headers, lying lengths, slow senders, cut connections; counts what came
back, checks that it still serves, then kills it under load and times its start.
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

from oamface.benchmark import PERSON
from server import free_port, started

TYPES = ("image/jpeg", "image/png", "text/html", "application/json", "multipart/form-data", "", "x" * 300, "image/\x7f")


def body(rng: random.Random, image: bytes) -> bytes:
    """An image with some of it changed, cut, repeated or replaced; or nothing of an image."""
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
    elif kind == 4:  # a bomb: a small file that says it is huge
        side = rng.choice((30_000, 65_000)).to_bytes(4, "big")
        data = bytearray(
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + side + side + b"\x08\x02\x00\x00\x00" + rng.randbytes(500)
        )
    else:
        data = bytearray(b"--x\r\nContent-Disposition: form-data; name=image" + rng.randbytes(rng.randrange(200)))
    return bytes(data)


def attack(port: int, rng: random.Random, image: bytes) -> str:
    """One hostile request over a plain socket; what came back, in a word."""
    data = body(rng, image)
    length = rng.choice((len(data), len(data), len(data), len(data) + 50, max(0, len(data) - 50), 10**12, -5))
    path = rng.choice(
        ("/v1/analyze", "/v1/batch", "/v1/analyze?tasks=x", "/v1/analyze?crop=maybe", "/v1/" + "a" * 5000)
    )
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {rng.choice(TYPES)}\r\nContent-Length: {length}\r\n"
    if rng.random() < 0.1:
        head += f"X-Huge: {'y' * rng.choice((1000, 100_000))}\r\n"
    sent = head.encode("latin-1") + b"\r\n" + data
    how = rng.random()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
            if how < 0.1:
                connection.sendall(sent[: rng.randrange(len(sent))])
                return "cut by us"
            if how < 0.15:
                for start in range(0, 30):  # a byte now and then
                    connection.sendall(sent[start : start + 1])
                    time.sleep(0.1)
            else:
                connection.sendall(sent)
            answer = connection.recv(100)
    except TimeoutError:
        return "no answer in 8 s"
    except OSError:
        return "closed by it"
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed by it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    image = PERSON.read_bytes()
    port = free_port()
    server, took = started(port, "--seconds", "2")
    print(f"ready in {took:.1f} s")
    said: Counter[str] = Counter()
    lock, numbers = threading.Lock(), iter(range(asked.requests))

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            word = attack(port, random.Random(asked.seed * 1_000_003 + number), image)
            with lock:
                said[word] += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("hostile:", dict(sorted(said.items())))
    good = httpx.post(f"http://127.0.0.1:{port}/v1/analyze", content=image, timeout=30)
    alive = server.poll() is None
    print(f"then an image: {good.status_code}, {len(good.json()['faces'])} face; the process lives: {alive}")

    ends: Counter[str] = Counter()

    def load() -> None:
        while not over.is_set():
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/v1/analyze", content=image, timeout=30)
                ends[str(answer.status_code)] += 1
            except httpx.TransportError as error:
                ends[type(error).__name__] += 1
                return

    over = threading.Event()
    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    over.set()
    for thread in threads:
        thread.join()
    print("killed under load, its clients got:", dict(ends))
    server, took = started(port, "--seconds", "2")
    print(f"started again in {took:.1f} s")
    server.terminate()
    print("and told to stop:", server.wait())


if __name__ == "__main__":
    main()
