"""What skin, eyes, mouths, hair and cloth look like under a light: linear RGB for every pixel."""

import numpy as np

from oamface.synthetic.hair import Growth, bearded
from oamface.synthetic.head import AXIS, Head
from oamface.synthetic.light import Surface, ambient, highlight, lamps, shade, unit
from oamface.synthetic.people import Look
from oamface.synthetic.raster import FloatArray, Fragments
from oamface.synthetic.scene import Light
from oamface.synthetic.skin import canvas, grain, look_up, ramp, sample, slopes, spots

_WRAP = np.array((0.30, 0.14, 0.09), np.float32)  # light that skin scatters past the terminator, red the farthest


def skin(
    head: Head, some: Fragments, surface: Surface, look: Look, light: Light, turn: FloatArray, hair: Growth | None
) -> FloatArray:
    """Skin with all that is painted on it. turn: (3, 3) the head's rotation; hair: whose shadow lies on the scalp."""
    known = some.of(_known(head), head.faces)
    place, lips, rim, free, ears = known[:, :3], *known[:, 3:].T
    x, z = np.ascontiguousarray(place[:, 0]), np.ascontiguousarray(place[:, 2])
    angle = np.arctan2(x, AXIS - place[:, 1])
    around = angle * 85
    front = ramp((60 - place[:, 1]) / 35).astype(np.float32)
    fine = look_up(grain(), around * 4.5, z * 4.5)
    coarse = look_up(grain(), around * 1.7 + 40 * (look.identity % 97), z * 1.7)
    bands = canvas()
    heights = bands.creases @ look.creases
    relief = np.dstack([heights, slopes(heights)])
    warp = 1.6
    crease = sample(relief, x + warp * coarse[:, 2], z + warp * coarse[:, 1]) * front[:, None]
    drawn = sample(np.dstack([bands.brow, bands.cheeks, bands.hollow]), x, z) * front[:, None]
    # Relief: creases, crepe-like fine lines of old skin, pores.
    pores = 0.05 + 0.05 * look.crepe
    steep = crease[:, 1:] + np.stack([fine[:, 0] * pores, fine[:, 3] * pores * (0.4 + look.crepe)], 1)
    bump = np.stack([steep[:, 0], np.zeros(len(x), np.float32), steep[:, 1]], 1) @ turn.T
    outward = surface.outward - bump
    surface = Surface(unit(outward), surface.view, surface.lit)

    albedo = np.tile(look.skin, (len(x), 1))
    dark = float(look.skin.mean())
    albedo *= 1 + (0.045 * look.mottle * coarse[:, 1:2] + 0.03 * coarse[:, 2:3] + 0.02 * fine[:, :1])
    red = np.array((1.0, 0.80, 0.78), np.float32) ** (look.blush * (0.6 + 0.5 * dark / 0.3))
    albedo *= 1 + (red - 1) * (drawn[:, 1:2] + 0.5 * ears[:, None]).clip(0, 1)
    veins = np.array((1.0, 0.93, 0.92), np.float32)
    albedo *= 1 + (veins - 1) * (look.mottle * (coarse[:, 1:2] * 0.6).clip(0, 1.5) * drawn[:, 1:2])
    hollow = drawn[:, 2] * (0.10 + 0.16 * min(1.0, float(look.creases[3])))
    albedo *= 1 - hollow[:, None] * np.array((0.75, 1.0, 0.9), np.float32)
    albedo *= np.exp(crease[:, :1] * np.array((0.22, 0.30, 0.32), np.float32))  # furrows are darker, red light less so
    rng = np.random.default_rng((look.identity, 12))
    if look.spots:
        brown = sample(spots(rng, look.spots, (0.9, 3.2), high=True), x, z) * front
        albedo *= 1 - 0.45 * brown[:, None] * np.array((0.7, 1.0, 1.15), np.float32)
    if look.freckles:
        brown = sample(spots(rng, look.freckles, (0.4, 0.9)), x, z) * front
        albedo *= 1 - 0.4 * brown[:, None] * np.array((0.6, 1.0, 1.2), np.float32)
    # Stubble, then what grows: brows, the shadow of hair on the scalp, lashes.
    rough = 0.5 + 0.5 * np.tanh(1.4 * fine[:, 0])
    if look.stubble:
        grown = some.of(bearded(head), head.faces) * look.stubble * (0.25 + 0.5 * rough)
        blue = look.skin * 0.45 + look.beard_colour * 0.4 + 0.01
        albedo += (grown * 0.6)[:, None] * (blue - albedo)
    lip = ramp((lips - 0.25) / 0.5)
    painted = look.lips * (1 - look.lipstick) + look.lipstick * np.array((0.36, 0.045, 0.06), np.float32)
    albedo += (lip * 0.85)[:, None] * (painted - albedo)
    streak = look_up(grain(), (x + 0.8 * z) * 5.0, (z - 0.5 * x) * 0.9)[:, 3]
    brow = ramp((drawn[:, 0] * 1.35 * look.brow + 0.3 * streak * (drawn[:, 0] > 0.02) - 0.3) / 0.7)
    albedo += (brow * (0.6 + 0.15 * look.brow))[:, None] * (look.brow_colour - albedo)
    if hair is not None:
        roots = some.of(hair.grown, head.faces)
        strand = look_up(grain(), around * 3.0, z * 0.8)[:, 3]
        shadow = ramp((roots * 1.5 + 0.3 * strand * (roots > 0.03) - 0.45) / 0.7) * (0.92 - 0.5 * look.thin)
        albedo += shadow[:, None] * (look.hair_colour * 1.1 - albedo)
    lash = ramp((2.0 - rim) / 1.3) * np.where(z > -1.0, 1.0, 0.45)
    tint = np.array((0.02, 0.014, 0.012), np.float32) if look.female else look.brow_colour * 0.6 + 0.008
    albedo += (lash * (0.85 if look.female else 0.6))[:, None] * (tint - albedo)
    open_sky = (0.25 + 0.75 * free.clip(0, 0.75) / 0.75)[:, None]
    colour = shade(albedo, surface, light, _WRAP) * open_sky
    oily = (0.6 + 0.7 * np.exp(-((x / 18) ** 2)) * front) * (1 + 0.12 * fine[:, 0]) * look.shine * (1 + 0.9 * lip)
    soft = highlight(surface, light, 14) * 0.022 + highlight(surface, light, 55) * 0.009 * (1 + 1.5 * lip)[:, None]
    matt = (1 - brow) * (1 - 0.8 * lash)
    return colour + soft * (oily * matt)[:, None] * open_sky


def _known(head: Head) -> FloatArray:
    """(V, 7): place, lips, rim, open, ears; what skin is painted by."""
    return np.concatenate([head.place, np.stack([head.lips, head.rim, head.open, head.ears], 1)], 1)


def eyes(head: Head, some: Fragments, surface: Surface, look: Look, light: Light) -> FloatArray:
    """White, iris, pupil and highlight, drawn on the eyeball and so turning with it."""
    place = some.of(head.place, head.faces)
    side = np.where(place[:, 0] > 0, head.landmarks[1] @ head.place[:, 0], head.landmarks[0] @ head.place[:, 0])
    across, up = place[:, 0] - side, place[:, 2]
    radius = np.hypot(across, up)
    spoke = np.sin(np.arctan2(up, across) * 23 + 4 * np.sin(radius * 2)) * 0.5 + 0.5
    iris = look.iris * (0.75 + 0.5 * spoke)[:, None] * (1.25 - 0.35 * ramp((radius - 2.5) / 3))[:, None]
    vein = look_up(grain(), across * 9, up * 9)[:, 1:2]
    albedo = look.sclera * (1 - 0.035 * np.array((0.2, 1.0, 1.0)) * vein.clip(0))
    albedo = albedo * (1 - 0.12 * ramp((np.abs(across) - 7) / 5)[:, None] * np.array((0.3, 1, 1)))
    within = ramp((6.3 - radius) / 0.9)[:, None]
    ring = ramp((radius - 4.7) / 1.2)[:, None]
    albedo = albedo + within * (iris * (1 - 0.7 * ring) - albedo)
    albedo = albedo + ramp((2.5 - radius) / 0.7)[:, None] * (0.004 - albedo)
    lid = 0.42 + 0.58 * ramp((8.5 - up) / 9.5)  # the upper lid's shade
    colour = shade(albedo, surface, light, 0.2) * lid[:, None] * 0.92
    return colour + highlight(surface, light, 260) * 0.05 * (radius < 9)[:, None]


def strands(tint: FloatArray, surface: Surface, light: Light, across: FloatArray, along: FloatArray) -> FloatArray:
    """Hair, after Kajiya and Kay (1989): brightest where the light stands across the strand.

    tint: (3,) its colour. across, along: (P,) where on it, in pixels of the grain: strands run along.
    """
    down = unit(np.array((0, 0, -1), np.float32) + surface.outward * surface.outward[:, 2:])
    noise = look_up(grain(), across, along)
    colour = tint * (1 + 0.28 * noise[:, 3:4] + 0.12 * noise[:, 1:2]).clip(0.3, 2)
    total = ambient(surface, light) * np.float32(0.75)
    shine = np.zeros((len(across), 3), np.float32)
    for towards, lamp, reach in lamps(surface, light):
        sine = np.sqrt((1 - (down @ towards) ** 2).clip(0))
        cosine = ((surface.outward @ towards) * 0.7 + 0.3).clip(0)
        total += (sine * cosine * reach)[:, None] * lamp
        slide = (np.einsum("pk,pk->p", down, unit(surface.view + towards)) + 0.07 * noise[:, 3]).clip(-1, 1)
        shine += (np.sqrt((1 - slide**2).clip(0)) ** 60 * cosine * reach)[:, None] * lamp
    return colour * total * np.float32(0.5) + shine * (0.012 + 0.10 * colour)


def mouth(free: FloatArray, surface: Surface, light: Light) -> FloatArray:
    """The inside of a mouth; free: (P,) share of the sky that it sees."""
    return shade(np.array((0.056, 0.016, 0.014), np.float32), surface, light) * free[:, None]


def cloth(
    colour: FloatArray,
    at: FloatArray,
    surface: Surface,
    light: Light,
    *,
    weave: float,
    gloss: FloatArray | None = None,
) -> FloatArray:
    """Cloth or plastic of a colour, (3,) or (P, 3). at: (P, 3) where, in pixels of the grain; weave: how much of it."""
    threads = look_up(grain(), at[:, 0], at[:, 2])[:, :1]
    lit = shade(colour * (1 + np.float32(weave) * threads), surface, light)
    return lit if gloss is None else lit + highlight(surface, light, 40) * gloss[:, None]
