from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from oamface.analyzer import Analyzer
from oamface.detection import Detection, Detector, iou
from oamface.face_detector import FaceDetector
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_STYLES, Mask, Person
from oamface.synthetic.renderer import RenderedImage
from oamface.synthetic.scene import LIGHTS, Scene

pytestmark = pytest.mark.slow

WOMAN = Person(34, "female", "Asian", 11)
MAN = Person(34, "male", "White", 21)


def best_detection(detector: Detector, rendered: RenderedImage) -> Detection | None:
    return max(detector.detect(rendered.image), key=lambda face: iou(face.box, rendered.box), default=None)


def test_render_is_reproducible(portrait, head_model) -> None:
    scene = Scene(seed=4)
    one, other = portrait(WOMAN, scene), next(iter(render_images(head_model, [WOMAN], [scene], size=160, workers=0)))
    assert (one.image == other.image).all()
    assert (one.landmarks == other.landmarks).all()


def test_render_images_is_the_same_for_any_number_of_workers(head_model) -> None:
    people, scenes = [WOMAN, MAN], [Scene(seed=1), Scene(seed=2, yaw=20)]
    one, two = (list(render_images(head_model, people, scenes, size=96, workers=workers)) for workers in (0, 2))
    assert all((a.image == b.image).all() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("size", [96, 256])
def test_landmarks_and_box_scale_with_the_image(portrait, size) -> None:
    rendered, larger = portrait(MAN, size=size), portrait(MAN, size=2 * size)
    assert rendered.image.shape == (size, size, 3)
    assert rendered.image.dtype == np.uint8
    assert rendered.occlusion_mask.shape == (size, size)
    assert larger.landmarks / 2 == pytest.approx(rendered.landmarks, abs=0.01)
    left, top, width, height = rendered.box
    assert ((rendered.landmarks > (left, top)) & (rendered.landmarks < (left + width, top + height))).all()


def test_landmarks_turn_with_the_head(portrait) -> None:
    def nose_offset(yaw: float) -> float:
        landmarks = portrait(MAN, Scene(yaw=yaw)).landmarks
        return float(landmarks[2, 0] - landmarks[:2, 0].mean())

    assert nose_offset(-30) < nose_offset(0) - 5
    assert nose_offset(30) > nose_offset(0) + 5
    heights = [portrait(MAN, Scene(pitch=pitch)).landmarks[2, 1] for pitch in (15, 0, -15)]
    assert heights == sorted(heights)
    tilted = portrait(MAN, Scene(roll=20)).landmarks
    assert tilted[1, 1] > tilted[0, 1] + 5


@pytest.mark.parametrize("style", MASK_STYLES)
def test_mask_hides_the_mouth_and_is_in_the_occlusion_mask(portrait, style) -> None:
    clean, masked = portrait(WOMAN), portrait(replace(WOMAN, mask=Mask(style)))
    assert clean.visibility > 0.97
    assert not clean.occlusion_mask.any() or clean.visibility < 1
    assert 0.3 < masked.visibility < 0.75
    mouth = masked.landmarks[3:].mean(0).astype(int)
    eyes = masked.landmarks[:2].astype(int)
    assert masked.occlusion_mask[mouth[1], mouth[0]]
    assert not masked.occlusion_mask[eyes[:, 1], eyes[:, 0]].any()
    changed = np.abs(clean.image.astype(int) - masked.image).sum(2) > 30
    assert changed[masked.occlusion_mask].mean() > 0.6
    assert (clean.landmarks == masked.landmarks).all()


def test_incorrectly_worn_mask_leaves_the_nose_visible(portrait) -> None:
    correct, below_nose, on_chin = (
        portrait(replace(MAN, mask=Mask("surgical", position))) for position in ("correct", "below_nose", "on_chin")
    )
    assert correct.visibility < below_nose.visibility < on_chin.visibility
    x, y = correct.landmarks[2].astype(int)
    assert [image.occlusion_mask[y, x] for image in (correct, below_nose, on_chin)] == [True, False, False]


@pytest.mark.parametrize("light", LIGHTS)
def test_light_changes_the_image_and_not_the_landmarks(portrait, light) -> None:
    studio, other = portrait(WOMAN, Scene(noise=0.0)), portrait(WOMAN, Scene(noise=0.0, light=light))
    assert (studio.landmarks == other.landmarks).all()
    assert 40 < other.image.mean() < 215
    assert light == "studio" or np.abs(studio.image.astype(int) - other.image).mean() > 3


def test_old_skin_has_more_relief(portrait) -> None:
    def relief(age: int) -> float:
        rendered = portrait(Person(age, "male", "White", 21), Scene(noise=0.0, blur=0.0), size=256)
        left, right = rendered.landmarks[:2].astype(int)
        forehead = rendered.image[left[1] - 45 : left[1] - 20, left[0] : right[0]].mean(2).astype(np.float32)
        return float(np.abs(cv2.Laplacian(forehead, cv2.CV_32F)).mean())

    assert relief(75) > 1.3 * relief(22)


def test_centerface_detects_synthetic_faces(crowd) -> None:
    detector = FaceDetector()
    detections = [best_detection(detector, rendered) for rendered in crowd.images]
    detected = [
        face is not None and iou(face.box, rendered.box) > 0.3
        for face, rendered in zip(detections, crowd.images, strict=True)
    ]
    assert np.mean(detected) >= 0.97


def test_centerface_landmarks_agree_on_frontal_faces(crowd, head_model) -> None:
    detector, distances = FaceDetector(), []
    people = [person for person in crowd.people if person.mask is None]
    scenes = [Scene(seed=number) for number in range(len(people))]
    for rendered in render_images(head_model, people, scenes, workers=2):
        face = best_detection(detector, rendered)
        assert face is not None
        between = np.linalg.norm(rendered.landmarks[1] - rendered.landmarks[0])
        distances.append(np.linalg.norm(face.landmarks - rendered.landmarks, axis=1).mean() / between)
    assert np.mean(distances) < 0.06


def test_shipped_weights_predict_age_and_mask_of_synthetic_faces(crowd) -> None:
    analyzer, ages, predicted, mask_correct = Analyzer(), [], [], []
    for person, rendered in zip(crowd.people, crowd.images, strict=True):
        faces = analyzer.analyze(rendered.image)
        face = max(faces, key=lambda face: iou(face.box, rendered.box), default=None)
        if face is not None:
            ages.append(person.age)
            predicted.append(face.age.years)
            mask_correct.append((face.mask.probabilities["none"] > 0.5) == (person.mask is None))
    assert spearmanr(ages, predicted).statistic > 0.65
    assert np.mean(mask_correct) > 0.93  # of sixty people; docs/synthetic.md has the share of a thousand
