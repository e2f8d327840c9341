"""Draws inputs on which tools of this kind have failed, from one portrait in the public domain.

names, files and geometry each fill a folder; tests/cli/test_cases.py says what each input must give.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pillow_heif
import skimage.data
import tifffile
from PIL import Image

portrait = Image.fromarray(skimage.data.astronaut())
head = portrait.crop((130, 20, 330, 260))  # a face of 84 x 112 pixels in 200 x 240


def names(out: Path) -> None:
    """One portrait under names that files have in the wild."""
    out.mkdir(parents=True)
    portrait.save(out / "plain.png")
    for name in (
        "with space.png",
        "photo [final].png",
        "[bold].png",
        "한국어.png",
        "émile.png",
        "new\nline.png",
        "=1+1.png",
        "a" * 251 + ".png",
    ):
        shutil.copy(out / "plain.png", out / name)
    (out / "dir[").mkdir()
    shutil.copy(out / "plain.png", out / "dir[" / "b].png")  # "dir[/b].png" reads like markup
    shutil.copy(out / "plain.png", os.fsencode(out) + b"/caf\xe9.png")  # not UTF-8, as in old archives


def files(out: Path) -> None:
    """What lies in a folder of images: a phone's formats, unusual endings, links, a broken file, no face."""
    (out / "library").mkdir(parents=True)
    library = out / "library"
    portrait.save(library / "a.png")
    for ending, form in (("jfif", "JPEG"), ("jpe", "JPEG"), ("JPG", "JPEG"), ("avif", "AVIF"), ("jp2", "JPEG2000")):
        portrait.save(library / f"as_{ending}.{ending}", form)
    pillow_heif.register_heif_opener()
    portrait.save(library / "IMG_0001.HEIC", "HEIF")
    shutil.copy(library / "a.png", library / "no_ending")
    (library / "broken.jpg").write_text("<html>not an image</html>")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)).save(library / "no_face.png")
    (out / "elsewhere").mkdir()
    shutil.copy(library / "a.png", out / "elsewhere" / "linked.png")
    (library / "linked_folder").symlink_to(out / "elsewhere")
    (library / "loop").symlink_to(library)
    (library / "dangling.png").symlink_to(out / "nowhere.png")
    deep = np.asarray(portrait).astype(np.uint16) * 257
    tifffile.imwrite(out / "planar16.tif", deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    blank = Image.new("RGB", portrait.size, "white")
    blank.save(out / "two_pages.tif", save_all=True, append_images=[portrait.copy()])


def geometry(out: Path) -> None:
    """Faces near and far, turned, tiny, in very wide images."""
    out.mkdir(parents=True)
    for near, far in ((300, 100), (300, 60), (800, 100)):
        scene = Image.new("RGB", (4000, 3000), (120, 140, 150))
        scene.paste(portrait.resize((round(512 * near / 84),) * 2), (1500, 300))
        small = head.resize((round(200 * far / 84), round(240 * far / 84)))
        for i in range(6):
            scene.paste(small, (20 + i % 3 * 460, 300 + i // 3 * 700))
        scene.save(out / f"near{near}_far{far}.jpg", quality=92)
    for degrees in (90, 180):
        pair = Image.new("RGB", (1044, 512), (127, 127, 127))
        pair.paste(portrait, (0, 0))
        pair.paste(portrait.rotate(degrees), (532, 0))
        pair.save(out / f"upright_and_{degrees}.png")
    portrait.rotate(150, fillcolor=(127, 127, 127)).save(out / "turned_150.png")
    strip = Image.new("RGB", (512, 512 * 40))
    for i in range(40):
        strip.paste(portrait, (0, 512 * i))
    strip.save(out / "strip_40.jpg", quality=90)
    portrait.resize((32, 32), Image.LANCZOS).save(out / "face_of_5_pixels.png")
