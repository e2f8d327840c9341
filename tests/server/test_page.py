"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import csv
import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.server.app import STATIC, create_app

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="the page's tests need a Chromium; apt-get install chromium"),
]


@contextmanager
def run_server(analyzer):
    config = uvicorn.Config(create_app(analyzer), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(analyzer):
    with run_server(analyzer) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as runner:
        fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
        yield runner.chromium.launch(executable_path=BROWSER, args=fake)


@pytest.fixture
def page(browser, address):
    """The page, freshly opened; fails a test that requests something from elsewhere or logs an error."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    urls, errors = [], []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.errors = errors
    page.goto(address)
    yield page
    assert all(url.startswith((address, "blob:", "data:")) for url in urls), urls
    assert not page.errors
    context.close()


def analyze(page, images, *, seconds=20) -> None:
    page.set_input_files("#files", images)
    playwright.expect(page.locator("#status")).to_contain_text("nalyzed.", timeout=1000 * seconds)


def test_image_is_analyzed_and_drawn(page) -> None:
    analyze(page, str(PERSON))
    assert page.locator("article h3").inner_text() == "person.jpg: one face"
    text = page.locator(".faces li").inner_text()
    assert "years" in text
    assert "Mask" in text
    assert "Gender" not in text  # off by default
    assert page.evaluate("() => document.querySelector('canvas').width") == 640
    assert page.locator("canvas").get_attribute("aria-label") == "The image, with 1 faces marked"


def test_checkboxes_select_tasks(page) -> None:
    page.check("input[name=gender]")
    page.check("input[name=race]")
    page.uncheck("input[name=age]")
    page.check("#attention")
    with page.expect_request("**/v1/analyze*") as request:
        analyze(page, str(PERSON))
    assert "tasks=mask%2Cgender%2Crace" in request.value.url
    text = page.locator(".faces li").inner_text()
    assert "Gender" in text
    assert "Age" not in text


def test_several_images_and_csv(page, tmp_path) -> None:
    formula = tmp_path / "=1+1.jpg"
    formula.write_bytes(PERSON.read_bytes())
    analyze(page, [str(PERSON), str(formula)])
    assert page.locator("article").count() == 2
    with page.expect_download() as download:
        page.click("#csv")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("image,face,x,y")
    assert any(line.startswith("'=1+1.jpg,") for line in lines)  # not a formula in a spreadsheet
    page.click("#clear")
    assert page.locator("article").count() == 0
    assert page.is_disabled("#csv")


def test_invalid_image_shows_error(page, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    analyze(page, str(tmp_path / "bad.jpg"))
    assert "not an image" in page.locator(".error").inner_text()
    page.errors[:] = [text for text in page.errors if "415" not in text]  # the browser logs the status


def test_unreachable_server_shows_error(page) -> None:
    page.route("**/v1/analyze*", lambda route: route.abort())
    analyze(page, str(PERSON))
    assert "cannot be reached" in page.locator(".error").inner_text()
    page.errors.clear()


def test_camera_takes_image(page) -> None:
    page.click("#camera")
    for _ in range(200):  # wait_for_function evaluates strings, which the page's policy forbids
        if page.evaluate("() => document.getElementById('viewfinder').videoWidth"):
            break
        page.wait_for_timeout(50)
    page.click("#shoot")
    page.wait_for_selector("article")
    assert "camera.jpg" in page.locator("article h3").inner_text()
    page.click("#close")
    assert page.is_hidden("#live")


def test_every_control_is_reachable_by_keyboard(page) -> None:
    focused = []
    for _ in range(14):
        page.keyboard.press("Tab")
        focused.append(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    assert {"files", "camera", "age", "mask", "gender", "race", "attention", "crop"} <= set(focused)


@pytest.mark.parametrize("dark", [False, True])
def test_accessibility(browser, address, dark) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the check needs axe-playwright-python")
    context = browser.new_context(color_scheme="dark" if dark else "light", bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    analyze(page, str(PERSON))
    report = axe.Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    context.close()


def test_page_fits_phone(browser, address) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(address)
    analyze(page, str(PERSON))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


@pytest.fixture(scope="module")
def images(portrait, tmp_path_factory):
    """Faces near, far, tilted, upside down, below LEAST_FACE, in a strip of several tiles; and none."""
    folder, person = tmp_path_factory.mktemp("images"), read_image(PERSON)
    gray = np.full((400, 1600, 3), 127, np.uint8)
    contents = {
        "portrait": portrait,
        "close": person[110:410, 200:450],
        "tilted": cv2.warpAffine(person, cv2.getRotationMatrix2D((320, 240), 55, 0.9), (640, 480)),
        "upside_down": person[::-1, ::-1],
        "small": cv2.copyMakeBorder(portrait, 700, 700, 900, 900, cv2.BORDER_REPLICATE),
        "tiny": cv2.resize(portrait, (62, 62), interpolation=cv2.INTER_AREA),
        "strip": np.hstack([portrait[:400], gray, portrait[:400, ::-1]]),
        "nobody": portrait[:60, :60],
    }
    for name, image in contents.items():
        Image.fromarray(np.ascontiguousarray(image)).save(folder / f"{name}.png")
    rotated = Image.fromarray(person).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    rotated.save(folder / "rotated.jpg", exif=exif, quality=95)
    return sorted(map(str, folder.iterdir()))


def analyze_to_csv(page, images, *, seconds: int):
    """The rows of the page's CSV, sorted."""
    analyze(page, images, seconds=seconds)
    with page.expect_download() as download:
        page.click("#csv")
    with download.value.path().open() as file:
        rows = list(csv.DictReader(file))
    page.click("#clear")
    return sorted(rows, key=lambda row: (row["image"], row["face"]))


@pytest.mark.skipif(not (STATIC / "vendor").is_dir(), reason="built without npm: the page has no runtime of its own")
def test_local_results_equal_server_results_without_requests(browser, images) -> None:
    with run_server(Analyzer("oam", threads=1)) as address:
        context = browser.new_context(accept_downloads=True)
        page, urls = context.new_page(), []
        page.goto(address)
        for task in ("gender", "race"):
            page.check(f"input[name={task}]")
        expected = analyze_to_csv(page, images, seconds=60)
        page.check("#local")
        playwright.expect(page.locator("#status")).to_contain_text("from now on", timeout=60_000)
        page.on("request", lambda request: urls.append(request.url))
        context.set_offline(True)
        local = analyze_to_csv(page, images, seconds=180)
        assert not [url for url in urls if not url.startswith("blob:")]
        page.set_input_files("#files", {"name": "text.jpg", "mimeType": "image/jpeg", "buffer": b"text"})
        playwright.expect(page.locator(".error")).to_contain_text("cannot read it")
        context.close()
    counts = Counter(row["image"] for row in expected)
    assert counts == {Path(image).name: 1 for image in images if "nobody" not in image} | {"strip.png": 2}
    assert next(row for row in expected if row["image"] == "tiny.png")["mask"] == "uncertain"
    assert [(row["image"], row["face"]) for row in expected] == [(row["image"], row["face"]) for row in local]
    for one, other in zip(expected, local, strict=True):
        pixels = max(0.3, 0.003 * float(one["width"]))
        tolerances = dict.fromkeys(("x", "y", "width", "height"), pixels)
        for name, tolerance in {**tolerances, "years": 0.3, "low": 1.1, "high": 1.1}.items():
            assert round(abs(float(one[name]) - float(other[name])), 6) <= tolerance, (one, other)
        for task in ("gender", "race", "mask"):
            assert one[task] == other[task]
            assert abs(float(one[f"{task}_probability"]) - float(other[f"{task}_probability"])) < 0.02, (one, other)
        assert abs(float(one["visibility"]) - float(other["visibility"])) < 0.01


def test_missing_browser_runtime_shows_error(browser, analyzer) -> None:
    with run_server(analyzer) as address:
        page = browser.new_page()
        page.route("**/vendor/*", lambda route: route.fulfill(status=404))
        page.goto(address)
        page.check("#local")
        playwright.expect(page.locator("#status")).to_contain_text("cannot analyze in the browser", timeout=20_000)
        assert not page.is_checked("#local")
        analyze(page, str(PERSON))  # on the server
        page.close()
