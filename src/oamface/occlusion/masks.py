"""Draws face masks: surgical, respirator, cloth, polyurethane, transparent; in any position of `positions`."""

from collections.abc import Callable

import cv2
import numpy as np

from oamface.occlusion.canvas import Canvas, Colour, FloatArray, mirrored, smooth
from oamface.occlusion.face_frame import Points
from oamface.occlusion.positions import POSITIONS, Fit

_SURGICAL = (
    (132, 190, 214),
    (120, 172, 208),
    (160, 208, 200),
    (228, 236, 240),
    (240, 240, 240),
    (214, 178, 190),
    (45, 45, 50),
)
_CLOTH = (
    (40, 40, 44),
    (70, 80, 110),
    (120, 50, 55),
    (90, 110, 80),
    (200, 190, 170),
    (150, 150, 155),
    (30, 50, 90),
    (220, 220, 222),
)
_DARK = ((28, 28, 30), (45, 45, 50), (70, 72, 78), (38, 42, 60), (200, 170, 170), (150, 150, 152))


def surgical(canvas: Canvas, position: str) -> None:
    """Pleated, three folds, ear loops at its four corners."""
    rng, fit = canvas.rng, POSITIONS[position](canvas)
    outline = _outline(canvas, bridge=0.07, jaw=0.86, chin=0.52, bulge=0.12)
    area = _base(canvas, fit, outline, loops=0.022)
    shade = _relief(canvas) * _creases(canvas, fit) * (1 + 0.03 * canvas.noise(0.3))
    x = np.linspace(-0.95, 0.95, 9)
    pleats = [
        np.column_stack([x, share + rng.normal(0, 0.01) + 0.045 * x * x - 0.03, 0.18 * (1 - x * x)])
        for share in (0.3, 0.5, 0.7)
    ]
    fold = canvas.soften(canvas.lines([fit.place(pleat) for pleat in pleats], 0.035), 0.02)
    lit = canvas.soften(canvas.lines([fit.place(pleat + (0, 0.03, 0)) for pleat in pleats], 0.035), 0.02)
    edge = canvas.soften(canvas.line(fit.place(outline[: len(outline) // 2]), 0.03), 0.01)
    shade = shade * (1 - 0.28 * fold + 0.1 * lit) * (1 - 0.12 * edge)
    canvas.draw(area, _colour(canvas, _SURGICAL), shade=shade)


def respirator(canvas: Canvas, position: str) -> None:
    """A cone with a seam down its middle (or a welded edge), sometimes a valve; straps around the head."""
    rng, fit = canvas.rng, POSITIONS[position](canvas)
    outline = _outline(canvas, bridge=0.1, jaw=0.64, chin=0.27, bulge=0.42)
    area = _base(canvas, fit, outline, loops=0.03)
    x, _ = canvas.coordinates()
    # Two planes that meet at the seam: the side away from the light is darker.
    side = float(np.clip(rng.normal(0, 0.5), -1, 1))
    shade = (1 + 0.14 * side * np.tanh(6 * x) - 0.12 * np.abs(x)) * (1 + 0.02 * canvas.noise(0.15))
    seam = canvas.line(fit.place(_middle(0.42)), 0.025)
    shade = shade * _creases(canvas, fit) * (1 - 0.25 * canvas.soften(seam, 0.012))
    rim = canvas.soften(canvas.line(fit.place(_closed(outline)), 0.05), 0.012)
    colour = _colour(canvas, ((240, 240, 238), (232, 236, 240), (244, 240, 230), (60, 60, 64)))
    canvas.draw(area, colour, shade=shade * (1 - 0.12 * rim))
    if rng.random() < 0.35:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        across = rng.choice([-1, 1]) * rng.uniform(0.2, 0.4) + 0.17 * np.cos(angles)
        valve = fit.place(np.column_stack([across, 0.57 + 0.1 * np.sin(angles), np.full(24, 0.3)]))
        grey = rng.uniform(170, 235)
        edge = canvas.soften(canvas.line(valve, 0.02), 0.01)
        canvas.draw(canvas.area(valve) * area, (grey, grey, grey), shade=1 - 0.3 * edge)


def cloth(canvas: Canvas, position: str) -> None:
    """Sewn cloth: plain, striped or dotted."""
    _cloth(canvas, position, (_plain, _plain, _stripes, _dots)[canvas.rng.integers(4)])


def checked(canvas: Canvas, position: str) -> None:
    """Sewn cloth with a checked or floral print."""
    _cloth(canvas, position, (_checks, _flowers)[canvas.rng.integers(2)])


def polyurethane(canvas: Canvas, position: str) -> None:
    """Tight, dark, one piece with its ear loops, a sharp ridge along the middle."""
    rng, fit = canvas.rng, POSITIONS[position](canvas)
    outline = _outline(canvas, bridge=0.05, jaw=0.68, chin=0.35, bulge=0.2)
    colour = _colour(canvas, _DARK)
    area = _base(canvas, fit, outline, loops=0.09, strap=colour)
    gleam = canvas.soften(canvas.line(fit.place(_middle(0.2)), 0.05), 0.05)
    shade = _relief(canvas) * (1 + 0.25 * gleam * rng.uniform(0, 1)) * (1 + 0.015 * canvas.noise(0.05))
    canvas.draw(area, colour, shade=shade * _creases(canvas, fit))


def transparent(canvas: Canvas, position: str) -> None:
    """Clear plastic in an opaque rim, with a gleam. Its occlusion mask is how much of the skin it hides."""
    rng, fit = canvas.rng, POSITIONS[position](canvas)
    outline = _outline(canvas, bridge=0.08, jaw=0.72, chin=0.37, bulge=0.2)
    area = _base(canvas, fit, outline, loops=0.022)
    centre = outline.mean(0)
    window = canvas.area(fit.place(centre + (outline - centre) * rng.uniform(0.72, 0.84)))
    haze = rng.uniform(0.12, 0.3)
    rim = area * (1 - window) + area * window * haze
    canvas.draw(rim, _colour(canvas, _SURGICAL), shade=_relief(canvas) * _creases(canvas, fit))
    side, t = rng.choice([-1, 1]), np.linspace(0, 1, 6)
    gleam = np.column_stack([side * (0.3 + 0.1 * np.sin(3 * t)), 0.3 + 0.4 * t, np.full(6, 0.15)])
    light = canvas.soften(canvas.line(fit.place(gleam), 0.06), 0.04)
    canvas.draw(light * window * rng.uniform(0.2, 0.6), (250, 250, 250))


def _cloth(canvas: Canvas, position: str, texture: Callable[[Canvas], FloatArray]) -> None:
    rng, fit = canvas.rng, POSITIONS[position](canvas)
    outline = _outline(canvas, bridge=0.08, jaw=0.72, chin=0.37, bulge=0.16)
    area = _base(canvas, fit, outline, loops=0.03)
    colour = np.asarray(_colour(canvas, _CLOTH), np.float32)
    other = np.asarray(_colour(canvas, _CLOTH), np.float32)
    share = texture(canvas)[..., None]
    folds = canvas.soften(np.clip(canvas.noise(0.45), -1, 1), 0.04)
    shade = _relief(canvas) * _creases(canvas, fit) * (1 + 0.12 * folds) * (1 + 0.03 * canvas.noise(0.03))
    if rng.random() < 0.5:
        shade = shade * (1 - 0.2 * canvas.soften(canvas.line(fit.place(_middle(0.16)), 0.02), 0.012))
    hem = canvas.line(fit.place(_closed(outline)), 0.07)
    canvas.draw(area, colour * (1 - share) + other * share, shade=shade * (1 - 0.1 * hem))


def _plain(canvas: Canvas) -> FloatArray:
    return np.zeros((canvas.height, canvas.width), np.float32)


def _stripes(canvas: Canvas) -> FloatArray:
    x, y = canvas.coordinates()
    angle, wave = canvas.rng.uniform(0, np.pi), canvas.rng.uniform(0.12, 0.35)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / wave
    return np.clip(4 * np.sin(2 * np.pi * phase), 0, 1)


def _dots(canvas: Canvas) -> FloatArray:
    x, y = canvas.coordinates()
    wave = canvas.rng.uniform(0.14, 0.32)
    return np.clip(5 * (np.cos(2 * np.pi * x / wave) + np.cos(2 * np.pi * y / wave) - 1.1), 0, 1)


def _checks(canvas: Canvas) -> FloatArray:
    x, y = canvas.coordinates()
    wave = canvas.rng.uniform(0.16, 0.34)
    across, down = np.sin(2 * np.pi * x / wave) > 0, np.sin(2 * np.pi * y / wave) > 0
    return (0.5 * across + 0.5 * down).astype(np.float32)


def _flowers(canvas: Canvas) -> FloatArray:
    rng, share = canvas.rng, np.zeros((canvas.height, canvas.width), np.uint8)
    for where in canvas.frame.project(rng.uniform((-1.7, 0.3), (1.7, 2.1), (60, 2))):
        petal = max(1, int(canvas.unit * rng.uniform(0.02, 0.06)))
        turn = rng.uniform(0, np.pi)
        for step in range(5):
            angle = turn + step * 2 * np.pi / 5
            centre = where + petal * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(share, (round(float(centre[0])), round(float(centre[1]))), petal, 255, -1, cv2.LINE_AA)
    return share.astype(np.float32) / np.float32(255)


def _outline(canvas: Canvas, *, bridge: float, jaw: float, chin: float, bulge: float) -> Points:
    """A mask's closed edge in mask coordinates.

    bridge: how far it rises to the nose. jaw, chin: its half-widths there. bulge: how far it stands out over the nose.
    """
    half = [
        (0.0, -bridge, bulge),
        (0.22, -0.35 * bridge, 0.6 * bulge),
        (0.55, 0.06, 0.25 * bulge),
        (1.0, 0.12, 0.0),
        (0.93, 0.54, 0.0),
        (jaw, 0.78, 0.1 * bulge),
        (chin, 0.99, 0.3 * bulge),
        (0.0, 1.02, 0.4 * bulge),
    ]
    return smooth(mirrored(half) + canvas.rng.normal(0, 0.012, (16, 3)) * (1, 0.7, 1), 2)


def _closed(outline: Points) -> Points:
    return np.concatenate([outline, outline[:1]])


def _middle(bulge: float) -> Points:
    """The line down a mask's middle, in mask coordinates."""
    y = np.linspace(0, 1, 9)
    return np.column_stack([np.zeros(9), y, bulge * np.sin(np.pi * y)])


def _base(canvas: Canvas, fit: Fit, outline: Points, *, loops: float, strap: Colour | None = None) -> FloatArray:
    """Draw the ear loops and the mask's shadow on the face; returns the mask's area (H, W).

    loops: their thickness. strap: their colour, any if None.
    """
    rng = canvas.rng
    area = canvas.area(fit.place(outline))
    if rng.random() < 0.7:
        area = canvas.soften(area, rng.uniform(0.005, 0.02))
    straps = canvas.lines(fit.straps, loops * rng.uniform(0.9, 1.5))
    canvas.shadow(np.maximum(area, 0.7 * straps), rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.09))
    tone = rng.uniform(190, 245) if rng.random() < 0.8 else rng.uniform(25, 70)
    canvas.draw(straps, strap or (tone, tone, tone))
    return area


def _creases(canvas: Canvas, fit: Fit) -> FloatArray | float:
    """(H, W) about 1: folds from side to side of a mask that is bunched up, each with a lit and a dark edge."""
    count = round(9 * fit.creases)
    if not count:
        return 1.0
    rng, step = canvas.rng, np.linspace(-1, 1, 6)
    middle, reach = rng.uniform(-0.8, 0.8, (count, 1)), rng.uniform(0.15, 0.7, (count, 1))
    y = rng.uniform(0, 1, (count, 1)) + rng.normal(0, 0.12, (count, 1)) * step + rng.normal(0, 0.015, (count, 6))
    folds = np.stack([middle + reach * step, y, np.full((count, 6), 0.05)], 2)
    dark, lit = (
        canvas.lines(fit.place((folds - (0, rise, 0)).reshape(-1, 3)).reshape(folds.shape), 0.05) for rise in (0, 0.09)
    )
    depth = np.float32(rng.uniform(0.15, 0.4))
    return 1 + depth * canvas.soften(0.6 * lit - dark, rng.uniform(0.025, 0.05))


def _relief(canvas: Canvas) -> FloatArray:
    """(H, W) about 1: the shade of a rounded surface, lit from a random side."""
    x, y = canvas.coordinates()
    side = float(canvas.rng.normal(0, 0.08))
    return np.clip(1.04 + side * x - 0.16 * x * x - 0.07 * np.clip(y - 1, -1, 1), 0.5, 1.4)


def _colour(canvas: Canvas, choices: tuple[Colour, ...]) -> Colour:
    base = np.array(choices[canvas.rng.integers(len(choices))], float)
    red, green, blue = np.clip(base * canvas.rng.normal(1, 0.06) + canvas.rng.normal(0, 10, 3), 8, 250)
    return float(red), float(green), float(blue)
