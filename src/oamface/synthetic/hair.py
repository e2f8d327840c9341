"""Hair and beards: the head's own surface, displaced outwards by the length of the hair; rendered in shells."""

from dataclasses import dataclass

import numpy as np

from oamface.synthetic.appearance import Appearance
from oamface.synthetic.head import SKIN, Head
from oamface.synthetic.raster import FloatArray, IntArray, grid_faces
from oamface.synthetic.skin import smoothstep

_DEGREES = np.pi / 180


@dataclass(frozen=True)
class Style:
    """A hair style. length: mm at the sides and on top. fall: mm below the eyes that it hangs down to, 0 for none.

    rough: from 0 combed to 1 woolly. parting: mm that it is combed to the side. fringe: mm of it over the forehead.
    """

    length: tuple[float, float]
    fall: float = 0.0
    rough: float = 0.2
    parting: float = 0.0
    fringe: float = 0.0
    bun: bool = False


STYLES = {
    "shaved": Style((0.0, 0.0)),
    "ring": Style((4.0, 0.0)),
    "down": Style((2.5, 3.0), rough=0.3),
    "buzz": Style((2.2, 3.2), rough=0.5),
    "short": Style((5.0, 14.0), rough=0.35, fringe=2.0),
    "side": Style((6.0, 19.0), rough=0.2, parting=14.0, fringe=1.0),
    "medium": Style((14.0, 20.0), rough=0.3, fringe=12.0),
    "curls": Style((13.0, 25.0), rough=0.8, fringe=5.0),
    "coils": Style((7.0, 13.0), rough=0.9),
    "afro": Style((26.0, 36.0), rough=1.0),
    "bun": Style((4.0, 6.0), rough=0.08, bun=True),
    "bob": Style((14.0, 18.0), fall=95.0, rough=0.15, parting=8.0),
    "waves": Style((17.0, 20.0), fall=150.0, rough=0.55, parting=10.0),
    "long": Style((12.0, 14.0), fall=185.0, rough=0.12, parting=6.0),
}


@dataclass(frozen=True)
class Hair:
    """Hair or a beard on a head. faces: (F, 3) the head's triangles that it covers. roots, tips: (V, 3) vertices.

    density: (V,) 0..1. rooted: (V,) 0..1, where it has roots. hangs: its inner side is visible too. long: its shells
    are far apart.
    """

    faces: IntArray
    roots: FloatArray
    tips: FloatArray
    density: FloatArray
    rooted: FloatArray
    hangs: bool = False
    long: bool = False


def hairline(head: Head, recede: float) -> FloatArray:
    """(V,) 0..1, the density of the scalp's hair. recede: from 0, a full head of hair, to 1, a ring."""
    turn = np.abs(head.azimuth()) / _DEGREES
    high = np.interp(
        turn, (0, 20, 38, 52, 63, 74, 84, 94, 103, 122, 132, 180), (73, 71, 62, 44, 36, 14, -6, -2, 10, 2, -58, -64)
    )
    # Hair recedes at the temples first, then on the crown; a ring from ear to ear stays.
    gone = np.interp(turn, (0, 18, 45, 75, 100), (22, 24, 52, 16, 0)) * min(1.0, 1.5 * recede)
    density = smoothstep((head.reference[:, 2] - high - gone) / 9)
    crown = np.interp(turn, (0, 80, 120, 180), (2, 24, 62, 78))  # its lower limit
    if recede > 0.45:
        density = density * (1 - smoothstep((recede - 0.45) / 0.3) * smoothstep((head.reference[:, 2] - crown) / 16))
    return (density * (1 - head.ears) * (head.part == SKIN)).astype(np.float32)


def scalp_hair(head: Head, vertices: FloatArray, normals: FloatArray, appearance: Appearance) -> Hair | None:
    """The hair on a head's vertices (V, 3) with their normals, or None."""
    style, thin = STYLES[appearance.hair], appearance.thin
    if style.length == (0.0, 0.0):
        return None
    rng = np.random.default_rng((appearance.identity, 5))
    variation, side, phase = rng.uniform(0.8, 1.2), rng.choice((-1.0, 1.0)), rng.uniform(0, 6.28, 3)
    x, y, z = head.reference.T
    turn, scale = np.abs(head.azimuth()) / _DEGREES, head.scale(vertices)
    rooted = hairline(head, appearance.recede)
    displaced = rooted
    if style.fall:  # hair that hangs beside and behind the neck is displaced from there
        behind = smoothstep((turn - 71) / 9) * (head.part == SKIN)
        displaced = np.maximum(rooted, behind * smoothstep((40 - z) / 20))
    top = smoothstep((z - 48) / 60)
    length = (style.length[0] + (style.length[1] - style.length[0]) * top) * variation * scale * (1 - 0.35 * thin)
    waves = np.sin(x / 9 + phase[0]) * np.sin(z / 11 + phase[1]) + np.sin(y / 10 + phase[2])
    lift = length * (0.25 + 0.75 * displaced) * smoothstep(displaced * 1.4)
    lift = lift * (1 + 0.16 * style.rough * waves)
    tips = vertices + normals * lift[:, None]
    front = smoothstep((62 - turn) / 30) * smoothstep((z - 40) / 30)
    tips[:, 2] -= style.fringe * variation * scale * front * (1 - appearance.recede)
    tips[:, 1] -= 0.5 * style.fringe * scale * front
    if style.parting:
        tips[:, 2] += style.parting * scale * top * (np.exp(-(((x - side * 30) / 26) ** 2)) - 0.4) * 0.4
        tips[:, 0] -= side * style.parting * 0.5 * scale * front
    if style.fall:
        _hang(tips, head, style, scale, variation, phase[0], vertices[:, 1].mean())
    long = bool(style.fall) or style.length[0] > 20
    covered = displaced[head.faces].min(1) > (0.3 if style.length[0] > 20 else 0.03)
    density = (smoothstep(displaced * 1.6) * (1 - 0.55 * thin * top)).astype(np.float32)
    return Hair(head.faces[covered], vertices, tips.astype(np.float32), density, rooted, bool(style.fall), long)


def _hang(
    tips: FloatArray, head: Head, style: Style, scale: float, variation: float, phase: float, axis: float
) -> None:
    """Make the hair behind the face hang down past the ears, in place. axis: y of the head's middle."""
    z, turn = head.reference[:, 2], np.abs(head.azimuth()) / _DEGREES
    low = np.clip((6 - z) / 120, 0, 1) * smoothstep((turn - 66) / 10)
    flat = tips[:, :2] - (0, axis)
    radius = np.linalg.norm(flat, axis=1)
    least = (85 + 0.7 * style.length[0]) * scale * (1 + 0.05 * style.rough * np.sin(9 * low * 3 + phase))
    wanted = np.where(head.ears > 0.2, least, np.maximum(radius, least))
    share = np.maximum(smoothstep((78 - z) / 80) * smoothstep((turn - 66) / 12), head.ears > 0.2)
    flat = flat / radius[:, None] * (radius + (wanted - radius) * share)[:, None]
    tips[:, 0], tips[:, 1] = flat[:, 0], flat[:, 1] + axis
    end = 6 - style.fall * variation * scale
    tips[:, 2] = np.where(low > 0, 6 * scale + (end - 6 * scale) * low, tips[:, 2])


def hair_bun(appearance: Appearance, scale: float) -> tuple[FloatArray, IntArray] | None:
    """Vertices (V, 3) and faces (F, 3) of a hair bun behind the crown, or None."""
    if not STYLES[appearance.hair].bun:
        return None
    high = float(np.random.default_rng((appearance.identity, 6)).uniform(70, 118))
    turn, tilt = np.meshgrid(np.linspace(-np.pi, np.pi, 25), np.linspace(np.pi / 2, -np.pi / 2, 13))
    ball = np.stack([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)], -1).reshape(-1, 3)
    vertices = (33 * ball + (0, 95 if high > 95 else 150, high)) * scale
    return vertices.astype(np.float32), grid_faces(13, 25)


def beard_area(head: Head) -> FloatArray:
    """(V,) 0..1, where a beard can grow."""
    turn = np.abs(head.azimuth()) / _DEGREES
    x, _, z = head.reference.T
    upper = np.interp(turn, (0, 14, 22, 32, 45, 58, 70, 80, 88), (-46, -47, -54, -66, -68, -57, -36, -12, 2))
    soft = 6 + 10 * smoothstep((turn - 14) / 12)  # on the cheeks it thins out; on the lip it ends
    area = smoothstep((upper - z) / soft) * smoothstep((90 - turn) / 10) * smoothstep((z + 128) / 20)
    under_lip = np.exp(-((x / 17) ** 2) - ((z + 88) / 4) ** 2)  # no hair beside the tuft
    around = smoothstep((np.hypot(x / 29, (z + 72.5) / 10.5) - 1) * 5)
    area = area * (1 - 0.7 * under_lip * (np.abs(x) > 6)) * around * (1 - head.lips) * (1 - head.ears)
    return (area * (head.part == SKIN)).astype(np.float32)


def beard(head: Head, vertices: FloatArray, normals: FloatArray, appearance: Appearance) -> Hair | None:
    """The beard on a head's vertices (V, 3) with their normals, or None."""
    if not appearance.beard:
        return None
    x, _, z = head.reference.T
    rooted = beard_area(head)
    if appearance.beard == "moustache":
        rooted = rooted * smoothstep((34 - np.abs(x)) / 6) * smoothstep((z + 78) / 6)
    elif appearance.beard == "goatee":
        rooted = rooted * smoothstep((34 - np.abs(x)) / 7)
    variation, thickness = np.random.default_rng((appearance.identity, 7)).uniform((0.4, 0.45), (1.3, 1.0))
    chin = 8 * smoothstep((-84 - z) / 30) * (appearance.beard != "moustache")
    length = np.where(z > -66, 3.0, 4.5 + chin) * variation
    tips = vertices + normals * (length * rooted)[:, None]
    tips[:, 2] -= 0.35 * length * rooted
    covered = rooted[head.faces].min(1) > 0.04
    density = (rooted * thickness).astype(np.float32)
    return Hair(head.faces[covered], vertices, tips.astype(np.float32), density, rooted)
