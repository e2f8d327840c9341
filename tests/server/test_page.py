"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import csv
import shutil
import threading
import time
from contextlib import contextmanager

import cv2
import pytest
import uvicorn
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.server.app import PAGE, create_app

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="the page's tests need a Chromium; apt-get install chromium")


@contextmanager
def served(analyzer):
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
    with served(analyzer) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as runner:
        fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
        yield runner.chromium.launch(executable_path=BROWSER, args=fake)


@pytest.fixture
def page(browser, address):
    """The page, freshly opened; fails a test in which it asked elsewhere or wrote an error into its console."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.wrong = wrong
    page.goto(address)
    yield page
    assert all(url.startswith((address, "blob:", "data:")) for url in asked), asked
    assert not page.wrong
    context.close()


def answered(page, images) -> None:
    page.set_input_files("#files", images)
    playwright.expect(page.locator("#status")).to_contain_text("nswered.", timeout=20_000)


def test_a_photograph_is_answered_and_drawn(page) -> None:
    answered(page, str(PERSON))
    assert page.locator("article h3").inner_text() == "person.jpg: one face"
    text = page.locator(".faces li").inner_text()
    assert "years" in text
    assert "Mask" in text
    assert "Gender" not in text  # not asked unless switched on
    assert page.evaluate("() => document.querySelector('canvas').width") == 640
    assert page.locator("canvas").get_attribute("aria-label") == "The image, with 1 faces marked"


def test_switches_decide_what_is_asked(page) -> None:
    page.check("input[name=gender]")
    page.check("input[name=race]")
    page.uncheck("input[name=age]")
    page.check("#attention")
    with page.expect_request("**/v1/analyze*") as sent:
        answered(page, str(PERSON))
    assert "tasks=mask%2Cgender%2Crace" in sent.value.url
    text = page.locator(".faces li").inner_text()
    assert "Gender" in text
    assert "Age" not in text


def test_several_files_and_a_table_of_them(page, tmp_path) -> None:
    formula = tmp_path / "=1+1.jpg"
    formula.write_bytes(PERSON.read_bytes())
    answered(page, [str(PERSON), str(formula)])
    assert page.locator("article").count() == 2
    with page.expect_download() as download:
        page.click("#csv")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("image,face,x,y")
    assert any(line.startswith("'=1+1.jpg,") for line in lines)  # no formula for a spreadsheet
    page.click("#clear")
    assert page.locator("article").count() == 0
    assert page.is_disabled("#csv")


def test_what_is_no_picture_is_said_kindly(page, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    answered(page, str(tmp_path / "bad.jpg"))
    assert "not an image" in page.locator(".error").inner_text()
    page.wrong[:] = [text for text in page.wrong if "415" not in text]  # the browser's own note of the status


def test_a_server_that_is_gone_is_said_too(page) -> None:
    page.route("**/v1/analyze*", lambda route: route.abort())
    answered(page, str(PERSON))
    assert "cannot be reached" in page.locator(".error").inner_text()
    page.wrong.clear()


def test_the_camera_takes_a_photograph(page) -> None:
    page.click("#camera")
    for _ in range(200):  # what waits for a condition would be evaluated as a string, which the page's policy forbids
        if page.evaluate("() => document.getElementById('viewfinder').videoWidth"):
            break
        page.wait_for_timeout(50)
    page.click("#shoot")
    page.wait_for_selector("article")
    assert "camera.jpg" in page.locator("article h3").inner_text()
    page.click("#close")
    assert page.is_hidden("#live")


def test_all_of_it_works_from_the_keyboard(page) -> None:
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    assert {"files", "camera", "age", "mask", "gender", "race", "attention", "crop"} <= set(seen)


@pytest.mark.parametrize("dark", [False, True])
def test_people_who_cannot_see_well_can_use_it(browser, address, dark) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the check needs axe-playwright-python")
    context = browser.new_context(color_scheme="dark" if dark else "light", bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    answered(page, str(PERSON))
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_it_fits_a_phone(browser, address) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(address)
    answered(page, str(PERSON))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


@pytest.fixture(scope="module")
def images(portrait, tmp_path_factory):
    """Of every way that the detector takes: whole, bordered, closer, tilted, turned upright; one shows nobody."""
    folder, person = tmp_path_factory.mktemp("images"), read_image(PERSON)
    tilted = cv2.warpAffine(person, cv2.getRotationMatrix2D((320, 240), 55, 0.9), (640, 480))
    small = cv2.copyMakeBorder(portrait, 700, 700, 900, 900, cv2.BORDER_REPLICATE)
    shown = {"portrait": portrait, "close": person[110:410, 200:450], "tilted": tilted, "small": small}
    shown["nobody"] = portrait[:60, :60]
    for name, image in shown.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    turned = Image.fromarray(person).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    return sorted(map(str, folder.iterdir()))


def table(page, images, *, seconds: int):
    """What the page's table says of every image, with all tasks asked."""
    page.set_input_files("#files", images)
    playwright.expect(page.locator("#status")).to_contain_text("nswered.", timeout=1000 * seconds)
    with page.expect_download() as download:
        page.click("#csv")
    with download.value.path().open() as file:
        rows = list(csv.DictReader(file))
    page.click("#clear")
    return sorted(rows, key=lambda row: (row["image"], row["face"]))


@pytest.mark.skipif(not (PAGE / "vendor").is_dir(), reason="built without npm: the page has no runtime of its own")
def test_this_device_answers_as_the_server_does_and_asks_nobody(browser, images) -> None:
    with served(Analyzer("oam", threads=1)) as address:
        context = browser.new_context(accept_downloads=True)
        page, asked = context.new_page(), []
        page.goto(address)
        for task in ("gender", "race"):
            page.check(f"input[name={task}]")
        wanted = table(page, images, seconds=60)
        page.check("#local")
        playwright.expect(page.locator("#status")).to_contain_text("from now on", timeout=60_000)
        page.on("request", lambda request: asked.append(request.url))
        context.set_offline(True)
        found = table(page, images, seconds=180)
        assert not [url for url in asked if not url.startswith("blob:")]
        page.set_input_files("#files", {"name": "text.jpg", "mimeType": "image/jpeg", "buffer": b"text"})
        playwright.expect(page.locator(".error")).to_contain_text("cannot read it")
        context.close()
    assert {row["image"] for row in wanted} == {f"{name}.png" for name in ("portrait", "close", "tilted", "small")} | {
        "turned.jpg"
    }
    assert [(row["image"], row["face"]) for row in wanted] == [(row["image"], row["face"]) for row in found]
    for one, other in zip(wanted, found, strict=True):
        pixels = max(1.0, 0.01 * float(one["width"]))  # of a look from far away one pixel is several
        places = dict.fromkeys(("x", "y", "width", "height"), pixels)
        for name, most in {**places, "years": 0.3, "low": 1.1, "high": 1.1}.items():
            assert round(abs(float(one[name]) - float(other[name])), 6) <= most, (one, other)
        for task in ("gender", "race", "mask"):
            assert one[task] == other[task]
            assert abs(float(one[f"{task}_probability"]) - float(other[f"{task}_probability"])) < 0.02, (one, other)
        assert abs(float(one["visibility"]) - float(other["visibility"])) < 0.01


def test_where_the_browser_cannot_answer_that_is_said(browser, analyzer) -> None:
    with served(analyzer) as address:
        page = browser.new_page()
        page.route("**/vendor/*", lambda route: route.fulfill(status=404))
        page.goto(address)
        page.check("#local")
        playwright.expect(page.locator("#status")).to_contain_text("cannot answer in the browser", timeout=20_000)
        assert not page.is_checked("#local")
        answered(page, str(PERSON))  # the server still does
        page.close()
