"""Lighting of surfaces: diffuse, specular, and shadows of the key light."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from oamface.synthetic.raster import FloatArray, IntArray, rasterise
from oamface.synthetic.scene import Light
from oamface.synthetic.skin import look_up, smoothstep

_MAP_SIZE = 144  # pixels of a side of the shadow map


@dataclass(frozen=True)
class Surface:
    """The surface at each of P fragments. normal: (P, 3). view: (P, 3) direction to the camera. Both of unit length.

    lit: (P,) 0..1, the share of the key light that arrives.
    """

    normal: FloatArray
    view: FloatArray
    lit: FloatArray


def normalize(vectors: FloatArray) -> FloatArray:
    """(P, 3) vectors of unit length."""
    return vectors / (np.sqrt(np.einsum("pk,pk->p", vectors, vectors))[:, None] + np.float32(1e-9))


def shade(albedo: FloatArray, surface: Surface, light: Light, wrap: FloatArray | float = 0.0) -> FloatArray:
    """(P, 3) diffuse reflection. albedo: (3,) or (P, 3). wrap: how far light reaches past the terminator, by colour."""
    total = ambient(surface, light)
    for direction, colour, arriving in lamps(surface, light):
        cosine = surface.normal @ direction
        share = ((cosine[:, None] + wrap) / (1 + np.asarray(wrap, np.float32))).clip(0)
        total += share * arriving[:, None] * colour
    return albedo * total * np.float32(0.5)


def ambient(surface: Surface, light: Light) -> FloatArray:
    """(P, 3) light from the sky above and the ground below."""
    up = surface.normal[:, 2:] * np.float32(0.5) + np.float32(0.5)
    return np.array(light.ground, np.float32) * (1 - up) + np.array(light.sky, np.float32) * up


def lamps(surface: Surface, light: Light) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """For the key and the fill light: the direction towards it, its colour, and the share that arrives (P,)."""
    for (towards, colour), arriving in ((light.key, surface.lit), (light.fill, np.ones_like(surface.lit))):
        direction = np.array(towards, np.float32)
        yield direction / np.linalg.norm(direction), np.array(colour, np.float32), arriving


def highlight(surface: Surface, light: Light, power: float) -> FloatArray:
    """(P, 3) specular reflection: Blinn-Phong with Schlick's Fresnel term. power: the larger, the smaller the spot."""
    total = np.zeros((len(surface.lit), 3), np.float32)
    fresnel = (1 - np.einsum("pk,pk->p", surface.view, surface.normal).clip(0, 1)) ** 5
    for direction, colour, arriving in lamps(surface, light):
        half = normalize(surface.view + direction)
        shine = np.einsum("pk,pk->p", half, surface.normal).clip(0) ** np.float32(power) * np.float32((power + 8) / 25)
        total += (shine * arriving * (1 + 4 * fresnel))[:, None] * colour
    return total


class Shadow:
    """Soft shadows of the key light: an exponential shadow map (Annen et al., 2008).

    points, faces: of everything that casts shadows. head: number of vertices of the head, which come first.
    """

    _SHARPNESS = 0.22  # per mm

    def __init__(self, points: FloatArray, faces: IntArray, head: int, light: Light) -> None:
        direction = np.array(light.key[0]) / np.linalg.norm(light.key[0])
        across = np.cross(direction, (0.1, 0.2, 1.0))
        across /= np.linalg.norm(across)
        self._frame = np.stack([across, np.cross(direction, across), -direction]).astype(np.float32)
        turned = points @ self._frame.T
        inner = turned[:head]  # shadows of what is farther away are left out
        self._low = inner.min(0) - np.float32(30)
        self._scale = np.float32((_MAP_SIZE - 1) / (np.ptp(inner[:, :2], axis=0).max() + 60))
        nearest = np.full(_MAP_SIZE * _MAP_SIZE, 1e4, np.float32)
        fragments = rasterise(self._map(turned), faces, _MAP_SIZE, _MAP_SIZE)
        nearest[fragments.pixel] = fragments.depth
        depths = np.exp(self._SHARPNESS * (nearest - 150).clip(None, 230)).reshape(_MAP_SIZE, _MAP_SIZE)
        self._table = cv2.GaussianBlur(depths, (0, 0), 1.1)

    def lit(self, position: FloatArray, normal: FloatArray) -> FloatArray:
        """(P,) 0..1, the share of the key light that reaches surfaces at (P, 3) positions with (P, 3) normals."""
        points = self._map((position + 2.0 * normal) @ self._frame.T)
        behind = np.exp(-self._SHARPNESS * (points[:, 2] - 151.5).clip(None, 230))
        nearest = look_up(self._table, points[:, 0] - 0.5, points[:, 1] - 0.5, cv2.BORDER_REPLICATE)
        return smoothstep((nearest * behind).clip(0, 1)).astype(np.float32)

    def _map(self, turned: FloatArray) -> FloatArray:
        return (turned - self._low) * np.array((self._scale, self._scale, 1), np.float32)
