"""The mesh of a head that changes with age, gender and ancestry: anny's (Apache-2.0; its data, from MakeHuman, CC0).

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

# MakeHuman's modifiers that differ between people of one age, gender and ancestry, each with its standard deviation.
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
PAIRED_CHANGES = {  # of the left and the right side, which differ a little
    **dict.fromkeys(("cheek-volume-incr", "cheek-bones-incr", "cheek-inner-incr", "cheek-trans-up"), 0.35),
    **dict.fromkeys(("eye-scale-incr", "eye-trans-out", "eye-trans-up", "eye-corner1-up", "eye-corner2-up"), 0.3),
    **dict.fromkeys(("eye-height1-incr", "eye-height2-incr", "eye-height3-incr", "eye-eyefold-up"), 0.3),
    **dict.fromkeys(("eye-push1-out", "eye-push2-out", "eye-bag-incr"), 0.2),
    **dict.fromkeys(("ear-scale-incr", "ear-wing-incr", "ear-lobe-incr", "ear-scale-vert-incr"), 0.35),
}
ALL_CHANGES = (*CHANGES, *(f"{side}-{name}" for name in PAIRED_CHANGES for side in "lr"))
PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions", "african", "asian", "caucasian")
_STAGE_YEARS, _STAGES = (1, 11, 25, 90), (0, 1 / 3, 2 / 3, 1)  # anny's baby, child, young and old

SKIN, EYE, MOUTH = range(3)  # parts of the mesh
AXIS = 62.0  # y of the upright axis, behind the eyes, around which azimuths are measured
# How far the tip of the nose and the mouth are below the eyes, in distances between the eyes: in MakeHuman's mean, and
# where our detector finds them in real frontal faces, to a tenth.
_MAKEHUMAN_PROPORTIONS, _PROPORTIONS = (0.6, 1.12), (0.55, 0.97)
_SKY_DIRECTIONS = 60  # for ambient occlusion


@dataclass(frozen=True)
class Head:
    """The mesh of V vertices and F triangles, and what every vertex is, for all people alike.

    basis: (1 + K, V * 3), the mean shape and a displacement for every coefficient.
    faces: (F, 3) indices of vertices, in the order that `rasterise` expects. part: (V,) SKIN, EYE or MOUTH.
    reference: (V, 3) positions on an average young adult. Textures are defined in these coordinates.
    lips, ears: (V,) 0..1, membership. openness: (V,) 0..1, the share of the sky not hidden by the head itself.
    lid_distance: (V,) mm from the edge of the eyelids. landmarks: (5, V) weights of the image's left and right eye, tip
    of the nose, left and right corner of the mouth. actions: names of the facial actions.
    """

    basis: FloatArray
    faces: IntArray
    part: IntArray
    reference: FloatArray
    lips: FloatArray
    ears: FloatArray
    openness: FloatArray
    lid_distance: FloatArray
    landmarks: FloatArray
    actions: tuple[str, ...]

    def vertices(self, coefficients: FloatArray) -> FloatArray:
        """(N, V, 3) vertices of (N, K) coefficients, as HeadModel gives them."""
        weights = np.concatenate([np.ones((len(coefficients), 1), np.float32), coefficients], 1)
        vertices = (weights @ self.basis).reshape(len(coefficients), -1, 3)
        landmarks = np.einsum("kv,nvd->nkd", self.landmarks, vertices)
        vertices -= landmarks[:, :2].mean(1)[:, None]
        for head, points in zip(vertices, landmarks, strict=True):
            _shorten(head, points)
        return vertices

    def azimuth(self) -> FloatArray:
        """(V,) angle around the upright axis, -pi..pi: 0 in front, positive to the head's left."""
        return np.arctan2(self.reference[:, 0], AXIS - self.reference[:, 1])

    def scale(self, vertices: FloatArray) -> float:
        """The height of a head relative to the average young adult's."""
        return float(np.ptp(vertices[:, 2]) / np.ptp(self.reference[:, 2]))


def _shorten(vertices: FloatArray, landmarks: FloatArray) -> None:
    """Move nose and mouth up, in place: below the eyes MakeHuman's faces are longer and vary more than people's.

    vertices: (V, 3), the middle of the eyes at 0. landmarks: (5, 3).
    """
    between = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    eyes, nose, mouth = landmarks[:2, 2].mean(), landmarks[2, 2], landmarks[3:, 2].mean()
    depths = (eyes - np.array((nose, mouth))) / between
    wanted = _PROPORTIONS + 0.35 * (depths - _MAKEHUMAN_PROPORTIONS)
    wanted[0] = min(wanted[0], 0.8 * wanted[1])
    old, new = np.array((0, *depths, 8 * depths[1])), np.array((0, *wanted, 8 * wanted[1]))
    below = vertices[:, 2] < 0
    vertices[below, 2] = -between * np.interp(-vertices[below, 2] / between, old, new)


class HeadModel:
    """anny's model: from a person's phenotypes, changes and expression to the coefficients of the head's shape.

    Loading takes about 25 seconds and needs torch. Raises SynthError: anny is not installed.
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
            local_changes=list(ALL_CHANGES),
            skinning_method="lbs",
        )
        self.head = _build_head(self._model, Path(anny.__file__).parent / "data/mpfb2/textures")

    def coefficients(
        self,
        phenotypes: Mapping[str, npt.NDArray[np.floating]],
        changes: Mapping[str, npt.NDArray[np.floating]],
        actions: Mapping[str, npt.NDArray[np.floating]],
    ) -> FloatArray:
        """(N, K), from N values for each name: PHENOTYPES in 0..1, ALL_CHANGES in -1..1, facial actions in 0..1."""
        values = _phenotype_coefficients(self._model, phenotypes, changes)
        count = len(next(iter(phenotypes.values())))
        values = np.broadcast_to(values, (count, values.shape[1])).astype(np.float32)
        first = values.shape[1] - 2 * len(self._model.local_change_labels) - len(self.head.actions)
        for name, value in actions.items():
            values[:, first + self.head.actions.index(name)] = value
        return values


def age_stage(age: npt.NDArray[np.floating] | float) -> npt.NDArray[np.floating]:
    """anny's value of an age in years: 0 a baby, 1 an old person."""
    return np.asarray(np.interp(age, _STAGE_YEARS, _STAGES))


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V, 3) smooth normals of unit length, pointing outwards."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    index = faces.T.ravel()
    summed = np.stack([np.bincount(index, np.tile(face_normals[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return (summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)).astype(np.float32)


def _phenotype_coefficients(
    model: Any, phenotypes: Mapping[str, npt.NDArray[np.floating]], changes: Mapping[str, npt.NDArray[np.floating]]
) -> FloatArray:
    import torch

    with torch.no_grad():
        values, local = (
            {name: torch.as_tensor(np.asarray(value, float)) for name, value in given.items()}
            for given in (phenotypes, changes)
        )
        coefficients: FloatArray = model.get_phenotype_blendshape_coefficients(**values, local_changes=local).numpy()
    return coefficients


def _build_head(model: Any, textures: Path) -> Head:
    model_faces = np.array(model.faces.tolist())
    faces = model_faces[:, ::-1].copy()
    mean_shape, blendshapes = model.template_vertices.numpy(), model.blendshapes.numpy()
    young = {name: np.array([0.5]) for name in PHENOTYPES} | {"age": np.array([2 / 3])}
    average = _phenotype_coefficients(model, young, {})[0]
    reference = (mean_shape + np.einsum("k,kvd->vd", average, blendshapes)) * 1000
    # Each vertex's position in the textures; on a seam any of several will do, because the masks are smooth across it.
    coordinates = model.texture_coordinates.numpy()
    uv = np.zeros((len(reference), 2))
    uv[model_faces.ravel()] = coordinates[np.array(model.face_texture_coordinate_indices.tolist()).ravel()]

    def vertex_mask(name: str) -> FloatArray:
        mask: Any = cv2.imread(str(textures / f"mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        pixels = (uv * (1, -1) + (0, 1)) * (mask.shape[1] - 1)
        values: FloatArray = mask[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] / np.float32(255)
        return values

    part, eyes = _parts(reference, faces)
    part[vertex_mask("inside-mouth") > 0.5] = MOUTH
    lips = vertex_mask("lips")
    landmarks, origin = _landmarks(reference, part, eyes, lips)
    spheres = [_fit_sphere(reference[eye]) for eye in eyes]
    reference = reference - origin
    distances = [np.abs(np.linalg.norm(reference - (centre - origin), axis=1) - radius) for centre, radius in spheres]
    lid_distance = np.where(np.abs(reference[:, 2]) < 12, np.minimum(*distances), 99).astype(np.float32)
    lid_distance[(reference[:, 1] > 14) | (part != SKIN)] = 99
    basis = np.concatenate([mean_shape[None], blendshapes]).reshape(1 + len(blendshapes), -1) * 1000
    return Head(
        basis=basis.astype(np.float32),
        faces=faces,
        part=part,
        reference=reference.astype(np.float32),
        lips=lips,
        ears=vertex_mask("ears"),
        openness=_openness(reference.astype(np.float32), faces),
        lid_distance=lid_distance,
        landmarks=landmarks,
        actions=tuple(model.facial_action_labels),
    )


def _parts(vertices: FloatArray, faces: IntArray) -> tuple[IntArray, list[IntArray]]:
    """(V,) the part of every vertex, and the vertices of the two eyes, the image's left one first."""
    pieces = _connected_pieces(faces, len(vertices))
    part, eyes = np.full(len(vertices), SKIN), []
    for piece in np.unique(pieces):
        rows = np.flatnonzero(pieces == piece)
        if len(rows) < 1000:
            part[rows] = MOUTH if abs(vertices[rows, 0].mean()) < 5 else EYE
            if part[rows[0]] == EYE:
                eyes.append(rows)
    return part, sorted(eyes, key=lambda rows: vertices[rows, 0].mean())


def _landmarks(
    vertices: FloatArray, part: IntArray, eyes: list[IntArray], lips: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(5, V) weights of the landmarks, and (3,) the middle of the eyes."""
    landmarks = np.zeros((5, len(vertices)), np.float32)
    for row, eye in enumerate(eyes):
        front = eye[vertices[eye, 1] < vertices[eye, 1].min() + 3]
        landmarks[row, front] = 1 / len(front)
    origin = (landmarks[:2] @ vertices).mean(0)
    centred = vertices - origin
    skin = np.flatnonzero(part == SKIN)
    landmarks[2, skin[np.argmin(centred[skin, 1])]] = 1
    mouth = np.flatnonzero(lips > 0.5)
    corner = mouth[np.argmin(centred[mouth, 0])]
    landmarks[3, corner] = 1
    landmarks[4, np.argmin(np.linalg.norm(centred - centred[corner] * (-1, 1, 1), axis=1))] = 1
    return landmarks, origin


def _connected_pieces(faces: IntArray, count: int) -> IntArray:
    """(V,) the smallest index of a vertex in the connected piece of every vertex."""
    label = np.arange(count)
    while True:
        smallest = label[faces].min(1)
        new = label.copy()
        for corner in range(3):
            np.minimum.at(new, faces[:, corner], smallest)
        new = new[new]
        if (new == label).all():
            return label
        label = new


def _fit_sphere(points: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], float]:
    """Centre and radius of the sphere through points, by least squares."""
    equations = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(equations, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def _openness(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V,) ambient occlusion: the share of directions above the surface from which a vertex is visible."""
    normals, side = vertex_normals(vertices, faces), 220
    visible, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for number in range(_SKY_DIRECTIONS):  # evenly over the sphere, along a Fibonacci spiral
        height, turn = 1 - 2 * (number + 0.5) / _SKY_DIRECTIONS, number * np.pi * (3 - 5**0.5)
        flat = np.sqrt(1 - height**2)
        direction = np.array([np.cos(turn) * flat, np.sin(turn) * flat, height])
        across = np.cross(direction, (0.3, 0.5, 0.8))
        across /= np.linalg.norm(across)
        frame = np.stack([across, np.cross(direction, across), -direction])
        turned = vertices @ frame.T.astype(np.float32)
        turned[:, :2] = (turned[:, :2] - turned[:, :2].min(0)) * (side - 1) / np.ptp(turned[:, :2], axis=0).max()
        fragments = rasterise(turned, faces, side, side, both_sides=True)
        nearest = np.full(side * side, np.inf)
        nearest[fragments.pixel] = fragments.depth
        column, row = turned[:, :2].astype(int).clip(0, side - 1).T
        weight = (normals @ direction).clip(0)
        possible += weight
        visible += weight * (turned[:, 2] < nearest[row * side + column] + 3.0)
    return (visible / possible).astype(np.float32)
