import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pillow_heif
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from oamface.errors import ImageError
from oamface.images import FORMATS, MAX_SCANS, ImageFile, check_image, decode, is_image_bytes, read_image

pillow_heif.register_heif_opener()  # to write HEIF; reading does not need it


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def ramp(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("form", FORMATS)
def test_read_image_keeps_colors_in_every_format(form: str) -> None:
    exact = {"lossless": True} if form == "WEBP" else {}
    image = read_image(encode(Image.new("RGB", (24, 16), (200, 40, 90)), form, **exact))
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_read_image_turns_every_mode_into_rgb(mode: str) -> None:
    image = read_image(encode(Image.new("RGB", (24, 16), "white").convert(mode), "TIFF"))
    assert image.shape == (16, 24, 3)
    assert image.min() >= 254


def test_read_image_follows_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(encode(ramp(), "JPEG", exif=exif)).shape == (24, 16, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_image_with_exif_that_cannot_be_read_is_not_turned(form: str) -> None:
    assert read_image(encode(ramp(), form, exif=b"garbagegarbage")).shape == (16, 24, 3)


def test_read_image_scales_sixteen_bits() -> None:
    values = np.array([[0, 32768, 65535]], np.uint16)
    assert read_image(encode(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0] * 256)
    assert (read_image(encode(image, transparency=0)) == 255).all()


def test_read_image_gives_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    image = read_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image[0, 0].tolist() == [255, 0, 0]


def test_read_image_reads_one_pixel() -> None:
    assert read_image(encode(Image.new("RGB", (1, 1)))).shape == (1, 1, 3)


@pytest.mark.parametrize("side", [11000, 20000])
def test_too_many_pixels_are_rejected_before_decoding(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="more than the limit of 100000000 pixels"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"just some text", "not an image"), (bytes(1000), "not an image")]
)
def test_read_image_rejects_files_that_are_no_image(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_read_image_rejects_truncated_files(tmp_path) -> None:
    data = encode(ramp(200, 200), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        read_image(data[: len(data) // 2])


def test_read_image_rejects_missing_files_and_folders(tmp_path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path, "a\0b.jpg"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(path)


def test_read_image_rejects_too_many_bytes(tmp_path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encode(ramp()))
    with pytest.raises(ImageError, match="limit of 20"):
        read_image(path, max_bytes=20)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_damaged_files_are_read_or_raise_image_errors(form, edits, keep) -> None:
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
def test_check_image_rejects_other_arrays(array) -> None:
    with pytest.raises(ImageError):
        check_image(array)


def test_decode_reads_every_page_of_a_tiff_without_thumbnails() -> None:
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    data = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    first = decode(data)
    assert first.pages == 3
    colours = [decode(data, page=page).image[0, 0].tolist() for page in range(3)]
    assert colours == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.full((8, 6, 3), 9, np.uint8), photometric="rgb")
        writer.write(np.full((4, 3, 3), 9, np.uint8), photometric="rgb", subfiletype=1)
        writer.write(np.full((8, 6, 3), 7, np.uint8), photometric="rgb")
    assert decode(buffer.getvalue()).pages == 2
    assert decode(buffer.getvalue(), page=1).image.max() == 7


def tiff_with_a_bad_first_page(kind: str) -> bytes:
    """And a second that is red. kind: what is wrong with the first."""
    if kind == "too large":
        pages = [Image.new("1", (20_000, 20_000)), Image.new("RGB", (8, 6), "red")]
        return encode(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    pages = [ramp(), Image.new("RGB", (8, 6), "red")]
    data = bytearray(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate"))
    start = Image.open(io.BytesIO(data)).tag_v2[273][0]
    data[start : start + 40] = bytes(40)
    return bytes(data)


@pytest.mark.parametrize("kind", ["too large", "damaged"])
def test_pages_behind_a_bad_one_are_known_and_can_be_read(kind) -> None:
    with ImageFile(tiff_with_a_bad_first_page(kind)) as file:
        assert file.pages == 2
        for _ in range(2):
            with pytest.raises(ImageError, match="limit" if kind == "too large" else kind):
                file.decode(0)
            assert file.decode(1).image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "HEIF", "TIFF"])
def test_image_file_can_be_decoded_again_at_another_size(form, tmp_path) -> None:
    (tmp_path / "image").write_bytes(encode(ramp(640, 480), form))
    whole = read_image(tmp_path / "image")
    for source in (tmp_path / "image", (data := (tmp_path / "image").read_bytes()), io.BytesIO(data)):
        with ImageFile(source) as file:
            sizes = [file.decode(decoded_pixels=pixels).image.shape for pixels in (None, 640 * 480 // 4, None)]
            assert sizes == [(480, 640, 3), (240, 320, 3), (480, 640, 3)]
            assert np.array_equal(file.decode().image, whole)


def test_decode_reduces_large_images_and_knows_their_size() -> None:
    for form in ("JPEG", "PNG"):
        decoded = decode(encode(ramp(640, 480), form), decoded_pixels=640 * 480 // 3)
        assert (decoded.width, decoded.height) == (640, 480)
        assert decoded.image.shape == (240, 320, 3)
        assert np.abs(decoded.image.astype(int) - np.asarray(ramp(320, 240)).astype(int)).max() <= 6


def test_decode_turns_reduced_images_upright() -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        data = encode(ramp(640, 480), "JPEG", exif=exif, quality=95)
        decoded, whole = decode(data, decoded_pixels=640 * 480 // 3), read_image(data)
        assert (decoded.height, decoded.width) == whole.shape[:2]
        assert np.abs(decoded.image[::40, ::40].astype(int) - whole[::80, ::80]).max() <= 8
        assert (whole == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()


@pytest.mark.parametrize(("size", "factor"), [((799, 300), 1), ((800, 300), 2), ((300, 1700), 4), ((9000, 50), 8)])
def test_decode_reduces_jpegs_as_long_as_a_side_is_kept(size, factor) -> None:
    data = io.BytesIO()
    Image.new("RGB", size, (200, 40, 90)).save(data, "JPEG")
    decoded = decode(data.getvalue(), least_side=400)
    assert (decoded.width, decoded.height) == size
    assert decoded.image.shape[:2] == tuple(-(-length // factor) for length in reversed(size))
    assert np.abs(decoded.image.astype(int) - (200, 40, 90)).max() < 6
    assert decode(data.getvalue()).image.shape[:2] == size[::-1]


def test_jpegs_may_have_more_pixels() -> None:
    image = ramp(200, 100)
    assert decode(encode(image, "JPEG"), max_pixels=10_000, max_jpeg_pixels=20_000).image.shape == (100, 200, 3)
    with pytest.raises(ImageError):
        decode(encode(image, "PNG"), max_pixels=10_000, max_jpeg_pixels=20_000)


def test_planes_of_sixteen_bits_are_right_or_rejected() -> None:
    pixels = np.asarray(ramp(40, 30))
    for compression in (None, "zlib"):
        buffer = io.BytesIO()
        planes = pixels.transpose(2, 0, 1).astype(np.uint16) * 257
        tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", compression=compression)
        try:
            assert (read_image(buffer.getvalue()) == pixels).all()
        except ImageError:
            assert compression is None


def test_jpegs_of_very_many_scans_are_rejected(tmp_path) -> None:
    data = encode(ramp(64, 64), "JPEG", progressive=True)
    assert read_image(data).shape == (64, 64, 3)
    start = data.rindex(b"\xff\xda")
    thumbnail = b"\xff\xe1\x00\x08\xff\xd9\xff\xd9\xff\xd9"  # its end is not the image's
    bomb = data[:2] + thumbnail + data[2:start] + data[start:-2] * MAX_SCANS + data[-2:]
    (tmp_path / "bomb.jpg").write_bytes(bomb)
    for source in (bomb, tmp_path / "bomb.jpg"):
        with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans"):
            read_image(source)
    video = data + b"\xff\xda" * 2 * MAX_SCANS  # as telephones append one to a photo
    assert (read_image(video) == read_image(data)).all()


def test_tiffs_of_very_many_pages_are_rejected(monkeypatch) -> None:
    monkeypatch.setattr("oamface.images.MAX_PAGES", 20)
    pages = [Image.new("L", (1, 1))] * 20
    assert decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])).pages == 20
    with pytest.raises(ImageError, match="more than 20 pages"):
        decode(encode(pages[0], "TIFF", save_all=True, append_images=pages))


@pytest.mark.parametrize("form", FORMATS)
def test_is_image_bytes_knows_every_format(form: str) -> None:
    assert is_image_bytes(encode(ramp(), form)[:32])


@given(st.text())
def test_is_image_bytes_takes_no_text_for_an_image(text: str) -> None:
    assert not is_image_bytes(text.encode()) or text.startswith("GIF8")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO, lambda data: Image.open(io.BytesIO(data))])
def test_every_kind_of_source_gives_the_same_pixels(kind, tmp_path) -> None:
    data = encode(ramp())
    assert (read_image(kind(data)) == np.asarray(ramp())).all()
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as file:
        assert (read_image(file) == np.asarray(ramp())).all()


def test_read_image_rejects_files_opened_as_text() -> None:
    with pytest.raises(ImageError):
        read_image(io.StringIO("text"))


def test_reading_registers_nothing_in_pillow() -> None:
    code = (
        "import sys; from PIL import Image; Image.init(); before = set(Image.OPEN);"
        "from oamface.images import read_image; read_image(sys.stdin.buffer.read());"
        "sys.exit(set(Image.OPEN) != before)"
    )
    data = encode(ramp(), "HEIF")
    assert subprocess.run([sys.executable, "-c", code], input=data, check=False).returncode == 0


def test_open_files_may_give_a_part_at_a_time() -> None:
    """As a pipe without a buffer does."""

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(100, size))

    data = encode(ramp(), "BMP")
    assert np.array_equal(read_image(Pipe(data)), read_image(data))
    with pytest.raises(ImageError, match="more than the limit"):
        read_image(Pipe(data), max_bytes=len(data) - 1)
