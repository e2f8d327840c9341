"""The scene of an image: pose, expression, light, surroundings and camera settings."""

from dataclasses import dataclass

import numpy as np

from oamface.errors import SynthError
from oamface.synthetic.raster import FloatArray

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A key light that casts shadows, a fill light that does not, and ambient light from above and below.

    key, fill: direction towards the light (x to the image's right, y away from the camera, z up) and its colour.
    Colours are linear RGB. stops: by which the light is darker than the camera's exposure expects.
    """

    key: tuple[Colour, Colour]
    fill: tuple[Colour, Colour]
    sky: Colour
    ground: Colour
    stops: float = 0.0


_LIGHT_TABLE = """
name         | key from       | colour        | fill from     | colour         | sky            | ground         | stops
studio       | -0.5 -1 0.6    | 1.9 1.85 1.8  | 0.9 -0.8 0.1  | 0.55 0.56 0.6  | 0.5 0.5 0.52   | 0.3 0.28 0.26  | 0
window left  | -1 -0.55 0.3   | 2.2 2.2 2.3   | 0.8 -1 0      | 0.25 0.23 0.2  | 0.42 0.42 0.44 | 0.26 0.24 0.21 | 0
window right | 1 -0.6 0.35    | 2.1 2.15 2.3  | -0.8 -1 0     | 0.25 0.23 0.2  | 0.45 0.45 0.47 | 0.26 0.24 0.21 | 0
sun          | 0.4 -0.7 1.3   | 3 2.8 2.45    | -0.6 -1 0.2   | 0.3 0.33 0.4   | 0.55 0.65 0.85 | 0.35 0.32 0.26 | 0
evening      | -0.9 -0.8 0.22 | 2.6 1.75 1    | 0.7 -0.9 0.2  | 0.3 0.33 0.42  | 0.35 0.42 0.6  | 0.25 0.2 0.16  | 0
office       | 0.1 -0.45 1    | 1.6 1.7 1.45  | -0.2 -1 0.1   | 0.5 0.53 0.47  | 0.75 0.8 0.7   | 0.3 0.3 0.26   | 0
overcast     | 0 -0.7 1       | 0.7 0.72 0.76 | 0.3 -1 0.2    | 0.35 0.36 0.38 | 1 1.03 1.1     | 0.4 0.39 0.36  | 0
flash        | 0.05 -1 0.12   | 2.3 2.3 2.35  | 0.6 -0.6 0.5  | 0.15 0.13 0.1  | 0.22 0.2 0.18  | 0.16 0.14 0.12 | 0
lamp         | 0.7 -0.9 0.6   | 1.9 1.35 0.75 | -0.8 -0.7 0.1 | 0.2 0.17 0.14  | 0.32 0.27 0.2  | 0.2 0.16 0.12  | 0
dusk         | -0.4 -1 0.7    | 0.75 0.85 1.2 | 0.8 -0.9 0.2  | 0.4 0.36 0.34  | 0.5 0.58 0.85  | 0.25 0.26 0.32 | 1
"""


def _read_light(columns: list[str]) -> Light:
    *triples, stops = columns
    numbers = [tuple(float(number) for number in triple.split()) for triple in triples]
    key, key_colour, fill, fill_colour, sky, ground = ((x, y, z) for x, y, z in numbers)
    return Light((key, key_colour), (fill, fill_colour), sky, ground, float(stops))


_LIGHT_ROWS = [[cell.strip() for cell in line.split("|")] for line in _LIGHT_TABLE.strip().splitlines()[1:]]
LIGHTS = {name: _read_light(columns) for name, *columns in _LIGHT_ROWS}
SURROUNDINGS = ("plain", "room", "street", "park", "shelf")
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 0.65, "cheekSquint": 0.35, "eyeSquint": 0.2, "mouthDimple": 0.2},
    "slight smile": {"mouthSmile": 0.3, "mouthDimple": 0.15},
    "serious": {"browDown": 0.35, "mouthPress": 0.3},
    "surprised": {"browInnerUp": 0.6, "browOuterUp": 0.5, "eyeWide": 0.4, "jawOpen": 0.12},
    "sad": {"browInnerUp": 0.5, "mouthFrown": 0.45, "eyeSquint": 0.1},
    "talking": {"jawOpen": 0.16, "mouthFunnel": 0.15},
}


@dataclass(frozen=True)
class Scene:
    """yaw, pitch, roll: of the head in degrees; positive turns to the image's right, up, and clockwise.

    gaze: of the eyes relative to the head, degrees (right, up). light: of LIGHTS. surroundings: of SURROUNDINGS.
    expression: of EXPRESSIONS. fill: the head's height as a share of the image's. shift: of the head, as a share of
    the image's side (right, down). distance: of the camera in mm. stops: of exposure. warmth: of the white balance, -1
    to 1. noise: of the sensor, 0 to 1. blur: standard deviation in pixels of an image of 256 px. quality: of the JPEG,
    1 to 100. seed: of the noise and the surroundings. Raises SynthError: a value out of range or unknown.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    light: str = "studio"
    surroundings: str = "plain"
    expression: str = "neutral"
    fill: float = 0.8
    shift: tuple[float, float] = (0.0, 0.0)
    distance: float = 1200.0
    stops: float = 0.0
    warmth: float = 0.0
    noise: float = 0.1
    blur: float = 0.4
    quality: int = 93
    seed: int = 0

    def __post_init__(self) -> None:
        for what, names in (("light", LIGHTS), ("surroundings", SURROUNDINGS), ("expression", EXPRESSIONS)):
            if getattr(self, what) not in names:
                raise SynthError(f"{what} {getattr(self, what)!r}: known are {', '.join(names)}")
        if abs(self.yaw) > 60 or abs(self.pitch) > 40 or abs(self.roll) > 60:
            raise SynthError(
                f"pose {self.yaw}, {self.pitch}, {self.roll}: up to 60 degrees of yaw and roll, 40 of pitch"
            )
        if not 0.2 <= self.fill <= 1.2 or self.distance < 400 or not 1 <= self.quality <= 100:
            raise SynthError("fill 0.2 to 1.2, distance from 400 mm, quality 1 to 100")

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Scene":
        """A random everyday scene. Most people look roughly at the camera."""
        return cls(
            yaw=float(np.clip(rng.normal(0, 13), -38, 38)),
            pitch=float(np.clip(rng.normal(-1, 6), -20, 18)),
            roll=float(np.clip(rng.normal(0, 4), -15, 15)),
            gaze=(float(np.clip(rng.normal(0, 6), -15, 15)), float(np.clip(rng.normal(0, 3), -8, 8))),
            light=str(rng.choice(list(LIGHTS))),
            surroundings=str(rng.choice(SURROUNDINGS)),
            expression=str(rng.choice(list(EXPRESSIONS), p=(0.3, 0.22, 0.22, 0.08, 0.05, 0.05, 0.08))),
            fill=float(rng.uniform(0.6, 0.95)),
            shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.02))),
            distance=float(rng.uniform(600, 2400)),
            stops=float(np.clip(rng.normal(0, 0.3), -1, 0.7)),
            warmth=float(np.clip(rng.normal(0, 0.25), -0.8, 0.8)),
            noise=float(rng.beta(1.2, 6)),
            blur=float(abs(rng.normal(0.3, 0.35))),
            quality=int(rng.integers(70, 97)),
            seed=int(rng.integers(2**31)),
        )


def facial_actions(scene: Scene, names: tuple[str, ...]) -> dict[str, float]:
    """The values, 0..1, of anny's facial actions that the expression and the gaze use. names: of all actions."""
    expression, values = EXPRESSIONS[scene.expression], {}
    for name in names:
        base = name.removesuffix("Left").removesuffix("Right")
        if base in expression:
            values[name] = expression[base]
    right, up = scene.gaze
    # The person's left eye is on the image's right.
    if right > 0:
        values |= dict.fromkeys(("eyeLookOutLeft", "eyeLookInRight"), right / 30)
    elif right < 0:
        values |= dict.fromkeys(("eyeLookInLeft", "eyeLookOutRight"), -right / 30)
    vertical = ("eyeLookUpLeft", "eyeLookUpRight") if up > 0 else ("eyeLookDownLeft", "eyeLookDownRight")
    return values | dict.fromkeys(vertical, abs(up) / 25)


def rotation(scene: Scene) -> FloatArray:
    """(3, 3) rotation of the head, for column vectors."""
    yaw, pitch, roll = np.radians((scene.yaw, scene.pitch, scene.roll))
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    tilt = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    return (tilt @ turn @ nod).astype(np.float32)
