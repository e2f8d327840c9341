"""A head that changes with age, gender and ancestry: anny's mesh (Apache-2.0; its data, from MakeHuman, CC0).

Millimetres throughout. x to the head's left, y backwards, z upwards; the origin is halfway between the eyes' centres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.errors import SynthError
from oamface.synthetic.raster import FloatArray, IntArray, rasterise

# What varies between people of one age, gender and ancestry: MakeHuman's modifiers, and their deviation in -1..1.
CHANGES = {
    **dict.fromkeys(("nose-width1-incr", "nose-width2-incr", "nose-width3-incr", "nose-scale-horiz-incr"), 0.35),
    **dict.fromkeys(("nose-scale-vert-incr", "nose-scale-depth-incr", "nose-hump-incr", "nose-point-up"), 0.35),
    **dict.fromkeys(("nose-flaring-incr", "nose-volume-incr", "nose-curve-convex", "nose-base-up"), 0.3),
    **dict.fromkeys(("mouth-scale-horiz-incr", "mouth-upperlip-height-incr", "mouth-lowerlip-height-incr"), 0.3),
    **dict.fromkeys(("mouth-upperlip-volume-incr", "mouth-lowerlip-volume-incr", "mouth-cupidsbow-incr"), 0.35),
    **dict.fromkeys(("mouth-trans-up", "mouth-angles-up", "mouth-scale-vert-incr"), 0.2),
    **dict.fromkeys(("chin-width-incr", "chin-height-incr", "chin-prominent-incr", "chin-bones-incr"), 0.25),
    **dict.fromkeys(("chin-jaw-drop-incr", "chin-cleft-incr", "chin-prognathism-incr"), 0.25),
    **dict.fromkeys(("forehead-temple-incr", "forehead-trans-forward", "forehead-scale-vert-incr"), 0.15),
    **dict.fromkeys(("head-scale-horiz-incr", "head-scale-vert-incr", "head-fat-incr", "head-angle-out"), 0.15),
    **dict.fromkeys(("eyebrows-angle-up", "eyebrows-trans-up", "eyebrows-trans-forward"), 0.25),
    **dict.fromkeys(("neck-scale-horiz-incr", "neck-scale-depth-incr"), 0.2),
}
PAIRED = {  # of the left and the right side, which differ a little
    **dict.fromkeys(("cheek-volume-incr", "cheek-bones-incr", "cheek-inner-incr", "cheek-trans-up"), 0.35),
    **dict.fromkeys(("eye-scale-incr", "eye-trans-out", "eye-trans-up", "eye-corner1-up", "eye-corner2-up"), 0.3),
    **dict.fromkeys(("eye-height1-incr", "eye-height2-incr", "eye-height3-incr", "eye-eyefold-up"), 0.3),
    **dict.fromkeys(("eye-push1-out", "eye-push2-out", "eye-bag-incr"), 0.2),
    **dict.fromkeys(("ear-scale-incr", "ear-wing-incr", "ear-lobe-incr", "ear-scale-vert-incr"), 0.35),
}
DEVIATIONS = CHANGES | {f"{side}-{name}": value for name, value in PAIRED.items() for side in "lr"}
PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions", "african", "asian", "caucasian")
_YEARS, _STAGES = (1, 11, 25, 90), (0, 1 / 3, 2 / 3, 1)  # anny's anchors: baby, child, young, old

SKIN, EYE, MOUTH = range(3)  # parts of the mesh
AXIS = 62.0  # y of the upright axis that azimuths are measured around, behind the eyes
_LOW = (0.6, 1.12)  # how far nose tip and mouth lie below the eyes in MakeHuman's mean, in distances of the eyes
_HIGH = (0.55, 0.97)  # and where our detector finds them in real faces from in front, to a tenth
_SUN = 60  # directions from which the sky is sampled for ambient occlusion


@dataclass(frozen=True)
class Head:
    """The mesh of V vertices and F triangles, and what is known of every vertex whatever the person.

    basis: (1 + K, V * 3): the mean shape, then a displacement for every coefficient. faces: (F, 3), seen from outside
    in the order that `rasterise` wants. part: (V,) SKIN, EYE or MOUTH.
    place: (V, 3) where the vertex lies on the average young adult; everything drawn on a head is drawn there.
    lips, lids, ears: (V,) 0..1. open: (V,) share of the sky that it sees. rim: (V,) mm to the edge of the eyelids.
    landmarks: (5, V) weights of the eyes (left in the image first), nose tip, mouth corners.
    """

    basis: FloatArray
    faces: IntArray
    part: IntArray
    place: FloatArray
    lips: FloatArray
    lids: FloatArray
    ears: FloatArray
    open: FloatArray
    rim: FloatArray
    landmarks: FloatArray
    actions: tuple[str, ...]

    def shape(self, coefficients: FloatArray) -> FloatArray:
        """(N, K) coefficients, from `Shapes`, to (N, V, 3) vertices."""
        whole = np.concatenate([np.ones((len(coefficients), 1), np.float32), coefficients], 1)
        vertices = (whole @ self.basis).reshape(len(coefficients), -1, 3)
        landmarks = np.einsum("kv,nvd->nkd", self.landmarks, vertices)
        vertices -= landmarks[:, :2].mean(1)[:, None]
        for points, mark in zip(vertices, landmarks, strict=True):
            _shorten(points, mark)
        return vertices

    def azimuth(self) -> FloatArray:
        """(V,) where the vertex lies around the upright axis: 0 in front, positive to the head's left, -pi..pi."""
        return np.arctan2(self.place[:, 0], AXIS - self.place[:, 1])


def _shorten(points: FloatArray, landmarks: FloatArray) -> None:
    """MakeHuman's faces are long below the eyes, and differ more than people do: draws nose and mouth up, in place.

    points: (V, 3), the eyes' middle at 0. landmarks: their landmarks, (5, 3).
    """
    between = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    eyes, nose, mouth = landmarks[:2, 2].mean(), landmarks[2, 2], landmarks[3:, 2].mean()
    depths = (eyes - np.array((nose, mouth))) / between
    wanted = _HIGH + 0.35 * (depths - _LOW)
    wanted[0] = min(wanted[0], 0.8 * wanted[1])
    old, new = np.array((0, *depths, 8 * depths[1])), np.array((0, *wanted, 8 * wanted[1]))
    below = points[:, 2] < 0
    points[below, 2] = -between * np.interp(-points[below, 2] / between, old, new)


class Shapes:
    """anny itself: from what a person is to the head's coefficients. Loading takes some 25 seconds and torch.

    Raises SynthError: anny is not installed.
    """

    def __init__(self) -> None:
        if find_spec("anny") is None:
            raise SynthError('synthetic people need anny: uv pip install "oamface[synth]"')
        import anny

        self._model: Any = anny.Anny(
            rig="makehuman-head",
            topology="head",
            phenotypes="all",
            facial_actions="all",
            local_changes=list(DEVIATIONS),
            skinning_method="lbs",
        )
        self.head = _head(self._model, Path(anny.__file__).parent / "data/mpfb2/textures")

    def coefficients(
        self,
        phenotypes: Mapping[str, npt.NDArray[np.floating]],
        changes: Mapping[str, npt.NDArray[np.floating]],
        actions: Mapping[str, npt.NDArray[np.floating]],
    ) -> FloatArray:
        """(N, K), from N values for each name: PHENOTYPES in 0..1, DEVIATIONS in -1..1, the head's actions in 0..1."""
        import torch

        count = len(next(iter(phenotypes.values())))
        with torch.no_grad():
            given = {name: torch.as_tensor(np.asarray(value, float)) for name, value in phenotypes.items()}
            local = {name: torch.as_tensor(np.asarray(value, float)) for name, value in changes.items()}
            values = self._model.get_phenotype_blendshape_coefficients(**given, local_changes=local).numpy()
        values = np.broadcast_to(values, (count, values.shape[1])).astype(np.float32)
        first = values.shape[1] - 2 * len(self._model.local_change_labels) - len(self.head.actions)
        for name, value in actions.items():
            values[:, first + self.head.actions.index(name)] = value
        return values


def stage_of(age: npt.NDArray[np.floating] | float) -> npt.NDArray[np.floating]:
    """Years as anny counts them: 0 a baby, 1 an old person."""
    stage: npt.NDArray[np.floating] = np.asarray(np.interp(age, _YEARS, _STAGES))
    return stage


def normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V, 3) smooth normals of unit length, pointing out."""
    corner = vertices[faces]
    flat = np.cross(corner[:, 2] - corner[:, 0], corner[:, 1] - corner[:, 0])
    at = faces.T.ravel()
    summed = np.stack([np.bincount(at, np.tile(flat[:, side], 3), len(vertices)) for side in range(3)], 1)
    return (summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)).astype(np.float32)


def _head(model: Any, textures: Path) -> Head:
    faces = np.array(model.faces.tolist())[:, ::-1].copy()
    template = model.template_vertices.numpy()
    actions = tuple(model.facial_action_labels)
    young = {name: np.array([0.5]) for name in PHENOTYPES} | {"age": np.array([2 / 3])}
    import torch

    mean = model.get_phenotype_blendshape_coefficients(**{k: torch.as_tensor(v) for k, v in young.items()})
    shapes = model.blendshapes.numpy()
    place = (template + np.einsum("k,kvd->vd", mean[0].numpy(), shapes)) * 1000
    coordinates, corners = model.texture_coordinates.numpy(), np.array(model.face_texture_coordinate_indices.tolist())
    # Where each vertex lies in the texture; on a seam any of its places will do, masks are smooth across it.
    uv = np.zeros((len(place), 2))
    uv[np.array(model.faces.tolist()).ravel()] = coordinates[corners.ravel()]

    def painted(name: str) -> FloatArray:
        mask: Any = cv2.imread(str(textures / f"mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        at = (uv * (1, -1) + (0, 1)) * (mask.shape[1] - 1)
        value: FloatArray = mask[at[:, 1].astype(int), at[:, 0].astype(int)] / np.float32(255)
        return value

    pieces = _pieces(faces, len(place))
    part = np.full(len(place), SKIN)
    eyes = []
    for piece in np.unique(pieces):
        members = np.flatnonzero(pieces == piece)
        side = place[members, 0].mean()
        if len(members) < 1000:
            part[members] = MOUTH if abs(side) < 5 else EYE
            if part[members[0]] == EYE:
                eyes.append(members)
    part[painted("inside-mouth") > 0.5] = MOUTH
    eyes.sort(key=lambda members: place[members, 0].mean())  # the person's right eye is left in the image
    landmarks = np.zeros((5, len(place)), np.float32)
    centres = []
    for row, members in enumerate(eyes):
        front = members[place[members, 1] < place[members, 1].min() + 3]
        landmarks[row, front] = 1 / len(front)
        centres.append(_sphere(place[members]))
    origin = (landmarks[:2] @ place).mean(0)
    place = place - origin
    skin = np.flatnonzero(part == SKIN)
    landmarks[2, skin[np.argmin(place[skin, 1])]] = 1
    lips = painted("lips")
    mouth = np.flatnonzero(lips > 0.5)
    corner = mouth[np.argmin(place[mouth, 0])]
    landmarks[3, corner] = 1
    landmarks[4, np.argmin(np.linalg.norm(place - place[corner] * (-1, 1, 1), axis=1))] = 1
    away = [np.abs(np.linalg.norm(place - (centre - origin), axis=1) - radius) for centre, radius in centres]
    rim = np.where(np.abs(place[:, 2]) < 12, np.minimum(*away), 99).astype(np.float32)
    rim[(place[:, 1] > 14) | (part != SKIN)] = 99
    basis = np.concatenate([template[None], shapes]).reshape(1 + len(shapes), -1) * 1000
    placed = place.astype(np.float32)
    return Head(
        basis.astype(np.float32),
        faces,
        part,
        placed,
        lips,
        painted("eyelids"),
        painted("ears"),
        _openness(placed, faces),
        rim,
        landmarks,
        actions,
    )


def _pieces(faces: IntArray, count: int) -> IntArray:
    """(V,) the smallest vertex of the connected piece that each belongs to."""
    label = np.arange(count)
    while True:
        low = label[faces].min(1)
        new = label.copy()
        for corner in range(3):
            np.minimum.at(new, faces[:, corner], low)
        new = new[new]
        if (new == label).all():
            return label
        label = new


def _sphere(points: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], float]:
    """Centre and radius of the sphere nearest to points, by least squares."""
    known = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solved = np.linalg.lstsq(known, (points**2).sum(1), rcond=None)[0]
    return solved[:3], float(np.sqrt(solved[3] + (solved[:3] ** 2).sum()))


def _openness(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V,) the share of directions above its surface from which a vertex is seen: ambient occlusion, once for all."""
    outward, side = normals(vertices, faces), 220
    seen, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for number in range(_SUN):  # evenly over the sphere, along a Fibonacci spiral
        height, turn = 1 - 2 * (number + 0.5) / _SUN, number * np.pi * (3 - 5**0.5)
        flat = np.sqrt(1 - height**2)
        direction = np.array([np.cos(turn) * flat, np.sin(turn) * flat, height])
        across = np.cross(direction, (0.3, 0.5, 0.8))
        across /= np.linalg.norm(across)
        frame = np.stack([across, np.cross(direction, across), -direction])
        turned = vertices @ frame.T.astype(np.float32)
        turned[:, :2] = (turned[:, :2] - turned[:, :2].min(0)) * (side - 1) / np.ptp(turned[:, :2], axis=0).max()
        drawn = rasterise(turned, faces, side, side, both_sides=True)
        nearest = np.full(side * side, np.inf)
        nearest[drawn.pixel] = drawn.depth
        column, row = turned[:, :2].astype(int).clip(0, side - 1).T
        weight = (outward @ direction).clip(0)
        possible += weight
        seen += weight * (turned[:, 2] < nearest[row * side + column] + 3.0)
    return (seen / possible).astype(np.float32)
