"""Hair and beards: the skin they grow on, lifted off the head by their length and drawn in shells."""

from dataclasses import dataclass

import numpy as np

from oamface.synthetic.head import SKIN, Head
from oamface.synthetic.people import Look
from oamface.synthetic.raster import FloatArray, IntArray, grid_faces
from oamface.synthetic.skin import ramp

_DEGREES = np.pi / 180


@dataclass(frozen=True)
class Style:
    """length: mm off the head, at the sides and on top. fall: mm that it falls below the ears, 0 for none.

    rough: 0 combed to 1 woolly. part: mm that it is swept over from a parting. fringe: mm that it hangs into the face.
    """

    length: tuple[float, float]
    fall: float = 0.0
    rough: float = 0.2
    part: float = 0.0
    fringe: float = 0.0
    knot: bool = False


STYLES = {
    "shaved": Style((0.0, 0.0)),
    "ring": Style((4.0, 0.0)),
    "down": Style((2.5, 3.0), rough=0.3),
    "buzz": Style((2.2, 3.2), rough=0.5),
    "short": Style((5.0, 14.0), rough=0.35, fringe=2.0),
    "side": Style((6.0, 19.0), rough=0.2, part=14.0, fringe=1.0),
    "medium": Style((14.0, 20.0), rough=0.3, fringe=12.0),
    "curls": Style((13.0, 25.0), rough=0.8, fringe=5.0),
    "coils": Style((7.0, 13.0), rough=0.9),
    "afro": Style((26.0, 36.0), rough=1.0),
    "bun": Style((4.0, 6.0), rough=0.08, knot=True),
    "bob": Style((14.0, 18.0), fall=95.0, rough=0.15, part=8.0),
    "waves": Style((17.0, 20.0), fall=150.0, rough=0.55, part=10.0),
    "long": Style((12.0, 14.0), fall=185.0, rough=0.12, part=6.0),
}


@dataclass(frozen=True)
class Growth:
    """Where something grows on a head and how far it reaches.

    faces: (F, 3) triangles of the head that it covers. root, tip: (V, 3) vertices. dense: (V,) 0..1, how thick it is.
    grown: (V,) 0..1, where its roots are. falls: it hangs free, so that its inner side shows too. full: so long that
    its shells lie far apart.
    """

    faces: IntArray
    root: FloatArray
    tip: FloatArray
    dense: FloatArray
    grown: FloatArray
    falls: bool = False
    full: bool = False


def hairline(head: Head, recede: float) -> FloatArray:
    """(V,) 0..1: how much of the scalp's hair grows at each vertex. recede: 0 to 1, from a full head to a ring."""
    turn = np.abs(head.azimuth()) / _DEGREES
    high = np.interp(
        turn, (0, 20, 38, 52, 63, 74, 84, 94, 103, 122, 132, 180), (73, 71, 62, 44, 36, 14, -6, -2, 10, 2, -58, -64)
    )
    # Temples go first, then the crown; what stays is a ring from ear to ear.
    gone = np.interp(turn, (0, 18, 45, 75, 100), (22, 24, 52, 16, 0)) * min(1.0, 1.5 * recede)
    grown = ramp((head.place[:, 2] - high - gone) / 9)
    bare = np.interp(turn, (0, 80, 120, 180), (2, 24, 62, 78))  # down to which the crown goes bald
    if recede > 0.45:
        grown = grown * (1 - ramp((recede - 0.45) / 0.3) * ramp((head.place[:, 2] - bare) / 16))
    return (grown * (1 - head.ears) * (head.part == SKIN)).astype(np.float32)


def scalp(head: Head, vertices: FloatArray, outward: FloatArray, look: Look) -> Growth | None:
    """The hair of a head, or None without any."""
    style = STYLES[look.hair]
    if style.length == (0.0, 0.0):
        return None
    grown = hairline(head, look.recede)
    rng = np.random.default_rng((look.identity, 5))
    vary, side, phase = rng.uniform(0.8, 1.2), rng.choice((-1.0, 1.0)), rng.uniform(0, 6.28, 3)
    x, _, z = head.place.T
    turn = np.abs(head.azimuth()) / _DEGREES
    scale = float(np.ptp(vertices[:, 2]) / np.ptp(head.place[:, 2]))
    top = ramp((z - 48) / 60)
    length = (style.length[0] + (style.length[1] - style.length[0]) * top) * vary * scale * (1 - 0.35 * look.thin)
    where = grown
    if style.fall:  # what hangs beside and behind the neck grows, for the drawing, from there
        behind = ramp((turn - 71) / 9) * (head.part == SKIN)
        where = np.maximum(grown, behind * ramp((40 - z) / 20))
    lift = length * (0.25 + 0.75 * where) * ramp(where * 1.4)
    waves = np.sin(x / 9 + phase[0]) * np.sin(z / 11 + phase[1]) + np.sin(head.place[:, 1] / 10 + phase[2])
    lift = lift * (1 + 0.16 * style.rough * waves)
    tip = vertices + outward * lift[:, None]
    front = ramp((62 - turn) / 30) * ramp((z - 40) / 30)
    tip[:, 2] -= style.fringe * vary * scale * front * (1 - look.recede)
    tip[:, 1] -= 0.5 * style.fringe * scale * front
    if style.part:
        line = x - side * 30
        tip[:, 2] += style.part * scale * top * (np.exp(-((line / 26) ** 2)) - 0.4) * 0.4
        tip[:, 0] -= side * style.part * 0.5 * scale * front
    if style.fall:
        low = np.clip((6 - z) / 120, 0, 1) * ramp((turn - 66) / 10)
        axis = vertices[:, 1].mean()
        flat = tip[:, :2] - (0, axis)
        radius = np.linalg.norm(flat, axis=1)
        least = (85 + 0.7 * style.length[0]) * scale * (1 + 0.05 * style.rough * np.sin(9 * low * 3 + phase[0]))
        kept = np.where(head.ears > 0.2, least, np.maximum(radius, least))
        grow = np.maximum(ramp((78 - z) / 80) * ramp((turn - 66) / 12), head.ears > 0.2)
        flat = flat / radius[:, None] * (radius + (kept - radius) * grow)[:, None]
        tip[:, 0], tip[:, 1] = flat[:, 0], flat[:, 1] + axis
        end = 6 - style.fall * vary * scale
        tip[:, 2] = np.where(low > 0, 6 * scale + (end - 6 * scale) * low, tip[:, 2])
    taken = where[head.faces].min(1) > (0.3 if style.length[0] > 20 else 0.03)
    dense = ramp(where * 1.6) * (1 - 0.55 * look.thin * top)
    full = bool(style.fall) or style.length[0] > 20
    falls = bool(style.fall)
    return Growth(head.faces[taken], vertices, tip.astype(np.float32), dense.astype(np.float32), grown, falls, full)


def knot(look: Look, scale: float) -> tuple[FloatArray, IntArray] | None:
    """Hair tied up behind the crown, as vertices and faces, or None."""
    if not STYLES[look.hair].knot:
        return None
    high = float(np.random.default_rng((look.identity, 6)).uniform(70, 118))
    turn, tilt = np.meshgrid(np.linspace(-np.pi, np.pi, 25), np.linspace(np.pi / 2, -np.pi / 2, 13))
    ball = np.stack([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)], -1).reshape(-1, 3)
    vertices = (33 * ball + (0, 95 if high > 95 else 150, high)) * scale
    return vertices.astype(np.float32), grid_faces(13, 25)


def bearded(head: Head) -> FloatArray:
    """(V,) 0..1: where a beard can grow."""
    turn = np.abs(head.azimuth()) / _DEGREES
    x, _, z = head.place.T
    upper = np.interp(turn, (0, 14, 22, 32, 45, 58, 70, 80, 88), (-46, -47, -54, -66, -68, -57, -36, -12, 2))
    soft = 6 + 10 * ramp((turn - 14) / 12)  # on the cheeks it thins out; on the lip it ends
    grown = ramp((upper - z) / soft) * ramp((90 - turn) / 10) * ramp((z + 128) / 20)
    under_lip = np.exp(-((x / 17) ** 2) - ((z + 88) / 4) ** 2)  # stays bare beside the tuft
    around = ramp((np.hypot(x / 29, (z + 72.5) / 10.5) - 1) * 5)
    grown = grown * (1 - 0.7 * under_lip * (np.abs(x) > 6)) * around * (1 - head.lips) * (1 - head.ears)
    return (grown * (head.part == SKIN)).astype(np.float32)


def beard(head: Head, vertices: FloatArray, outward: FloatArray, look: Look) -> Growth | None:
    """A beard, or None."""
    if not look.beard:
        return None
    x, _, z = head.place.T
    grown = bearded(head)
    if look.beard == "moustache":
        grown = grown * ramp((34 - np.abs(x)) / 6) * ramp((z + 78) / 6)
    elif look.beard == "goatee":
        grown = grown * ramp((34 - np.abs(x)) / 7)
    vary, thick = np.random.default_rng((look.identity, 7)).uniform((0.4, 0.45), (1.3, 1.0))
    length = np.where(z > -66, 3.0, 4.5 + 8 * ramp((-84 - z) / 30) * (look.beard != "moustache")) * vary
    tip = vertices + outward * (length * grown)[:, None]
    tip[:, 2] -= 0.35 * length * grown
    taken = grown[head.faces].min(1) > 0.04
    return Growth(head.faces[taken], vertices, tip.astype(np.float32), (grown * thick).astype(np.float32), grown)
