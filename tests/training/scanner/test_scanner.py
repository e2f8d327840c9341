"""The scanner's scenes, targets, losses, training and model file."""

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from oamface.centerface import CenterFace
from oamface.datasets.readers import fairface
from oamface.errors import DataError
from oamface.face_scanner import STRIDES
from oamface.training.scanner.faces import FaceImage, load_backgrounds, read_face_images
from oamface.training.scanner.network import ExportedScanner, ScannerNetwork
from oamface.training.scanner.scenes import SIDE, SceneArtist, SceneFace
from oamface.training.scanner.trainer import FACE_SIDES, export_scanner, losses, targets, train_scanner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image(portrait) -> FaceImage:
    canvas = np.ascontiguousarray(portrait[:320, 60:380])
    (faces,) = CenterFace(threads=1).detect(canvas[None], 0.5)
    return FaceImage(canvas, tuple(faces))


@pytest.fixture(scope="module")
def backgrounds() -> list[np.ndarray]:
    return load_backgrounds()


def test_read_face_images_takes_training_images_that_show_a_face(portrait, tmp_path) -> None:
    (tmp_path / "train").mkdir()
    for name, pixels in (("1", portrait), ("2", np.full((64, 64, 3), 90, np.uint8))):
        Image.fromarray(pixels).save(tmp_path / "train" / f"{name}.png")
    rows = ["file,age,gender,race,service_test", *(f"train/{n}.jpg,30-39,Female,White,True" for n in (1, 2, 4))]
    (tmp_path / "train" / "4.jpg").write_bytes(b"no image")
    (tmp_path / "fairface_label_train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "fairface_label_val.csv").write_text(rows[0] + "\n")
    done = []
    (face_image,) = read_face_images([(fairface.read, tmp_path)], 5, on_progress=lambda *counts: done.append(counts))
    assert (face_image.pixels == portrait).all()
    x, y, width, height = face_image.sure[0].box
    assert x < 203 < 245 < x + width
    assert y < 102 < 141 < y + height
    assert done[-1] == (3, 3)
    (tmp_path / "train" / "1.png").unlink()
    with pytest.raises(DataError):
        read_face_images([(fairface.read, tmp_path)], 5)


def test_scenes_are_drawn_alike_from_one_seed(image, backgrounds) -> None:
    one, other = (SceneArtist([image], backgrounds, np.random.default_rng(1)).draw() for _ in range(2))
    assert (one[0] == other[0]).all()
    assert one[1] == other[1]
    assert one[0].shape == (SIDE, SIDE, 3)


def test_faces_of_a_scene_lie_where_centerface_finds_them(image) -> None:
    artist, network = SceneArtist([image], [], np.random.default_rng(0)), CenterFace(threads=1)
    agreed = checked = 0
    for _ in range(60):
        pixels, faces = artist.draw()
        for face in faces:
            if face.required and 50 < face.side < 150:
                checked += 1
                for found in network.detect(pixels[None], 0.4)[0]:
                    x, y = found.box.x + found.box.width / 2, found.box.y + found.box.height / 2
                    agreed += max(abs(x - face.x), abs(y - face.y)) < 0.2 * face.side
    assert checked > 10
    assert agreed / checked > 0.6  # turned ones it does not find


def test_load_backgrounds_gives_rgb_images(backgrounds) -> None:
    assert len(backgrounds) > 10
    assert all(background.dtype == np.uint8 and background.shape[2] == 3 for background in backgrounds)


def test_targets_are_one_near_the_middle_and_ignored_around() -> None:
    face = SceneFace(100, 60, 30, required=True)
    score, ignored, geometry, weight = targets([face], 8, FACE_SIDES[0])
    row, column = 60 // 8, 100 // 8
    assert score[row, column] == 1
    assert weight.sum() == pytest.approx(1)
    side, x, y = geometry[:, row, column]
    assert float(side.exp()) * 8 == pytest.approx(30, rel=1e-4)
    assert (column + 0.5 + float(x)) * 8 == pytest.approx(100, abs=1e-3)
    assert (row + 0.5 + float(y)) * 8 == pytest.approx(60, abs=1e-3)
    assert ignored.any()
    assert not (ignored & (score > 0)).any()
    assert not ignored[0, 0]


@pytest.mark.parametrize("face", [SceneFace(100, 60, 30, required=False), SceneFace(100, 60, 300, required=True)])
def test_targets_ignore_faces_of_another_size_and_uncertain_ones(face) -> None:
    score, ignored, _, _ = targets([face], 8, FACE_SIDES[0])
    assert score.sum() == 0
    assert ignored[60 // 8, 100 // 8]


def test_losses_are_least_for_the_targets_themselves() -> None:
    faces = [SceneFace(100, 60, 30, required=True), SceneFace(200, 200, 100, required=True)]
    wanted = [
        tuple(values[None] for values in targets(faces, stride, sides))
        for stride, sides in zip(STRIDES, FACE_SIDES, strict=True)
    ]
    right = [torch.cat([40 * score[:, None] - 20, geometry], 1) for score, _, geometry, _ in wanted]
    wrong = [-maps for maps in right]
    assert sum(losses(right, wanted)) < 1e-3
    assert sum(losses(wrong, wanted)) > 10


def test_losses_of_one_scene_fall_in_training(image) -> None:
    torch.manual_seed(0)
    artist, network = SceneArtist([image], [], np.random.default_rng(3)), ScannerNetwork().train()
    pixels, faces = artist.draw()
    wanted = [
        tuple(values[None] for values in targets(faces, stride, sides))
        for stride, sides in zip(STRIDES, FACE_SIDES, strict=True)
    ]
    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        loss = sum(losses(network(batch), wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss))
    assert seen[-1] < 0.5 * seen[0]


def test_train_scanner_stops_by_the_clock_and_exports_the_same_network(image, backgrounds, tmp_path) -> None:
    steps = []
    network = train_scanner([image], backgrounds, 0.05, workers=0, on_progress=lambda *values: steps.append(values))
    assert [step for _, step, _, _ in steps] == list(range(1, len(steps) + 1))
    assert all(minute < 0.05 for minute, *_ in steps)
    export_scanner(network, tmp_path / "scanner.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "scanner.onnx", providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 160, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = ExportedScanner(network)(torch.from_numpy(pixels))
    for values, wanted in zip(session.run(None, {"images": pixels}), expected, strict=True):
        np.testing.assert_allclose(values, wanted.numpy(), atol=1e-4)
    assert sum(parameter.numel() for parameter in ScannerNetwork().parameters()) < 100_000
