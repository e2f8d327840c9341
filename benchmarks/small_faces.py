"""How much is lost on small faces: python benchmarks/small_faces.py ../shared/datasets/utkface.tar [--faces 260]

Faces of UTKFace's test part are shrunk until their box has so many pixels, and analyzed with the landmarks of the
full size, so that detection takes no part. `oamface.analyzer.LEAST_FACE` follows from the table.
"""

import argparse
import io
import random
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from oamface.alignment import crop_face
from oamface.analyzer import Analyzer

SIZES = (8, 10, 12, 14, 16, 20, 24, 32, 48, 120)


def test_faces(archive: Path, analyzer: Analyzer, count: int) -> list[tuple[np.ndarray, np.ndarray, float, int, str]]:
    """Image, landmarks, long side of the box, age and gender of faces that are alone in their image."""
    faces = []
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.name.count("_") >= 3]
        tests = [member for member in members if zlib.crc32(Path(member.name).stem.encode()) % 5 == 0]
        for member in random.Random(0).sample(tests, count):
            file = tar.extractfile(member)
            assert file is not None
            image = np.array(Image.open(io.BytesIO(file.read())).convert("RGB"))
            found = analyzer.detector.detect(image)
            if len(found) == 1:
                age, gender = Path(member.name).name.split("_")[:2]
                label = "male" if gender == "0" else "female"
                faces.append((image, found[0].landmarks, max(found[0].box[2:]), int(age), label))
    return faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--faces", type=int, default=260)
    options = parser.parse_args()
    analyzer = Analyzer()
    faces = test_faces(options.archive, analyzer, options.faces)
    quantiles = analyzer.predictor.quantiles
    print(f"{len(faces)} faces\npixels  interval holds  age error  gender right")
    for size in SIZES:
        held, errors, right = [], [], []
        for image, landmarks, side, age, gender in faces:
            scale = min(1.0, size / side)
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            moved = landmarks * (np.array(small.shape[1::-1]) / image.shape[1::-1])
            answers = analyzer.predictor.predict([crop_face(small, moved)])
            low, high = answers.age_bounds(quantiles)
            held.append(low[0] <= age <= high[0])
            errors.append(abs(answers.years[0] - age))
            right.append(("male", "female")[int(answers.probabilities["gender"][0].argmax())] == gender)
        print(f"{size:6}  {np.mean(held):14.1%}  {np.mean(errors):9.2f}  {np.mean(right):12.1%}", flush=True)


if __name__ == "__main__":
    main()
