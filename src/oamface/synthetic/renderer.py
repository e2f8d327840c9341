"""Renders one person in one scene: the image, and the exact landmarks, box and occlusion mask of the face."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage
from oamface.results import Box
from oamface.synthetic.accessories import Piece, clothed_bust, glasses_pieces, mask_pieces
from oamface.synthetic.appearance import Appearance, derive_appearance
from oamface.synthetic.camera import develop, render_surroundings
from oamface.synthetic.hair import STYLES, Hair, beard, hair_bun, scalp_hair
from oamface.synthetic.head import AXIS, EYE, SKIN, Head, vertex_normals
from oamface.synthetic.light import Shadow, Surface, normalize
from oamface.synthetic.materials import cloth, eyes, mouth, skin, strands
from oamface.synthetic.people import Person
from oamface.synthetic.raster import FloatArray, Fragments, IntArray, rasterise
from oamface.synthetic.scene import LIGHTS, Light, Scene, rotation
from oamface.synthetic.skin import look_up, skin_noise, smoothstep

SHELLS = (0.3, 0.65, 1.0)  # of the hair's length, rendered from the inside out
_WOOLLY = 0.6  # roughness from which on hair is in curls instead of strands
_SKIN, _EYES, _MOUTH, _CLOTHES, _ACCESSORIES, _BUN = range(6)  # materials


@dataclass(frozen=True)
class RenderedImage:
    """image: (S, S, 3) uint8 RGB. landmarks: (5, 2) pixels: left eye, right eye, nose, left and right mouth corner.

    occlusion_mask: (S, S) bool, where a mask or glasses hide the face. visibility: the share of the face's skin that is
    not hidden, 0..1. box: of the face from brow to chin, in pixels.
    """

    image: RGBImage
    landmarks: FloatArray
    occlusion_mask: npt.NDArray[np.bool_]
    visibility: float
    box: Box


class View:
    """Transforms points of a head, in mm, to the posed scene and to pixels.

    scale: of the head, 1 for an adult's. size: pixels of the image's side.
    """

    def __init__(self, scene: Scene, scale: float, size: int) -> None:
        self.scale, self.size, self.rotation = scale, size, rotation(scene)
        self.camera = np.array((0, -scene.distance, 0), np.float32)
        self._pivot, self._centre = (np.array(point, np.float32) * scale for point in ((0, 75, -95), (0, 70, -6)))
        self._focal = scene.fill * size * scene.distance / (265 * scale)
        self._middle = size * (0.5 + scene.shift[0]), size * (0.5 + scene.shift[1])

    def place_still(self, points: FloatArray) -> FloatArray:
        """(V, 3) points in the scene that do not turn with the head."""
        return (points - self._centre).astype(np.float32)

    def place(self, points: FloatArray) -> FloatArray:
        """(V, 3) points in the scene that turn with the head; the neck's lower end stays with the shoulders."""
        turned = (points - self._pivot) @ self.rotation.T + self._pivot
        share = smoothstep((points[:, 2] / self.scale + 150) / 62)[:, None]
        return self.place_still(points + share * (turned - points))

    def project(self, points: FloatArray) -> FloatArray:
        """(V, 3) x, y in pixels and depth in mm, of points in the scene."""
        depth = points[:, 1] - self.camera[1]
        share = self._focal / depth
        x, y = self._middle[0] + points[:, 0] * share, self._middle[1] - points[:, 2] * share
        return np.stack([x, y, depth], 1).astype(np.float32)

    def rasterise(self, points: FloatArray, faces: IntArray, *, both_sides: bool = False) -> Fragments:
        """The visible fragments of a mesh of points in the scene."""
        return rasterise(self.project(points), faces, self.size, self.size, both_sides=both_sides)


class _Mesh:
    """All solid objects as one mesh of V points in the scene and F triangles.

    materials: (F,). colour: (V, 3) linear RGB and gloss: (V,) of the accessories, 0 elsewhere.
    """

    def __init__(self, head: Head, posed: FloatArray) -> None:
        materials = np.where(head.part == SKIN, _SKIN, np.where(head.part == EYE, _EYES, _MOUTH))
        self.points, self.faces, self.materials = posed, head.faces, materials[head.faces].min(1)
        self.colour, self.gloss = np.zeros_like(posed), np.zeros(len(posed), np.float32)

    def add(
        self, points: FloatArray, faces: IntArray, material: int, colour: FloatArray | float = 0.0, gloss: float = 0.0
    ) -> None:
        self.faces = np.concatenate([self.faces, faces + len(self.points)])
        self.materials = np.concatenate([self.materials, np.full(len(faces), material)])
        self.points = np.concatenate([self.points, points])
        self.colour = np.concatenate([self.colour, np.broadcast_to(np.float32(colour), points.shape)])
        self.gloss = np.concatenate([self.gloss, np.full(len(points), gloss, np.float32)])


@dataclass
class _Frame:
    """What is rendered so far. image: (S * S, 3) linear RGB. depth: (S * S,) mm."""

    image: FloatArray
    depth: FloatArray

    def in_front(self, fragments: Fragments) -> Fragments:
        """The fragments that nothing rendered so far hides."""
        return fragments.select(np.flatnonzero(fragments.depth < self.depth[fragments.pixel]))


def render(head: Head, coefficients: FloatArray, person: Person, scene: Scene, size: int = 256) -> RenderedImage:
    """Render one person. coefficients: (K,) of HeadModel, with the scene's expression. size: pixels of a side."""
    appearance, light = derive_appearance(person), LIGHTS[scene.light]
    vertices = head.vertices(coefficients[None])[0]
    normals = vertex_normals(vertices, head.faces)
    view = View(scene, head.scale(vertices), size)
    posed = view.place(vertices)
    masks = mask_pieces(head, vertices, person.mask, person.identity) if person.mask else []
    glasses = glasses_pieces(head, vertices, appearance) if appearance.glasses else []
    mesh = _build_mesh(head, posed, view, appearance, [*masks, *glasses])
    hair = scalp_hair(head, vertices, normals, appearance)
    chin_hair = None if person.mask else beard(head, vertices, normals, appearance)  # a mask presses it flat
    shadow = _shadow(mesh, hair, view, len(vertices), light)

    fragments = view.rasterise(mesh.points, mesh.faces)
    frame = _Frame(render_surroundings(scene, size).reshape(-1, 3), np.full(size * size, np.inf, np.float32))
    _shade_solids(frame.image, head, mesh, fragments, appearance, view, light, shadow, hair)
    frame.depth[fragments.pixel] = fragments.depth
    if chin_hair is not None:
        _render_hair(frame, chin_hair, head, view, light, shadow, appearance.beard_colour, roughness=0.5, chin=True)
    if hair is not None:
        roughness = STYLES[appearance.hair].rough
        _render_hair(frame, hair, head, view, light, shadow, appearance.hair_colour, roughness=roughness, chin=False)
    lenses = [piece for piece in glasses if piece.transparency]
    for lens in lenses:
        _render_lens(frame, lens, view, light)
    linear = _antialias(frame, mesh.materials[fragments.face], fragments, size)
    occlusion_mask = np.zeros(size * size, bool)
    occlusion_mask[fragments.pixel[mesh.materials[fragments.face] == _ACCESSORIES]] = True
    for lens in lenses:
        if lens.transparency < 0.5:
            occlusion_mask[view.rasterise(view.place(lens.vertices), lens.faces).pixel] = True
    landmarks = view.project((head.landmarks @ posed).astype(np.float32))[:, :2]
    visibility, box = _measure_face(head, posed, view, occlusion_mask)
    return RenderedImage(develop(linear, scene), landmarks, occlusion_mask.reshape(size, size), visibility, box)


def _build_mesh(head: Head, posed: FloatArray, view: View, appearance: Appearance, pieces: list[Piece]) -> _Mesh:
    """Head, clothes, a bun of hair, and the pieces that are not transparent."""
    mesh = _Mesh(head, posed)
    bust, bust_faces = clothed_bust(appearance, view.scale)
    mesh.add(view.place_still(bust), bust_faces, _CLOTHES)
    bun = hair_bun(appearance, view.scale)
    if bun:
        mesh.add(view.place(bun[0]), bun[1], _BUN)
    for piece in pieces:
        if not piece.transparency:
            mesh.add(view.place(piece.vertices), piece.faces, _ACCESSORIES, piece.colour, piece.gloss)
    return mesh


def _shadow(mesh: _Mesh, hair: Hair | None, view: View, head_size: int, light: Light) -> Shadow:
    """The shadows of the solid objects and of the denser half of the hair. head_size: the head's number of vertices."""
    points, faces = mesh.points, mesh.faces
    if hair is not None:
        tips = view.place(hair.roots + np.float32(0.6) * (hair.tips - hair.roots))
        points, faces = np.concatenate([points, tips]), np.concatenate([faces, hair.faces + len(points)])
    return Shadow(points, faces, head_size, light)


def _shade_solids(
    image: FloatArray,
    head: Head,
    mesh: _Mesh,
    fragments: Fragments,
    appearance: Appearance,
    view: View,
    light: Light,
    shadow: Shadow,
    hair: Hair | None,
) -> None:
    """Shade the mesh's fragments into the image (S * S, 3), material by material."""
    values = np.concatenate([mesh.points, vertex_normals(mesh.points, mesh.faces)], 1)
    points = fragments.interpolate(values, mesh.faces)
    positions, normals = points[:, :3], normalize(points[:, 3:])
    directions, lit = normalize(view.camera - positions), shadow.lit(positions, normals)
    materials = mesh.materials[fragments.face]
    for material in range(_BUN + 1):
        rows = np.flatnonzero(materials == material)
        if not len(rows):
            continue
        part = fragments.select(rows)
        surface, position = Surface(normals[rows], directions[rows], lit[rows]), positions[rows]
        if material == _SKIN:
            colour = skin(head, part, surface, appearance, light, view.rotation, hair)
        elif material == _EYES:
            colour = eyes(head, part, surface, appearance, light)
        elif material == _MOUTH:
            colour = mouth(part.interpolate(head.openness, head.faces), surface, light)
        elif material == _CLOTHES:
            colour = cloth(appearance.clothes, position * 3, surface, light, weave=0.06)
        elif material == _BUN:
            colour = strands(appearance.hair_colour, surface, light, position[:, 0] * 2.5, position[:, 2] * 0.6)
        else:
            fabric, gloss = part.interpolate(mesh.colour, mesh.faces), part.interpolate(mesh.gloss, mesh.faces)
            colour = cloth(fabric, position * 4, surface, light, weave=0.03, gloss=gloss)
        image[part.pixel] = colour


def _render_hair(
    frame: _Frame,
    hair: Hair,
    head: Head,
    view: View,
    light: Light,
    shadow: Shadow,
    colour: FloatArray,
    *,
    roughness: float,
    chin: bool,
) -> None:
    """Render hair, or a beard (chin), in shells from the roots outwards; noise leaves gaps to the shell below."""
    gap, thickness = (0.5, 2.0) if hair.long else (0.85, 1.9)
    for share in SHELLS:
        vertices = view.place(hair.roots + np.float32(share) * (hair.tips - hair.roots))
        fragments = frame.in_front(view.rasterise(vertices, hair.faces, both_sides=hair.hangs))
        if not len(fragments.pixel):
            continue
        normals = normalize(fragments.interpolate(vertex_normals(vertices, hair.faces), hair.faces))
        position = fragments.interpolate(vertices, hair.faces)
        reference = fragments.interpolate(head.reference, hair.faces)
        density = fragments.interpolate(hair.density, hair.faces)
        around = np.arctan2(reference[:, 0], AXIS - reference[:, 1]) * 85
        directions = normalize(view.camera - position)
        normals *= np.where(np.einsum("pk,pk->p", normals, directions) < 0, -1, 1)[:, None].astype(np.float32)
        along, shift = position[:, 2] * (1 - roughness) + reference[:, 2] * roughness, 31 * share
        curls = look_up(skin_noise(), around * 2.6 + shift, reference[:, 2] * 2.6 + 17 * share)[:, 1]
        if chin:
            noise = 2.4 * look_up(skin_noise(), reference[:, 0] * 5 + shift, reference[:, 2] * 1.6)[:, 3]
        else:
            streaks = look_up(skin_noise(), around * 3.2 + shift, along * 0.55 + 17 * share)[:, 3]
            noise = streaks * (1 - roughness) + curls * roughness
        opacity = smoothstep((thickness * density - gap * share - 0.05 + 0.3 * noise) / 0.5)
        opacity *= np.float32(0.88 if chin else 1)
        surface = Surface(normals, directions, shadow.lit(position, normals))
        woolly = roughness > _WOOLLY
        shaded = strands(colour, surface, light, around * 3.2 + shift, along * (2.6 if woolly else 0.55))
        shaded = shaded * (0.5 + 0.5 * share)
        if woolly:
            shaded = shaded * (1 + 0.3 * curls[:, None]).clip(0.3, 2)
        frame.image[fragments.pixel] += opacity[:, None] * (shaded - frame.image[fragments.pixel])
        solid = opacity > 0.5
        frame.depth[fragments.pixel[solid]] = fragments.depth[solid]


def _render_lens(frame: _Frame, lens: Piece, view: View, light: Light) -> None:
    """Tint what is behind a lens, and reflect the sky in its upper part."""
    vertices = view.place(lens.vertices)
    fragments = frame.in_front(view.rasterise(vertices, lens.faces))
    if not len(fragments.pixel):
        return
    height = fragments.interpolate(vertices[:, 2], lens.faces)
    glare = 0.06 * smoothstep((height - height.min()) / 25)[:, None] * np.array(light.sky, np.float32)
    tint = lens.transparency + (1 - lens.transparency) * lens.colour[0]
    frame.image[fragments.pixel] = frame.image[fragments.pixel] * tint + glare


def _antialias(frame: _Frame, materials: IntArray, fragments: Fragments, size: int) -> FloatArray:
    """(S, S, 3) the image blurred along outlines, where a pixel shows one triangle and a camera the mean of many."""
    image = frame.image.reshape(size, size, 3)
    parts = np.full(size * size, -1, np.int16)
    parts[fragments.pixel] = materials
    depth = np.where(np.isfinite(frame.depth), frame.depth, 1e5).reshape(size, size).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    jumps = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, kernel) > 9
    borders = cv2.morphologyEx(parts.reshape(size, size), cv2.MORPH_GRADIENT, kernel) > 0
    return image + (jumps | borders).astype(np.float32)[..., None] * (cv2.GaussianBlur(image, (0, 0), 0.7) - image)


def _measure_face(
    head: Head, posed: FloatArray, view: View, occlusion_mask: npt.NDArray[np.bool_]
) -> tuple[float, Box]:
    """The share of the face's skin that is not hidden, and the face's box in pixels."""
    region = (np.abs(head.azimuth()) < np.radians(78)) & (head.reference[:, 2] > -114) & (head.reference[:, 2] < 62)
    region &= (head.ears < 0.5) & ((head.part == SKIN) | (head.part == EYE))
    visibility = 1.0
    if occlusion_mask.any():
        face = view.rasterise(posed, head.faces[region[head.faces].all(1)]).pixel
        visibility = 1 - float(occlusion_mask[face].mean()) if len(face) else 0.0
    x, y = view.project(posed)[region & (head.reference[:, 2] < 45), :2].T
    return visibility, Box(float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y)))
