"""Meshes of masks with straps, glasses and clothes, fitted to each head."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.synthetic.appearance import Appearance
from oamface.synthetic.head import AXIS, Head
from oamface.synthetic.people import Mask
from oamface.synthetic.raster import FloatArray, IntArray, grid_faces, rasterise
from oamface.synthetic.skin import lab_to_linear, smoothstep

_TURNS, _LEVELS = 120, 140  # cells of the radius map, over 240 degrees and 280 mm


@dataclass(frozen=True)
class Piece:
    """A mesh: vertices (V, 3) in mm, faces (F, 3), colour (V, 3) linear RGB, gloss 0..1.

    transparency: 0..1, the share of light that passes.
    """

    vertices: FloatArray
    faces: IntArray
    colour: FloatArray
    gloss: float = 0.05
    transparency: float = 0.0


class RadiusMap:
    """The distance in mm of a head's surface from its upright axis, by azimuth and height."""

    def __init__(self, head: Head, vertices: FloatArray) -> None:
        self._scale = head.scale(vertices)
        self.axis = AXIS * self._scale
        flat = vertices[:, :2] - (0, self.axis)
        turn, radius = np.arctan2(flat[:, 0], -flat[:, 1]), np.linalg.norm(flat, axis=1)
        points = np.stack([self._column(turn), self._row(vertices[:, 2]), -radius], 1).astype(np.float32)
        corners = turn[head.faces]
        fragments = rasterise(points, head.faces[np.ptp(corners, axis=1) < np.pi], _LEVELS, _TURNS, both_sides=True)
        table = np.zeros(_LEVELS * _TURNS, np.float32)
        table[fragments.pixel] = -fragments.depth
        self._table = table.reshape(_LEVELS, _TURNS)

    def smooth(self, std: float, *, bridge: int = 0, grow: int = 0) -> FloatArray:
        """The map blurred (std in cells), after closing gaps of `bridge` cells and dilating peaks by `grow` cells."""
        table = self._table
        for cells, operation in ((bridge, cv2.MORPH_CLOSE), (grow, cv2.MORPH_DILATE)):
            if cells:
                table = cv2.morphologyEx(table, operation, np.ones((2 * cells + 1, 2 * cells + 1), np.uint8))
        return cv2.GaussianBlur(table, (0, 0), std, borderType=cv2.BORDER_REPLICATE)

    def radius(self, table: FloatArray, turn: npt.ArrayLike, height: npt.ArrayLike) -> FloatArray:
        """Radii in mm of a smoothed map at azimuths (radians) and heights (mm)."""
        turn, height = np.broadcast_arrays(np.asarray(turn, np.float32), np.asarray(height, np.float32))
        columns, rows = self._column(turn) - np.float32(0.5), self._row(height) - np.float32(0.5)
        return cv2.remap(
            table,
            np.atleast_2d(columns).astype(np.float32),
            np.atleast_2d(rows).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(turn.shape)

    def point(self, turn: npt.ArrayLike, height: npt.ArrayLike, radius: npt.ArrayLike) -> FloatArray:
        """(..., 3) points at azimuths, heights and radii."""
        turn, height, radius = np.broadcast_arrays(turn, height, radius)
        place = np.stack([np.sin(turn) * radius, self.axis - np.cos(turn) * radius, height], -1)
        return place.astype(np.float32)

    def _column(self, turn: FloatArray) -> FloatArray:
        return (turn / np.radians(240) + 0.5) * _TURNS

    def _row(self, height: FloatArray) -> FloatArray:
        return (120 * self._scale - height) / (280 * self._scale) * _LEVELS


def tube(path: FloatArray, radius: float, colour: FloatArray, *, closed: bool = False, gloss: float = 0.3) -> Piece:
    """A thin tube with six sides along a path (N, 3)."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead = ahead / (np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9)
    beside = np.cross(ahead, (0.17, 0.31, 0.93))
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    above = np.cross(beside, ahead)
    angles = np.arange(6) / 6 * 2 * np.pi
    ring = np.cos(angles)[:, None, None] * beside + np.sin(angles)[:, None, None] * above
    vertices = (path + radius * ring).reshape(-1, 3)
    count, wrap = len(path), np.arange(6)
    faces = []
    for step in range(count if closed else count - 1):
        after = (step + 1) % count
        one, two = wrap * count, np.roll(wrap, -1) * count
        for second, third in ((two + step, two + after), (two + after, one + after)):
            faces.append(np.stack([one + step, second, third], 1))
    colours = np.tile(colour, (len(vertices), 1)).astype(np.float32)
    return Piece(vertices.astype(np.float32), np.concatenate(faces), colours, gloss)


@dataclass(frozen=True)
class _MaskShape:
    """A mask's proportions. half: the azimuth in degrees that it reaches to. stand: mm that it stands off the face.

    drop, rise: of its upper and lower edge towards the sides, as shares of the face's and the mask's height.
    """

    half: float
    drop: float
    rise: float
    stand: float


_MASK_SHAPES = {
    "surgical": _MaskShape(62, 0.16, 0.2, 2.5),
    "ffp2": _MaskShape(60, 0.24, 0.5, 9.0),
    "cloth": _MaskShape(58, 0.26, 0.45, 2.0),
    "black": _MaskShape(60, 0.28, 0.5, 2.0),
}
_ROWS, _COLUMNS = 34, 41  # of a mask's grid of vertices


def mask_pieces(head: Head, vertices: FloatArray, mask: Mask, seed: int) -> list[Piece]:
    """A mask fitted to the head's vertices (V, 3), and its straps. seed: of its colour and fit."""
    rng, radius_map = np.random.default_rng((seed, 8)), RadiusMap(head, vertices)
    s = np.linspace(-1, 1, _COLUMNS, dtype=np.float32)[None]  # from the head's right to its left
    t = np.linspace(0, 1, _ROWS, dtype=np.float32)[:, None]  # from the upper to the lower edge
    turn, height = _mask_grid(head, vertices, mask, rng, s, t)
    skin = radius_map.radius(radius_map.smooth(0.8, bridge=2, grow=2), turn, height)
    edge = smoothstep(np.minimum(np.minimum(t, 1 - t) * 5, (1 - np.abs(s)) * 5))
    radius = _mask_radius(skin, mask.style, s, t, edge)
    below_chin = smoothstep((_chin_height(head, vertices) + 3 - height) / 14)  # there it goes back towards the neck
    radius = radius - below_chin * 0.3 * np.maximum(0, radius - skin - 3)
    pleats = np.zeros_like(radius)
    if mask.style == "surgical":
        for fold in (0.32, 0.5, 0.68):
            pleat = np.exp(-(((t - fold) / 0.028) ** 2)) * (1 - 0.25 * np.abs(s))
            pleats = pleats + pleat * smoothstep((1 - np.abs(s)) * 6)
        radius = radius - 2.2 * pleats
    wrinkles = cv2.GaussianBlur(rng.standard_normal((_ROWS, _COLUMNS)).astype(np.float32), (0, 0), 2.2)
    radius = radius + 2.2 * wrinkles / wrinkles.std() * 0.35 * edge
    fabric: FloatArray = _fabric(mask.style, rng, s + 0 * t, t + 0 * s) * (1 - 0.22 * pleats[..., None])
    colours = fabric.reshape(-1, 3)
    surface = radius_map.point(turn, height, radius)
    piece = Piece(surface.reshape(-1, 3), grid_faces(_ROWS, _COLUMNS), colours.astype(np.float32), gloss=0.03)
    strap = np.full(3, 0.75) if mask.style in ("surgical", "ffp2") else 0.9 * colours.mean(0)
    return [piece, *_straps(head, radius_map, vertices, surface, strap)]


def _mask_grid(
    head: Head, vertices: FloatArray, mask: Mask, rng: np.random.Generator, s: FloatArray, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Azimuths and heights (rows, columns) of a mask's vertices."""
    eyes, nose, mouth = (head.landmarks[rows] @ vertices for rows in (slice(0, 2), 2, slice(3, 5)))
    chin, shape = _chin_height(head, vertices), _MASK_SHAPES[mask.style]
    face_height = eyes.mean(0)[2] - chin
    bridge = nose[2] + 0.24 * face_height + 0.02 * face_height * rng.normal()
    top, bottom = {
        "correct": (bridge, chin - 7),
        "below_nose": (nose[2] - 0.04 * face_height, chin - 9),
        "on_chin": (mouth.mean(0)[2] - 0.09 * face_height, chin - 20),
    }[mask.position]
    half = np.radians(shape.half) * rng.uniform(0.94, 1.04)
    # The upper edge is highest at the nose and falls to the cheeks; the lower one rises from the chin to the jaw.
    upper = top - shape.drop * face_height * np.abs(s) ** 1.6 * (0.6 if mask.position == "on_chin" else 1)
    lower = bottom + shape.rise * (top - bottom) * np.abs(s) ** 1.8
    return half * s + 0 * t, upper + (lower - upper) * t


def _mask_radius(skin: FloatArray, style: str, s: FloatArray, t: FloatArray, edge: FloatArray) -> FloatArray:
    """Radii of a mask over the radii of the skin (rows, columns); it touches the skin at its edges."""
    # Cloth spans from the nose to the chin, and partly from there to the cheeks; it does not follow the mouth.
    taut = _taut(skin.T).T
    taut = taut + 0.6 * (_taut(taut) - taut)
    bridged = cv2.GaussianBlur(taut, (0, 0), sigmaX=2.0, sigmaY=1.2, borderType=cv2.BORDER_REPLICATE)
    stand = _MASK_SHAPES[style].stand * edge
    hull = np.maximum(bridged, skin + 1) + stand * (1 - 0.6 * s**2)
    if style == "ffp2":  # folded along the middle
        hull = hull + 7 * np.exp(-((s / 0.16) ** 2)) * smoothstep(np.minimum(t * 3, (1 - t) * 2.5))
    radius = (skin + 1.2) * (1 - edge) + hull * edge
    return np.maximum(radius, skin + 1.2 + 1.6 * edge)


def _taut(profiles: FloatArray) -> FloatArray:
    """The upper hulls of (N, R) profiles: no point is below a line between two others."""
    hull, count = profiles.copy(), profiles.shape[1]
    for start in range(0, count - 2, 2):
        for end in range(start + 2, count, 2):
            share = np.arange(1, end - start, dtype=np.float32) / (end - start)
            line = profiles[:, start, None] * (1 - share) + profiles[:, end, None] * share
            np.maximum(hull[:, start + 1 : end], line, out=hull[:, start + 1 : end])
    return hull


def _straps(
    head: Head, radius_map: RadiusMap, vertices: FloatArray, surface: FloatArray, colour: FloatArray
) -> list[Piece]:
    """Loops from the mask's corners around the ears. surface: (rows, columns, 3) points of the mask."""
    pieces = []
    table = radius_map.smooth(0.8)
    for side, column in ((-1, 0), (1, -1)):
        ear = np.flatnonzero((head.ears > 0.6) & (np.sign(head.reference[:, 0]) == side))
        for row, end in ((1, 0.88), (-2, 0.22)):
            corner = surface[row, column]
            height = vertices[ear, 2].min() + end * np.ptp(vertices[ear, 2])
            near = ear[np.abs(vertices[ear, 2] - height) < 6]
            root = vertices[near].mean(0) if len(near) else vertices[ear].mean(0)
            first, last = (np.arctan2(point[0], radius_map.axis - point[1]) for point in (corner, root))
            turns, heights = np.linspace(first, last, 14), np.linspace(corner[2], root[2], 14)
            radius = radius_map.radius(table, turns, heights) + 1.6
            path = radius_map.point(turns, heights, radius)
            path[0] = corner
            pieces.append(tube(path, 1.1, colour, gloss=0.02))
    return pieces


def _fabric(style: str, rng: np.random.Generator, s: FloatArray, t: FloatArray) -> FloatArray:
    """(rows, columns, 3) colours of a mask; s, t: (rows, columns) coordinates on it."""
    u = rng.random(6)
    if style == "surgical":
        base = lab_to_linear([(78, -6, -16), (84, -9, 0), (92, 0, 0), (80, 18, 0), (70, -10, -22)][int(u[0] * 5)])
    elif style == "ffp2":
        base = lab_to_linear([(93, 0, 1), (93, 0, 1), (88, 0, 2), (18, 0, 0)][int(u[0] * 4)])
    elif style == "black":
        base = lab_to_linear((14 + 10 * u[0], 0, -2 * u[1]))
    else:
        hue = np.radians(120 + 225 * u[1])  # green over blue to pink: cloth of the skin's own colours is rare
        base = lab_to_linear((25 + 60 * u[0], 38 * u[2] * np.cos(hue), 38 * u[2] * np.sin(hue)))
    colour = np.tile(base, (*s.shape, 1))
    if style == "cloth" and u[3] < 0.6:  # stripes, checks or dots
        other = lab_to_linear((20 + 70 * u[4], 50 * (u[5] - 0.5), 30 * (u[1] - 0.5)))
        across, down = np.sin(s * 22), np.sin(t * 26)
        pattern = (down if u[3] < 0.2 else across * down if u[3] < 0.4 else np.maximum(across, down) - 0.4) > 0.2
        colour = np.where(pattern[..., None], other, colour)
    hem = np.maximum(smoothstep((t - 0.955) / 0.02), smoothstep((0.045 - t) / 0.02))
    colour = colour * (1 - 0.22 * hem[..., None])
    if style == "ffp2":
        colour = colour * (1 - 0.12 * np.exp(-((np.abs(s) / 0.02) ** 2)))[..., None]
    return colour


def _chin_height(head: Head, vertices: FloatArray) -> float:
    """The height in mm of the lowest point of the chin's front."""
    middle = (np.abs(head.reference[:, 0]) < 6) & (head.reference[:, 1] < 15) & (head.reference[:, 2] < -95)
    return float(vertices[middle, 2].min())


def glasses_pieces(head: Head, vertices: FloatArray, appearance: Appearance) -> list[Piece]:
    """Glasses fitted to the head's vertices (V, 3): two lenses with rims, a bridge and two temples."""
    rng = np.random.default_rng((appearance.identity, 9))
    eyes = head.landmarks[:2] @ vertices
    between = float(eyes[1, 0] - eyes[0, 0])
    thickness = {"thin": 1.2, "thick": 2.2, "dark": 1.8}[appearance.glasses]
    width, height = between * rng.uniform(0.37, 0.41), between * rng.uniform(0.27, 0.36)
    power = 2 / rng.uniform(2.0, 4.0)  # of the rim's superellipse
    reference = head.reference
    lids = np.flatnonzero((head.lid_distance < 8) | ((np.abs(reference[:, 0]) < 8) & (np.abs(reference[:, 2] - 5) < 8)))
    front = float(vertices[lids, 1].min()) - 3.0
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    outline = [
        np.abs(wave) ** power * np.sign(wave) * side for wave, side in ((np.cos(angle), width), (np.sin(angle), height))
    ]
    pieces = []
    for side, eye in zip((-1, 1), eyes, strict=True):
        x = eye[0] + side * between * 0.02
        curve = 0.0016 * (outline[0] * side + x * side) ** 2
        rim = np.stack([x + outline[0], front + curve, eye[2] - 2 + outline[1]], 1).astype(np.float32)
        pieces += [tube(rim, thickness, appearance.frame, closed=True, gloss=0.5), _lens(rim, appearance.glasses)]
        ear = np.flatnonzero((head.ears > 0.6) & (np.sign(reference[:, 0]) == side))
        top = vertices[ear[np.argmax(vertices[ear, 2])]]
        hinge = np.array([x + side * width, front + float(0.0016 * (width + x * side) ** 2), eye[2] + 0.3 * height])
        outer = np.array([max(abs(hinge[0]), 0.98 * abs(top[0])) * side, hinge[1] + 22, hinge[2]])
        temple = np.stack([hinge, outer, top + (side * 2, 8, 0)])
        pieces.append(tube(temple.astype(np.float32), thickness, appearance.frame, gloss=0.5))
    xs = np.linspace(eyes[0][0] + width - between * 0.02, eyes[1][0] - width + between * 0.02, 7)
    arch = eyes[:, 2].mean() + 0.2 * height + 2.5 * np.cos(np.linspace(-1.5, 1.5, 7))
    bridge = np.stack([xs, np.full(7, front - 0.5), arch], 1)
    pieces.append(tube(bridge.astype(np.float32), thickness, appearance.frame, gloss=0.5))
    return pieces


def _lens(rim: FloatArray, glasses: str) -> Piece:
    """The lens in a rim (N, 3), visible from both sides."""
    vertices, index = np.concatenate([rim, rim.mean(0, keepdims=True)]), np.arange(len(rim))
    faces = np.stack([index, np.roll(index, -1), np.full(len(rim), len(rim))], 1)
    tint, transparency = ((0.02, 0.02, 0.025), 0.12) if glasses == "dark" else ((0.9, 0.95, 0.93), 0.93)
    colours = np.tile(np.array(tint), (len(vertices), 1)).astype(np.float32)
    return Piece(vertices, np.concatenate([faces, faces[:, ::-1]]), colours, 1.0, transparency)


def clothed_bust(appearance: Appearance, scale: float) -> tuple[FloatArray, IntArray]:
    """Vertices (V, 3) and faces (F, 3) of a clothed bust, from the collar down over the shoulders."""
    grown = float(np.interp(appearance.age, (1, 6, 12, 18), (0.62, 0.68, 0.82, 1.0))) * (
        0.93 if appearance.female else 1.0
    )
    low = -12 * appearance.collar if appearance.female else 0.0
    rings = (  # height, half width, half depth, y of the centre
        (-150, 30, 30, 80),
        (-124 + low, 56, 55, 80),
        (-118 + low, 58, 57, 80),
        (-128 + low, 66, 62, 80),
        (-146, 96, 70, 82),
        (-166, 140, 78, 85),
        (-192, 172 * grown, 86, 86),
        (-230, 190 * grown, 96, 84),
        (-300, 196 * grown, 108, 80),
        (-480, 190 * grown, 112, 80),
    )
    turn = np.linspace(-np.pi, np.pi, 61)
    points = []
    for height, half_width, half_depth, centre in rings:
        tilt = -14 * (np.cos(turn) > 0) * np.cos(turn) * (height > -150)  # a collar is lower in front
        points.append(np.stack([np.sin(turn) * half_width, centre - np.cos(turn) * half_depth, height + tilt], 1))
    vertices = np.concatenate(points).astype(np.float32) * scale
    return vertices, grid_faces(len(rings), len(turn))
