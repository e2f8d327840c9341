import csv
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import peers
import pytest
from peer_tables import README_ROWS

from oamface.alignment import apply, crop_face, crop_transform
from oamface.evaluation.predictors import TablePredictor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def placed(face) -> tuple[np.ndarray, np.ndarray]:
    """The drawn face turned by 20 degrees in a larger image, and its landmarks there."""
    crop, landmarks = face
    matrix = cv2.getRotationMatrix2D((64, 64), 20, 1.5) + np.array([[0, 0, 90], [0, 0, 80]])
    image = cv2.warpAffine(crop, matrix, (320, 300), borderValue=(90, 120, 60))
    return image, apply(landmarks, matrix)


def seen(window, image: np.ndarray, landmarks: np.ndarray, size: int, context: float = 1.0) -> np.ndarray:
    """Landmarks in a window's pixels."""
    matrix = window.transform(image.shape, crop_transform(landmarks), size, context)
    return apply(landmarks, matrix)


def test_aligned_window_of_our_size_is_our_crop_a_little_lower(placed) -> None:
    image, landmarks = placed
    shown = seen(peers.Window(1.0), image, landmarks, 128)
    moved = shown - apply(landmarks, crop_transform(landmarks))
    assert moved == pytest.approx(np.tile([0, -0.06 * 128], (5, 1)), abs=1e-6)


def test_narrower_window_shows_a_larger_face_and_context_a_smaller_one(placed) -> None:
    image, landmarks = placed

    def eyes(*arguments: float) -> float:
        shown = seen(peers.Window(arguments[0]), image, landmarks, 128, *arguments[1:])
        return float(np.hypot(*(shown[1] - shown[0])))

    assert eyes(0.5) == pytest.approx(2 * eyes(1.0))
    assert eyes(0.5, 2.0) == pytest.approx(eyes(1.0))


def test_upright_window_keeps_the_face_turned(placed) -> None:
    image, landmarks = placed
    turned = seen(peers.Window(1.0, upright=True), image, landmarks, 128)
    level = seen(peers.Window(1.0), image, landmarks, 128)
    tilt = [np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])) for eyes in (turned[:2], level[:2])]
    assert abs(tilt[0]) == pytest.approx(20, abs=2)
    assert abs(tilt[1]) < 2
    assert np.hypot(*(turned[1] - turned[0])) == pytest.approx(np.hypot(*(level[1] - level[0])))


def test_whole_image_fills_the_crop(placed) -> None:
    image, landmarks = placed
    crop = peers.Window(0).crop(image, crop_transform(landmarks), 112)
    assert crop.shape == (112, 112, 3)
    assert np.abs(crop.astype(int) - cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA)).mean() < 3


def test_what_is_drawn_on_the_crop_is_drawn_back_into_the_image_alone(placed) -> None:
    image, landmarks = placed
    crop, transform = crop_face(image, landmarks), crop_transform(landmarks)
    occluded = crop.copy()
    occluded[80:110, 40:90] = (0, 0, 255)
    drawn = peers.draw_back(image, crop, occluded, transform)
    again = crop_face(drawn, landmarks)
    assert np.abs(again[85:105, 45:85].astype(int) - (0, 0, 255)).mean() < 3
    assert np.abs(again[:70].astype(int) - crop[:70]).mean() < 1
    assert np.array_equal(drawn[:20], image[:20])


def test_table_of_predictions_can_be_evaluated(placed, tmp_path) -> None:
    image, landmarks = placed
    faces = [peers.Face("utkface", f"{n}.webp", "clean", image, crop_transform(landmarks)) for n in range(2)]
    predictions = {"age": [-3.0, 41.25], "male": [0.2, 0.9], "race": [[0, 0, 0.7, 0.2, 0.1], [1, 0, 0, 0, 0]]}
    peers.write_table(tmp_path / "peer.csv", faces, predictions)
    rows = list(csv.DictReader((tmp_path / "peer.csv").open()))
    assert [(row["age"], row["gender"], row["race"]) for row in rows] == [
        ("0.00", "female", "East Asian|Southeast Asian"),
        ("41.25", "male", "White"),
    ]
    assert set(TablePredictor(tmp_path / "peer.csv", "peer").classes) == {"age", "gender", "race"}


def test_balanced_error_counts_every_decade_alike() -> None:
    error, decade = np.array([1.0, 1, 1, 9]), np.array([2, 2, 2, 7])
    assert peers.balanced_mae(error, decade)["balanced_mae"] == pytest.approx([5])
    weights = np.array([[1.0, 1, 1, 0], [0, 0, 3, 2]])
    assert peers.balanced_mae(error, decade, weights=weights)["balanced_mae"] == pytest.approx([1, 5])


def test_every_model_of_ours_and_every_peer_of_the_readme_is_described() -> None:
    described = tomllib.loads((ROOT / "benchmarks/peers/peers.toml").read_text())
    assert set(README_ROWS) <= set(described["ours"]) | set(described["peers"])
    for name in described["ours"]:
        assert (ROOT / f"src/oamface/weights/{name}.onnx").exists()
    needed = {"title", "runtime", "engine", "package", "weights", "size", "install", "code_licence", "asset_licence"}
    assert all(needed <= set(peer) for peer in described["peers"].values())


def test_worker_answers_for_every_crop_and_times_each(tmp_path, face) -> None:
    np.save(tmp_path / "crops.npy", np.stack([face[0]] * 3))
    arguments = [tmp_path / "crops.npy", tmp_path / "found.json", "--one-by-one"]
    subprocess.run([sys.executable, ROOT / "benchmarks/peers/network.py", "oam-small", *arguments], check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(set(found["age"])) == 1 and len(found["age"]) == len(found["ms"]) == 3
    assert found["peak_mb"] > 50
