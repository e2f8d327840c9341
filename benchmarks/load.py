"""Many clients at one server: python benchmarks/load.py [--clients 32] [--seconds 60] [--weights oam]

Starts `oamface serve` on a free port, sends requests without a pause, and prints statuses, throughput against the
pipeline alone, response times, and the server's memory in the second and the last quarter.
"""

import argparse
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from serving import free_port, start_server

from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON


class Load:
    """Clients that sent one image again and again.

    statuses, seconds: of the responses. rate: successful ones per second. memory: megabytes of the server, every half
    second.
    """

    def __init__(self, url: str, image: bytes, clients: int, seconds: float, pid: int) -> None:
        self.statuses: Counter[object] = Counter()
        self.seconds: list[float] = []
        self.memory: list[float] = []
        self._url, self._image, self._lock = url, image, threading.Lock()
        started = time.monotonic()
        self._end = started + seconds
        threads = [threading.Thread(target=self._send) for _ in range(clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.memory.append(resident_memory(pid))
            time.sleep(0.5)
        self.rate = self.statuses[200] / (time.monotonic() - started)

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while time.monotonic() < self._end:
                started = time.perf_counter()
                try:
                    status: object = client.post("/v1/analyze", content=self._image).status_code
                except httpx.TransportError as error:
                    status = type(error).__name__
                with self._lock:
                    self.statuses[status] += 1
                    self.seconds.append(time.perf_counter() - started)
                if status == 503:
                    time.sleep(0.2)


def resident_memory(pid: int) -> float:
    """Megabytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3


def pipeline_rate(weights: str, image: bytes, seconds: float, threads: int) -> float:
    """Images per second of the pipeline alone, in as many threads as the server has."""
    analyzer = Analyzer(weights, threads=1)
    analyzer.analyze(image)
    counts, end = [0] * threads, time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < end:
            analyzer.analyze(image)
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def time_single_requests(url: str, image: bytes, count: int = 20) -> list[float]:
    """Seconds of requests without any other load."""
    seconds = []
    with httpx.Client(base_url=url) as client:
        for _ in range(count):
            started = time.perf_counter()
            client.post("/v1/analyze", content=image)
            seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--weights", default="oam")
    arguments = parser.parse_args()
    image = PERSON.read_bytes()
    alone = pipeline_rate(arguments.weights, image, min(10.0, arguments.seconds), threads=2)
    port = free_port()
    server, _ = start_server(port, "--weights", arguments.weights)
    try:
        url = f"http://127.0.0.1:{port}"
        single = float(np.median(time_single_requests(url, image)))
        load = Load(url, image, arguments.clients, arguments.seconds, server.pid)
    finally:
        server.terminate()
        server.wait()
    quarter = max(1, len(load.memory) // 4)
    second, last = float(np.mean(load.memory[quarter : 2 * quarter])), float(np.mean(load.memory[-quarter:]))
    median, p99 = np.quantile(load.seconds, (0.5, 0.99))
    print(f"statuses: {dict(load.statuses)}")
    print(f"{load.rate:.1f} per second; the pipeline alone, two threads: {alone:.1f}; ratio {load.rate / alone:.2f}")
    print(f"single request: median {1e3 * single:.1f} ms")
    print(
        f"under load: median {1e3 * median:.0f} ms, p99 {1e3 * p99:.0f} ms: {p99 / single:.1f} times a single request"
    )
    print(f"memory: {second:.0f} MB in the second quarter, {last:.0f} MB in the last ({last / second - 1:+.1%})")


if __name__ == "__main__":
    main()
