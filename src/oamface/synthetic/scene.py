"""Under what a person is seen: pose, expression, light, surroundings, camera."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.errors import SynthError
from oamface.images import RGBImage
from oamface.synthetic.raster import FloatArray

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A key light with shadows, a fill without, and what comes from above and below. Colours are linear RGB.

    key, fill: direction towards the light (x to the image's right, y away from the camera, z up) and its colour.
    """

    key: tuple[Colour, Colour]
    fill: tuple[Colour, Colour]
    sky: Colour
    ground: Colour
    stops: float = 0.0  # how much less light there is than the camera exposes for


LIGHTS = {
    "studio": Light(
        ((-0.5, -1, 0.6), (1.9, 1.85, 1.8)), ((0.9, -0.8, 0.1), (0.55, 0.56, 0.6)), (0.5, 0.5, 0.52), (0.3, 0.28, 0.26)
    ),
    "window left": Light(
        ((-1, -0.55, 0.3), (2.2, 2.2, 2.3)), ((0.8, -1, 0), (0.25, 0.23, 0.2)), (0.42, 0.42, 0.44), (0.26, 0.24, 0.21)
    ),
    "window right": Light(
        ((1, -0.6, 0.35), (2.1, 2.15, 2.3)), ((-0.8, -1, 0), (0.25, 0.23, 0.2)), (0.45, 0.45, 0.47), (0.26, 0.24, 0.21)
    ),
    "sun": Light(
        ((0.4, -0.7, 1.3), (3.0, 2.8, 2.45)),
        ((-0.6, -1, 0.2), (0.3, 0.33, 0.4)),
        (0.55, 0.65, 0.85),
        (0.35, 0.32, 0.26),
    ),
    "evening": Light(
        ((-0.9, -0.8, 0.22), (2.6, 1.75, 1.0)),
        ((0.7, -0.9, 0.2), (0.3, 0.33, 0.42)),
        (0.35, 0.42, 0.6),
        (0.25, 0.2, 0.16),
    ),
    "office": Light(
        ((0.1, -0.45, 1), (1.6, 1.7, 1.45)), ((-0.2, -1, 0.1), (0.5, 0.53, 0.47)), (0.75, 0.8, 0.7), (0.3, 0.3, 0.26)
    ),
    "overcast": Light(
        ((0.0, -0.7, 1), (0.7, 0.72, 0.76)), ((0.3, -1, 0.2), (0.35, 0.36, 0.38)), (1.0, 1.03, 1.1), (0.4, 0.39, 0.36)
    ),
    "flash": Light(
        ((0.05, -1, 0.12), (2.3, 2.3, 2.35)),
        ((0.6, -0.6, 0.5), (0.15, 0.13, 0.1)),
        (0.22, 0.2, 0.18),
        (0.16, 0.14, 0.12),
    ),
    "lamp": Light(
        ((0.7, -0.9, 0.6), (1.9, 1.35, 0.75)),
        ((-0.8, -0.7, 0.1), (0.2, 0.17, 0.14)),
        (0.32, 0.27, 0.2),
        (0.2, 0.16, 0.12),
    ),
    "dusk": Light(
        ((-0.4, -1, 0.7), (0.75, 0.85, 1.2)),
        ((0.8, -0.9, 0.2), (0.4, 0.36, 0.34)),
        (0.5, 0.58, 0.85),
        (0.25, 0.26, 0.32),
        1.0,
    ),
}
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

    gaze: of the eyes beyond that, degrees (right, up). light: of LIGHTS. surroundings: of SURROUNDINGS.
    expression: of EXPRESSIONS. fill: the share of the image's height that the head takes.
    distance: of the camera in mm. stops: of exposure. warmth: of the white balance, -1 to 1. noise: a sensor's, 0 to 1.
    blur: deviation in pixels at 256 px. quality: of the JPEG, 1 to 100. seed: of the noise and the background.
    Raises SynthError.
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
        for what, name, known in (
            ("light", self.light, LIGHTS),
            ("surroundings", self.surroundings, SURROUNDINGS),
            ("expression", self.expression, EXPRESSIONS),
        ):
            if name not in known:
                raise SynthError(f"{what} {name!r}: known are {', '.join(known)}")
        if abs(self.yaw) > 60 or abs(self.pitch) > 40 or abs(self.roll) > 60:
            raise SynthError(
                f"pose {self.yaw}, {self.pitch}, {self.roll}: up to 60 degrees of yaw and roll, 40 of pitch"
            )
        if not 0.2 <= self.fill <= 1.2 or self.distance < 400 or not 1 <= self.quality <= 100:
            raise SynthError("fill 0.2 to 1.2, distance from 400 mm, quality 1 to 100")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Scene":
        """An everyday image: most people look near the camera."""
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


def actions(scene: Scene, names: tuple[str, ...]) -> dict[str, float]:
    """anny's facial actions of a scene: those of its expression on both sides, and the gaze."""
    given = EXPRESSIONS[scene.expression]
    values = {}
    for name in names:
        base = name.removesuffix("Left").removesuffix("Right")
        if name in given or base in given:
            values[name] = given.get(name, given.get(base, 0.0))
    right, up = scene.gaze
    # The person's left eye is on the image's right.
    for share, towards in (
        (right / 30, ("eyeLookOutLeft", "eyeLookInRight")),
        (-right / 30, ("eyeLookInLeft", "eyeLookOutRight")),
    ):
        values |= {name: max(0.0, share) for name in towards} if share > 0 else {}
    look = ("eyeLookUpLeft", "eyeLookUpRight") if up > 0 else ("eyeLookDownLeft", "eyeLookDownRight")
    return values | dict.fromkeys(look, abs(up) / 25)


def rotation(scene: Scene) -> FloatArray:
    """(3, 3), to be applied to column vectors."""
    yaw, pitch, roll = np.radians((scene.yaw, scene.pitch, scene.roll))
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    tilt = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    return (tilt @ turn @ nod).astype(np.float32)


def background(scene: Scene, size: int) -> FloatArray:
    """(size, size, 3) linear RGB, out of focus."""
    rng = np.random.default_rng((scene.seed, 10))
    light, small = LIGHTS[scene.light], 96
    y, x = np.mgrid[0:small, 0:small].astype(np.float32) / small
    tint = np.array(light.sky, np.float32) + 0.35 * np.array(light.key[1], np.float32)
    image = np.ones((small, small, 3), np.float32) * _muted(rng, 0.08, 0.75)
    slope = rng.normal(0, 0.35, 2)
    if scene.surroundings == "room":
        for _ in range(rng.integers(4, 9)):
            left, top = rng.integers(0, small, 2)
            wide, tall = rng.integers(8, 50, 2)
            image[top : top + tall, left : left + wide] = _muted(rng, 0.03, 1.1)
    elif scene.surroundings == "street":
        edge = int(rng.uniform(0.25, 0.6) * small)
        image[:edge] = _muted(rng, 0.4, 1.2)
        for left in range(0, small, int(rng.integers(9, 22))):
            top = int(rng.uniform(0, 0.9) * edge)
            image[top : int(0.8 * small), left : left + int(rng.integers(8, 22))] = _muted(rng, 0.05, 0.6)
        image[int(0.8 * small) :] = _muted(rng, 0.08, 0.3)
    elif scene.surroundings == "park":
        image[: int(0.4 * small)] = (0.5, 0.68, 0.95)
        green = cv2.resize(rng.random((12, 12)).astype(np.float32), (small, small), interpolation=cv2.INTER_CUBIC)
        leaves = np.array((0.10, 0.19, 0.05)) * (0.3 + 1.6 * green[..., None])
        reach = (y + 0.25 * (green - 0.5) > rng.uniform(0.1, 0.5))[..., None]
        image = np.where(reach, leaves, image).astype(np.float32)
    elif scene.surroundings == "shelf":
        for top in range(0, small, 24):
            left = 0
            while left < small:
                wide = int(rng.integers(3, 9))
                image[top + 3 : top + 24, left : left + wide] = _muted(rng, 0.02, 0.7)
                left += wide
            image[top : top + 3] = (0.12, 0.08, 0.05)
    soft = 14.0 if scene.surroundings == "plain" else float(rng.uniform(1.0, 4.0))
    image = cv2.GaussianBlur(image, (0, 0), soft)
    image = image * np.exp(slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None] * tint * 0.8
    return cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC).clip(0)


def develop(linear: FloatArray, scene: Scene) -> RGBImage:
    """What the camera makes of the light: exposure, white balance, blur, noise, tone curve; (H, W, 3) uint8."""
    rng, size = np.random.default_rng((scene.seed, 11)), len(linear)
    light = LIGHTS[scene.light]
    warm = np.array((1 + 0.14 * scene.warmth, 1.0, 1 - 0.16 * scene.warmth), np.float32)
    # The camera corrects most of the light's colour, not all of it.
    cast = np.array(light.key[1]) * 0.5 + np.array(light.sky) * 0.5
    balance = (cast.mean() / cast) ** 0.7
    exposed = linear * (warm * balance).astype(np.float32) * np.float32(2.0 ** (scene.stops - light.stops))
    if scene.blur:
        exposed = cv2.GaussianBlur(exposed, (0, 0), max(0.25, scene.blur * size / 256))
    if scene.noise:
        grain = rng.standard_normal(exposed.shape, np.float32)
        grain += cv2.GaussianBlur(grain[::-1, ::-1], (0, 0), 1.0)  # some of it coarser, as after a camera's denoising
        exposed = exposed + grain * np.float32(0.05 * scene.noise) * np.sqrt(exposed.clip(0) + 0.02)
    curve = exposed.clip(0)
    curve = np.where(curve < 0.6, curve, 0.6 + 0.4 * (1 - np.exp(-(curve - 0.6) / 0.4)))  # highlights roll off
    toned = np.where(curve < 0.0031308, 12.92 * curve, 1.055 * curve.clip(1e-6) ** (1 / 2.4) - 0.055)
    return (toned * 255 + 0.5).clip(0, 255).astype(np.uint8)


def compress(image: RGBImage, quality: int) -> bytes:
    """The JPEG file's bytes."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done
    return data.tobytes()


def _muted(rng: np.random.Generator, low: float, high: float) -> npt.NDArray[np.float32]:
    """A colour of the everyday world: seldom vivid."""
    grey = np.exp(rng.uniform(np.log(low), np.log(high)))
    return (grey * np.exp(rng.normal(0, 0.22, 3))).astype(np.float32)
