import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oamface.errors import ImageError
from oamface.imaging import FORMATS, check_image, read_image


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def ramp(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_keeps_its_colours(form: str) -> None:
    exact = {"lossless": True} if form == "WEBP" else {}
    image = read_image(encode(Image.new("RGB", (24, 16), (200, 40, 90)), form, **exact))
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = read_image(encode(Image.new("RGB", (24, 16), "white").convert(mode), "TIFF"))
    assert image.shape == (16, 24, 3)
    assert image.min() >= 254


def test_exif_orientation_turns_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(encode(ramp(), "JPEG", exif=exif)).shape == (24, 16, 3)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 32768, 65535]], np.uint16)
    assert read_image(encode(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255]


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0] * 256)
    assert (read_image(encode(image, transparency=0)) == 255).all()


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    image = read_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image[0, 0].tolist() == [255, 0, 0]


def test_one_pixel_is_a_picture() -> None:
    assert read_image(encode(Image.new("RGB", (1, 1)))).shape == (1, 1, 3)


@pytest.mark.parametrize("side", [11000, 20000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="more than the limit of 100000000 pixels"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"just some text", "not a picture"), (bytes(1000), "not a picture")]
)
def test_files_that_are_no_pictures(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_truncated(tmp_path) -> None:
    data = encode(ramp(200, 200), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        read_image(data[: len(data) // 2])


def test_missing_folder_and_odd_names(tmp_path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path, "a\0b.jpg"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(path)


def test_bytes_above_the_limit(tmp_path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encode(ramp()))
    with pytest.raises(ImageError, match="limit of 20"):
        read_image(path, max_bytes=20)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_damaged_files_are_read_or_refused_never_anything_else(form, edits, keep) -> None:
    data = bytearray(encode(ramp(), form))
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    try:
        image = read_image(bytes(data[: 1 + int(keep * len(data))]), max_pixels=10_000)
    except ImageError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_check_image_refuses_what_is_not_rgb(array) -> None:
    with pytest.raises(ImageError):
        check_image(array)
