"""Opens any picture safely as RGB. Knows files and colour modes, nothing about faces."""

import io
import os
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from oamface.errors import ImageError
from oamface.files import write_whole

RGBImage = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000


def is_picture(name: str) -> bool:
    """By extension; hidden files such as macOS's ._x.jpg are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def read_image(
    source: str | os.PathLike[str] | bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> RGBImage:
    """Decode a picture.

    source: a file's path, or the file's bytes. JPEG, PNG, WebP, TIFF, BMP, or GIF (first frame).
    Returns (H, W, 3) uint8 RGB, upright (EXIF orientation applied), transparency laid on white.
    Raises ImageError: missing, unreadable, empty, truncated, not a picture, or above a limit.
    """
    name = "the picture" if isinstance(source, bytes) else os.fspath(source)
    data = source if isinstance(source, bytes) else _read_bytes(Path(source), max_bytes)
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if len(data) > max_bytes:
        raise ImageError(f"{name}: {len(data)} bytes, more than the limit of {max_bytes}; shrink it first")
    try:
        with warnings.catch_warnings():
            # Our own limit on pixels is the one that counts; Pillow's warning would be noise beside it.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    size = f"{width} x {height} pixels"
                    raise ImageError(f"{name}: {size}, more than the limit of {max_pixels} pixels; shrink it first")
                return np.array(_to_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # Pillow refuses the largest before we see their size
        raise ImageError(f"{name}: more than the limit of {max_pixels} pixels ({error}); shrink it first") from error
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise anything at all on hostile input
        raise ImageError(f"{name}: damaged or truncated picture ({error})") from error


def write_image(path: Path, image: RGBImage) -> None:
    """Write an (H, W, 3) uint8 RGB picture whole or not at all, in the format of the path's extension.

    Raises ImageError (an unknown extension), FileError (the disk refuses).
    """
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in FORMATS:
        raise ImageError(f"{path}: no extension of a known format ({', '.join(sorted(EXTENSIONS))})")
    picture = Image.fromarray(check_image(image))
    write_whole(path, lambda file: picture.save(file, format=file_format))


def check_image(image: npt.NDArray[np.generic]) -> RGBImage:
    """Return the array if it is (H, W, 3) uint8 with at least one pixel; raise ImageError if not."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", None)
        raise ImageError(
            f"expected an RGB array (H, W, 3) of uint8, got {getattr(image, 'dtype', type(image))} {shape}"
        )
    if image.size == 0:
        raise ImageError("the picture has no pixels")
    return image.astype(np.uint8, copy=False)


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)  # never more than the limit, however large the file or device
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: cannot be read ({reason})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image).astype(np.float64))).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(grey: npt.NDArray[np.float64]) -> RGBImage:
    """Grey values of 0..1, 0..255 or 0..65535, told apart by the largest, as 0..255."""
    grey = np.nan_to_num(grey)
    top = grey.max(initial=0.0)
    scale = 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / max(65535.0, top)
    return np.clip(np.rint(grey * scale), 0, 255).astype(np.uint8)
