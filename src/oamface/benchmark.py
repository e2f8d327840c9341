"""How fast this machine answers: every time in one table comes from one run, taken in turns, so that ratios hold."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

from oamface.alignment import crop_face
from oamface.analyzer import Analyzer
from oamface.detection import Detector
from oamface.images import RGBImage, read_image
from oamface.labels import TASKS
from oamface.predictor import OUTPUTS, Predictor
from oamface.runtime import OPENVINO, OnnxRuntime
from oamface.weights import weights_file

if TYPE_CHECKING:
    from oamface.evaluation.predictors import FacePredictor

ROUNDS = 40  # of every measurement, in turns
SIDE = 1024  # of the matrices whose product is the machine's peak
BATCHES = (1, 32)
PERSON = Path(str(files("oamface") / "person.jpg"))  # a synthetic person, 640 x 480

_STATUS = Path("/proc/self/status")

Work = Callable[[], object]
Sheet = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, headings, rows


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call, over ROUNDS calls."""

    median: float
    p95: float


def person_crop() -> RGBImage:
    """The face of the package's synthetic person, aligned."""
    person = read_image(PERSON)
    return crop_face(person, Detector(threads=1).detect(person)[0].landmarks)


def timed(
    works: dict[str, Work], *, rounds: int = ROUNDS, on_round: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Timing]:
    """Time every work once a round, in turns, so that a slow moment of the machine meets all of them alike."""
    for work in works.values():
        work()
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            taken[name].append(1000 * (time.perf_counter() - began))
        on_round(number + 1, rounds)
    return {name: Timing(float(np.median(times)), float(np.quantile(times, 0.95))) for name, times in taken.items()}


def bench(
    weights: Sequence[str] = ("oam",),
    *,
    threads: Sequence[int] = (1, 2),
    rounds: int = ROUNDS,
    peers: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measure networks alone, against single-task passes and the machine's peak, and the whole way to JSON.

    weights: names of the package's own, or model files. peers: packages that `benchmark` knows too, by name.
    Returns plain values: `networks` (a row for each file, threads and batch), `single_task` (None when all files are
    OpenVINO's, which cannot be taken apart), `peers`, `stages` of one image, `start` (cold starts) and `machine`.
    Raises ModelError.
    """
    for name in weights:  # a mistake in one is told before anything is measured
        Predictor(name)
    others = _load_peers(peers)
    crop = person_crop()
    networks, memory = [], {name: _memory(name) for name in weights}
    costs = {name: multiply_adds(weights_file(name)) for name in weights}
    for count in threads:
        works: dict[str, Work] = {}
        predictors = {name: Predictor(name, threads=count) for name in weights}
        for name, predictor in predictors.items():
            for batch in BATCHES:
                works[f"{name} {batch}"] = _ask(predictor, [crop] * batch)
        for kind in ("float32", "int8"):
            works[f"peak {kind}"] = _product(kind, count)
        times = timed(works, rounds=rounds, on_round=partial(on_progress, "networks"))
        peaks = {kind: SIDE**3 / times[f"peak {kind}"].median * 1e3 for kind in ("float32", "int8")}
        for name, predictor in predictors.items():
            stored = predictor.description.get("stored", "float16")
            for batch in BATCHES:
                timing = times[f"{name} {batch}"]
                peak, cost = peaks["int8" if stored == "int8" else "float32"], costs[name]
                networks.append(
                    {
                        "weights": name,
                        "stored": stored,
                        "threads": count,
                        "batch": batch,
                        "median_ms": timing.median,
                        "p95_ms": timing.p95,
                        "faces_per_second": 1e3 * batch / timing.median,
                        "multiply_adds": cost,
                        "megabytes": _megabytes(weights_file(name)),
                        "peak_share": None if cost is None else cost * batch / timing.median * 1e3 / peak,
                        "memory_megabytes": memory[name],
                    }
                )
    whole = [name for name in weights if costs[name] is not None]
    return {
        "networks": networks,
        "single_task": _single_task(whole[0], crop, rounds, on_progress) if whole else None,
        "peers": _peers(others, weights[0], crop, rounds, on_progress),
        "stages": _stages(weights[0], rounds, on_progress),
        "start": _starts(rounds, on_progress),
        "machine": {"cores": os.cpu_count(), "runtime": onnxruntime.__version__, "processor": _processor()},
    }


def tables(measured: dict[str, Any]) -> list[Sheet]:
    """What `bench` measured, for people."""
    machine, single, stages = measured["machine"], measured["single_task"], dict(measured["stages"])
    rate = stages.pop("frames_per_second")
    networks: list[tuple[str, ...]] = [
        (
            f"{row['weights']} ({row['stored']})",
            str(row["threads"]),
            str(row["batch"]),
            f"{row['median_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['faces_per_second']:.0f}",
            "-" if row["peak_share"] is None else f"{row['peak_share']:.0%}",
            "-" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e9:.2f}",
            f"{row['megabytes']:.1f}",
            "-" if row["memory_megabytes"] is None else f"{row['memory_megabytes']:.0f}",
        )
        for row in measured["networks"]
    ]
    where = f"{machine['processor']}, {machine['cores']} cores, onnxruntime {machine['runtime']}"
    headings = ("", "threads", "batch", "ms", "p95", "faces/s", "of peak", "G mult-adds", "file MB", "memory MB")
    found: list[Sheet] = [(f"networks alone; {where}", headings, networks)]
    if single:
        passes = {"one pass, four tasks": single["one_pass_ms"], "four passes, one task each": single["four_passes_ms"]}
        found.append((f"one thread, one face: {single['ratio']:.2f} times", ("", "ms"), _rows(passes, 1)))
    for title, measures in (
        ("one aligned face", measured["peers"]),
        (f"a 640 x 480 image of one face, from its file to JSON: {rate:.0f} a second", stages),
    ):
        rows = [(name, f"{t['median_ms']:.1f}", f"{t['p95_ms']:.1f}") for name, t in measures.items()]
        if rows:
            found.append((title, ("", "ms", "p95"), list(rows)))
    return [*found, ("cold start", ("", "s"), _rows(measured["start"], 2))]


def _rows(values: dict[str, float], digits: int) -> list[tuple[str, ...]]:
    return [(name, f"{value:.{digits}f}") for name, value in values.items()]


def multiply_adds(path: Path) -> int | None:
    """Of one face, in the convolutions and matrix products of a model file; None for OpenVINO's."""
    if path.suffix == OPENVINO:
        return None
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
    total = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            kernel, out = shapes[node.input[1]], shapes[node.output[0]]
            total += int(np.prod(kernel[1:])) * int(np.prod(out[1:]))
        elif node.op_type == "Gemm":
            total += int(np.prod(shapes[node.input[1]]))
    return total


def _megabytes(path: Path) -> float:
    parts = [path, path.with_suffix(".bin")] if path.suffix == OPENVINO else [path]
    return sum(part.stat().st_size for part in parts) / 1e6


def _ask(predictor: Predictor, crops: list[npt.NDArray[np.uint8]]) -> Work:
    images = predictor.preprocess(crops)
    return lambda: predictor.run(images)


def _product(kind: str, threads: int) -> Work:
    """A large matrix product through the same runtime: what the machine can do at best."""
    rng = np.random.default_rng(0)
    left: npt.NDArray[Any]
    right: npt.NDArray[Any]
    if kind == "int8":
        one, two = (rng.integers(0, 100, (SIDE, SIDE)) for _ in range(2))
        left, right = one.astype(np.uint8), two.astype(np.int8)
        operator, types = "MatMulInteger", (TensorProto.UINT8, TensorProto.INT32)
    else:
        left, right = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
        operator, types = "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT)
    node = helper.make_node(operator, ["left", "right"], ["out"])
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("left", types[0], [SIDE, SIDE])],
        [helper.make_tensor_value_info("out", types[1], [SIDE, SIDE])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    product = OnnxRuntime(model.SerializeToString(), threads)
    return lambda: product(left)


def _single_task(
    weights: str, crop: npt.NDArray[np.uint8], rounds: int, on_progress: Callable[[str, int, int], None]
) -> dict[str, float]:
    """One pass for four tasks against four networks of one task each, of the same kind; one thread, one face."""
    predictor = Predictor(weights, threads=1)
    images = predictor.preprocess([crop])
    with TemporaryDirectory() as folder:
        networks = []
        for task in TASKS:
            part = Path(folder) / f"{task}.onnx"
            onnx.utils.extract_model(str(weights_file(weights)), str(part), ["images"], [task, OUTPUTS[-1]])
            networks.append(OnnxRuntime(part.read_bytes(), 1))

    def four() -> None:
        for network in networks:
            network(images)

    times = timed(
        {"one": lambda: predictor.run(images), "four": four},
        rounds=rounds,
        on_round=partial(on_progress, "single tasks"),
    )
    one, each = times["one"].median, times["four"].median
    return {"one_pass_ms": one, "four_passes_ms": each, "ratio": each / one}


def _load_peers(names: Sequence[str]) -> list["FacePredictor"]:
    if not names:
        return []
    from oamface.evaluation.predictors import load_peer

    return [load_peer(name) for name in names]


def _peers(
    peers: Sequence["FacePredictor"],
    weights: str,
    crop: RGBImage,
    rounds: int,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, dict[str, float]]:
    """One aligned face: ours with all of this machine's cores, and peers as they come."""
    if not peers:
        return {}
    from oamface.evaluation.predictors import Face

    predictor = Predictor(weights)
    works: dict[str, Work] = {weights: lambda: predictor.predict([crop])}
    face = Face(crop, "", "", "")
    for peer in peers:
        works[peer.name] = partial(peer.predict, [face])
    times = timed(works, rounds=rounds, on_round=partial(on_progress, "peers"))
    return {name: {"median_ms": timing.median, "p95_ms": timing.p95} for name, timing in times.items()}


def _stages(weights: str, rounds: int, on_progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Where the time of one 640 x 480 image with one face goes, from the file to JSON, warm, on all cores."""
    analyzer = Analyzer(weights)
    data = PERSON.read_bytes()
    image = read_image(data)
    found = analyzer.detector.detect(image)
    crops = [crop_face(image, face.landmarks) for face in found]
    result = analyzer.analyze(image)
    works: dict[str, Work] = {
        "decode": lambda: read_image(data),
        "detect": lambda: analyzer.detector.detect(image),
        "align": lambda: [crop_face(image, face.landmarks) for face in found],
        "answer": lambda: analyzer.predictor.predict(crops),
        "to JSON": lambda: json.dumps(result.to_dict()),
        "all": lambda: json.dumps(analyzer.analyze(data).to_dict()),
    }
    times = timed(works, rounds=rounds, on_round=partial(on_progress, "stages"))
    return {name: {"median_ms": t.median, "p95_ms": t.p95} for name, t in times.items()} | {
        "frames_per_second": 1e3 / times["all"].median
    }


def _starts(rounds: int, on_progress: Callable[[str, int, int], None]) -> dict[str, float]:
    """Seconds of cold starts, the median of up to five: the help alone, and one image from the shell."""
    program = Path(sys.executable).with_name("oamface")
    calls = {"oamface --help": [program, "--help"], "oamface analyze": [program, "analyze", PERSON]}
    works: dict[str, Work] = {
        name: partial(subprocess.run, call, check=True, capture_output=True) for name, call in calls.items()
    }
    times = timed(works, rounds=min(rounds, 5), on_round=partial(on_progress, "cold starts"))
    return {name: timing.median / 1e3 for name, timing in times.items()}


def _memory(weights: str) -> float | None:
    """Megabytes that answering for 32 faces takes at most, beyond the libraries; None without Linux's /proc."""
    if not _STATUS.exists():
        return None
    use = "import numpy as np; from oamface.predictor import Predictor"
    answer = f"; Predictor({weights!r}).predict([np.zeros((128, 128, 3), np.uint8)] * 32)"
    return (_peak(use + answer) - _peak(use)) / 1e3


def _peak(code: str) -> float:
    """Kilobytes that a Python process which runs the code had at most."""
    tail = f"; print([line.split()[1] for line in open({str(_STATUS)!r}) if line.startswith('VmHWM')][0])"
    done = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return sys.platform
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    return f"{names[0] if names else 'unknown'}{', VNNI' if 'avx512_vnni' in flags or 'avx_vnni' in flags else ''}"
