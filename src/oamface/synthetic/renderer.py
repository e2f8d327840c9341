"""One image of one person in one scene, and everything that is true of it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage
from oamface.synthetic.hair import STYLES, Growth, beard, knot, scalp
from oamface.synthetic.head import AXIS, EYE, SKIN, Head, normals
from oamface.synthetic.light import Shadow, Surface, unit
from oamface.synthetic.materials import cloth, eyes, mouth, skin, strands
from oamface.synthetic.people import Look, Person
from oamface.synthetic.raster import FloatArray, Fragments, IntArray, rasterise
from oamface.synthetic.scene import LIGHTS, Light, Scene, background, develop, rotation
from oamface.synthetic.skin import grain, look_up, ramp
from oamface.synthetic.wear import Around, Piece, glasses_pieces, join, mask_pieces, shoulders

SHELLS = (0.3, 0.65, 1.0)  # of the hair's length, drawn from the inside out
_WOOL = 0.6  # from which on hair stands in curls instead of falling in strands
SKINS, EYES, MOUTHS, CLOTHES, WORN, TIED = range(6)


@dataclass(frozen=True)
class ImageInput:
    """image: (S, S, 3) uint8 RGB. landmarks: (5, 2) eyes, nose tip, mouth corners in pixels, the left one first.

    coverage: (S, S) bool, where a mask or glasses hide what is behind them. visible: the share of the face's skin that
    shows. box: x, y, width, height of the face from the brow to the chin, in pixels.
    """

    image: RGBImage
    landmarks: FloatArray
    coverage: npt.NDArray[np.bool_]
    visible: float
    box: tuple[float, float, float, float]


class View:
    """Where things are: from a head's own millimetres to the posed scene, and on to pixels."""

    def __init__(self, scene: Scene, scale: float, size: int) -> None:
        """scale: of the head, 1 for a grown one. size: pixels of the image's side."""
        self.scale, self.size, self.turn = scale, size, rotation(scene)
        self.eye = np.array((0, -scene.distance, 0), np.float32)
        self._pivot, self._centre = (np.array(at, np.float32) * scale for at in ((0, 75, -95), (0, 70, -6)))
        self._focal = scene.fill * size * scene.distance / (265 * scale)
        self._middle = size * (0.5 + scene.shift[0]), size * (0.5 + scene.shift[1])

    def still(self, points: FloatArray) -> FloatArray:
        """What does not turn with the head."""
        return (points - self._centre).astype(np.float32)

    def place(self, points: FloatArray) -> FloatArray:
        """What turns with the head; the neck's lower end stays with the shoulders."""
        moved = (points - self._pivot) @ self.turn.T + self._pivot
        share = ramp((points[:, 2] / self.scale + 150) / 62)[:, None]
        placed: FloatArray = points + share * (moved - points)
        return self.still(placed)

    def project(self, points: FloatArray) -> FloatArray:
        """(V, 3) placed points to x, y in pixels and depth in mm."""
        depth = points[:, 1] - self.eye[1]
        share = self._focal / depth
        x, y = self._middle[0] + points[:, 0] * share, self._middle[1] - points[:, 2] * share
        return np.stack([x, y, depth], 1).astype(np.float32)

    def see(self, points: FloatArray, faces: IntArray, *, both_sides: bool = False) -> Fragments:
        """What a mesh of placed points shows."""
        return rasterise(self.project(points), faces, self.size, self.size, both_sides=both_sides)


class _Mesh:
    """Everything solid as one mesh of placed points, each triangle of one material."""

    def __init__(self, head: Head, posed: FloatArray) -> None:
        kinds = np.where(head.part == SKIN, SKINS, np.where(head.part == EYE, EYES, MOUTHS))
        self.points, self.faces, self.kinds = posed, head.faces, kinds[head.faces].min(1)

    def add(self, points: FloatArray, faces: IntArray, kind: int) -> IntArray:
        """Put more beside it; returns where its vertices begin, as faces that point past them do not."""
        start = len(self.points)
        self.points = np.concatenate([self.points, points])
        self.faces = np.concatenate([self.faces, faces + start])
        self.kinds = np.concatenate([self.kinds, np.full(len(faces), kind)])
        return self.faces - start


def render(
    head: Head, coefficients: FloatArray, person: Person, look: Look, scene: Scene, size: int = 256
) -> ImageInput:
    """Draw one person. coefficients: (K,) of `Shapes`, with the scene's expression; look: of the person."""
    vertices = head.shape(coefficients[None])[0]
    outward = normals(vertices, head.faces)
    view = View(scene, float(np.ptp(vertices[:, 2]) / np.ptp(head.place[:, 2])), size)
    masks = mask_pieces(head, Around(head, vertices), vertices, person.mask, person.identity) if person.mask else []
    glasses = glasses_pieces(head, vertices, look) if look.glasses else []
    posed = view.place(vertices)
    mesh = _Mesh(head, posed)
    bust, bust_faces = shoulders(look, view.scale)
    mesh.add(view.still(bust), bust_faces, CLOTHES)
    tied = knot(look, view.scale)
    if tied:
        mesh.add(view.place(tied[0]), tied[1], TIED)
    worn = [*masks, *(piece for piece in glasses if not piece.clear)]
    worn_faces, worn_colour, worn_gloss = mesh.faces, np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
    if worn:
        worn_points, worn_faces, worn_colour, worn_gloss = join(worn)
        worn_faces = mesh.add(view.place(worn_points), worn_faces, WORN)
    hair = scalp(head, vertices, outward, look)
    chin_hair = None if person.mask else beard(head, vertices, outward, look)  # a mask presses it flat
    light = LIGHTS[scene.light]
    shadow = _shadow(mesh, hair, view, len(vertices), light)

    seen = view.see(mesh.points, mesh.faces)
    both = seen.of(np.concatenate([mesh.points, normals(mesh.points, mesh.faces)], 1), mesh.faces)
    position, bend = both[:, :3], unit(both[:, 3:])
    towards, lit, kind = unit(view.eye - position), shadow.reaching(position, bend), mesh.kinds[seen.face]
    image = background(scene, size).reshape(-1, 3)
    for material in range(TIED + 1):
        chosen = np.flatnonzero(kind == material)
        if not len(chosen):
            continue
        some = seen.chosen(chosen)
        surface, at = Surface(bend[chosen], towards[chosen], lit[chosen]), position[chosen]
        if material == SKINS:
            colour = skin(head, some, surface, look, light, view.turn, hair)
        elif material == EYES:
            colour = eyes(head, some, surface, look, light)
        elif material == MOUTHS:
            colour = mouth(some.of(head.open, head.faces), surface, light)
        elif material == CLOTHES:
            colour = cloth(look.clothes, at * 3, surface, light, weave=0.06)
        elif material == TIED:
            colour = strands(look.hair_colour, surface, light, at[:, 0] * 2.5, at[:, 2] * 0.6)
        else:
            dyed, gloss = some.of(worn_colour, worn_faces), some.of(worn_gloss, worn_faces)
            colour = cloth(dyed, at * 4, surface, light, weave=0.03, gloss=gloss)
        image[some.pixel] = colour
    depth = np.full(size * size, np.inf, np.float32)
    depth[seen.pixel] = seen.depth
    for growth, chin in ((chin_hair, True), (hair, False)):
        if growth is not None:
            _shells(image, depth, growth, view, head, look, light, shadow, chin=chin)
    for lens in glasses:
        if lens.clear:
            _glaze(image, depth, lens, view, light)
    flat, soften = image.reshape(size, size, 3), _edges(kind, seen, depth, size)
    flat = flat + soften[..., None] * (cv2.GaussianBlur(flat, (0, 0), 0.7) - flat)
    covered = np.zeros(size * size, bool)
    covered[seen.pixel[kind == WORN]] = True
    for lens in glasses:
        if 0 < lens.clear < 0.5:
            covered[view.see(view.place(lens.vertices), lens.faces).pixel] = True
    landmarks = view.project((head.landmarks @ posed).astype(np.float32))[:, :2]
    visible, box = _face(head, posed, view, covered)
    return ImageInput(develop(flat, scene), landmarks, covered.reshape(size, size), visible, box)


def _shadow(mesh: _Mesh, hair: Growth | None, view: View, head: int, light: Light) -> Shadow:
    """What the solid things and the denser half of the hair keep from the key light. head: its number of vertices."""
    points, faces = mesh.points, mesh.faces
    if hair is not None:
        tips = view.place(hair.root + np.float32(0.6) * (hair.tip - hair.root))
        points, faces = np.concatenate([points, tips]), np.concatenate([faces, hair.faces + len(points)])
    return Shadow(points, faces, head, light)


def _shells(
    image: FloatArray,
    depth: FloatArray,
    growth: Growth,
    view: View,
    head: Head,
    look: Look,
    light: Light,
    shadow: Shadow,
    *,
    chin: bool,
) -> None:
    """Hair from the roots out, one shell over the other; what the noise leaves out lets the inner ones through."""
    woolly = 0.5 if chin else STYLES[look.hair].rough
    gap, thick = (0.5, 2.0) if growth.full else (0.85, 1.9)
    for share in SHELLS:
        vertices = view.place(growth.root + np.float32(share) * (growth.tip - growth.root))
        seen = view.see(vertices, growth.faces, both_sides=growth.falls)
        front = np.flatnonzero(seen.depth < depth[seen.pixel])
        if not len(front):
            continue
        seen = seen.chosen(front)
        outward, position = (
            unit(seen.of(normals(vertices, growth.faces), growth.faces)),
            seen.of(vertices, growth.faces),
        )
        spot, dense = seen.of(head.place, growth.faces), seen.of(growth.dense, growth.faces)
        around = np.arctan2(spot[:, 0], AXIS - spot[:, 1]) * 85
        towards = unit(view.eye - position)
        outward *= np.where(np.einsum("pk,pk->p", outward, towards) < 0, -1, 1)[:, None].astype(np.float32)
        along, shift = position[:, 2] * (1 - woolly) + spot[:, 2] * woolly, 31 * share
        curls = look_up(grain(), around * 2.6 + shift, spot[:, 2] * 2.6 + 17 * share)[:, 1]
        if chin:
            noise = 2.4 * look_up(grain(), spot[:, 0] * 5 + shift, spot[:, 2] * 1.6)[:, 3]
        else:
            streaks = look_up(grain(), around * 3.2 + shift, along * 0.55 + 17 * share)[:, 3]
            noise = streaks * (1 - woolly) + curls * woolly
        alpha = ramp((thick * dense - gap * share - 0.05 + 0.3 * noise) / 0.5) * np.float32(0.88 if chin else 1)
        surface = Surface(outward, towards, shadow.reaching(position, outward))
        tint = look.beard_colour if chin else look.hair_colour
        fine = 2.6 if woolly > _WOOL else 0.55
        colour = strands(tint, surface, light, around * 3.2 + shift, along * fine) * (0.5 + 0.5 * share)
        if woolly > _WOOL:
            colour = colour * (1 + 0.3 * curls[:, None]).clip(0.3, 2)
        image[seen.pixel] += alpha[:, None] * (colour - image[seen.pixel])
        solid = alpha > 0.5
        depth[seen.pixel[solid]] = seen.depth[solid]


def _glaze(image: FloatArray, depth: FloatArray, lens: Piece, view: View, light: Light) -> None:
    """A lens over what is behind it, with the sky in its upper part."""
    vertices = view.place(lens.vertices)
    seen = view.see(vertices, lens.faces)
    front = np.flatnonzero(seen.depth < depth[seen.pixel])
    if not len(front):
        return
    seen = seen.chosen(front)
    height = seen.of(vertices[:, 2], lens.faces)
    glare = 0.06 * ramp((height - height.min()) / 25)[:, None] * np.array(light.sky, np.float32)
    image[seen.pixel] = image[seen.pixel] * (lens.clear + (1 - lens.clear) * lens.colour[0]) + glare


def _edges(kind: IntArray, seen: Fragments, depth: FloatArray, size: int) -> FloatArray:
    """(S, S) 0 or 1 along outlines, to be softened: a pixel shows one triangle, a camera the mean of many."""
    parts = np.full(size * size, -1, np.int16)
    parts[seen.pixel] = kind
    far = np.where(np.isfinite(depth), depth, 1e5).reshape(size, size).astype(np.float32)
    near = np.ones((3, 3), np.uint8)
    jumps = cv2.morphologyEx(far, cv2.MORPH_GRADIENT, near) > 9
    return (jumps | (cv2.morphologyEx(parts.reshape(size, size), cv2.MORPH_GRADIENT, near) > 0)).astype(np.float32)


def _face(
    head: Head, posed: FloatArray, view: View, covered: npt.NDArray[np.bool_]
) -> tuple[float, tuple[float, float, float, float]]:
    """The share of the face's skin that nothing covers, and the face's box."""
    region = (np.abs(head.azimuth()) < np.radians(78)) & (head.place[:, 2] > -114) & (head.place[:, 2] < 62)
    region &= (head.ears < 0.5) & ((head.part == SKIN) | (head.part == EYE))
    visible = 1.0
    if covered.any():
        own = view.see(posed, head.faces[region[head.faces].all(1)]).pixel
        visible = 1 - float(covered[own].mean()) if len(own) else 0.0
    x, y = view.project(posed)[region & (head.place[:, 2] < 45), :2].T
    return visible, (float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y)))
