"""Draws face masks: surgical, respirator, cloth, polyurethane, transparent; in any of three positions."""

from collections.abc import Callable

import cv2
import numpy as np

from oamface.occlusion.canvas import Canvas, Colour, FloatArray, mirrored, smooth
from oamface.occlusion.face_frame import Points

# y of a mask's top edge in face coordinates, by its position.
TOP_EDGES = {"correct": 0.27, "below_nose": 0.66, "on_chin": 1.22}

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
    rng = canvas.rng
    outline = _outline(canvas, position, bridge=0.1, jaw=0.84, chin=0.5, bulge=0.12)
    area = _base(canvas, outline, loops=0.022)
    shade = _relief(canvas) * (1 + 0.03 * canvas.noise(0.3))
    top, bottom = _span(outline)
    for share in (0.3, 0.5, 0.7):
        y = top + (bottom - top) * share + rng.normal(0, 0.015)
        pleat = [(x, y + 0.07 * x * x - 0.05, 0.18 * (1 - x * x)) for x in np.linspace(-0.95, 0.95, 9)]
        fold = canvas.soften(canvas.line(pleat, 0.035), 0.02)
        lit = canvas.soften(canvas.line(np.array(pleat) + (0, 0.045, 0), 0.035), 0.02)
        shade = shade * (1 - 0.28 * fold + 0.1 * lit)
    shade = shade * (1 - 0.12 * canvas.soften(canvas.line(outline[: len(outline) // 2], 0.03), 0.01))
    canvas.draw(area, _colour(canvas, _SURGICAL), shade=shade)


def respirator(canvas: Canvas, position: str) -> None:
    """A cone with a seam down its middle (or a welded edge), sometimes a valve; straps around the head."""
    rng = canvas.rng
    outline = _outline(canvas, position, bridge=0.16, jaw=0.62, chin=0.26, bulge=0.42)
    area = _base(canvas, outline, loops=0.03)
    top, bottom = _span(outline)
    x, _ = canvas.coordinates()
    # Two planes that meet at the seam: the side away from the light is darker.
    side = float(np.clip(rng.normal(0, 0.5), -1, 1))
    shade = (1 + 0.14 * side * np.tanh(6 * x) - 0.12 * np.abs(x)) * (1 + 0.02 * canvas.noise(0.15))
    seam = [(0, y0, 0.42 * np.sin(np.pi * (y0 - top) / (bottom - top))) for y0 in np.linspace(top, bottom, 9)]
    shade = shade * (1 - 0.25 * canvas.soften(canvas.line(seam, 0.025), 0.012))
    rim = canvas.soften(canvas.line(np.concatenate([outline, outline[:1]]), 0.05), 0.012)
    colour = _colour(canvas, ((240, 240, 238), (232, 236, 240), (244, 240, 230), (60, 60, 64)))
    canvas.draw(area, colour, shade=shade * (1 - 0.12 * rim))
    if rng.random() < 0.35:
        centre = (rng.choice([-1, 1]) * rng.uniform(0.2, 0.4), (top + bottom) / 2 + 0.1)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        circle = (centre[0] + 0.17 * np.cos(angles), centre[1] + 0.15 * np.sin(angles))
        valve = np.column_stack([*circle, np.full(24, 0.3)])
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
    rng = canvas.rng
    outline = _outline(canvas, position, bridge=0.08, jaw=0.66, chin=0.34, bulge=0.2)
    area = _base(canvas, outline, loops=0.09)
    top, bottom = _span(outline)
    ridge = [(0, y0, 0.2 * np.sin(np.pi * (y0 - top) / (bottom - top))) for y0 in np.linspace(top, bottom, 7)]
    gleam = canvas.soften(canvas.line(ridge, 0.05), 0.05)
    shade = _relief(canvas) * (1 + 0.25 * gleam * rng.uniform(0, 1)) * (1 + 0.015 * canvas.noise(0.05))
    canvas.draw(area, _colour(canvas, _DARK), shade=shade)


def transparent(canvas: Canvas, position: str) -> None:
    """Clear plastic in an opaque rim, with a gleam. Its occlusion mask is how much of the skin it hides."""
    rng = canvas.rng
    outline = _outline(canvas, position, bridge=0.12, jaw=0.7, chin=0.36, bulge=0.2)
    area = _base(canvas, outline, loops=0.022)
    centre = outline.mean(0)
    window = canvas.area(centre + (outline - centre) * rng.uniform(0.72, 0.84))
    haze = rng.uniform(0.12, 0.3)
    rim = area * (1 - window) + area * window * haze
    canvas.draw(rim, _colour(canvas, _SURGICAL), shade=_relief(canvas))
    side = rng.choice([-1, 1])
    gleam = [(side * (0.3 + 0.1 * np.sin(3 * t)), centre[1] - 0.3 + 0.6 * t, 0.15) for t in np.linspace(0, 1, 6)]
    canvas.draw(canvas.soften(canvas.line(gleam, 0.06), 0.04) * window * rng.uniform(0.2, 0.6), (250, 250, 250))


def _cloth(canvas: Canvas, position: str, texture: Callable[[Canvas], FloatArray]) -> None:
    rng = canvas.rng
    outline = _outline(canvas, position, bridge=0.12, jaw=0.7, chin=0.36, bulge=0.16)
    area = _base(canvas, outline, loops=0.03)
    colour = np.asarray(_colour(canvas, _CLOTH), np.float32)
    other = np.asarray(_colour(canvas, _CLOTH), np.float32)
    share = texture(canvas)[..., None]
    folds = canvas.soften(np.clip(canvas.noise(0.45), -1, 1), 0.04)
    shade = _relief(canvas) * (1 + 0.12 * folds) * (1 + 0.03 * canvas.noise(0.03))
    top, bottom = _span(outline)
    if rng.random() < 0.5:
        seam = [(0, y0, 0.16) for y0 in np.linspace(top, bottom, 6)]
        shade = shade * (1 - 0.2 * canvas.soften(canvas.line(seam, 0.02), 0.012))
    hem = canvas.line(np.concatenate([outline, outline[:1]]), 0.07)
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
    for _ in range(28):
        where = canvas.frame.project([(rng.uniform(-0.9, 0.9), rng.uniform(0.3, 1.8))])[0]
        petal = max(1, int(canvas.unit * rng.uniform(0.02, 0.06)))
        turn = rng.uniform(0, np.pi)
        for step in range(5):
            angle = turn + step * 2 * np.pi / 5
            centre = where + petal * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(share, (round(float(centre[0])), round(float(centre[1]))), petal, 255, -1, cv2.LINE_AA)
    return share.astype(np.float32) / np.float32(255)


def _outline(canvas: Canvas, position: str, *, bridge: float, jaw: float, chin: float, bulge: float) -> Points:
    """A mask's closed edge: bridge (how far it rises to the nose), half-widths at jaw and chin, bulge over the nose."""
    rng = canvas.rng
    top = TOP_EDGES[position] + rng.normal(0, 0.04)
    shift = 0.0 if position == "correct" else 0.08 if position == "below_nose" else 0.2
    low = 1.78 + shift + rng.normal(0, 0.05)
    wide = rng.normal(0.97, 0.03)
    side = max(top + 0.12, (0.36 if position == "correct" else top) + 0.1)
    half = [
        (0.0, top - bridge if position == "correct" else top, bulge),
        (0.22, top - 0.35 * bridge, 0.6 * bulge),
        (0.55, top + 0.1, 0.25 * bulge),
        (wide, side, 0.0),
        (wide - 0.07, max(side + 0.2, 1.1 + shift), 0.0),
        (jaw, max(side + 0.3, 1.46 + shift), 0.1 * bulge),
        (chin, low, 0.3 * bulge),
        (0.0, low + 0.05, 0.4 * bulge),
    ]
    outline = mirrored(half) + rng.normal(0, 0.012, (16, 3))
    tilt = rng.normal(0, 0.03)
    outline[:, 1] += tilt * outline[:, 0]
    return smooth(outline, 2)


def _span(outline: Points) -> tuple[float, float]:
    return float(outline[:, 1].min()), float(outline[:, 1].max())


def _base(canvas: Canvas, outline: Points, *, loops: float) -> FloatArray:
    """Draw the ear loops and the mask's shadow on the face; returns the mask's area (H, W)."""
    rng = canvas.rng
    area = canvas.area(outline)
    if rng.random() < 0.7:
        area = canvas.soften(area, rng.uniform(0.005, 0.02))
    canvas.shadow(area, rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.09))
    widest = float(outline[:, 0].max())
    sides = outline[outline[:, 0] > 0.8 * widest]
    above, below = float(sides[:, 1].min()), float(sides[:, 1].max())
    ear = 0.15 + rng.normal(0, 0.05)
    tone = rng.uniform(190, 245) if loops < 0.08 else rng.uniform(25, 70)
    for side in (-1, 1):
        for start in (above + 0.04, below - 0.04):
            strap = [(side * widest * 0.97, start), (side * 1.06, (start + ear) / 2), (side * 1.13, ear)]
            canvas.draw(canvas.line(strap, loops), (tone, tone, tone))
    return area


def _relief(canvas: Canvas) -> FloatArray:
    """(H, W) about 1: the shade of a rounded surface, lit from a random side."""
    x, y = canvas.coordinates()
    side = float(canvas.rng.normal(0, 0.08))
    return np.clip(1.04 + side * x - 0.16 * x * x - 0.07 * np.clip(y - 1, -1, 1), 0.5, 1.4)


def _colour(canvas: Canvas, choices: tuple[Colour, ...]) -> Colour:
    base = np.array(choices[canvas.rng.integers(len(choices))], float)
    red, green, blue = np.clip(base * canvas.rng.normal(1, 0.06) + canvas.rng.normal(0, 10, 3), 8, 250)
    return float(red), float(green), float(blue)
