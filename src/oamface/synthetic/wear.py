"""What people wear on their faces, as geometry that follows each face: masks with straps, glasses."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.synthetic.head import AXIS, Head
from oamface.synthetic.people import Look, Mask
from oamface.synthetic.raster import FloatArray, IntArray, grid_faces, rasterise
from oamface.synthetic.skin import lab_to_linear, ramp

_TURNS, _LEVELS = 120, 140  # cells of the radius map, over 240 degrees and 280 mm


@dataclass(frozen=True)
class Piece:
    """A mesh: vertices (V, 3) in mm, faces (F, 3), colour (V, 3) linear RGB, gloss 0..1, and whether both sides show.

    clear: the share of light that passes.
    """

    vertices: FloatArray
    faces: IntArray
    colour: FloatArray
    gloss: float = 0.05
    clear: float = 0.0


class Around:
    """How far a head reaches from its upright axis: radius in mm by azimuth and height."""

    def __init__(self, head: Head, vertices: FloatArray) -> None:
        self._scale = float(np.ptp(vertices[:, 2]) / np.ptp(head.place[:, 2]))
        self.axis = AXIS * self._scale
        flat = vertices[:, :2] - (0, self.axis)
        turn, radius = np.arctan2(flat[:, 0], -flat[:, 1]), np.linalg.norm(flat, axis=1)
        points = np.stack([self._column(turn), self._row(vertices[:, 2]), -radius], 1).astype(np.float32)
        corners = turn[head.faces]
        drawn = rasterise(points, head.faces[np.ptp(corners, axis=1) < np.pi], _LEVELS, _TURNS, both_sides=True)
        table = np.zeros(_LEVELS * _TURNS, np.float32)
        table[drawn.pixel] = -drawn.depth
        self._table = table.reshape(_LEVELS, _TURNS)

    def smooth(self, soft: float, *, bridge: int = 0, grow: int = 0) -> FloatArray:
        """The table softened (deviation in cells), hollows of so many cells bridged, peaks grown by so many."""
        table = self._table
        for cells, how in ((bridge, cv2.MORPH_CLOSE), (grow, cv2.MORPH_DILATE)):
            if cells:
                table = cv2.morphologyEx(table, how, np.ones((2 * cells + 1, 2 * cells + 1), np.uint8))
        return cv2.GaussianBlur(table, (0, 0), soft, borderType=cv2.BORDER_REPLICATE)

    def radius(self, table: FloatArray, turn: npt.ArrayLike, height: npt.ArrayLike) -> FloatArray:
        """Read a table at azimuths (radians) and heights (mm)."""
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
        """(..., 3) the place at azimuths, heights and radii."""
        turn, height, radius = np.broadcast_arrays(turn, height, radius)
        place = np.stack([np.sin(turn) * radius, self.axis - np.cos(turn) * radius, height], -1)
        return place.astype(np.float32)

    def _column(self, turn: FloatArray) -> FloatArray:
        return (turn / np.radians(240) + 0.5) * _TURNS

    def _row(self, height: FloatArray) -> FloatArray:
        return (120 * self._scale - height) / (280 * self._scale) * _LEVELS


def tube(path: FloatArray, radius: float, colour: FloatArray, *, closed: bool = False, gloss: float = 0.3) -> Piece:
    """A thin pipe with six sides along a path (N, 3)."""
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
        faces += [
            np.stack([one + step, two + step, two + after], 1),
            np.stack([one + step, two + after, one + after], 1),
        ]
    return Piece(
        vertices.astype(np.float32),
        np.concatenate(faces),
        np.tile(colour, (len(vertices), 1)).astype(np.float32),
        gloss,
    )


def mask_pieces(head: Head, around: Around, vertices: FloatArray, mask: Mask, seed: int) -> list[Piece]:
    """A mask on this face, and its straps. vertices: the head's. seed: of its colour and fit."""
    rng = np.random.default_rng((seed, 8))
    eyes, nose, mouth = (
        (head.landmarks[:2] @ vertices).mean(0),
        head.landmarks[2] @ vertices,
        (head.landmarks[3:] @ vertices).mean(0),
    )
    chin = _chin(head, vertices)
    height = eyes[2] - chin
    bridge = nose[2] + 0.24 * height + 0.02 * height * rng.normal()
    top = {"right": bridge, "nose": nose[2] - 0.04 * height, "chin": mouth[2] - 0.09 * height}[mask.wear]
    low = {"right": chin - 7, "nose": chin - 9, "chin": chin - 20}[mask.wear]
    half = np.radians({"surgical": 62, "ffp2": 60, "cloth": 58, "black": 60}[mask.style]) * rng.uniform(0.94, 1.04)
    rows, columns = 34, 41
    s = np.linspace(-1, 1, columns, dtype=np.float32)[None]
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    # The upper edge is highest at the nose and falls to the cheeks; the lower one rises from the chin to the jaw.
    drop = {"surgical": 0.16, "ffp2": 0.24, "cloth": 0.26, "black": 0.28}[mask.style]
    rise = {"surgical": 0.2, "ffp2": 0.5, "cloth": 0.45, "black": 0.5}[mask.style]
    upper = top - drop * height * np.abs(s) ** 1.6 * (1 if mask.wear != "chin" else 0.6)
    lower = low + rise * (top - low) * np.abs(s) ** 1.8
    turn, level = half * s + 0 * t, upper + (lower - upper) * t
    skin = around.radius(around.smooth(0.8, bridge=2, grow=2), turn, level)
    # Cloth spans from the nose to the chin, and in part from there to the cheeks; it does not follow the mouth.
    taut = _taut(skin.T).T
    taut = taut + 0.6 * (_taut(taut) - taut)
    bridged = cv2.GaussianBlur(taut, (0, 0), sigmaX=2.0, sigmaY=1.2, borderType=cv2.BORDER_REPLICATE)
    edge = ramp(np.minimum(np.minimum(t, 1 - t) * 5, (1 - np.abs(s)) * 5))
    stand = {"surgical": 2.5, "ffp2": 9.0, "cloth": 2.0, "black": 2.0}[mask.style] * edge
    hull = np.maximum(bridged, skin + 1) + stand * (1 - 0.6 * s**2)
    if mask.style == "ffp2":  # folded along the middle
        hull = hull + 7 * np.exp(-((s / 0.16) ** 2)) * ramp(np.minimum(t * 3, (1 - t) * 2.5))
    radius = (skin + 1.2) * (1 - edge) + hull * edge
    radius = np.maximum(radius, skin + 1.2 + 1.6 * edge)
    beneath = ramp((chin + 3 - level) / 14)  # under the chin it goes back towards the neck
    radius = radius - beneath * 0.3 * np.maximum(0, radius - skin - 3)
    pleats = np.zeros_like(radius)
    if mask.style == "surgical":
        for fold in (0.32, 0.5, 0.68):
            pleats = pleats + np.exp(-(((t - fold) / 0.028) ** 2)) * (1 - 0.25 * np.abs(s)) * ramp((1 - np.abs(s)) * 6)
        radius = radius - 2.2 * pleats
    wrinkle = cv2.GaussianBlur(rng.standard_normal((rows, columns)).astype(np.float32), (0, 0), 2.2)
    radius = radius + 2.2 * wrinkle / wrinkle.std() * 0.35 * edge
    fabric: FloatArray = _cloth(mask.style, rng, s + 0 * t, t + 0 * s) * (1 - 0.22 * pleats[..., None])
    surface = Piece(
        around.point(turn, level, radius).reshape(-1, 3),
        grid_faces(rows, columns),
        fabric.reshape(-1, 3).astype(np.float32),
        gloss=0.03,
    )
    white = mask.style in ("surgical", "ffp2")
    thread = np.full((1, 3), 0.75) if white else 0.9 * fabric.reshape(-1, 3).mean(0, keepdims=True)
    place = surface.vertices.reshape(rows, columns, 3)
    return [surface, *_straps(head, around, vertices, place, thread[0])]


def _taut(profiles: FloatArray) -> FloatArray:
    """(N, R) profiles to their upper hulls: no point lies below a line between two others."""
    hull, count = profiles.copy(), profiles.shape[1]
    for start in range(0, count - 2, 2):
        for end in range(start + 2, count, 2):
            share = np.arange(1, end - start, dtype=np.float32) / (end - start)
            line = profiles[:, start, None] * (1 - share) + profiles[:, end, None] * share
            np.maximum(hull[:, start + 1 : end], line, out=hull[:, start + 1 : end])
    return hull


def _straps(head: Head, around: Around, vertices: FloatArray, place: FloatArray, colour: FloatArray) -> list[Piece]:
    """Loops from the mask's corners around the ears. place: (rows, columns, 3) of the mask."""
    pieces = []
    table = around.smooth(0.8)
    for side, column in ((-1, 0), (1, -1)):
        ear = np.flatnonzero((head.ears > 0.6) & (np.sign(head.place[:, 0]) == side))
        for row, end in ((1, 0.88), (-2, 0.22)):
            corner = place[row, column]
            at = vertices[ear, 2].min() + end * np.ptp(vertices[ear, 2])
            near = ear[np.abs(vertices[ear, 2] - at) < 6]
            root = vertices[near].mean(0) if len(near) else vertices[ear].mean(0)
            turns = np.linspace(
                np.arctan2(corner[0], around.axis - corner[1]), np.arctan2(root[0], around.axis - root[1]), 14
            )
            levels = np.linspace(corner[2], root[2], 14)
            radius = around.radius(table, turns, levels) + 1.6
            path = around.point(turns, levels, radius)
            path[0] = corner
            pieces.append(tube(path, 1.1, colour, gloss=0.02))
    return pieces


def _cloth(style: str, rng: np.random.Generator, s: FloatArray, t: FloatArray) -> FloatArray:
    """The colours of a mask, (rows, columns, 3)."""
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
    hem = np.maximum(ramp((t - 0.955) / 0.02), ramp((0.045 - t) / 0.02))
    colour = colour * (1 - 0.22 * hem[..., None])
    if style == "ffp2":
        colour = colour * (1 - 0.12 * np.exp(-((np.abs(s) / 0.02) ** 2)))[..., None]
    return colour


def _chin(head: Head, vertices: FloatArray) -> float:
    """The height of the chin's lowest part that faces forward."""
    middle = (np.abs(head.place[:, 0]) < 6) & (head.place[:, 1] < 15) & (head.place[:, 2] < -95)
    return float(vertices[middle, 2].min())


def glasses_pieces(head: Head, vertices: FloatArray, look: Look) -> list[Piece]:
    """Glasses on this face: two lenses, their rims, a bridge, two temples."""
    rng = np.random.default_rng((look.identity, 9))
    eyes = head.landmarks[:2] @ vertices
    between = float(eyes[1, 0] - eyes[0, 0])
    thick = {"thin": 1.2, "thick": 2.2, "dark": 1.8}[look.glasses]
    wide, tall = between * rng.uniform(0.37, 0.41), between * rng.uniform(0.27, 0.36)
    square = rng.uniform(2.0, 4.0)
    lids = np.flatnonzero((head.rim < 8) | ((np.abs(head.place[:, 0]) < 8) & (np.abs(head.place[:, 2] - 5) < 8)))
    front = float(vertices[lids, 1].min()) - 3.0
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    outline = np.stack(
        [np.abs(cosine) ** (2 / square) * np.sign(cosine) * wide, np.abs(sine) ** (2 / square) * np.sign(sine) * tall],
        1,
    )
    pieces = []
    shade = np.array((0.02, 0.02, 0.025)) if look.glasses == "dark" else np.array((0.9, 0.95, 0.93))
    for number, eye in enumerate(eyes):
        side = -1 if number == 0 else 1
        x = eye[0] + side * between * 0.02
        curve = 0.0016 * (outline[:, 0] * side + x * side) ** 2
        rim = np.stack([x + outline[:, 0], front + curve, eye[2] - 2 + outline[:, 1]], 1).astype(np.float32)
        pieces.append(tube(rim, thick, look.frame, closed=True, gloss=0.5))
        centre = rim.mean(0, keepdims=True)
        lens = np.concatenate([rim, centre])
        at = np.arange(len(rim))
        faces = np.stack([at, np.roll(at, -1), np.full(len(rim), len(rim))], 1)
        faces = np.concatenate([faces, faces[:, ::-1]])
        clear = 0.12 if look.glasses == "dark" else 0.93
        pieces.append(Piece(lens, faces, np.tile(shade, (len(lens), 1)).astype(np.float32), 1.0, clear))
        ear = np.flatnonzero((head.ears > 0.6) & (np.sign(head.place[:, 0]) == side))
        top = vertices[ear[np.argmax(vertices[ear, 2])]]
        hinge = np.array([x + side * wide, front + float(0.0016 * (wide + x * side) ** 2), eye[2] + 0.3 * tall])
        outer = np.array([max(abs(hinge[0]), 0.98 * abs(top[0])) * side, hinge[1] + 22, hinge[2]])
        temple = np.stack([hinge, outer, top + (side * 2, 8, 0)])
        pieces.append(tube(temple.astype(np.float32), thick, look.frame, gloss=0.5))
    inner = [(-1, eyes[0][0] + wide - between * 0.02), (1, eyes[1][0] - wide + between * 0.02)]
    xs = np.linspace(inner[0][1], inner[1][1], 7)
    arch = np.stack(
        [xs, np.full(7, front - 0.5), eyes[:, 2].mean() + 0.2 * tall + 2.5 * np.cos(np.linspace(-1.5, 1.5, 7))], 1
    )
    pieces.append(tube(arch.astype(np.float32), thick, look.frame, gloss=0.5))
    return pieces


def join(pieces: Sequence[Piece]) -> tuple[FloatArray, IntArray, FloatArray, FloatArray]:
    """Pieces as one mesh: vertices, faces, colours (V, 3), gloss (V,)."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    gloss = np.concatenate([np.full(len(piece.vertices), piece.gloss, np.float32) for piece in pieces])
    return np.concatenate([p.vertices for p in pieces]), faces, np.concatenate([p.colour for p in pieces]), gloss


def shoulders(look: Look, scale: float) -> tuple[FloatArray, IntArray]:
    """A clothed bust: rings from a collar over the shoulders down."""
    grown = float(np.interp(look.age, (1, 6, 12, 18), (0.62, 0.68, 0.82, 1.0))) * (0.93 if look.female else 1.0)
    low = -12 * look.collar if look.female else 0.0
    rings = (  # height, half width, half depth, how far back the middle lies
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
    for height, half, deep, back in rings:
        tilt = -14 * (np.cos(turn) > 0) * np.cos(turn) * (height > -150)  # a collar is lower in front
        points.append(np.stack([np.sin(turn) * half, back - np.cos(turn) * deep, height + tilt], 1))
    vertices = np.concatenate(points).astype(np.float32) * scale
    return vertices, grid_faces(len(rings), len(turn))
