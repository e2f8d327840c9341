"""How fast analysis is on this machine, as times and as ratios measured in one run: python benchmarks/speed.py"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import skimage.data
from rich.console import Console
from rich.table import Table

from oamface.align import cut_chip
from oamface.analyzer import Analyzer
from oamface.detect import Detector, centerface
from oamface.engine import Engine
from oamface.imaging import write_image

ROUNDS = 9


def seconds(work: Callable[[], object]) -> float:
    """The median of ROUNDS runs, after one to warm up."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    portrait = skimage.data.astronaut()
    photograph = cv2.resize(portrait[:384], (640, 480), interpolation=cv2.INTER_AREA)
    table = Table("what", "ms", "against", "ms", "ratio", box=None)

    def row(what: str, work: Callable[[], object], against: str, other: Callable[[], object], share: int = 1) -> None:
        one, two = seconds(work) / share, seconds(other)
        table.add_row(what, f"{one * 1000:.1f}", against, f"{two * 1000:.1f}", f"{one / two:.2f}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.png"
        write_image(path, photograph)
        program = Path(sys.executable).with_name("oamface")
        bare = "import numpy, cv2, onnxruntime, PIL.Image, typer, rich"
        row(
            "oamface analyze, 640 x 480, cold start included",
            lambda: subprocess.run([program, "analyze", path], check=True, capture_output=True),
            "python importing its libraries",
            lambda: subprocess.run([sys.executable, "-c", bare], check=True),
        )

    analyzer, detector, engine = Analyzer(), Detector(), Engine()
    landmarks = detector.detect(photograph)[0].landmarks
    chips = [cut_chip(photograph, landmarks)] * 32
    row(
        "Analyzer.analyze, 640 x 480",
        lambda: analyzer.analyze(photograph),
        "its detection alone",
        lambda: detector.detect(photograph),
    )
    row("Engine.answer, per face of 32", lambda: engine.answer(chips), "one face", lambda: engine.answer(chips[:1]), 32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(centerface(), np.uint8))
    canvas = np.zeros((1, 3, 320, 320), np.float32)
    session = onnxruntime.InferenceSession(centerface(), providers=["CPUExecutionProvider"])

    def opencv() -> object:
        net.setInput(canvas)
        return net.forward(net.getUnconnectedOutLayersNames())

    row(
        "CenterFace 320 x 320, ONNX Runtime",
        lambda: session.run(None, {"input.1": canvas}),
        "OpenCV's DNN",
        opencv,
    )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
