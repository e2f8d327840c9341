"""Opens any image safely as RGB. Knows files and colour modes, nothing about faces."""

import io
import mmap
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from oamface.atomic import write_whole
from oamface.errors import ImageError, OptionError

RGBImage = npt.NDArray[np.uint8]
Input = TypeVar("Input")
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "HEIF")
EXTENSIONS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc"),
}
MAX_BYTES = 64 * 2**20  # of an image in memory
MAX_FILE_BYTES = 512 * 2**20  # of a file on disk, which is never in memory whole
MAX_PIXELS = 100_000_000
MAX_JPEG_PIXELS = 200_000_000  # a JPEG is decoded at a half, a quarter or an eighth of its size
DECODED_PIXELS = 50_000_000  # to which `decode` reduces larger images
MAX_SCANS = 100  # of a JPEG; each takes as long as a whole image, and a few bytes
MAX_PAGES = 1000  # of a TIFF
_COSTLY = ("WEBP", "AVIF", "HEIF", "JPEG2000")  # decoders with several copies: half as many pixels are taken
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # but those inside compressed pixels
_STRIP_PIXELS = 4_000_000  # converted at once, so that no second copy of a large image is made
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What EXIF's orientation asks for: quarter turns counter-clockwise, after mirroring left and right.
_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}


@dataclass(frozen=True)
class Decoded:
    """An image in memory. image: (h, w, 3) uint8 RGB, upright. width, height: the file's own, which may be larger.

    pages: how many the file has, such as a TIFF; one for most.
    """

    image: RGBImage
    width: int
    height: int
    pages: int = 1


def is_image(name: str) -> bool:
    """Whether a file is an image by its ending; hidden files such as macOS's ._x.jpg are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def is_image_bytes(head: bytes) -> bool:
    """Whether a file is an image in one of FORMATS by its first 32 bytes."""
    if head[:2] == b"BM":
        return head[6:10] == bytes(4)  # two letters alone may start any text
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", *_TIFF_STARTS))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or head.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"))
        or (head[4:8] == b"ftyp" and head[8:12] in (*_HEIF_BRANDS, b"avif", b"avis"))
    )


def read_image(source: Source, *, max_bytes: int | None = None, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """The (H, W, 3) uint8 RGB pixels of an image at its full size, upright, transparency composited on white.

    source: a file's path, its bytes or an open file, or a PIL image. Of animations and pages the first.
    max_bytes: None for 64 MiB in memory and 512 MiB on disk.
    Raises ImageError: missing, unreadable, empty, truncated, not an image, or above a limit.
    """
    return decode(
        source, max_bytes=max_bytes, max_pixels=max_pixels, max_jpeg_pixels=max_pixels, decoded_pixels=None
    ).image


def decode(
    source: Source,
    *,
    page: int = 0,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
    max_jpeg_pixels: int = MAX_JPEG_PIXELS,
    decoded_pixels: int | None = DECODED_PIXELS,
    least_side: int | None = None,
) -> Decoded:
    """An image as `read_image` gives it, reduced by a whole factor where it has more than `decoded_pixels`.

    page: of a TIFF, from 0. max_jpeg_pixels: limit for JPEGs, which are reduced while they are decoded.
    max_pixels: half of it for WebP, AVIF, HEIF and JPEG 2000. least_side: a JPEG is decoded at a half, a quarter or an
    eighth as long as its long side keeps so many pixels, which takes less time.
    Memory: 4 bytes for every pixel of the file (of a JPEG: of what is decoded, and 3 for every pixel if it is
    progressive; of the four others: up to 20), and 3 for every decoded one.
    Raises ImageError, see `read_image`.
    """
    with ImageFile(source, max_bytes=max_bytes, max_pixels=max_pixels, max_jpeg_pixels=max_jpeg_pixels) as file:
        return file.decode(page, decoded_pixels=decoded_pixels, least_side=least_side)


class ImageFile:
    """An image that is opened once and may be decoded several times, each page or at several sizes; a context manager.

    pages: how many it has, one for most. Limits: see `decode`, whose work it does. Raises ImageError, see `read_image`.
    """

    def __init__(
        self,
        source: Source,
        *,
        max_bytes: int | None = None,
        max_pixels: int = MAX_PIXELS,
        max_jpeg_pixels: int = MAX_JPEG_PIXELS,
    ) -> None:
        kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
        if not isinstance(source, kinds) and not hasattr(source, "read"):
            kind = type(source).__name__
            raise ImageError(f"expected a path, bytes, an open file, a PIL image or an array of uint8, got {kind}")
        self._name, self._limits = _name(source), (max_pixels, max_jpeg_pixels)
        self._file: IO[bytes] | None = None
        self._positions = [0]
        with self._errors(), ExitStack() as stack:
            if isinstance(source, Image.Image):
                self._image: Image.Image | None = source
                self._limits = (max_pixels, max_pixels)  # it is in memory, or will be whole
            else:
                self._file = stack.enter_context(_opened(source, max_bytes))
                self._image = _identified(self._file, self._name)
                self._positions = _pages(self._image, self._name)
            self._stack = stack.pop_all()
        self.pages = len(self._positions)

    def decode(
        self, page: int = 0, *, decoded_pixels: int | None = DECODED_PIXELS, least_side: int | None = None
    ) -> Decoded:
        """One page, see `images.decode`."""
        with self._errors():
            image = self._page(self._positions[page])
            decoded = _decoded(image, self._name, *self._limits, decoded_pixels, least_side)
            return replace(decoded, pages=self.pages)

    def _page(self, position: int) -> Image.Image:
        """The image at a page, not decoded yet."""
        image = self._image
        if self._file is None:
            assert image is not None
            return image.copy()
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # knows by now where its pages are
            image.seek(position)
            return image
        self._image = None  # it can be decoded once, and would keep its pixels
        if image is None:
            self._file.seek(0)
            image = _identified(self._file, self._name)
        return image

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever a decoder raises as an ImageError."""
        try:
            with warnings.catch_warnings():
                # Our own limit on pixels is the one that counts; Pillow's warning would be noise beside it.
                warnings.simplefilter("ignore")
                yield
        except ImageError:
            raise
        except Exception as error:  # decoders raise anything at all on hostile input
            raise _described(error, self._name, self._limits[0]) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class PipeBytes(bytes):
    """What was read from a pipe. name: the pipe's path, for messages."""

    name: str


def readable_again(source: Input) -> Input | PipeBytes:
    """A path that can be read only once, such as a pipe's, as what it gave; all else as it is.

    At most one byte more than an image may have. Waits for whoever writes into the pipe.
    """
    if not isinstance(source, str | os.PathLike) or os.path.isfile(source):  # noqa: PTH113 (False on every error)
        return source
    try:
        with Path(source).open("rb") as file:
            data = PipeBytes(file.read(MAX_BYTES + 1))
    except (OSError, ValueError):  # a missing file, a folder: whoever reads it reports that
        return source
    data.name = str(source)
    return data


def write_image(path: Path, image: RGBImage, *, text: dict[str, str] | None = None) -> None:
    """Write an (H, W, 3) uint8 RGB image whole or not at all, in the format of the path's extension.

    text: keywords and values to be kept inside a PNG. Raises ImageError (an unknown extension), FileError (the disk).
    """
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in FORMATS:
        raise ImageError(f"{path}: no extension of a known format ({', '.join(sorted(EXTENSIONS))})")
    pil_image, options = Image.fromarray(check_image(image)), {}
    if text and file_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for keyword, value in text.items():
            options["pnginfo"].add_text(keyword, value)
    write_whole(path, lambda file: pil_image.save(file, format=file_format, **options))


def from_array(array: npt.NDArray[np.generic], *, color: str = "rgb") -> RGBImage:
    """An array of uint8, (H, W, 3) or gray (H, W) or (H, W, 1), as (H, W, 3) RGB. color: "rgb" or "bgr", its order.

    Raises ImageError: another array; OptionError: another order.
    """
    if color not in ("rgb", "bgr"):
        raise OptionError(f"color {color!r}: expected 'rgb' or 'bgr'")
    array = np.asarray(array)  # a matrix would stay two-dimensional
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    image = check_image(array)
    return image if color == "rgb" else np.ascontiguousarray(image[..., ::-1])


def check_image(image: npt.NDArray[np.generic]) -> RGBImage:
    """Return the array if it is (H, W, 3) uint8 with at least one pixel; raise ImageError if not."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", None)
        raise ImageError(
            f"expected an array of uint8, (H, W, 3) or gray (H, W), got {getattr(image, 'dtype', type(image))} {shape}"
        )
    if image.size == 0:
        raise ImageError("the image has no pixels")
    return image.astype(np.uint8, copy=False)


def rescale(image: RGBImage, scale: float) -> RGBImage:
    """The image with both sides times `scale`, at least one pixel each."""
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    if size == [image.shape[1], image.shape[0]]:
        return image
    scaled: RGBImage = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return scaled


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else "the image"


def _opened(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes], limit: int | None
) -> IO[bytes]:
    """The source as a file that can be read at any place, within the limit of bytes. Raises ImageError."""
    name, most = _name(source), MAX_BYTES if limit is None else limit
    try:
        if source == "":
            raise ImageError("the name of an image is empty")
        if isinstance(source, str | os.PathLike):
            file: IO[bytes] = Path(source).open("rb")  # noqa: SIM115 (closed by the caller)
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                with ExitStack() as stack:
                    stack.push(file)  # closed if it is refused
                    _check_bytes(name, status.st_size, MAX_FILE_BYTES if limit is None else limit)
                    stack.pop_all()
                return file
            with file:  # a pipe or device: never more than the limit, however long it goes on
                data = _read_up_to(file, most + 1)
        elif isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
        else:
            data = _read_up_to(source, most + 1)
            if data == b"" and source.tell():
                raise ImageError(f"{name}: the open file is at its end; seek to its start")
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name}: cannot be read ({reason})") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: not a file of bytes; open it with mode 'rb'")
    _check_bytes(name, len(data), most)
    return io.BytesIO(data)


def _read_up_to(file: IO[bytes], count: int) -> bytes:
    """So many bytes of an open file, or all it has; a pipe without a buffer gives a part at a time."""
    data = file.read(count)
    while isinstance(data, bytes) and 0 < len(data) < count and (part := file.read(count - len(data))):
        data += part
    return data


def _check_bytes(name: str, count: int, most: int) -> None:
    if not count:
        raise ImageError(f"{name}: the file is empty")
    if count > most:
        raise ImageError(f"{name}: {count} bytes, more than the limit of {most}; shrink it first")


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """The image in a file, not decoded yet. Raises ImageError: a JPEG that would take very long."""
    head = file.read(32)
    file.seek(0)
    if head.startswith(b"\xff\xd8\xff"):
        _check_scans(file, name)
        return JpegImagePlugin.JpegImageFile(file)  # Image.open would refuse telephones' 200 megapixels
    if head.startswith(_TIFF_STARTS):
        return TiffImagePlugin.TiffImageFile(file)  # likewise all pages for a first one that is too large
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        import pillow_heif  # here, since most images do not need it

        return pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    return Image.open(file, formats=[form for form in FORMATS if form != "HEIF"])


def _described(error: Exception, name: str, max_pixels: int) -> ImageError:
    """What went wrong while an image was decoded."""
    if isinstance(error, Image.DecompressionBombError):  # Pillow refuses the largest before we see their size
        return ImageError(f"{name}: more than the limit of {max_pixels} pixels ({error}); shrink it first")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{name}: not an image in a known format ({', '.join(FORMATS)})")
    return ImageError(f"{name}: damaged or truncated image ({error})")


def _check_scans(file: IO[bytes], name: str) -> None:
    """Raises ImageError: a JPEG of more than MAX_SCANS scans."""
    if isinstance(file, io.BytesIO):
        scans = _count_scans(file.getvalue())
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            scans = _count_scans(content)
    if scans > MAX_SCANS:
        raise ImageError(f"{name}: a JPEG of more than {MAX_SCANS} scans; save it anew")


def _count_scans(content: bytes | mmap.mmap) -> int:
    """The scans of a JPEG, without what a telephone appends to it; counted to MAX_SCANS + 1."""
    scans, at = 0, 2
    while scans <= MAX_SCANS and (marker := _JPEG_MARKER.search(content, at)) and marker[1] != _JPEG_END:
        scans += marker[1] == _JPEG_SCAN
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return scans


def _decoded(
    image: Image.Image,
    name: str,
    max_pixels: int,
    max_jpeg_pixels: int,
    decoded_pixels: int | None,
    least_side: int | None,
) -> Decoded:
    size, most = image.size, max_jpeg_pixels if image.format == "JPEG" else max_pixels
    if image.format in _COSTLY:
        most = max_pixels // 2
    if size[0] * size[1] > most:
        raise ImageError(f"{name}: {size[0]} x {size[1]} pixels, more than the limit of {most} pixels; shrink it first")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, name)
    if image.format == "JPEG" and decoded_pixels is not None:
        factor = next((factor for factor in (1, 2, 4, 8) if size[0] * size[1] <= decoded_pixels * factor**2), 8)
        while least_side is not None and factor < 8 and max(size) >= 2 * factor * least_side:
            factor *= 2
        image.draft(None, (size[0] // factor, size[1] // factor))
    image.load()
    if image.format != "JPEG":
        size = image.size  # a TIFF is turned upright while it is loaded
    factor = 1
    while decoded_pixels is not None and image.width * image.height > decoded_pixels * factor**2:
        factor += 1
    pixels = _pixels(image, factor)
    turns, mirrored = _TURNS.get(_orientation(image), (0, False))
    if mirrored:
        pixels = pixels[:, ::-1]
    pixels = np.ascontiguousarray(np.rot90(pixels, turns))
    width, height = size if turns % 2 == 0 else size[::-1]
    return Decoded(pixels, width, height)


def _orientation(image: Image.Image) -> Any:
    """EXIF's, 1 where it cannot be read: the pixels are still good."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        return 1


def _pages(image: Image.Image, name: str) -> list[int]:
    """Where the pages of a TIFF are in it, without reduced copies and masks; one for all else.

    Raises ImageError: very many.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return [0]
    whole = []
    for number in count():
        try:
            image.seek(number)
        except EOFError:
            break
        if number == MAX_PAGES:
            raise ImageError(f"{name}: a TIFF of more than {MAX_PAGES} pages; split it first")
        if not image.tag_v2.get(254, 0) & 0b101:
            whole.append(number)
    image.seek(0)
    return whole or [0]


def _check_tiff(image: TiffImagePlugin.TiffImageFile, name: str) -> None:
    """Raises ImageError for colour planes of 16 bits without compression, which Pillow would read as noise."""
    bits = image.tag_v2.get(258, (8,))
    if image.tag_v2.get(284) == 2 and max(bits) > 8 and image.tag_v2.get(259, 1) == 1:
        raise ImageError(f"{name}: a TIFF of separate 16-bit planes; save it with 8 bits or with compression")


def _pixels(image: Image.Image, factor: int) -> RGBImage:
    """(H, W, 3) of a loaded image, each pixel the mean of factor x factor; strip by strip, to save memory."""
    if image.mode == "P" and "transparency" not in image.info and factor == 1:
        image = image.convert("RGB")
    rows = max(factor, _STRIP_PIXELS // image.width // factor * factor)
    strips = [(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    top_value = _brightest(image, strips) if _is_deep(image) else 0.0
    height, width = -(-image.height // factor), -(-image.width // factor)
    pixels = np.empty((height, width, 3), np.uint8)
    for top, bottom in strips:
        strip = image if len(strips) == 1 else image.crop((0, top, image.width, bottom))
        rgb = _to_rgb(strip, image.info.get("transparency"), top_value)
        pixels[top // factor : -(-bottom // factor)] = np.asarray(rgb.reduce(factor) if factor > 1 else rgb)
    return pixels


def _is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _brightest(image: Image.Image, strips: list[tuple[int, int]]) -> float:
    return max(
        float(np.nan_to_num(np.asarray(image.crop((0, top, image.width, bottom)))).max(initial=0))
        for top, bottom in strips
    )


def _to_rgb(image: Image.Image, transparency: Any, brightest: float) -> Image.Image:
    if _is_deep(image):
        return Image.fromarray(_to_eight_bits(np.asarray(image).astype(np.float64), brightest)).convert("RGB")
    if "A" in image.getbands() or transparency is not None:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


def _to_eight_bits(grey: npt.NDArray[np.float64], top: float) -> RGBImage:
    """Grey values of 0..1, 0..255 or 0..65535, distinguished by the largest value, as 0..255."""
    scale = 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / max(65535.0, top)
    return np.clip(np.rint(np.nan_to_num(grey) * scale), 0, 255).astype(np.uint8)
