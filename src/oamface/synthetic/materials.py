"""Shading of skin, eyes, mouth, hair and cloth: linear RGB for every fragment."""

from dataclasses import dataclass

import numpy as np

from oamface.synthetic.appearance import Appearance
from oamface.synthetic.hair import Hair, beard_area
from oamface.synthetic.head import AXIS, Head
from oamface.synthetic.light import Surface, ambient, highlight, lamps, normalize, shade
from oamface.synthetic.raster import FloatArray, Fragments
from oamface.synthetic.scene import Light
from oamface.synthetic.skin import face_textures, look_up, sample, skin_noise, slopes, smoothstep, spots

_WRAP = np.array((0.30, 0.14, 0.09), np.float32)  # light that skin scatters past the terminator, red the farthest


@dataclass(frozen=True)
class _SkinPoints:
    """What the skin's colour depends on at each of P fragments; all (P,) unless noted.

    x, z: mm on the average head. around: mm around the upright axis. front: 0..1, facing forward. lips, ears: 0..1.
    lid_distance: mm. openness: 0..1. fine, coarse: (P, 4) noise. crease: (P, 3) height and its slopes along x and z.
    brow, cheeks, hollow: 0..1.
    """

    x: FloatArray
    z: FloatArray
    around: FloatArray
    front: FloatArray
    lips: FloatArray
    ears: FloatArray
    lid_distance: FloatArray
    openness: FloatArray
    fine: FloatArray
    coarse: FloatArray
    crease: FloatArray
    brow: FloatArray
    cheeks: FloatArray
    hollow: FloatArray

    @classmethod
    def of(cls, head: Head, fragments: Fragments, appearance: Appearance) -> "_SkinPoints":
        values = np.stack([head.lips, head.lid_distance, head.openness, head.ears], 1)
        points = fragments.interpolate(np.concatenate([head.reference, values], 1), head.faces)
        reference, lips, lid_distance, openness, ears = points[:, :3], *points[:, 3:].T
        x, z = np.ascontiguousarray(reference[:, 0]), np.ascontiguousarray(reference[:, 2])
        around = np.arctan2(x, AXIS - reference[:, 1]) * 85
        front = smoothstep((60 - reference[:, 1]) / 35).astype(np.float32)
        fine = look_up(skin_noise(), around * 4.5, z * 4.5)
        coarse = look_up(skin_noise(), around * 1.7 + 40 * (appearance.identity % 97), z * 1.7)
        textures = face_textures()
        heights = textures.creases @ appearance.creases
        relief = np.dstack([heights, slopes(heights)])
        crease = sample(relief, x + 1.6 * coarse[:, 2], z + 1.6 * coarse[:, 1]) * front[:, None]
        bands = sample(np.dstack([textures.brow, textures.cheeks, textures.hollow]), x, z) * front[:, None]
        columns = (x, z, around, front, lips, ears, lid_distance, openness)
        return cls(*columns, fine, coarse, crease, *bands.T)


def skin(
    head: Head,
    fragments: Fragments,
    surface: Surface,
    appearance: Appearance,
    light: Light,
    rotation: FloatArray,
    hair: Hair | None,
) -> FloatArray:
    """Skin with all that is on it. rotation: (3, 3) of the head. hair: its roots shade the scalp."""
    points = _SkinPoints.of(head, fragments, appearance)
    surface = _bumpy(points, surface, appearance, rotation)
    albedo = np.tile(appearance.skin, (len(points.x), 1))
    _paint_tone(albedo, points, appearance)
    _paint_spots(albedo, points, appearance)
    beard = fragments.interpolate(beard_area(head), head.faces) if appearance.stubble else None
    roots = None if hair is None else fragments.interpolate(hair.rooted, head.faces)
    lip, brow, lash = _paint_features(albedo, points, appearance, beard, roots)
    openness = (0.25 + 0.75 * points.openness.clip(0, 0.75) / 0.75)[:, None]
    colour = shade(albedo, surface, light, _WRAP) * openness
    oily = (
        (0.6 + 0.7 * np.exp(-((points.x / 18) ** 2)) * points.front)
        * (1 + 0.12 * points.fine[:, 0])
        * appearance.shine
        * (1 + 0.9 * lip)
    )
    specular = highlight(surface, light, 14) * 0.022
    specular = specular + highlight(surface, light, 55) * 0.009 * (1 + 1.5 * lip)[:, None]
    matte = (1 - brow) * (1 - 0.8 * lash)
    return colour + specular * (oily * matte)[:, None] * openness


def _bumpy(points: _SkinPoints, surface: Surface, appearance: Appearance, rotation: FloatArray) -> Surface:
    """The surface with the relief of creases, of fine lines of old skin, and of pores."""
    depth = 0.05 + 0.05 * appearance.crepe
    fine = np.stack([points.fine[:, 0] * depth, points.fine[:, 3] * depth * (0.4 + appearance.crepe)], 1)
    slope = points.crease[:, 1:] + fine
    bump = np.stack([slope[:, 0], np.zeros(len(slope), np.float32), slope[:, 1]], 1) @ rotation.T
    return Surface(normalize(surface.normal - bump), surface.view, surface.lit)


def _paint_tone(albedo: FloatArray, points: _SkinPoints, appearance: Appearance) -> None:
    """Mottling, blush, veins, shadows under the eyes and creases, in place."""
    fine, coarse, cheeks = points.fine, points.coarse, points.cheeks[:, None]
    brightness = float(appearance.skin.mean())
    albedo *= 1 + (0.045 * appearance.mottle * coarse[:, 1:2] + 0.03 * coarse[:, 2:3] + 0.02 * fine[:, :1])
    red = np.array((1.0, 0.80, 0.78), np.float32) ** (appearance.blush * (0.6 + 0.5 * brightness / 0.3))
    albedo *= 1 + (red - 1) * (cheeks + 0.5 * points.ears[:, None]).clip(0, 1)
    veins = np.array((1.0, 0.93, 0.92), np.float32)
    albedo *= 1 + (veins - 1) * (appearance.mottle * (coarse[:, 1:2] * 0.6).clip(0, 1.5) * cheeks)
    hollow = points.hollow * (0.10 + 0.16 * min(1.0, float(appearance.creases[3])))
    albedo *= 1 - hollow[:, None] * np.array((0.75, 1.0, 0.9), np.float32)
    albedo *= np.exp(points.crease[:, :1] * np.array((0.22, 0.30, 0.32), np.float32))  # red light darkens least


def _paint_spots(albedo: FloatArray, points: _SkinPoints, appearance: Appearance) -> None:
    """Age spots and freckles, in place."""
    rng = np.random.default_rng((appearance.identity, 12))
    if appearance.spots:
        brown = sample(spots(rng, appearance.spots, (0.9, 3.2), high=True), points.x, points.z) * points.front
        albedo *= 1 - 0.45 * brown[:, None] * np.array((0.7, 1.0, 1.15), np.float32)
    if appearance.freckles:
        brown = sample(spots(rng, appearance.freckles, (0.4, 0.9)), points.x, points.z) * points.front
        albedo *= 1 - 0.4 * brown[:, None] * np.array((0.6, 1.0, 1.2), np.float32)


def _paint_features(
    albedo: FloatArray,
    points: _SkinPoints,
    appearance: Appearance,
    beard: FloatArray | None,
    roots: FloatArray | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Stubble, lips, brows, hair roots and lashes, in place; returns the masks (P,) of lips, brows and lashes.

    beard: (P,) 0..1, where a beard can grow. roots: (P,) 0..1, where the scalp's hair has roots.
    """
    x, z = points.x, points.z
    if beard is not None:
        grain = 0.5 + 0.5 * np.tanh(1.4 * points.fine[:, 0])
        grown = beard * appearance.stubble * (0.25 + 0.5 * grain)
        blue = appearance.skin * 0.45 + appearance.beard_colour * 0.4 + 0.01
        albedo += (grown * 0.6)[:, None] * (blue - albedo)
    lip = smoothstep((points.lips - 0.25) / 0.5)
    lipstick = np.array((0.36, 0.045, 0.06), np.float32)
    lip_colour = appearance.lips * (1 - appearance.lipstick) + appearance.lipstick * lipstick
    albedo += (lip * 0.85)[:, None] * (lip_colour - albedo)
    streak = look_up(skin_noise(), (x + 0.8 * z) * 5.0, (z - 0.5 * x) * 0.9)[:, 3]
    brow = smoothstep((points.brow * 1.35 * appearance.brow + 0.3 * streak * (points.brow > 0.02) - 0.3) / 0.7)
    albedo += (brow * (0.6 + 0.15 * appearance.brow))[:, None] * (appearance.brow_colour - albedo)
    if roots is not None:
        strand = look_up(skin_noise(), points.around * 3.0, z * 0.8)[:, 3]
        shadow = smoothstep((roots * 1.5 + 0.3 * strand * (roots > 0.03) - 0.45) / 0.7) * (0.92 - 0.5 * appearance.thin)
        albedo += shadow[:, None] * (appearance.hair_colour * 1.1 - albedo)
    lash = smoothstep((2.0 - points.lid_distance) / 1.3) * np.where(z > -1.0, 1.0, 0.45)
    mascara = np.array((0.02, 0.014, 0.012), np.float32)
    lash_colour = mascara if appearance.female else appearance.brow_colour * 0.6 + 0.008
    albedo += (lash * (0.85 if appearance.female else 0.6))[:, None] * (lash_colour - albedo)
    return lip, brow, lash


def eyes(head: Head, fragments: Fragments, surface: Surface, appearance: Appearance, light: Light) -> FloatArray:
    """Sclera, iris, pupil and highlight; they turn with the eyeball."""
    place = fragments.interpolate(head.reference, head.faces)
    centres = head.landmarks[:2] @ head.reference[:, 0]
    side = np.where(place[:, 0] > 0, centres[1], centres[0])
    across, up = place[:, 0] - side, place[:, 2]
    radius = np.hypot(across, up)
    spoke = np.sin(np.arctan2(up, across) * 23 + 4 * np.sin(radius * 2)) * 0.5 + 0.5
    iris = appearance.iris * (0.75 + 0.5 * spoke)[:, None] * (1.25 - 0.35 * smoothstep((radius - 2.5) / 3))[:, None]
    vein = look_up(skin_noise(), across * 9, up * 9)[:, 1:2]
    albedo = appearance.sclera * (1 - 0.035 * np.array((0.2, 1.0, 1.0)) * vein.clip(0))
    albedo = albedo * (1 - 0.12 * smoothstep((np.abs(across) - 7) / 5)[:, None] * np.array((0.3, 1, 1)))
    within = smoothstep((6.3 - radius) / 0.9)[:, None]
    ring = smoothstep((radius - 4.7) / 1.2)[:, None]
    albedo = albedo + within * (iris * (1 - 0.7 * ring) - albedo)
    albedo = albedo + smoothstep((2.5 - radius) / 0.7)[:, None] * (0.004 - albedo)
    lid = 0.42 + 0.58 * smoothstep((8.5 - up) / 9.5)  # shadow of the upper lid
    colour = shade(albedo, surface, light, 0.2) * lid[:, None] * 0.92
    return colour + highlight(surface, light, 260) * 0.05 * (radius < 9)[:, None]


def strands(colour: FloatArray, surface: Surface, light: Light, across: FloatArray, along: FloatArray) -> FloatArray:
    """Hair, after Kajiya and Kay (1989): brightest where the light is perpendicular to the strand.

    colour: (3,). across, along: (P,) position on it in pixels of the noise; strands run along.
    """
    down = normalize(np.array((0, 0, -1), np.float32) + surface.normal * surface.normal[:, 2:])
    noise = look_up(skin_noise(), across, along)
    colour = colour * (1 + 0.28 * noise[:, 3:4] + 0.12 * noise[:, 1:2]).clip(0.3, 2)
    total = ambient(surface, light) * np.float32(0.75)
    shine = np.zeros((len(across), 3), np.float32)
    for direction, lamp, arriving in lamps(surface, light):
        sine = np.sqrt((1 - (down @ direction) ** 2).clip(0))
        cosine = ((surface.normal @ direction) * 0.7 + 0.3).clip(0)
        total += (sine * cosine * arriving)[:, None] * lamp
        slide = (np.einsum("pk,pk->p", down, normalize(surface.view + direction)) + 0.07 * noise[:, 3]).clip(-1, 1)
        shine += (np.sqrt((1 - slide**2).clip(0)) ** 60 * cosine * arriving)[:, None] * lamp
    return colour * total * np.float32(0.5) + shine * (0.012 + 0.10 * colour)


def mouth(openness: FloatArray, surface: Surface, light: Light) -> FloatArray:
    """The inside of a mouth. openness: (P,) share of the sky that is visible from it."""
    return shade(np.array((0.056, 0.016, 0.014), np.float32), surface, light) * openness[:, None]


def cloth(
    colour: FloatArray,
    position: FloatArray,
    surface: Surface,
    light: Light,
    *,
    weave: float,
    gloss: FloatArray | None = None,
) -> FloatArray:
    """Cloth or plastic. colour: (3,) or (P, 3). position: (P, 3) in pixels of the noise.

    weave: strength of its threads. gloss: (P,) strength of highlights, or None.
    """
    threads = look_up(skin_noise(), position[:, 0], position[:, 2])[:, :1]
    diffuse = shade(colour * (1 + np.float32(weave) * threads), surface, light)
    return diffuse if gloss is None else diffuse + highlight(surface, light, 40) * gloss[:, None]
