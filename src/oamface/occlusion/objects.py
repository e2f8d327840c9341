"""Draws occluders other than masks: sunglasses, scarf, hand, phone, hair, beard, helmet, a plain patch."""

import numpy as np

from oamface.occlusion.canvas import Canvas, Colour, FloatArray, mirrored, smooth
from oamface.occlusion.face_frame import Points

_HAIR = ((60, 45, 35), (30, 26, 24), (140, 105, 70), (110, 60, 35), (170, 165, 160))


def sunglasses(canvas: Canvas) -> None:
    """Two dark lenses with a bridge and arms; sometimes with a gleam."""
    rng = canvas.rng
    wide, high, square = rng.uniform(0.34, 0.46), rng.uniform(0.24, 0.38), rng.uniform(2, 5)
    tone = rng.uniform(8, 60)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lens = _superellipse(angles, wide, high, square)
    opaque = rng.uniform(0.85, 1.0)
    for side in (-1, 1):
        outline = lens + (side * 0.5, 0.04)
        area = canvas.area(np.column_stack([outline, np.full(len(outline), 0.12)]))
        canvas.shadow(area, 0.2)
        rows = canvas.coordinates()[1]
        canvas.draw(area * opaque, (tone, tone * 0.95, tone * 0.9), shade=1 + 0.5 * np.clip(rows, -0.4, 0.4))
        canvas.draw(canvas.line([(side * (0.5 + wide), -0.02), (side * 1.12, -0.08)], 0.06), (tone, tone, tone))
    canvas.draw(canvas.line([(-0.5 + wide, 0, 0.15), (0, -0.05, 0.2), (0.5 - wide, 0, 0.15)], 0.05), (tone, tone, tone))
    if rng.random() < 0.5:
        x = rng.choice([-0.5, 0.5]) + rng.uniform(-0.1, 0.1)
        gleam = canvas.soften(canvas.line([(x, -0.1, 0.12), (x + 0.1, 0.12, 0.12)], 0.06), 0.03)
        canvas.draw(gleam * 0.5, (240, 240, 245))


def scarf(canvas: Canvas) -> None:
    """Cloth wound over mouth and neck, wider than the face. It does not count as a mask."""
    rng = canvas.rng
    top = rng.uniform(0.35, 1.0)
    edge = [(x, top + 0.12 * x * x + rng.normal(0, 0.03), 0.25 * (1 - x * x / 2.6)) for x in np.linspace(-1.5, 1.5, 11)]
    area = canvas.area(np.array([*edge, (1.7, 3.2, 0), (-1.7, 3.2, 0)]))
    canvas.shadow(area, 0.35)
    x, y = canvas.coordinates()
    wave = rng.uniform(0.25, 0.5)
    folds = np.sin(2 * np.pi * (y + 0.15 * x * x * rng.normal(1, 0.5) + 0.08 * canvas.noise(0.6)) / wave)
    knit = 1 + 0.05 * canvas.noise(0.03)
    canvas.draw(area, _any_colour(canvas), shade=(1 + 0.2 * folds) * knit)


def hand(canvas: Canvas) -> None:
    """Fingers and the back of a hand, in the skin's own colour, over mouth, cheek or an eye."""
    rng = canvas.rng
    skin = _skin(canvas)
    turn = rng.uniform(-1.2, 1.2) + (np.pi if rng.random() < 0.2 else 0)
    start = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.9, 1.7)])
    along = np.array([np.sin(turn), -np.cos(turn)])
    side = np.array([along[1], -along[0]])
    palm = start - along * 0.45
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    back = palm + np.outer(np.cos(angles), side) * 0.42 + np.outer(np.sin(angles), along) * 0.5
    canvas.draw(canvas.area(back), skin, shade=1 + 0.06 * canvas.noise(0.2))
    wrist = np.stack([palm, palm - along * 2.5])
    canvas.draw(canvas.line(wrist, 0.55), skin)
    for finger in range(4):
        offset = (finger - 1.5) * 0.2
        length = rng.uniform(0.6, 0.95) - 0.1 * abs(finger - 1.5)
        bend = rng.normal(0, 0.08)
        root = start + side * offset
        line = [root - along * 0.2, root + along * length * 0.5, root + along * length + side * bend]
        canvas.shadow(canvas.line(line, 0.22), 0.25, 0.03)
        body = canvas.line(line, 0.17)
        rounded = canvas.soften(canvas.line(line, 0.07), 0.05)
        canvas.draw(body, skin, shade=0.85 + 0.25 * rounded)


def phone(canvas: Canvas) -> None:
    """A dark slab held before the cheek or the mouth, with a camera or a bright screen edge."""
    rng = canvas.rng
    centre = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.4, 1.3)])
    turn = rng.normal(0, 0.35)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    slab = _turned(_superellipse(angles, 0.42, 0.75, 8), turn) + centre
    tone = rng.uniform(10, 235)
    canvas.shadow(canvas.area(slab), 0.3)
    canvas.draw(canvas.area(slab), (tone, tone, tone * rng.uniform(0.95, 1.05)), shade=1 + 0.05 * canvas.noise(0.8))
    camera = _turned(_superellipse(angles, 0.1, 0.14, 4), turn) + centre + _turned(np.array([[0.24, -0.52]]), turn)
    canvas.draw(canvas.area(camera), (15, 15, 18))


def hair(canvas: Canvas) -> None:
    """Strands that fall over forehead and one side of the face."""
    rng = canvas.rng
    side, dark = rng.choice([-1, 1]), rng.uniform(0.15, 0.8)
    colour = np.array(_HAIR[rng.integers(5)]) * (0.6 + dark / 2)
    reach = rng.uniform(0.1, 0.8)
    for _ in range(6):
        strands = []
        for _ in range(int(rng.integers(2, 6))):
            x = side * (1.15 - rng.random() * reach)
            fall = [
                (x * 0.6 + side * 0.2, -1.1),
                (x + rng.normal(0, 0.06), -0.3),
                (x + rng.normal(0, 0.1), 0.5),
                (x + rng.normal(0, 0.15), rng.uniform(0.9, 2.0)),
            ]
            strands.append(_curve(fall))
        canvas.draw(canvas.lines(strands, rng.uniform(0.03, 0.09)), colour * rng.uniform(0.7, 1.3))


def beard(canvas: Canvas) -> None:
    """A beard along the jaw, from stubble to full, with a moustache or without, around free lips."""
    rng = canvas.rng
    colour = np.array(_HAIR[rng.integers(5)]) * rng.uniform(0.6, 1.1)
    full = rng.uniform(0, 1)
    area = _bearded(canvas, full, moustache=bool(rng.random() < 0.8))
    grain = np.clip(0.75 + 0.3 * canvas.noise(0.03) + 0.2 * canvas.noise(0.15), 0, 1)
    canvas.shadow(area, 0.3 * full, 0.1)
    canvas.draw(area * grain * (0.3 + 0.6 * full), colour * 0.8)
    roots = rng.uniform((-1, 0.6), (1, 1.95 + 0.3 * full), (int(150 + 350 * full), 2))
    # Hair grows down and away from the midline; that of a moustache mostly aside.
    aside = np.sign(roots[:, 0]) * np.where(roots[:, 1] < 0.95, 0.8, 0.25) + rng.normal(0, 0.35, len(roots))
    grown = np.column_stack([aside, rng.uniform(0.5, 1, len(roots))]) * rng.uniform(0.03, 0.05 + 0.17 * full)
    strands = np.stack([roots, roots + grown], 1)
    for tone, some in zip((0.6, 1.0, 1.35), np.array_split(strands, 3), strict=True):
        hairs = canvas.soften(canvas.lines(some, 0.015), 0.012)
        canvas.draw(hairs * area * (0.4 + 0.4 * full), colour * tone)


def helmet(canvas: Canvas) -> None:
    """An open-face helmet over forehead and ears, with a strap, sometimes a cup, under the chin."""
    rng = canvas.rng
    brow, ear, open_to = rng.uniform(-0.75, -0.4), rng.uniform(0.1, 1.0), rng.uniform(0.88, 1.05)
    inner = [(0, brow, 0), (0.55, brow + 0.03, 0), (open_to, brow + 0.25, 0), (open_to + 0.03, ear, 0)]
    outer = [(1.35, ear + 0.05, 0), (1.5, -0.6, 0), (1.1, -1.7, 0), (0, -2.2, 0)]
    shell = canvas.area(smooth(mirrored([*inner, *outer]), 2))
    thick, tone = rng.uniform(0.05, 0.14), rng.uniform(15, 90)
    low, wide = rng.uniform(1.6, 1.85), rng.uniform(0.8, 0.98)
    across = np.linspace(-1, 1, 15)
    down = low - (low - ear) * np.abs(across) ** rng.uniform(2.5, 4)
    strap = canvas.line(np.column_stack([wide * across, down]), thick)
    if rng.random() < 0.5:  # the second leg of a strap that forks below the ears
        leg = np.array([(wide - 0.2, ear - 0.1), (0.86 * wide, 0.4 * ear + 0.6 * low)])
        strap = np.maximum(strap, canvas.lines([leg, leg * (-1, 1)], thick))
    canvas.shadow(np.maximum(shell, strap), rng.uniform(0.15, 0.4))
    canvas.draw(strap, (tone, tone, tone * rng.uniform(0.9, 1.2)), shade=1 + 0.1 * canvas.noise(0.04))
    if rng.random() < 0.3:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        cup = _superellipse(angles, rng.uniform(0.28, 0.42), rng.uniform(0.12, 0.2), 3) + (0, low - 0.02)
        canvas.draw(canvas.area(cup), (tone, tone, tone))
    x, y = canvas.coordinates()
    gleam = np.exp(-8 * ((x - rng.uniform(-0.6, 0.6)) ** 2 + (y + 1.1) ** 2))
    canvas.draw(shell, _any_colour(canvas), shade=1.05 - 0.2 * x * x + 0.5 * gleam * rng.uniform(0, 1))


def patch(canvas: Canvas) -> None:
    """A plain rectangle or oval anywhere on the face: an occluder without the look of any object."""
    rng = canvas.rng
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    shape = _superellipse(angles, rng.uniform(0.25, 0.9), rng.uniform(0.2, 0.7), rng.choice([2.0, 12.0]))
    outline = _turned(shape, rng.normal(0, 0.4)) + (rng.uniform(-0.7, 0.7), rng.uniform(-0.3, 1.6))
    canvas.draw(canvas.area(outline), _any_colour(canvas), lit=bool(rng.random() < 0.5))


def _bearded(canvas: Canvas, full: float, *, moustache: bool) -> FloatArray:
    """(H, W) 0..1: where a beard grows. full: 0 for short to 1 for long."""
    rng = canvas.rng
    chin, cheek = 1.8 + 0.3 * full, rng.uniform(0.9, 1.2)
    jaw = [(1.0, 0.45), (0.98, 0.9), (0.8 + 0.06 * full, 1.4), (0.45 + 0.1 * full, chin - 0.1), (0, chin)]
    # From the lip, or from below the mouth, past its corner and up the cheek's edge.
    lip = [(0, 0.74), (0.2, 0.76), (0.45, 0.88)] if moustache else [(0, 1.3), (0.3, 1.25), (0.55, 1.2)]
    outline = mirrored([*lip, (0.68, cheek), (0.85, 0.85), (0.92, 0.42), *jaw])
    area = canvas.soften(canvas.area(smooth(outline, 2)), 0.05)
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = canvas.area(_superellipse(angles, 0.36, rng.uniform(0.1, 0.16), 1.6) + (0, 1.0))
    return area * (1 - canvas.soften(lips, 0.02))


def _superellipse(angles: Points, wide: float, high: float, power: float) -> Points:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.column_stack(
        [wide * np.sign(cos) * np.abs(cos) ** (2 / power), high * np.sign(sin) * np.abs(sin) ** (2 / power)]
    )


def _turned(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _curve(points: list[tuple[float, float]]) -> Points:
    """A smooth open line through the first and last of four points (Bezier)."""
    t = np.linspace(0, 1, 10)[:, None]
    a, b, c, d = (np.array(point) for point in points)
    curve: Points = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    return curve


def _skin(canvas: Canvas) -> Colour:
    """The colour of the cheeks, without the light that `Canvas.draw` multiplies it by."""
    samples = []
    for point in canvas.frame.project([(-0.45, 0.5), (0.45, 0.5), (0, 0.3)]):
        x, y = int(np.clip(point[0], 0, canvas.width - 1)), int(np.clip(point[1], 0, canvas.height - 1))
        samples.append(canvas.paint[y, x])
    red, green, blue = np.median(samples, 0) / min(1.2, 0.45 + 0.9 * canvas.brightness) * canvas.rng.normal(1, 0.05)
    return float(red), float(green), float(blue)


def _any_colour(canvas: Canvas) -> Colour:
    red, green, blue = canvas.rng.uniform(15, 235, 3) * 0.6 + canvas.rng.uniform(10, 235) * 0.4
    return float(red), float(green), float(blue)
