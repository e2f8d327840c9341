"""Measures how fast models run on this machine. All times of a table are taken in turns, so that their ratios hold."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from oamface.alignment import crop_face
from oamface.analyzer import Analyzer
from oamface.face_detector import FaceDetector
from oamface.images import RGBImage, read_image
from oamface.labels import TASKS
from oamface.predictor import OUTPUTS, Predictor
from oamface.runtime import OPENVINO, RUNTIME_VERSION, load_onnx
from oamface.weights import weights_file

if TYPE_CHECKING:
    from oamface.evaluation.predictors import FacePredictor

ROUNDS = 40  # of every measurement, in turns
MATRIX_SIDE = 1024  # of the matrices whose product measures the machine's peak
BATCH_SIZES = (1, 32)
PERSON = Path(str(files("oamface") / "person.jpg"))  # a synthetic person, 640 x 480

_PROCESS_STATUS = Path("/proc/self/status")

Call = Callable[[], object]
OnProgress = Callable[[str, int, int], None]  # what is measured, rounds done, rounds in all
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, headings, rows


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: the median and the 95th percentile of all rounds."""

    median: float
    p95: float

    def to_dict(self) -> dict[str, float]:
        return {"median_ms": self.median, "p95_ms": self.p95}


def person_crop() -> RGBImage:
    """The aligned face of the package's synthetic person."""
    person = read_image(PERSON)
    return crop_face(person, FaceDetector(device="cpu", threads=1).detect(person)[0].landmarks)


def time_calls(
    calls: dict[str, Call], *, rounds: int = ROUNDS, on_round: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Timing]:
    """Time every call once a round, in turns, so that a slow moment of the machine affects all of them alike."""
    for call in calls.values():  # warm up
        call()
        call()
    durations: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            durations[name].append(1000 * (time.perf_counter() - started))
        on_round(number + 1, rounds)
    return {name: Timing(float(np.median(taken)), float(np.quantile(taken, 0.95))) for name, taken in durations.items()}


def run_benchmark(
    weights: Sequence[str] = ("oam",),
    *,
    device: str = "auto",
    threads: Sequence[int] = (1, 2),
    rounds: int = ROUNDS,
    peers: Sequence[str] = (),
    on_progress: OnProgress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measure networks alone, against single-task networks and the machine's peak, and the pipeline from file to JSON.

    weights: names of the package's own, or model files. peers: packages that `evaluation.predictors.load_peer` knows.
    Returns plain values: `networks` (a row for each file, threads and batch size), `single_task` (None when all files
    are OpenVINO's, which cannot be taken apart), `peers`, `stages` of one image, `start` (cold starts) and `machine`.
    Raises ModelError, DeviceError.
    """
    for name in weights:  # an error in one is raised before anything is measured
        Predictor(name, device=device)
    loaded_peers = _load_peers(peers)
    crop = person_crop()
    networks = _networks(weights, crop, device, threads, rounds, on_progress)
    onnx_weights = [name for name in weights if weights_file(name).suffix != OPENVINO]
    return {
        "networks": networks,
        "single_task": _single_task(onnx_weights[0], crop, device, rounds, on_progress) if onnx_weights else None,
        "peers": _peers(loaded_peers, weights[0], crop, device, rounds, on_progress),
        "stages": _stages(weights[0], device, rounds, on_progress),
        "start": _cold_starts(rounds, on_progress),
        "machine": {
            "cores": os.cpu_count(),
            "runtime": RUNTIME_VERSION,
            "processor": processor_name(),
            "device": device,
        },
    }


def tables(measured: dict[str, Any]) -> list[Table]:
    """What `run_benchmark` returned, as text."""
    machine, single, stages = measured["machine"], measured["single_task"], dict(measured["stages"])
    rate = stages.pop("frames_per_second")
    where = f"{machine['processor']}, {machine['cores']} cores, onnxruntime {machine['runtime']}"
    headings = ("model", "threads", "batch", "ms", "p95", "faces/s", "of peak", "GMACs", "file MB", "memory MB")
    shown: list[Table] = [(f"networks alone; {where}", headings, [_network_cells(row) for row in measured["networks"]])]
    if single:
        times = {"four tasks in one network": single["one_pass_ms"], "four networks": single["four_passes_ms"]}
        shown.append((f"one thread, one face: {single['ratio']:.2f} times", ("", "ms"), _rows(times, 1)))
    for title, timings in (
        ("one aligned face", measured["peers"]),
        (f"a 640 x 480 image of one face, from its file to JSON: {rate:.0f} a second", stages),
    ):
        rows = [(name, f"{timing['median_ms']:.1f}", f"{timing['p95_ms']:.1f}") for name, timing in timings.items()]
        if rows:
            shown.append((title, ("", "ms", "p95"), list(rows)))
    return [*shown, ("cold start", ("", "s"), _rows(measured["start"], 2))]


def multiply_adds(path: Path) -> int | None:
    """Multiply-accumulate operations for one face, in a model file's convolutions and matrix products.

    None for OpenVINO's files, and where the package onnx is not installed.
    """
    if path.suffix == OPENVINO or find_spec("onnx") is None:
        return None
    import onnx
    from onnx import shape_inference

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
            kernel, output = shapes[node.input[1]], shapes[node.output[0]]
            total += int(np.prod(kernel[1:])) * int(np.prod(output[1:]))
        elif node.op_type == "Gemm":
            total += int(np.prod(shapes[node.input[1]]))
    return total


def _networks(
    weights: Sequence[str], crop: RGBImage, device: str, threads: Sequence[int], rounds: int, on_progress: OnProgress
) -> list[dict[str, Any]]:
    memory = {name: _memory(name, device) for name in weights}
    costs = {name: multiply_adds(weights_file(name)) for name in weights}
    rows = []
    for count in threads:
        predictors = {name: Predictor(name, device=device, threads=count) for name in weights}
        calls = {
            f"{name} {batch}": _network_call(predictor, [crop] * batch)
            for name, predictor in predictors.items()
            for batch in BATCH_SIZES
        }
        calls |= {f"peak {kind}": _matrix_product(kind, device, count) for kind in ("float32", "int8")}
        times = time_calls(calls, rounds=rounds, on_round=partial(on_progress, "networks"))
        peaks = {kind: MATRIX_SIDE**3 / times[f"peak {kind}"].median * 1e3 for kind in ("float32", "int8")}
        for name, predictor in predictors.items():
            precision = predictor.description.get("stored", "float16")
            peak, cost = peaks["int8" if precision == "int8" else "float32"], costs[name]
            for batch in BATCH_SIZES:
                timing = times[f"{name} {batch}"]
                per_second = 1e3 * batch / timing.median
                rows.append(
                    {
                        "weights": name,
                        "precision": precision,
                        "threads": count,
                        "batch": batch,
                        **timing.to_dict(),
                        "faces_per_second": per_second,
                        "multiply_adds": cost,
                        "megabytes": _megabytes(weights_file(name)),
                        "peak_share": None if cost is None else cost * per_second / peak,
                        "memory_megabytes": memory[name],
                    }
                )
    return rows


def _network_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['weights']} ({row['precision']})",
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


def _rows(values: dict[str, float], digits: int) -> list[tuple[str, ...]]:
    return [(name, f"{value:.{digits}f}") for name, value in values.items()]


def _megabytes(path: Path) -> float:
    paths = [path, path.with_suffix(".bin")] if path.suffix == OPENVINO else [path]
    return sum(file.stat().st_size for file in paths) / 1e6


def _network_call(predictor: Predictor, crops: list[npt.NDArray[np.uint8]]) -> Call:
    images = predictor.preprocess(crops)
    return lambda: predictor.run(images)


def _matrix_product(kind: str, device: str, threads: int) -> Call:
    """The product of two large matrices in the same runtime: the peak of the machine. kind: float32 or int8."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shape = (MATRIX_SIDE, MATRIX_SIDE)
    left: npt.NDArray[Any]
    right: npt.NDArray[Any]
    if kind == "int8":
        left, right = rng.integers(0, 100, shape).astype(np.uint8), rng.integers(0, 100, shape).astype(np.int8)
        operator, types = "MatMulInteger", (TensorProto.UINT8, TensorProto.INT32)
    else:
        left, right = (rng.random(shape, np.float32) for _ in range(2))
        operator, types = "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "peak",
        [helper.make_tensor_value_info("left", types[0], shape)],
        [helper.make_tensor_value_info("product", types[1], shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    network = load_onnx(model.SerializeToString(), device, threads)
    return lambda: network(left)


def _single_task(
    weights: str, crop: npt.NDArray[np.uint8], device: str, rounds: int, on_progress: OnProgress
) -> dict[str, float]:
    """One network with four tasks against four networks with one task each; one thread, one face."""
    import onnx.utils

    predictor = Predictor(weights, device=device, threads=1)
    images = predictor.preprocess([crop])
    with TemporaryDirectory() as folder:
        networks = []
        for task in TASKS:
            path = Path(folder) / f"{task}.onnx"
            onnx.utils.extract_model(str(weights_file(weights)), str(path), ["images"], [task, OUTPUTS[-1]])
            networks.append(load_onnx(path.read_bytes(), device, 1))
    calls: dict[str, Call] = {
        "one": lambda: predictor.run(images),
        "four": lambda: [network(images) for network in networks],
    }
    times = time_calls(calls, rounds=rounds, on_round=partial(on_progress, "single tasks"))
    one, four = times["one"].median, times["four"].median
    return {"one_pass_ms": one, "four_passes_ms": four, "ratio": four / one}


def _load_peers(names: Sequence[str]) -> list["FacePredictor"]:
    if not names:
        return []
    from oamface.evaluation.predictors import load_peer

    return [load_peer(name) for name in names]


def _peers(
    peers: Sequence["FacePredictor"], weights: str, crop: RGBImage, device: str, rounds: int, on_progress: OnProgress
) -> dict[str, dict[str, float]]:
    """One aligned face: our model on all cores, and peers with their own defaults."""
    if not peers:
        return {}
    from oamface.evaluation.predictors import Sample

    predictor = Predictor(weights, device=device)
    sample = Sample(crop, "", "", "")
    calls: dict[str, Call] = {weights: lambda: predictor.predict([crop])}
    calls |= {peer.name: partial(peer.predict, [sample]) for peer in peers}
    times = time_calls(calls, rounds=rounds, on_round=partial(on_progress, "peers"))
    return {name: timing.to_dict() for name, timing in times.items()}


def _stages(weights: str, device: str, rounds: int, on_progress: OnProgress) -> dict[str, Any]:
    """Every stage of one 640 x 480 image with one face, from its file to JSON, warm, on all cores."""
    analyzer, predictor = Analyzer(weights, device=device), Predictor(weights, device=device)
    data = PERSON.read_bytes()
    image = read_image(data)
    detections = analyzer.detect(image)
    crops = [crop_face(image, face.landmarks) for face in detections]
    result = analyzer.analyze(image)
    calls: dict[str, Call] = {
        "decode": lambda: read_image(data),
        "detect": lambda: analyzer.detect(image),
        "align": lambda: [crop_face(image, face.landmarks) for face in detections],
        "predict": lambda: predictor.predict(crops),
        "to JSON": lambda: json.dumps(result.to_dict()),
        "all": lambda: json.dumps(analyzer.analyze(data).to_dict()),
    }
    times = time_calls(calls, rounds=rounds, on_round=partial(on_progress, "stages"))
    return {name: timing.to_dict() for name, timing in times.items()} | {"frames_per_second": 1e3 / times["all"].median}


def _cold_starts(rounds: int, on_progress: OnProgress) -> dict[str, float]:
    """Seconds of cold starts, the median of up to five: the help alone, and one image from the shell."""
    program = (sys.executable, "-m", "oamface")
    commands = {"oamface --help": [*program, "--help"], "oamface analyze": [*program, "analyze", PERSON]}
    calls: dict[str, Call] = {
        name: partial(subprocess.run, command, check=True, capture_output=True) for name, command in commands.items()
    }
    times = time_calls(calls, rounds=min(rounds, 5), on_round=partial(on_progress, "cold starts"))
    return {name: timing.median / 1e3 for name, timing in times.items()}


def _memory(weights: str, device: str) -> float | None:
    """Peak megabytes of predicting 32 faces, beyond those of the libraries; None without Linux's /proc."""
    if not _PROCESS_STATUS.exists():
        return None
    imports = "import numpy as np; from oamface.predictor import Predictor"
    predict = f"; Predictor({weights!r}, device={device!r}).predict([np.zeros((128, 128, 3), np.uint8)] * 32)"
    return (_peak_memory(imports + predict) - _peak_memory(imports)) / 1e3


def _peak_memory(code: str) -> float:
    """Peak kilobytes of a Python process that runs the code."""
    tail = f"; print([line.split()[1] for line in open({str(_PROCESS_STATUS)!r}) if line.startswith('VmHWM')][0])"
    finished = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True)
    return float(finished.stdout.split()[-1])


def processor_name() -> str:
    """The model, and whether it multiplies bytes four at a time (VNNI)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return sys.platform
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    return f"{names[0] if names else 'unknown'}{', VNNI' if 'avx512_vnni' in flags or 'avx_vnni' in flags else ''}"
