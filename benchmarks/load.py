"""Many clients at one server: python benchmarks/load.py [--clients 32] [--seconds 60] [--weights oam]

Starts `oamface serve` on a free port, asks without a pause, and prints what came back: statuses, throughput against the
pipeline alone, the spread of times, and the server's memory in the second and the last quarter.
"""

import argparse
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from server import free_port, started


def memory(process: int) -> float:
    """Megabytes that a process holds now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--weights", default="oam")
    asked = parser.parse_args()
    data = PERSON.read_bytes()

    analyzer = Analyzer(asked.weights, threads=1)
    analyzer.analyze(data)

    def bare(seconds: float, threads: int) -> float:
        """Pictures a second of the pipeline alone, in as many threads as the server has."""
        counts, until = [0] * threads, time.monotonic() + seconds

        def work(number: int) -> None:
            while time.monotonic() < until:
                analyzer.analyze(data)
                counts[number] += 1

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(counts) / seconds

    alone = bare(min(10.0, asked.seconds), 2)
    port = free_port()
    server, _ = started(port, "--weights", asked.weights)
    try:
        address = f"http://127.0.0.1:{port}"
        lone = []
        with httpx.Client(base_url=address) as client:
            for _ in range(20):
                began = time.perf_counter()
                client.post("/v1/analyze", content=data)
                lone.append(time.perf_counter() - began)
        statuses: Counter[object] = Counter()
        times: list[float] = []
        lock, until, began = threading.Lock(), time.monotonic() + asked.seconds, time.monotonic()

        def ask() -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                while time.monotonic() < until:
                    start = time.perf_counter()
                    try:
                        status: object = client.post("/v1/analyze", content=data).status_code
                    except httpx.TransportError as error:
                        status = type(error).__name__
                    with lock:
                        statuses[status] += 1
                        times.append(time.perf_counter() - start)
                    if status == 503:
                        time.sleep(0.2)

        clients = [threading.Thread(target=ask) for _ in range(asked.clients)]
        for client_thread in clients:
            client_thread.start()
        held = []
        while any(client_thread.is_alive() for client_thread in clients):
            held.append(memory(server.pid))
            time.sleep(0.5)
        rate = statuses[200] / (time.monotonic() - began)
    finally:
        server.terminate()
        server.wait()
    quarter = max(1, len(held) // 4)
    first, last = float(np.mean(held[quarter : 2 * quarter])), float(np.mean(held[-quarter:]))
    print(f"statuses: {dict(statuses)}")
    print(f"{rate:.1f} answers a second; the pipeline alone, two threads: {alone:.1f}; ratio {rate / alone:.2f}")
    usual, late = np.median(lone), np.quantile(times, 0.99)
    print(f"lone request: median {1e3 * usual:.1f} ms")
    print(f"under load: median {1e3 * np.median(times):.0f} ms, p99 {1e3 * late:.0f} ms: {late / usual:.1f} times that")
    print(f"memory: {first:.0f} MB in the second quarter, {last:.0f} MB in the last ({last / first - 1:+.1%})")


if __name__ == "__main__":
    main()
