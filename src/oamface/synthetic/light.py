"""How light falls on surfaces: matt, shining, in shadow."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from oamface.synthetic.raster import FloatArray, IntArray, rasterise
from oamface.synthetic.scene import Light
from oamface.synthetic.skin import look_up, ramp

_SHADOW = 144  # pixels of the shadow map


@dataclass(frozen=True)
class Surface:
    """A lit point for each of P fragments: outward (P, 3), towards the eye (P, 3), key light that arrives (P,)."""

    outward: FloatArray
    view: FloatArray
    lit: FloatArray


def unit(vectors: FloatArray) -> FloatArray:
    """(P, 3) at length 1."""
    return vectors / (np.sqrt(np.einsum("pk,pk->p", vectors, vectors))[:, None] + np.float32(1e-9))


def shade(albedo: FloatArray, surface: Surface, light: Light, wrap: FloatArray | float = 0.0) -> FloatArray:
    """Light that a matt surface gives back; wrap: how far it reaches around, by colour."""
    total = ambient(surface, light)
    for towards, colour, reach in lamps(surface, light):
        cosine = surface.outward @ towards
        share = ((cosine[:, None] + wrap) / (1 + np.asarray(wrap, np.float32))).clip(0)
        total += share * reach[:, None] * colour
    return albedo * total * np.float32(0.5)


def ambient(surface: Surface, light: Light) -> FloatArray:
    """(P, 3): from the sky above and the ground below."""
    up = surface.outward[:, 2:] * np.float32(0.5) + np.float32(0.5)
    return np.array(light.ground, np.float32) * (1 - up) + np.array(light.sky, np.float32) * up


def lamps(surface: Surface, light: Light) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """The key and the fill: direction towards it, colour, and how much of it arrives (P,)."""
    for (direction, colour), reach in ((light.key, surface.lit), (light.fill, np.ones_like(surface.lit))):
        towards = np.array(direction, np.float32)
        yield towards / np.linalg.norm(towards), np.array(colour, np.float32), reach


def highlight(surface: Surface, light: Light, power: float) -> FloatArray:
    """(P, 3): mirrored light, Blinn-Phong with Schlick's rise towards the rim."""
    total = np.zeros((len(surface.lit), 3), np.float32)
    rim = (1 - np.einsum("pk,pk->p", surface.view, surface.outward).clip(0, 1)) ** 5
    for towards, colour, reach in lamps(surface, light):
        half = unit(surface.view + towards)
        shine = np.einsum("pk,pk->p", half, surface.outward).clip(0) ** np.float32(power) * np.float32((power + 8) / 25)
        total += (shine * reach * (1 + 4 * rim))[:, None] * colour
    return total


class Shadow:
    """What the key light reaches: exponential shadow maps (Annen et al., 2008), soft and cheap."""

    _SHARP = 0.22  # per mm

    def __init__(self, points: FloatArray, faces: IntArray, framed: int, light: Light) -> None:
        direction = np.array(light.key[0]) / np.linalg.norm(light.key[0])
        across = np.cross(direction, (0.1, 0.2, 1.0))
        across /= np.linalg.norm(across)
        self._frame = np.stack([across, np.cross(direction, across), -direction]).astype(np.float32)
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
