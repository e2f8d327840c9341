"""Takes the screenshots of docs/page with Chromium: light, dark, telephone, live and video. Needs oamface[serve,dev].

python examples/page_screenshots.py docs/page
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from oamface.images import RGBImage, read_image

SAMPLES = Path(__file__).parents[1] / "src/oamface/server/static/samples"
DESKTOP, TELEPHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@contextmanager
def serve() -> Iterator[str]:
    """The address of a service with the default weights."""
    command = [sys.executable, "-m", "oamface", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1] + "/"
        finally:
            process.terminate()


def moving_frames(image: RGBImage, count: int) -> Iterator[RGBImage]:
    """640 x 480 views of an image that move over it and back."""
    height, width = image.shape[:2]
    scale = min(width / 640, height / 480)
    w, h = int(0.85 * 640 * scale), int(0.85 * 480 * scale)
    for number in range(count):
        share = 0.5 - 0.5 * np.cos(2 * np.pi * number / count)
        left, top = int(share * (width - w)), int((1 - share) * (height - h) / 2 + (height - h) / 2)
        view = Image.fromarray(image[top : top + h, left : left + w]).resize((640, 480), Image.Resampling.BILINEAR)
        yield np.asarray(view)


def write_camera(path: Path, sample: str) -> None:
    """A clip for Chromium's fake camera."""
    with path.open("wb") as file:
        for frame in moving_frames(read_image(SAMPLES / sample), 120):
            Image.fromarray(frame).save(file, "JPEG", quality=90)


def write_video(path: Path) -> None:
    """A video of two scenes, with nobody between them."""
    nobody = np.full((480, 640, 3), 96, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=20)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 480, "yuv420p", 2_000_000
        for sample in ("portrait.webp", "masks.webp"):
            for frame in (*moving_frames(read_image(SAMPLES / sample), 80), *[nobody] * 26):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def save(page: Page, path: Path) -> None:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=82, method=6)
    print(path)


def answered(page: Page, *, seconds: int = 60) -> None:
    page.wait_for_selector("#faces .card", timeout=1000 * seconds)
    page.wait_for_timeout(400)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, serve() as address, sync_playwright() as runner:
        scratch = Path(name)
        write_camera(scratch / "camera.mjpeg", "portrait.webp")
        write_video(scratch / "clip.webm")
        browser = runner.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={scratch / 'camera.mjpeg'}",
            ],
        )

        def open_page(size: dict[str, int], scheme: str) -> Page:
            page = browser.new_context(viewport=size, color_scheme=scheme).new_page()  # type: ignore[arg-type]
            page.goto(address)
            page.wait_for_selector("body.ready")
            return page

        page = open_page(DESKTOP, "light")
        page.wait_for_selector("#download", state="hidden", timeout=60_000)
        save(page, folder / "start.webp")
        page.click("[data-sample=group]")
        answered(page)
        page.click(".card h3 button")
        save(page, folder / "light.webp")
        page.click("[data-action=camera]:visible")
        answered(page)
        page.wait_for_timeout(2000)
        save(page, folder / "live.webp")
        page.set_input_files("#files", str(scratch / "clip.webm"))
        page.locator("#timeline rect").nth(1).wait_for(state="attached", timeout=60_000)
        page.wait_for_timeout(1000)
        save(page, folder / "video.webp")

        page = open_page(DESKTOP, "dark")
        page.click("#options summary")
        page.check("[name=attention]")
        page.keyboard.press("Escape")
        page.click("[data-sample=masks]")
        answered(page)
        page.click(".card h3 button >> nth=1")
        save(page, folder / "dark.webp")

        page = open_page(TELEPHONE, "light")
        page.click("[data-sample=group]")
        answered(page)
        save(page, folder / "telephone.webp")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
