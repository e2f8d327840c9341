"""Recall of the face detector by face size, and its time: python benchmarks/detection.py [FAIRFACE.tar]

Scenes with pool truth are drawn from scikit-image's portrait and, where the archive is there, faces of FairFace's
validation part. A face counts as found where a box overlaps its own by more than 0.3. Times are CPU milliseconds of one
thread. To compare with another checkout: PYTHONPATH=OTHER/src python benchmarks/detection.py.
"""

import io
import random
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

from oamface.face_detector import FaceDetector
from oamface.detection import Detector, iou

Face = tuple[np.ndarray, tuple[float, float, float, float]]  # an image, and the box of its face
UPRIGHT, TURNED = (0,), (1, 2, 3)  # quarter turns


def faces(archive: Path | None, detector: Detector, count: int = 200) -> list[Face]:
    portrait: np.ndarray = skimage.data.astronaut()
    found: list[Face] = [(portrait[20:260, 130:330], (46, 38, 93, 125))]
    if archive is not None:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if "/val/" in m.name and m.isfile()]
            for member in random.Random(0).sample(members, count):
                image = np.array(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB"))  # type: ignore[union-attr]
                detections = detector.detect(image)
                if len(detections) == 1 and detections[0].score > 0.6:
                    found.append((image, detections[0].box))
    return found


def scene(
    size: tuple[int, int], sides: list[float], turns: tuple[int, ...], pool: list[Face], rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, float, float, float]]]:
    """A smooth background with faces of these long sides, and their boxes."""
    width, height = size
    coarse = rng.integers(60, 200, (max(2, height // 60), max(2, width // 60), 3)).astype(np.uint8)
    canvas, taken, boxes = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), [], []
    for side in sides:
        image, box = pool[int(rng.integers(len(pool)))] if rng.random() < 0.7 else pool[0]
        scale = side / max(box[2:])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small, (x, y, w, h) = (
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=method),
            (v * scale for v in box),
        )
        for _ in range(turns[int(rng.integers(len(turns)))]):
            x, y, w, h = y, small.shape[1] - x - w, h, w
            small = np.rot90(small)
        across, down = small.shape[1], small.shape[0]
        for _ in range(60):
            if across >= width or down >= height:
                break
            left, top = int(rng.integers(0, width - across)), int(rng.integers(0, height - down))
            if all(left >= a + c or a >= left + across or top >= b + d or b >= top + down for a, b, c, d in taken):
                canvas[top : top + down, left : left + across] = small
                taken.append((left, top, across, down))
                boxes.append((left + x, top + y, w, h))
                break
    return canvas, boxes


def main() -> None:
    detector, rng = FaceDetector(threads=1), np.random.default_rng(0)
    pool = faces(Path(sys.argv[1]) if len(sys.argv) > 1 else None, detector)
    print(f"{len(pool)} faces\nimage      scene                     found  of   false  ms")
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
            count = hits = false = 0
            times = []
            for _ in range(12 if size[0] < 4000 else 6):
                image, boxes = scene(size, sides, turns, pool, rng)
                began = time.process_time()
                found = detector.detect(image)
                times.append(time.process_time() - began)
                count += len(boxes)
                hits += sum(any(iou(face.box, box) > 0.3 for face in found) for box in boxes)
                false += sum(all(iou(face.box, box) < 0.1 for box in boxes) for face in found)
            place, share = f"{size[0]} x {size[1]}", hits / max(count, 1)
            print(f"{place:11}{name:22}{share:9.1%}{count:4}{false:8}{1000 * np.median(times):6.0f}", flush=True)


if __name__ == "__main__":
    main()
