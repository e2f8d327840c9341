"""CenterFace in ONNX Runtime: finds every face of an image, small, tilted and turned ones too.

The network is CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019), whose
weights (MIT) are brought into the package when it is built: hatch_build.py.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from oamface.detection import Detection, iou
from oamface.errors import OamfaceError, OptionError
from oamface.images import RGBImage, check_image
from oamface.results import Box, FloatArray
from oamface.runtime import load_onnx

_WEIGHTS = Path(__file__).parent / "weights" / "centerface" / "centerface.onnx"

# Long sides of images and of what the network gets of them, in between linear: a face of 2 % of the long side has 20
# of the network's pixels at 1000 and 24 from 1250 on. Up to 640, where time counts most, one of 24 pixels has 16.
# CenterFace answers to 99 % of faces of 16 pixels, but so faintly that a close-up has to decide.
SCAN_SIDES = ((490, 640, 1000, 1250), (320, 416, 1000, 1200))
LAST_SIDE = 2000  # of the closest scan that is not asked for by min_face; bounds time and memory
SMALL_FACE = 20  # a face this small in the network's pixels says that a closer scan may find more
SMALLEST = 24  # the network's pixels of a face that is surely noticed
TILE = 960  # network's pixels of one pass; larger scans are done in tiles that share OVERLAP_PIXELS
OVERLAP_PIXELS = 96
TURNED_FROM = 800  # long side of an image from which it is scanned turned by 90, 180 and 270 degrees as well ...
TURNED_SIDE = 320  # ... at this long side
# Heat from which a place gets close-ups, upright and turned; in images that are scanned turned as well these are FAINT
# and TURNED.
NOTICED, FAINT, TURNED = 0.05, 0.03, 0.1
DOUBT = 0.05  # by which the close-up of a faint place has to exceed the least score
SURE = 0.6  # score from which a face needs none
LARGE_FACE = 224  # network's pixels from which a close-up is better than the scan
CLOSE_UP, CLOSE_UP_FACE = 160, 72  # network's pixels of a close-up and of the face in it
BORDER = 0.3  # grey, on every side, as a share of the image: faces that fill an image are missed without
GREY = (127, 127, 127)
TILTS = (-40.0, 40.0)  # degrees, tried when nothing was found at all
TILTED = 20.0  # degrees from which a face gets a close-up turned upright: landmarks drift on tilted faces
LEAST_MIN_FACE, LEAST_MAX_SIDE = 4, 64  # pixels
SAME_FACE_IOU = 0.3  # intersection over union above which two boxes are one face


def centerface() -> bytes:
    """CenterFace with a free height and width, as a serialized ONNX model. Raises OamfaceError: its file is missing."""
    try:
        return _WEIGHTS.read_bytes()
    except OSError as error:
        raise OamfaceError(
            f"{_WEIGHTS}: CenterFace's weights are missing; build or install oamface again where a package index is"
        ) from error


class CenterFace:
    """A face detector. Safe to share between threads.

    threshold: least score of a face, 0..1.
    min_face: least long side of a face in the image's pixels that is surely looked for; None: 2 % of the image's long
    side, and at least 20 to 24 pixels. max_side: long side in pixels to which images are shrunk at most for it; None:
    as min_face needs. Both trade time for small faces; of strips and panoramas each square part counts.
    device: see `devices.DEVICES`. threads: CPU threads of one pass; 0 means all cores.
    Raises OptionError: a size or threshold that is out of range; DeviceError: a device that is not there.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.4,
        min_face: float | None = None,
        max_side: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        if not 0 < threshold < 1:
            raise OptionError(f"threshold {threshold}: expected a value between 0 and 1")
        if min_face is not None and not LEAST_MIN_FACE <= min_face < np.inf:
            raise OptionError(f"min_face {min_face}: expected at least {LEAST_MIN_FACE} pixels")
        if max_side is not None and max_side < LEAST_MAX_SIDE:
            raise OptionError(f"max_side {max_side}: expected at least {LEAST_MAX_SIDE} pixels")
        self.threshold, self.min_face, self.max_side = threshold, min_face, max_side
        self._network = load_onnx(centerface(), device, threads)

    def detect(self, image: RGBImage) -> list[Detection]:
        """Find every face of an (H, W, 3) uint8 RGB image, best score first; an empty list when there is none.

        Scans the image, larger ones turned by 90, 180 and 270 degrees too; a close-up of every place that was noticed
        decides, and gives landmarks where the face is large or tilted. When nothing is found the image is scanned with
        a border, enlarged, and tilted. Raises ImageError for another array.
        """
        image = check_image(image)
        scale = self._scale(image)
        large = max(image.shape[:2]) >= TURNED_FROM
        noticed = self._scan(image, scale, FAINT if large else NOTICED)
        finest = 1.0 if self.min_face is None else scale
        # Where faces are small, smaller ones are likely: a crowd is scanned again, closer.
        while scale < finest and self._smallest(noticed) * scale < SMALL_FACE and self._affords(image, scale):
            scale = min(2 * scale, finest)
            noticed += self._scan(image, scale, NOTICED)
        if large:
            for turns in (1, 2, 3):
                noticed += self._scan_turned(image, turns)
        faces = self._confirmed(image, _merge(noticed))
        if not faces:
            faces = self._search(image)
        return [self._upright(image, face) for face in _merge(faces)]

    def _smallest(self, noticed: list[Detection]) -> float:
        """Least long side of what is a face at first sight, in the image's pixels."""
        return min((max(face.box[2:]) for face in noticed if face.score >= 4 * NOTICED), default=np.inf)

    def _affords(self, image: RGBImage, scale: float) -> bool:
        """Whether a scan may be repeated closer than at this scale."""
        return max(image.shape[:2]) * scale < (self.max_side or LAST_SIDE)

    def _scale(self, image: RGBImage) -> float:
        """The network's pixels for each of the image's in a scan."""
        # A strip's faces are as large as its short side allows, however long it is.
        side = min(max(image.shape[:2]), 2 * min(image.shape[:2]))
        scanned = float(np.interp(side, *SCAN_SIDES)) if self.min_face is None else side * SMALLEST / self.min_face
        scale = max(scanned, SCAN_SIDES[1][0]) / side
        # Beyond twice an image's size nothing new shows; very small images alone are enlarged to the least scan.
        scale = min(scale, max(2.0, SCAN_SIDES[1][0] / max(image.shape[:2])))
        return min(scale, (self.max_side or np.inf) / side)

    def _scan(self, image: RGBImage, scale: float, threshold: float) -> list[Detection]:
        """Everything that looks like a face at one scale, in tiles where the scan is large."""
        small = _scaled(image, scale)
        height, width = small.shape[:2]
        faces = []
        for rows in _tiles(height):
            for columns in _tiles(width):
                back = np.array([[image.shape[1] / width, 0, 0], [0, image.shape[0] / height, 0]])
                back[:, 2] = back[:, :2] @ (columns.start, rows.start)
                faces += [_moved(face, back) for face in self._pass(small[rows, columns], threshold)]
        return _merge(faces)

    def _scan_turned(self, image: RGBImage, turns: int) -> list[Detection]:
        """What a scan of the image turned by `turns` times 90 degrees notices, in the image's own pixels."""
        height, width = image.shape[:2]
        side = min(max(height, width), 2 * min(height, width))
        small = _scaled(image, min(self._scale(image), TURNED_SIDE / side))
        turned = np.ascontiguousarray(np.rot90(small, turns))
        # What rot90 does to a pixel's place, undone: counter-clockwise (x, y) goes to (y, width - x).
        back = np.array([[1.0, 0, 0], [0, 1, 0]])
        for size in reversed(
            [(small.shape[0], small.shape[1])[:: 1 if turn % 2 == 0 else -1] for turn in range(turns)]
        ):
            step = np.array([[0.0, -1, size[1]], [1, 0, 0]])
            back = np.column_stack([step[:, :2] @ back[:, :2], step[:, :2] @ back[:, 2] + step[:, 2]])
        stretch = np.array([width / small.shape[1], height / small.shape[0]])
        back *= stretch[:, None]
        return [_moved(face, back) for face in self._scan(turned, 1.0, NOTICED)]

    def _confirmed(self, image: RGBImage, noticed: list[Detection]) -> list[Detection]:
        """The faces among what was noticed: those that are sure, and those that a close-up shows to be one."""
        faces: list[Detection] = []
        boxes = np.zeros((len(noticed), 4))
        scale = self._scale(image)
        for face in noticed:
            if _same_place(face, boxes[: len(faces)]).any():
                continue
            sure = face.score >= max(SURE, self.threshold)
            closer = face if sure and max(face.box[2:]) * scale <= LARGE_FACE else self._closer(image, face)
            if closer is not None or sure:
                faces.append(closer or face)
                boxes[len(faces) - 1] = faces[-1].box
        # A close-up may miss a face that is cut off by the image's edge: where it is the only one, the scan decides.
        return faces or [face for face in noticed if face.score >= self.threshold]

    def _closer(self, image: RGBImage, face: Detection) -> Detection | None:
        """The face as a close-up shows it best: as it is, else turned by 90, 180 or 270 degrees; None: it is none."""
        lean = round(_tilt(face) / 90) * 90.0
        best: Detection | None = None
        # What the scan alone would not have taken for a face has to convince more.
        least_score = self.threshold + (0.0 if face.score >= self.threshold else DOUBT)
        # Where the image was scanned turned as well, a faint place is no turned face.
        least = NOTICED if max(image.shape[:2]) < TURNED_FROM else TURNED
        for degrees in (lean, lean + 180, lean + 90, lean + 270) if face.score >= least else (lean,):
            for other in self._close_up(image, face.box, degrees):
                if other.score < least_score:
                    continue
                if _same_place(other, np.array([face.box])).any() and (best is None or other.score > best.score):
                    best = other
            if best is not None and best.score >= SURE:
                break
        return best

    def _search(self, image: RGBImage) -> list[Detection]:
        """The last attempts where no face was found: with a border, enlarged, tilted."""
        height, width = image.shape[:2]
        faces = self._scan_bordered(image)
        scale, largest = self._scale(image), min(2.0, (self.max_side or LAST_SIDE) / max(height, width))
        while not faces and scale < largest:
            scale = min(2 * scale, largest)
            faces = self._scan(image, scale, self.threshold)
        for degrees in TILTS:
            faces = faces or self._scan_tilted(image, degrees)
        return faces

    def _pass(self, image: RGBImage, threshold: float) -> list[Detection]:
        """One pass of the network over an image as it is; faces in its pixels."""
        height, width = image.shape[:2]
        # The network wants multiples of 32: filled up at the right and the bottom, so that nothing is stretched.
        canvas = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        canvas[0, :, :height, :width] = image.transpose(2, 0, 1)
        heat, sizes, offsets, points = self._network(canvas)
        return _decode(heat[0, 0], sizes[0], offsets[0], points[0], threshold)

    def _scan_bordered(self, image: RGBImage) -> list[Detection]:
        height, width = image.shape[:2]
        side = SCAN_SIDES[1][0]
        small = _scaled(image, min(1.0, side / max(height, width)))  # never build a border around a huge image
        top, left = round(small.shape[0] * BORDER), round(small.shape[1] * BORDER)
        bordered = cv2.copyMakeBorder(small, top, top, left, left, cv2.BORDER_CONSTANT, value=GREY)
        back = np.array([[width / small.shape[1], 0, 0], [0, height / small.shape[0], 0]])
        back[:, 2] = -back[:, :2] @ (left, top)
        faces = self._scan(bordered, side / max(bordered.shape[:2]), self.threshold)
        return [_moved(face, back) for face in faces]

    def _scan_tilted(self, image: RGBImage, degrees: float) -> list[Detection]:
        height, width = image.shape[:2]
        side = int(np.ceil(np.hypot(height, width)))
        shrink = min(1.0, 2 * SCAN_SIDES[1][0] / side)
        there = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, shrink)
        side = int(np.ceil(side * shrink))
        there[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
        return self._pass_through(image, there, side)

    def _close_up(self, image: RGBImage, box: Box, degrees: float) -> list[Detection]:
        """Faces around a box, enlarged or shrunk to a size that suits the network, turned by `degrees`."""
        x, y, width, height = box
        scale = CLOSE_UP_FACE / max(width, height)
        reach = CLOSE_UP / scale  # more than half the diagonal of what the close-up shows
        low = np.clip(np.floor([x + width / 2 - reach, y + height / 2 - reach]), 0, None).astype(int)
        high = np.clip(np.ceil([x + width / 2 + reach, y + height / 2 + reach]), 0, image.shape[1::-1]).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            return []
        small = _scaled(part, min(1.0, scale))  # a warp samples single pixels: shrink first
        stretch = np.array([part.shape[1] / small.shape[1], part.shape[0] / small.shape[0]])
        centre = (np.array([x + width / 2, y + height / 2]) - low) / stretch
        there = cv2.getRotationMatrix2D(tuple(centre), degrees, max(1.0, scale))
        there[:, 2] += CLOSE_UP / 2 - centre
        back = np.array([[stretch[0], 0, low[0]], [0, stretch[1], low[1]]], np.float64)
        return [_moved(face, back) for face in self._pass_through(small, there, CLOSE_UP)]

    def _pass_through(self, image: RGBImage, there: npt.NDArray[np.floating], side: int) -> list[Detection]:
        """One pass over what the 2 x 3 matrix lays into a square of `side` pixels."""
        turned = cv2.warpAffine(image, there, (side, side), flags=cv2.INTER_LINEAR, borderValue=GREY)
        return [_moved(face, cv2.invertAffineTransform(there)) for face in self._pass(turned, self.threshold)]

    def _upright(self, image: RGBImage, face: Detection) -> Detection:
        """The same face with landmarks from a close-up turned upright, if it is tilted and that finds it."""
        degrees = _tilt(face)
        if abs(degrees) < TILTED or not 0 < max(face.box[2:]) < np.inf:
            return face
        close_ups = self._close_up(image, face.box, degrees)
        same = [other for other in close_ups if iou(face.box, other.box) > SAME_FACE_IOU]
        return max(same, key=lambda other: other.score, default=face)


def _scaled(image: RGBImage, scale: float) -> RGBImage:
    """The image with both sides times `scale`, at least one pixel each."""
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    scaled: RGBImage = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return scaled


def _decode(
    heat: FloatArray, sizes: FloatArray, offsets: FloatArray, points: FloatArray, threshold: float
) -> list[Detection]:
    """The network's four maps (stride 4) to faces in its pixels: one for each peak of the heat."""
    peaks = (heat > threshold) & (heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8)))
    rows, columns = np.nonzero(peaks)
    scores = heat[rows, columns]
    height, width = np.exp(sizes[:, rows, columns]) * 4
    left = (columns + offsets[1, rows, columns] + 0.5) * 4 - width / 2
    top = (rows + offsets[0, rows, columns] + 0.5) * 4 - height / 2
    landmarks = points[:, rows, columns].reshape(5, 2, -1)
    x, y = left + landmarks[:, 1] * width, top + landmarks[:, 0] * height
    boxes = np.stack([left, top, width, height], axis=1)
    return _merge(
        [
            Detection(_box(boxes[i]), np.stack([x[:, i], y[:, i]], axis=1).astype(np.float32), float(scores[i]))
            for i in range(len(scores))
        ]
    )


def _tiles(length: int) -> list[slice]:
    """A side cut into parts of at most TILE that share OVERLAP_PIXELS."""
    count = max(1, -(-(length - OVERLAP_PIXELS) // (TILE - OVERLAP_PIXELS)))
    size = -(-(length + (count - 1) * OVERLAP_PIXELS) // count)
    starts = [round(number * (length - size) / max(count - 1, 1)) for number in range(count)]
    return [slice(start, start + size) for start in starts]


def _tilt(face: Detection) -> float:
    """Degrees by which a face has to be turned counter-clockwise to stand upright, -180..180."""
    right, down = face.landmarks[1] - face.landmarks[0], face.landmarks[3:].mean(0) - face.landmarks[:2].mean(0)
    axis = complex(*right) * 1j + complex(*down)  # eyes and mouth both point to the chin
    return float(np.degrees(np.angle(axis / 1j)))


def _same_place(face: Detection, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(N,): whether the face's centre lies in each of (N, 4) boxes, and their sizes differ by less than three times."""
    corner, size = boxes[:, :2], boxes[:, 2:]
    centre = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
    inside = ((corner <= centre) & (centre <= corner + size)).all(1)
    ratio = max(face.box[2:]) / np.maximum(size.max(1, initial=0), 1e-9)
    same: npt.NDArray[np.bool_] = inside & (ratio > 1 / 3) & (ratio < 3)
    return same


def _box(values: npt.NDArray[np.floating]) -> Box:
    return Box(*(float(value) for value in values))


def _moved(face: Detection, back: npt.NDArray[np.floating]) -> Detection:
    """The face under a similarity given as a 2 x 3 matrix; the box keeps its centre and shape and stays upright."""
    x, y, width, height = face.box
    centre = back[:, :2] @ (x + width / 2, y + height / 2) + back[:, 2]
    scale = float(np.sqrt(abs(np.linalg.det(back[:, :2]))))
    box = (centre[0] - width * scale / 2, centre[1] - height * scale / 2, width * scale, height * scale)
    landmarks = (face.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return Detection(_box(np.array(box)), landmarks, face.score)


def _merge(faces: list[Detection]) -> list[Detection]:
    """One detection for every face, the best of those that overlap, best score first."""
    if not faces:
        return []
    boxes, scores = [face.box for face in faces], [face.score for face in faces]
    return [faces[i] for i in cv2.dnn.NMSBoxes(boxes, scores, 0.0, SAME_FACE_IOU)]
