"""One picture of one person in one scene, and everything that is true of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.imaging import RGBImage
from oamface.synth.hair import Growth, beard, bearded, hairline, knot, scalp, STYLES
from oamface.synth.head import AXIS, EYE, SKIN, Head, normals
from oamface.synth.people import Look, Person
from oamface.synth.raster import FloatArray, Fragments, IntArray, rasterise
from oamface.synth.scene import LIGHTS, Light, Scene, background, develop, rotation
from oamface.synth.skin import canvas, grain, look_up, ramp, sample, slopes, spots
from oamface.synth.wear import Around, Piece, glasses_pieces, grid_faces, join, mask_pieces

SHELLS = (0.3, 0.65, 1.0)
_SHADOW = 144  # pixels of the shadow map
_WRAP = np.array((0.30, 0.14, 0.09), np.float32)  # light that skin scatters past the terminator, red the farthest
BACK, SKINS, EYES, MOUTHS, CLOTHES, WORN, TIED = range(-1, 6)


@dataclass(frozen=True)
class Picture:
    """image: (S, S, 3) uint8 RGB. landmarks: (5, 2) eyes, nose tip, mouth corners in pixels, the left one first.

    coverage: (S, S) bool, where a mask or glasses hide what is behind them. visible: the share of the face's skin that shows.
    box: x, y, width, height of the face from the brow to the chin, in pixels.
    """

    image: RGBImage
    landmarks: FloatArray
    coverage: npt.NDArray[np.bool_]
    visible: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Surface:
    """A lit point for each of P fragments: outward (P, 3), towards the eye (P, 3), key light that arrives (P,)."""

    outward: FloatArray
    view: FloatArray
    lit: FloatArray


def _unit(vectors: FloatArray) -> FloatArray:
    """(P, 3) at length 1."""
    return vectors / (np.sqrt(np.einsum("pk,pk->p", vectors, vectors))[:, None] + np.float32(1e-9))


class Camera:
    """Perspective from in front: millimetres of the scene to pixels and depth."""

    def __init__(self, scene: Scene, height: float, size: int) -> None:
        self._distance = scene.distance
        self._focal = scene.fill * size * scene.distance / height
        self._centre = size * (0.5 + scene.shift[0]), size * (0.5 + scene.shift[1])

    def project(self, points: FloatArray) -> FloatArray:
        """(V, 3) to (V, 3): x, y in pixels, depth in mm."""
        depth = points[:, 1] + self._distance
        share = self._focal / depth
        return np.stack([self._centre[0] + points[:, 0] * share, self._centre[1] - points[:, 2] * share, depth], 1).astype(np.float32)


def render(head: Head, coefficients: FloatArray, person: Person, look: Look, scene: Scene, size: int = 256) -> Picture:
    """Draw one person. coefficients: (K,) of `Shapes`, with the scene's expression; look: of the person."""
    vertices = head.shape(coefficients[None])[0]
    outward = normals(vertices, head.faces)
    scale = float(np.ptp(vertices[:, 2]) / np.ptp(head.place[:, 2]))
    masks = mask_pieces(head, Around(head, vertices), vertices, person.mask, person.identity) if person.mask else []
    glasses = glasses_pieces(head, vertices, look) if look.glasses else []
    frames = [piece for piece in glasses if not piece.clear]
    turn, pivot = rotation(scene), np.array((0, 75, -95), np.float32) * scale

    def pose(points: FloatArray) -> FloatArray:
        """Turn with the head; the neck's lower end stays with the shoulders."""
        moved = (points - pivot) @ turn.T + pivot
        share = ramp((points[:, 2] / scale + 150) / 62)[:, None].astype(np.float32)
        return points + share * (moved - points)

    centre = np.array((0, 70, -6), np.float32) * scale  # of the picture

    def place(points: FloatArray) -> FloatArray:
        return pose(points) - centre

    camera = Camera(scene, 265 * scale, size)
    posed = place(vertices)
    hair = scalp(head, vertices, outward, look)
    chin_hair = None if person.mask else beard(head, vertices, outward, look)  # a mask presses it flat
    body, body_faces = _shoulders(look, scale)
    parts = [(posed, head.faces, None), (body - centre, body_faces, CLOTHES)]
    ball = knot(look, scale)
    if ball:
        sphere, sphere_faces = _ball(ball)
        parts.append((place(sphere), sphere_faces, TIED))
    worn = [*masks, *frames]
    if worn:
        worn_vertices, worn_faces, worn_colours, worn_gloss = join(worn)
        parts.append((place(worn_vertices), worn_faces, WORN))
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    points = np.concatenate([part[0] for part in parts])
    faces = np.concatenate([part[1] + start for part, start in zip(parts, starts, strict=False)])
    part_kinds = np.choose(head.part, (SKINS, EYES, MOUTHS))
    kinds = np.concatenate(
        [part_kinds[part[1]].min(1) if part[2] is None else np.full(len(part[1]), part[2]) for part in parts]
    )
    facing = normals(points, faces)
    screen = camera.project(points)
    seen = rasterise(screen, faces, size, size)
    light = LIGHTS[scene.light]
    casting, casting_faces = points, faces
    if hair is not None:
        casting = np.concatenate([points, place(hair.root + np.float32(0.6) * (hair.tip - hair.root))])
        casting_faces = np.concatenate([faces, hair.faces + len(points)])
    shadow = _Shadow(casting, casting_faces, len(vertices), light)

    picture = background(scene, size).reshape(-1, 3)
    depth = np.full(size * size, np.inf, np.float32)
    depth[seen.pixel] = seen.depth
    both = seen.of(np.concatenate([points, facing], 1), faces)
    position, bend = both[:, :3], _unit(both[:, 3:])
    eye = np.array((0, -scene.distance, 0), np.float32)
    view = _unit(eye - position)
    lit = shadow.reaching(position, bend)
    kind = kinds[seen.face]
    for material in (SKINS, EYES, MOUTHS, CLOTHES, WORN, TIED):
        chosen = np.flatnonzero(kind == material)
        if not len(chosen):
            continue
        some = Fragments(seen.pixel[chosen], seen.face[chosen], seen.weights[chosen], seen.depth[chosen])
        surface = _Surface(bend[chosen], view[chosen], lit[chosen])
        if material == SKINS:
            colour = _skin(head, some, surface, look, light, turn, hair)
        elif material == EYES:
            colour = _eyes(head, some, surface, look, light)
        elif material == MOUTHS:
            colour = _shade(np.array((0.16, 0.045, 0.04)), surface, light) * 0.35 * some.of(head.open, head.faces)[:, None]
        elif material == CLOTHES:
            weave = look_up(grain(), *(position[chosen].T[[0, 2]] * 3))[:, :1]
            colour = _shade(look.clothes * (1 + 0.06 * weave), surface, light)
        elif material == TIED:
            colour = _strands(look, surface, light, position[chosen, 0] * 2.5, position[chosen, 2] * 0.6, 0.9)
        else:
            local = faces - starts[len(parts) - 1]
            weave = look_up(grain(), position[chosen, 0] * 4, position[chosen, 2] * 4)[:, :1]
            gloss = some.of(worn_gloss, local)
            colour = _shade(some.of(worn_colours, local) * (1 + 0.03 * weave), surface, light)
            colour = colour + _highlight(surface, light, 40) * gloss[:, None]
        picture[some.pixel] = colour
    soften = _edges(kind, seen, depth, size)
    for growth, woolly in ((chin_hair, 0.5), (hair, STYLES[look.hair].rough)):
        if growth is not None:
            _shells(picture, depth, growth, place, camera, head, look, light, shadow, size, eye, woolly, growth is chin_hair)
    _lenses(picture, depth, [piece for piece in glasses if piece.clear], place, camera, light, size)
    flat = picture.reshape(size, size, 3)
    smooth = cv2.GaussianBlur(flat, (0, 0), 0.7)
    flat = flat + soften[..., None] * (smooth - flat)
    image = develop(flat, scene)
    return Picture(image, *_truth(head, posed, camera, seen, kind, masks, glasses, place, size))


def _shade(albedo: npt.NDArray[np.floating], surface: _Surface, light: Light, wrap: FloatArray | float = 0.0) -> FloatArray:
    """Light that a matt surface gives back; wrap: how far it reaches around, by colour."""
    total = _ambient(surface, light)
    for towards, colour, reach in _lamps(surface, light):
        cosine = surface.outward @ towards
        share = ((cosine[:, None] + wrap) / (1 + np.asarray(wrap, np.float32))).clip(0)
        total += share * reach[:, None] * colour
    return albedo * total * np.float32(0.5)


def _ambient(surface: _Surface, light: Light) -> FloatArray:
    """(P, 3): from the sky above and the ground below."""
    up = surface.outward[:, 2:] * np.float32(0.5) + np.float32(0.5)
    return np.array(light.ground, np.float32) * (1 - up) + np.array(light.sky, np.float32) * up


def _lamps(surface: _Surface, light: Light) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """The key and the fill: direction towards it, colour, and how much of it arrives (P,)."""
    for (direction, colour), reach in ((light.key, surface.lit), (light.fill, np.ones_like(surface.lit))):
        towards = np.array(direction, np.float32)
        yield towards / np.linalg.norm(towards), np.array(colour, np.float32), reach


def _highlight(surface: _Surface, light: Light, power: float) -> FloatArray:
    """(P, 3): mirrored light, Blinn-Phong with Schlick's rise towards the rim."""
    total = np.zeros((len(surface.lit), 3), np.float32)
    rim = (1 - np.einsum("pk,pk->p", surface.view, surface.outward).clip(0, 1)) ** 5
    for towards, colour, reach in _lamps(surface, light):
        half = _unit(surface.view + towards)
        shine = np.einsum("pk,pk->p", half, surface.outward).clip(0) ** np.float32(power) * np.float32((power + 8) / 25)
        total += (shine * reach * (1 + 4 * rim))[:, None] * colour
    return total


def _skin(
    head: Head, some: Fragments, surface: _Surface, look: Look, light: Light, turn: FloatArray, hair: Growth | None
) -> FloatArray:
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
    surface = _Surface(_unit(outward), surface.view, surface.lit)

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
        roots = some.of(hairline(head, look.recede), head.faces)
        strand = look_up(grain(), around * 3.0, z * 0.8)[:, 3]
        shadow = ramp((roots * 1.5 + 0.3 * strand * (roots > 0.03) - 0.45) / 0.7) * (0.92 - 0.5 * look.thin)
        albedo += shadow[:, None] * (look.hair_colour * 1.1 - albedo)
    lash = ramp((2.0 - rim) / 1.3) * np.where(z > -1.0, 1.0, 0.45)
    tint = np.array((0.02, 0.014, 0.012), np.float32) if look.female else look.brow_colour * 0.6 + 0.008
    albedo += (lash * (0.85 if look.female else 0.6))[:, None] * (tint - albedo)
    open_sky = (0.25 + 0.75 * free.clip(0, 0.75) / 0.75)[:, None]
    colour = _shade(albedo, surface, light, _WRAP) * open_sky
    oily = (0.6 + 0.7 * np.exp(-((x / 18) ** 2)) * front) * (1 + 0.12 * fine[:, 0]) * look.shine * (1 + 0.9 * lip)
    soft = _highlight(surface, light, 14) * 0.022 + _highlight(surface, light, 55) * 0.009 * (1 + 1.5 * lip)[:, None]
    matt = (1 - brow) * (1 - 0.8 * lash)
    return colour + soft * (oily * matt)[:, None] * open_sky


def _known(head: Head) -> FloatArray:
    """(V, 7): place, lips, rim, open, ears; what skin is painted by."""
    return np.concatenate([head.place, np.stack([head.lips, head.rim, head.open, head.ears], 1)], 1)


def _eyes(head: Head, some: Fragments, surface: _Surface, look: Look, light: Light) -> FloatArray:
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
    colour = _shade(albedo, surface, light, 0.2) * lid[:, None] * 0.92
    return colour + _highlight(surface, light, 260) * 0.05 * (radius < 9)[:, None]


def _strands(
    look: Look, surface: _Surface, light: Light, across: FloatArray, along: FloatArray, deep: float, *, chin: bool = False
) -> FloatArray:
    """Hair, after Kajiya and Kay (1989): brightest where the light stands across the strand."""
    down = np.array((0, 0, -1), np.float32) - surface.outward * -surface.outward[:, 2:]
    down = _unit(down)
    noise = look_up(grain(), across, along)
    colour = (look.beard_colour if chin else look.hair_colour) * (1 + 0.28 * noise[:, 3:4] + 0.12 * noise[:, 1:2]).clip(0.3, 2)
    total = _ambient(surface, light) * np.float32(0.75)
    shine = np.zeros((len(across), 3), np.float32)
    for towards, tint, reach in _lamps(surface, light):
        sine = np.sqrt((1 - (down @ towards) ** 2).clip(0))
        cosine = ((surface.outward @ towards) * 0.7 + 0.3).clip(0)
        total += (sine * cosine * reach)[:, None] * tint
        half = _unit(surface.view + towards)
        slide = (np.einsum("pk,pk->p", down, half) + 0.07 * noise[:, 3]).clip(-1, 1)
        shine += (np.sqrt((1 - slide**2).clip(0)) ** 60 * cosine * reach)[:, None] * tint
    return ((colour * total * 0.5 + shine * (0.012 + 0.10 * colour)) * deep).astype(np.float32)


def _shells(picture, depth, growth, place, camera, head, look, light, shadow, size, eye, woolly, chin) -> None:
    """Hair from the roots out, one shell over the other; what the noise leaves out lets the inner ones through."""
    points = head.place
    for share in SHELLS:
        vertices = place(growth.root + np.float32(share) * (growth.tip - growth.root))
        seen = rasterise(camera.project(vertices), growth.faces, size, size, both_sides=growth.falls)
        front = np.flatnonzero(seen.depth < depth[seen.pixel])
        seen = Fragments(seen.pixel[front], seen.face[front], seen.weights[front], seen.depth[front])
        if not len(front):
            continue
        outward = seen.of(normals(vertices, growth.faces), growth.faces)
        outward = _unit(outward)
        position = seen.of(vertices, growth.faces)
        spot = seen.of(points, growth.faces)
        angle = np.arctan2(spot[:, 0], AXIS - spot[:, 1]) * 85
        view = _unit(eye - position)
        outward *= np.where(np.einsum("pk,pk->p", outward, view) < 0, -1, 1)[:, None].astype(np.float32)
        dense = seen.of(growth.dense, growth.faces)
        along = position[:, 2] * (1 - woolly) + spot[:, 2] * woolly
        streaks = look_up(grain(), angle * 3.2 + 31 * share, along * 0.55 + 17 * share)[:, 3]
        curls = look_up(grain(), angle * 2.6 + 31 * share, spot[:, 2] * 2.6 + 17 * share)[:, 1]
        noise = streaks * (1 - woolly) + curls * woolly
        if chin:
            noise = look_up(grain(), spot[:, 0] * 5 + 31 * share, spot[:, 2] * 1.6)[:, 3]
        alpha = ramp(((2.0 if growth.full else 1.9) * dense - (0.5 if growth.full else 0.85) * share - 0.05 + (0.30 + 0.2 * chin) * noise) / 0.5)
        surface = _Surface(outward, view, shadow.reaching(position, outward))
        rough = 2.6 if woolly > 0.6 else 0.55
        colour = _strands(look, surface, light, angle * 3.2 + 31 * share, along * rough, 0.5 + 0.5 * share, chin=chin)
        if woolly > 0.6:
            colour = colour * (1 + 0.3 * curls[:, None]).clip(0.3, 2)
        picture[seen.pixel] += alpha[:, None].astype(np.float32) * (colour - picture[seen.pixel])
        solid = alpha > 0.5
        depth[seen.pixel[solid]] = seen.depth[solid]


def _lenses(picture, depth, lenses, place, camera, light, size) -> None:
    for lens in lenses:
        vertices = place(lens.vertices)
        seen = rasterise(camera.project(vertices), lens.faces, size, size)
        front = seen.depth < depth[seen.pixel]
        at = seen.pixel[front]
        height = seen.of(vertices[:, 2], lens.faces)[front]
        glare = 0.06 * ramp((height - height.min() if len(height) else height) / 25)[:, None] * np.array(light.sky)
        picture[at] = picture[at] * (lens.clear + (1 - lens.clear) * lens.colour[0]) + glare


class _Shadow:
    """What the key light reaches: exponential shadow maps (Annen et al., 2008), soft and cheap."""

    _SHARP = 0.22  # per mm

    def __init__(self, points: FloatArray, faces: IntArray, framed: int, light: Light) -> None:
        direction = np.array(light.key[0]) / np.linalg.norm(light.key[0])
        across = np.cross(direction, (0.1, 0.2, 1.0))
        across /= np.linalg.norm(across)
        self._frame = np.stack([across, np.cross(direction, across), -direction]).astype(np.float32)
        self._towards = direction.astype(np.float32)
        turned = points @ self._frame.T
        inner = turned[:framed]  # the head; what casts shadows from beyond its surroundings is left out
        self._low = inner.min(0) - np.float32(30)
        self._scale = np.float32((_SHADOW - 1) / (np.ptp(inner[:, :2], axis=0).max() + 60))
        nearest = np.full(_SHADOW * _SHADOW, 1e4, np.float32)
        drawn = rasterise(self._map(turned), faces, _SHADOW, _SHADOW)
        nearest[drawn.pixel] = drawn.depth
        grown = np.exp(self._SHARP * (nearest - 150).clip(None, 230)).reshape(_SHADOW, _SHADOW)
        self._table = cv2.GaussianBlur(grown, (0, 0), 1.1)

    def reaching(self, position: FloatArray, outward: FloatArray) -> FloatArray:
        """(P,) 0..1 at places that face outward (P, 3 each)."""
        at = self._map((position + 2.0 * outward) @ self._frame.T)
        behind = np.exp(-self._SHARP * (at[:, 2] - 151.5).clip(None, 230))
        found = look_up(self._table, at[:, 0] - 0.5, at[:, 1] - 0.5, cv2.BORDER_REPLICATE)
        return ramp((found * behind).clip(0, 1)).astype(np.float32)

    def _map(self, turned: FloatArray) -> FloatArray:
        return (turned - self._low) * np.array((self._scale, self._scale, 1), np.float32)


def _edges(kind: IntArray, seen: Fragments, depth: FloatArray, size: int) -> FloatArray:
    """(S, S) 0..1 along outlines, to be softened: a pixel shows one triangle, an eye sees the mean of many."""
    whole = np.full(size * size, BACK, np.int16)
    whole[seen.pixel] = kind
    picture = whole.reshape(size, size)
    far = np.where(np.isfinite(depth), depth, 1e5).reshape(size, size).astype(np.float32)
    jump = cv2.morphologyEx(far, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 9
    parts = cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return (jump | parts).astype(np.float32)


def _shoulders(look: Look, scale: float) -> tuple[FloatArray, IntArray]:
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


def _ball(ball: tuple[float, float, float, float]) -> tuple[FloatArray, IntArray]:
    x, y, z, radius = ball
    turn, tilt = np.meshgrid(np.linspace(-np.pi, np.pi, 25), np.linspace(np.pi / 2, -np.pi / 2, 13))
    points = np.stack([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)], -1).reshape(-1, 3)
    return (points * radius + (x, y, z)).astype(np.float32), grid_faces(13, 25)


def _truth(
    head: Head,
    posed: FloatArray,
    camera: Camera,
    seen: Fragments,
    kind: IntArray,
    masks: list[Piece],
    glasses: list[Piece],
    place,
    size: int,
):
    """Landmarks, coverage, the visible share of the face's skin, and the face's box."""
    screen = camera.project(posed)
    landmarks = camera.project(head.landmarks @ posed)[:, :2]
    turn = np.abs(head.azimuth())
    region = (head.place[:, 2] < 62) & (head.place[:, 2] > -114) & (turn < np.radians(78)) & (head.ears < 0.5)
    region &= (head.part == SKIN) | (head.part == EYE)
    covered = np.zeros(size * size, bool)
    covered[seen.pixel[kind == WORN]] = True
    for lens in glasses:
        if 0 < lens.clear < 0.5:
            covered[rasterise(camera.project(place(lens.vertices)), lens.faces, size, size).pixel] = True
    visible = 1.0
    if covered.any():
        face = rasterise(screen, head.faces[region[head.faces].all(1)], size, size)
        visible = 1 - float(covered[face.pixel].mean()) if len(face.pixel) else 0.0
    x, y = screen[region & (head.place[:, 2] < 45), :2].T
    box = float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))
    return landmarks, covered.reshape(size, size), visible, box
