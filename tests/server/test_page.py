"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import csv
import gzip
import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import pairwise, permutations
from pathlib import Path

import av
import numpy as np
import pytest
import uvicorn
from PIL import Image

import oamface.server
from oamface.age_policy import AgePolicy
from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.labels import GENDERS, MASKS, RACES
from oamface.quality import REASONS
from oamface.results import AgeDecision
from oamface.server.app import create_app
from oamface.weights import weights_file

STATIC = Path(oamface.server.__file__).parent / "static"
MESSAGES = json.loads((STATIC / "messages.json").read_text())
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = {"width": 390, "height": 844}
playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
expect = playwright.expect
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="the page's tests need a Chromium; apt-get install chromium"),
]
on_device = pytest.mark.skipif(not (STATIC / "vendor").is_dir(), reason="built without npm: no runtime for the device")


@contextmanager
def run_server(analyzer, **options):
    config = uvicorn.Config(create_app(analyzer, **options), port=0, log_level="error")
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
def address():
    with run_server(Analyzer("oam-small", threads=1)) as address:
        yield address


@pytest.fixture(scope="module")
def camera_clip(tmp_path_factory):
    """What the browser's camera sees: a synthetic person."""
    path = tmp_path_factory.mktemp("camera") / "clip.mjpeg"
    image = Image.fromarray(read_image(PERSON))
    with path.open("wb") as file:
        for _ in range(10):
            image.save(file, "JPEG", quality=90)
    return path


@pytest.fixture(scope="module")
def video_clip(tmp_path_factory):
    """A second with a person, then almost one without."""
    path, person = tmp_path_factory.mktemp("video") / "clip.webm", read_image(PERSON)[::2, ::2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(18):
            image = person if number < 10 else np.full_like(person, 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def browser(camera_clip):
    with playwright.sync_playwright() as runner:
        fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
        camera = f"--use-file-for-fake-video-capture={camera_clip}"
        yield runner.chromium.launch(executable_path=BROWSER, args=[*fake, camera])


@contextmanager
def open_page(browser, address, *, server=True, **options):
    """The page in a context of its own. server: let the server answer, so that no networks are loaded."""
    context = browser.new_context(accept_downloads=True, **options)
    if server:  # a visitor who saves data: the networks are not loaded unasked
        context.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    page = context.new_page()
    page.errors, page.urls = [], []
    page.on("request", lambda request: page.urls.append(request.url))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    with visit(page, address, server=server):
        yield page
    context.close()


@contextmanager
def visit(page, address, *, server=True):
    """Opens the page; fails a test that requests something from elsewhere or logs an error."""
    del page.errors[:], page.urls[:]
    page.goto(address)
    page.wait_for_selector("body.ready")
    if server:
        set_option(page, "place", "server")
        expect(page.locator("#place-text")).to_have_text("Answered by the server")
    yield
    assert all(url.startswith((address, "blob:", "data:")) for url in page.urls), page.urls
    assert not page.errors


@pytest.fixture(scope="module")
def tab(browser, address):
    with open_page(browser, address) as page:
        yield page


@pytest.fixture
def page(tab, address):
    """The page, freshly loaded into the tab that most tests share."""
    with visit(tab, address):
        yield tab


def set_option(page, name, value=None) -> None:
    """Open the options, choose a value of a radio button or a list, or tick a box, and close them again."""
    page.click("#options summary")
    field = page.locator(f"#options [name={name}]")
    if value is None:
        field.first.check()
    elif name == "place":
        page.locator(f"#options [name=place][value={value}]").check()
    else:
        field.select_option(value)
    page.keyboard.press("Escape")


def set_check(page, age, challenge) -> None:
    """Switch the age check on, and choose its ages."""
    set_option(page, "check")
    page.click("#options summary")
    page.fill("[name=check-challenge]", str(challenge))
    page.fill("[name=check-age]", str(age))
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")


def analyze(page, images, *, seconds=30) -> None:
    page.set_input_files("#files", images)
    expect(page.locator("#status")).to_contain_text("nalyzed.", timeout=1000 * seconds)


def rectangle(locator):
    box = locator.bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_image_is_answered_on_the_image_and_beside_it(page) -> None:
    analyze(page, str(PERSON))
    label = page.locator(".label").inner_text()
    assert re.search(r"\d+ years\s+likely \d+\u2013\d+", label)
    assert "mask" in label.lower()
    card = page.locator(".card")
    assert card.count() == 1
    assert "looks at least 18: " in card.locator(".tags").inner_text()
    details = card.locator(".details").inner_text()  # open, since there is one face
    assert "of 10 such faces to look" in details
    assert "of the face is visible" in details
    assert "female" not in page.locator("#work").inner_text()  # off by default


def test_gender_and_race_come_on_demand_with_their_notes(page) -> None:
    analyze(page, str(PERSON))
    with page.expect_request("**/v1/analyze*") as request:
        set_option(page, "race")
    assert "race" in request.value.url
    details = page.locator(".details")
    expect(details).to_contain_text("Race")
    expect(details).to_contain_text(MESSAGES["en"]["note.race"])
    set_option(page, "gender")
    expect(details).to_contain_text(MESSAGES["en"]["note.gender"])


def test_uncertain_answers_say_why(page) -> None:
    set_option(page, "race")
    page.click("[data-sample=group]")
    card = page.locator(".card:has(.tag.uncertain)").first
    card.locator("button").click()
    assert "Race: uncertain" in card.locator(".tags").inner_text()
    assert re.search(r"Uncertain(:|, because)", card.locator(".details").inner_text())


def test_threshold_of_age_is_chosen(page) -> None:
    set_option(page, "threshold", "25")
    analyze(page, str(PERSON))
    assert re.search(r"looks at least 25: \d+%", page.locator(".tags").inner_text())
    set_option(page, "threshold", "")
    expect(page.locator(".tags")).not_to_contain_text("looks at least")


@pytest.mark.parametrize("server", [True, False], ids=["server", "device"])
@on_device
def test_age_check_shows_what_python_decides(browser, address, tmp_path, server) -> None:
    person = read_image(PERSON)
    images = {"good": person, "dark": person // 16, "small": person[::10, ::10], "nobody": np.zeros_like(person)}
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    with open_page(browser, address, server=server) as page:
        set_check(page, 18, 25)
        analyze(page, [str(tmp_path / f"{name}.png") for name in images], seconds=60)
        check_decisions(page, images, AgePolicy(age=18, challenge=25))
        set_check(page, 60, 60)
        expect(page.locator("#status")).to_have_text("All 4 analyzed.")
        page.locator("#strip button").first.click()
        expect(page.locator(".decision")).to_contain_text("Age check: refuse")
        assert check_decisions(page, images, AgePolicy(age=60)) == {"refuse", "refer"}
        rows = list(csv.DictReader(save(page, "csv").read_text().splitlines()))
        assert [row["decision"] for row in rows] == ["refuse", "refer", "refer", "refer"]
        assert rows[-1]["reason"] == "no face"


def check_decisions(page, images, policy) -> set[str]:
    """Whether each image and its card say what a policy decides in Python; the outcomes."""
    analyzer, outcomes = Analyzer("oam-small", threads=1, policy=policy), set()
    for number, image in enumerate(images.values()):
        page.locator("#strip button").nth(number).click()
        result = analyzer.analyze(image)
        if not len(result):
            expect(page.locator("#note-text")).to_contain_text(MESSAGES["en"]["check.nobody"])
            outcomes.add(result.decision.outcome)
            continue
        (face,) = result
        outcome, because = in_words(face.decision)
        expect(page.locator(".decision b")).to_have_text(outcome)
        expect(page.locator(".decision span")).to_have_text(because)
        (percent,) = re.findall(r"looks old enough: (\d+)%", page.locator(".details").text_content())
        assert abs(int(percent) - 100 * face.decision.probability) < 8  # networks of eight bits differ by so much
        if page.locator(".label").count():
            expect(page.locator(".label b")).to_have_text(
                re.compile(f"{re.escape(outcome)}|{face.decision.outcome}|#1")
            )
        outcomes.add(face.decision.outcome)
    return outcomes


def in_words(decision: AgeDecision) -> tuple[str, str]:
    texts = MESSAGES["en"]
    reasons = [texts[f"reason.{re.sub(r' [0-9]+', '', reason)}"] for reason in decision.reasons]
    filled = [
        re.sub(r"{years}", re.sub(r"\D", "", reason), text)
        for text, reason in zip(reasons, decision.reasons, strict=True)
    ]
    because = " and ".join(filled) if len(filled) < 3 else f"{', '.join(filled[:-1])}, and {filled[-1]}"
    outcome = texts["check.is"].replace("{outcome}", texts[f"check.{decision.outcome}"])
    return outcome, texts["check.appeal"] if decision.outcome == "refuse" else because


def test_wrong_age_check_is_said_to_be_one_and_the_last_right_one_counts(page) -> None:
    set_check(page, 18, 30)
    page.click("#options summary")
    challenge, problem = page.locator("[name=check-challenge]"), page.locator("#check-problem")
    challenge.fill("16")
    page.keyboard.press("Tab")
    expect(problem).to_have_text(MESSAGES["en"]["error.policy"])
    expect(challenge).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Escape")
    analyze(page, str(PERSON))
    expect(page.locator(".card .decision")).to_have_count(1)
    expect(challenge).to_have_value("30")
    assert not problem.text_content()


def test_age_check_says_that_it_needs_the_age(page) -> None:
    set_option(page, "check")
    page.click("#options summary")
    expect(page.locator("#check-off")).to_be_empty()
    expect(page.locator("#check-fields")).to_be_visible()
    page.locator("[name=age]").uncheck()
    expect(page.locator("[name=check]")).to_be_disabled()
    expect(page.locator("[name=check]")).to_have_css("appearance", "none")  # without its tick
    expect(page.locator("#check-fields")).to_be_hidden()
    expect(page.locator("#check-off")).to_have_text(MESSAGES["en"]["check.off"])


def test_what_was_looked_at_is_drawn_on_demand(page) -> None:
    analyze(page, str(PERSON))
    assert page.locator(".attention").count() == 0
    page.route("**/v1/analyze*", lambda _: None)
    set_option(page, "attention")
    expect(page.locator("#note-text")).not_to_contain_text("taken to be covered")
    page.unroute("**/v1/analyze*")
    expect(page.locator(".attention")).to_be_visible()
    expect(page.locator("#note-text")).to_contain_text("taken to be covered")
    assert page.evaluate(
        """() => {
          const canvas = document.querySelector(".attention");
          return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value);
        }"""
    )


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE, {"width": 360, "height": 640}])
def test_labels_never_cover_a_face_or_each_other(browser, address, viewport) -> None:
    with open_page(browser, address, viewport=viewport) as page:
        page.click("[data-sample=group]")
        page.locator(".card").nth(3).wait_for()
        page.mouse.move(0, 0)
        boxes = {box.get_attribute("data-id"): rectangle(box) for box in page.locator(".box").all()}
        labels = {each.get_attribute("data-id"): rectangle(each) for each in page.locator(".label:visible").all()}
        frame = rectangle(page.locator("#frame"))
    assert len(boxes) == 4
    assert len(labels) == 4
    for (name, label), (other, box) in ((one, two) for one in labels.items() for two in boxes.items()):
        assert name == other or not overlap(label, box)
    assert not any(overlap(one, other) for one, other in permutations(labels.values(), 2))
    for left, top, right, bottom in labels.values():
        assert frame[0] - 1 <= left and right <= frame[2] + 1 and frame[1] - 1 <= top and bottom <= frame[3] + 1


def test_labels_of_a_crowd_shrink_or_vanish_rather_than_cover_faces(page) -> None:
    rng = np.random.default_rng(0)
    boxes = [
        {"id": number, "x": x, "y": y, "width": side, "height": side}
        for number, (x, y, side) in enumerate(rng.uniform((0, 0, 30), (560, 360, 90), (40, 3)).tolist())
    ]
    places = page.evaluate(
        """async (boxes) => {
          const { placeLabels } = await import("/ui/labels.js");
          const sizes = [[120, 60], [70, 30], [25, 30]].map(([width, height]) => ({ width, height }));
          const places = placeLabels(boxes, boxes.map(() => sizes), { width: 640, height: 480 });
          return [...places].map(([id, { x, y, variant }]) => [id, x, y, sizes[variant].width, sizes[variant].height]);
        }""",
        boxes,
    )
    assert 0 < len(places) < len(boxes)
    assert len({height for *_, height in places}) > 1  # a few have room for more than their number
    faces = {box["id"]: (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]) for box in boxes}
    labels = {name: (x, y, x + width, y + height) for name, x, y, width, height in places}
    for name, label in labels.items():
        assert not any(overlap(label, face) for other, face in faces.items() if other != name)
        assert not any(overlap(label, other) for key, other in labels.items() if key != name)


def test_card_highlights_its_box_and_back(page) -> None:
    page.click("[data-sample=group]")
    page.locator(".card").nth(3).wait_for()
    page.hover(".card[data-id='2']")
    expect(page.locator(".box.current")).to_have_attribute("data-id", "2")
    page.hover(".box[data-id='3']")
    expect(page.locator(".card.current")).to_have_attribute("data-id", "3")
    page.click(".box[data-id='1']")
    expect(page.locator(".card[data-id='1'] .details")).to_be_visible()
    expect(page.locator(".card[data-id='1'] button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".card[data-id='1'] .details")).to_be_hidden()
    page.keyboard.press("Tab")
    expect(page.locator(".box.current")).to_have_attribute("data-id", "2")


def test_results_are_in_view_on_a_phone(browser, address) -> None:
    with open_page(browser, address, viewport=PHONE, has_touch=True) as page:
        page.click("[data-sample=group]")
        page.locator(".card").nth(3).wait_for()
        for element in ("#frame", "#place", *(f".card[data-id='{number}'] .age" for number in range(1, 5))):
            expect(page.locator(element)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.evaluate("scrollY") == 0


def test_several_images_in_a_strip_as_csv_and_json(page, tmp_path) -> None:
    formula = tmp_path / "=1+1.jpg"
    formula.write_bytes(PERSON.read_bytes())
    analyze(page, [str(PERSON), str(formula)])
    thumbnails = page.locator("#strip button")
    assert thumbnails.count() == 2
    expect(thumbnails.first).to_have_attribute("aria-current", "true")
    thumbnails.nth(1).click()
    expect(page.locator("#frame img")).to_have_attribute("alt", "=1+1.jpg")
    rows = list(csv.DictReader(save(page, "csv").read_text().splitlines()))
    assert [row["source"] for row in rows] == ["person.jpg", "'=1+1.jpg"]  # not a formula in a spreadsheet
    images = json.loads(save(page, "json").read_text())["images"]
    assert [image["source"] for image in images] == ["person.jpg", "=1+1.jpg"]
    assert {"schema", "width", "height", "faces"} < set(images[0])
    at_least = [image["faces"][0]["age"]["at_least"]["18"] for image in images]
    assert [float(row["age_at_least_18"]) for row in rows] == at_least
    with Image.open(save(page, "image")) as drawn:
        assert drawn.size == (640, 480)
    page.click("#save summary")
    page.click("#clear")
    expect(page.locator("#start")).to_be_visible()
    assert page.locator("#strip li").count() == 0


def save(page, kind: str) -> Path:
    page.click("#save summary")
    with page.expect_download() as download:
        page.click(f"#{kind}")
    return download.value.path()


def test_images_can_be_dropped_and_pasted(page) -> None:
    for event in ("drop", "paste"):
        page.evaluate(
            """async (event) => {
              const blob = await (await fetch("samples/portrait.webp")).blob();
              const data = new DataTransfer();
              data.items.add(new File([blob], `${event}.webp`, { type: "image/webp" }));
              document.dispatchEvent(event === "drop" ? new DragEvent("drop", { dataTransfer: data })
                : new ClipboardEvent("paste", { clipboardData: data }));
            }""",
            event,
        )
        expect(page.locator("#frame img")).to_have_attribute("alt", f"{event}.webp")
    expect(page.locator("#status")).to_have_text("All 2 analyzed.", timeout=20_000)


def test_invalid_image_is_said_to_be_one(page, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    analyze(page, str(tmp_path / "bad.jpg"))
    expect(page.locator("#note-text")).to_contain_text("not an image")
    page.errors[:] = [text for text in page.errors if "415" not in text]  # the browser logs the status


def test_what_does_not_work_is_seen_beside_an_image(page, tmp_path) -> None:
    analyze(page, str(PERSON))
    (tmp_path / "notes.txt").write_text("text")
    page.set_input_files("#files", str(tmp_path / "notes.txt"))
    expect(page.locator("#alert")).to_have_text(MESSAGES["en"]["error.notImage"])
    expect(page.locator("#alert")).to_be_in_viewport(ratio=1)
    page.click("#options summary")
    page.locator("[name=mask]").uncheck()
    page.locator("[name=age]").click()
    assert page.locator("[name=age]").is_checked()
    expect(page.locator("#alert")).to_have_text(MESSAGES["en"]["options.least"])
    page.keyboard.press("Escape")
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error()); }")
    page.click("[data-action=camera]:visible")
    expect(page.locator("#alert")).to_have_text(MESSAGES["en"]["error.camera"])
    expect(page.locator("#frame img")).to_be_visible()


@on_device
def test_selected_image_is_analyzed_before_those_that_wait(browser, address) -> None:
    with browser.new_context(service_workers="block") as context:
        page, held = context.new_page(), []
        page.route("**/models/oam-small.onnx", lambda route: held.append(route))
        page.goto(address)
        page.wait_for_selector("body.ready")
        page.set_input_files("#files", [str(PERSON)] * 4)
        page.evaluate(
            """() => {
              window.order = [];
              const items = [...document.querySelectorAll("#strip li")];
              new MutationObserver((changes) => changes.forEach(({ target }) => order.push(items.indexOf(target))))
                .observe(document.getElementById("strip"), { subtree: true, attributeFilter: ["data-faces"] });
            }"""
        )
        page.locator("#strip button").nth(2).click()
        while not held:
            page.wait_for_timeout(20)
        held[0].continue_()
        expect(page.locator("#status")).to_have_text("All 4 analyzed.", timeout=60_000)
        assert page.evaluate("() => order") == [2, 0, 1, 3]


def test_answers_are_marked_until_those_to_other_options_are_there(page) -> None:
    analyze(page, str(PERSON))
    work, note = page.locator("#work"), page.locator("#note-text")
    page.route("**/v1/analyze*", lambda _: None)
    set_option(page, "gender")
    expect(work).to_have_class("stale")
    expect(page.locator("#faces")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#strip li")).to_have_class(re.compile("stale"))
    expect(note).to_have_text(MESSAGES["en"]["status.again"])
    page.unroute("**/v1/analyze*")  # what waits goes on
    expect(page.locator(".details")).to_contain_text("Gender")
    expect(work).not_to_have_class("stale")
    expect(page.locator("#faces")).to_have_attribute("aria-busy", "false")
    expect(note).to_be_hidden()


def test_video_that_cannot_be_played_is_said_to_be_one(page, tmp_path) -> None:
    (tmp_path / "bad.mp4").write_text("text")
    page.set_input_files("#files", str(tmp_path / "bad.mp4"))
    expect(page.locator("#note-text")).to_have_text(MESSAGES["en"]["error.video"])
    expect(page.locator("#video-controls")).to_be_hidden()
    assert not page.locator("#faces-title").text_content()
    analyze(page, str(PERSON))
    assert page.locator(".card").count() == 1


def test_failed_images_are_counted_and_saved_with_their_error(page, tmp_path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    analyze(page, [str(PERSON), str(tmp_path / "bad.jpg")])
    expect(page.locator("#status")).to_have_text("1 of 2 could not be analyzed.")
    good, bad = json.loads(save(page, "json").read_text())["images"]
    assert "error" not in good
    assert (bad["schema"], bad["source"]) == ("oamface/1", "bad.jpg")
    assert bad["error"]["type"] == "ImageError"
    assert bad["error"]["message"]
    person, failed = csv.DictReader(save(page, "csv").read_text().splitlines())
    assert list(person)[:3] == ["source", "error", "face"]
    assert (person["error"], person["detected"]) == ("", "True")
    assert abs(float(person["age"]) - good["faces"][0]["age"]["years"]) < 0.01
    assert {name: value for name, value in failed.items() if value} == {
        "source": "bad.jpg",
        "error": bad["error"]["message"],
    }
    page.errors[:] = [text for text in page.errors if "415" not in text]


def test_number_of_images_to_come_is_beside_what_is_saved(page) -> None:
    analyze(page, str(PERSON))
    page.route("**/v1/analyze*", lambda _: None)
    with page.expect_request("**/v1/analyze*"):
        page.set_input_files("#files", [str(PERSON), str(PERSON)])
    page.click("#save summary")
    expect(page.locator("#to-come")).to_have_text("2 images are still to come.")
    page.unroute("**/v1/analyze*")  # what waits goes on
    expect(page.locator("#to-come")).to_be_hidden()


def test_previous_image_is_gone_while_the_next_one_is_opened(page) -> None:
    analyze(page, str(PERSON))
    page.evaluate("() => { HTMLImageElement.prototype.decode = () => new Promise(() => null); }")
    page.route("**/v1/analyze*", lambda _: None)
    page.set_input_files("#files", str(PERSON))
    expect(page.locator("#note-text")).to_have_text(MESSAGES["en"]["status.opening"])
    expect(page.locator("#frame img, #frame .box")).to_have_count(0)
    page.unroute("**/v1/analyze*")  # what waits goes on


def test_wrong_key_is_said_to_be_one(browser) -> None:
    analyzer = Analyzer("oam-small", threads=1)
    with run_server(analyzer, keys=["the-right-key-16"]) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        field, problem = page.locator("[name=key]"), page.locator("#key-problem")
        expect(field).to_be_visible(timeout=20_000)
        expect(page.locator("#key-field")).to_contain_text(MESSAGES["en"]["note.key"])
        expect(problem).to_be_empty()
        field.fill("ein-schlüssel-日本")  # no header can carry it
        page.keyboard.press("Enter")
        expect(problem).to_have_text(MESSAGES["en"]["options.wrongKey"])
        assert page.locator("[name=place][value=device]").is_checked()
        field.fill("another-key")
        field.press("Enter")
        expect(problem).to_have_text(MESSAGES["en"]["options.wrongKey"])
        field.fill(" the-right-key-16 ")
        expect(problem).to_be_empty()


@on_device
def test_image_that_waits_for_the_key_says_so_and_leads_to_its_field(browser) -> None:
    analyzer = Analyzer("oam-small", threads=1)
    with run_server(analyzer, keys=["the-right-key-16"]) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body.ready")
        field, note = page.locator("[name=key]"), page.locator("#note-text")
        page.set_input_files("#files", str(PERSON))  # before it is known that there is a key
        expect(field).to_be_visible(timeout=20_000)
        page.keyboard.press("Escape")
        expect(note).to_have_text(MESSAGES["en"]["error.key"])
        page.set_input_files("#files", str(PERSON))
        expect(note).to_have_text(MESSAGES["en"]["error.key"])
        page.click("#note-action")
        expect(field).to_be_focused()
        page.locator("[name=place][value=server]").check()
        expect(field).to_be_focused()  # the server has refused
        page.keyboard.press("Escape")
        expect(note).to_have_text(MESSAGES["en"]["error.key"])
        page.click("#note-action")
        expect(field).to_be_focused()
        field.fill("the-right-key-16")
        field.press("Enter")
        expect(page.locator(".card")).to_have_count(1, timeout=20_000)


def test_logo_leads_to_the_start_and_keeps_the_images(page) -> None:
    assert page.locator("#back").is_hidden()
    analyze(page, str(PERSON))
    page.click(".brand")
    expect(page.locator("#start")).to_be_visible()
    page.click("#back")
    expect(page.locator("#frame img")).to_have_attribute("alt", "person.jpg")
    assert page.locator(".card").count() == 1


def test_unreachable_server_is_asked_again(page) -> None:
    page.route("**/v1/analyze*", lambda route: route.abort())
    analyze(page, str(PERSON))
    expect(page.locator("#note-text")).to_contain_text("cannot be reached")
    page.errors.clear()
    page.unroute("**/v1/analyze*")
    page.click("#note-action")
    expect(page.locator(".card")).to_have_count(1)


@on_device
def test_device_answers_by_default_and_nothing_is_sent(browser, address) -> None:
    with open_page(browser, address, server=False) as page:
        expect(page.locator("#place-text")).to_contain_text("on this device", timeout=60_000)
        expect(page.locator("#download")).to_be_hidden()
        requests = []
        page.on("request", lambda request: requests.append(request))
        analyze(page, str(PERSON), seconds=60)
        assert page.locator("#place").get_attribute("data-place") == "device"
        assert page.locator(".card").count() == 1
    sent = [request for request in requests if not request.url.startswith("blob:")]
    assert not [request.url for request in sent if request.method != "GET" or "/v1/" in request.url]
    assert {request.url.rpartition("/")[2] for request in sent} <= {
        "ort.wasm.bundle.min.mjs"
    }  # threads load themselves


@on_device
def test_server_is_offered_for_unknown_formats_and_not_for_damaged_files(browser, address, tmp_path) -> None:
    tiff = tmp_path / "person.tiff"
    Image.fromarray(read_image(PERSON)).save(tiff)
    (tmp_path / "bad.jpg").write_text("text")
    with open_page(browser, address, server=False) as page:
        expect(page.locator("#place-text")).to_contain_text("on this device", timeout=60_000)
        analyze(page, str(tmp_path / "bad.jpg"))
        expect(page.locator("#note-action")).to_have_text(MESSAGES["en"]["retry"])
        page.set_input_files("#files", str(tiff))
        expect(page.locator("#note-action")).to_have_text(MESSAGES["en"]["ask.server"])
        expect(page.locator("#note-text")).to_have_text(MESSAGES["en"]["error.format.server"])
        expect(page.locator("#strip .by-server")).to_have_text(MESSAGES["en"]["image.serverOnly"])
        damaged, selected = page.locator("#strip button").all()
        assert rectangle(damaged)[1::2] == rectangle(selected)[1::2]  # in one line
        shadows = [tile.evaluate("tile => getComputedStyle(tile).boxShadow") for tile in (damaged, selected)]
        assert [shadow.count("rgb") for shadow in shadows] == [1, 3]  # of failure; the ring of selection as well
        page.click("#note-action")
        expect(page.locator(".card")).to_have_count(1, timeout=20_000)


@on_device
def test_unknown_format_without_a_server_is_to_be_converted(browser, address, tmp_path) -> None:
    tiff = tmp_path / "person.tiff"
    Image.fromarray(read_image(PERSON)).save(tiff)

    def without_service(route) -> None:
        route.fulfill(json={**route.fetch().json(), "service": False})

    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.route("**/models/index.json", without_service)
        page.goto(address)
        expect(page.locator("#place-text")).to_contain_text("on this device", timeout=60_000)
        analyze(page, str(tiff))
        expect(page.locator("#note-text")).to_have_text(MESSAGES["en"]["error.format.none"])
        expect(page.locator("#strip .by-server")).to_be_hidden()
        sign = "() => getComputedStyle(document.querySelector('#strip .failed'), '::after').content"
        assert page.evaluate(sign) == '"!"'


def test_server_is_offered_once_it_is_reached(browser, address) -> None:
    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.route("**/models/*", lambda route: route.abort())
        page.goto(address)
        expect(page.locator("#place-text")).to_have_text("Cannot answer here", timeout=30_000)
        page.unroute("**/models/*")
        page.click("#options summary")
        expect(page.locator("[name=place][value=server]")).to_be_enabled()
        page.locator("[name=place][value=server]").check()
        page.keyboard.press("Escape")
        analyze(page, str(PERSON))
        assert page.locator(".card").count() == 1


@on_device
def test_progress_of_the_networks_is_shown(browser, address) -> None:
    with browser.new_context() as context:
        context.add_init_script(
            """window.seen = [];
            new MutationObserver(() => {
              const text = document.getElementById("place-text")?.textContent;
              if (text && !document.getElementById("download").hidden) seen.push(text);
            }).observe(document, { subtree: true, childList: true, characterData: true });"""
        )
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#place-text")).to_have_text("Answered on this device", timeout=60_000)
        expect(page.locator("#download")).to_be_hidden()
        seen = page.evaluate("() => seen")
        shown = [int(found[1]) for text in seen if (found := re.fullmatch(r"Loading the networks: (\d+)%", text))]
    assert len(set(shown)) > 2
    assert seen[-1] == "Preparing the networks…"
    assert sorted(shown) == shown


def test_server_answers_where_the_device_cannot(browser, address) -> None:
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.route("**/vendor/*", lambda route: route.fulfill(status=404))
    page.goto(address)
    expect(page.locator("#place-text")).to_have_text("Answered by the server", timeout=30_000)
    analyze(page, str(PERSON))
    assert page.locator(".card").count() == 1
    page.click("#options summary")
    assert page.locator("[name=place][value=device]").is_disabled()
    context.close()


def test_static_page_offers_no_server(browser, address) -> None:
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    index = json.dumps({"service": False, "model": None, "models": {}, "detectors": {}, "runtime": {}})
    page.route("**/models/index.json", lambda route: route.fulfill(body=index, content_type="application/json"))
    page.goto(address)
    expect(page.locator("#place-text")).to_have_text("Cannot answer here", timeout=30_000)
    assert page.locator("[name=place][value=server]").is_disabled()
    assert page.is_hidden("[data-server]")
    context.close()


@on_device
def test_live_view_draws_answers_and_takes_snapshots(browser, address) -> None:
    with open_page(browser, address, service_workers="block") as page:
        set_check(page, 18, 25)
        held = []
        page.route("**/models/oam-small.onnx", lambda route: held.append(route))
        page.click("[data-action=camera]:visible")
        for element in ("#place-text", "#note-text"):
            expect(page.locator(element)).to_have_text(re.compile(r"Loading the networks: \d+%"), timeout=20_000)
        expect(page.locator("#download")).to_be_visible()
        page.click("#snapshot")  # while the networks load, the view stays as well
        expect(page.locator("#strip li")).to_have_count(1)
        expect(page.locator("#live-controls")).to_be_visible()
        while not held:
            page.wait_for_timeout(20)
        held[0].continue_()
        expect(page.locator("#frame .label")).to_contain_text("years", timeout=60_000)
        expect(page.locator("#note")).to_be_hidden()
        (face,) = Analyzer("oam-small", threads=1, policy=AgePolicy(age=18, challenge=25)).analyze(PERSON)
        expect(page.locator(".card .decision b")).to_have_text(in_words(face.decision)[0])
        expect(page.locator("#frame .label")).to_contain_text(in_words(face.decision)[0])
        expect(page.locator("#rate")).to_contain_text(re.compile(r"\d fps"))
        assert page.locator("#place-text").inner_text() == "Answered on this device"
        assert page.locator(".card").count() == 1
        page.click("#pause")
        expect(page.locator("#pause")).to_have_text("Resume")
        assert page.evaluate("() => document.querySelector('#frame video').paused")
        expect(page.locator("#frame .analyzed")).to_be_visible()  # the boxes' own frame
        expect(page.locator("#rate")).to_be_empty()
        set_option(page, "gender")  # of the frame that is shown
        expect(page.locator("#frame .label")).to_contain_text("male")
        expect(page.locator(".card .tags")).to_contain_text("male")
        page.click("#snapshot")
        expect(page.locator("#strip [data-faces='1']")).to_have_count(2, timeout=20_000)
        expect(page.locator("#pause")).to_have_text("Resume")  # the view stays as it is
        page.click("#pause")
        page.click("#snapshot")
        expect(page.locator("#frame img")).to_have_attribute("alt", "camera-3.jpg")
        expect(page.locator("#live-controls")).to_be_hidden()
        assert page.locator("#strip li").count() == 3
        expect(page.locator(".card")).to_have_count(1, timeout=20_000)


def test_images_still_work_where_moving_ones_do_not(browser, address) -> None:
    with open_page(browser, address, service_workers="block") as page:
        page.route("**/models/*.onnx", lambda route: route.fulfill(status=404))
        page.click("[data-action=camera]:visible")
        expect(page.locator("#note-text")).to_contain_text("Moving images are unavailable", timeout=30_000)
        expect(page.locator("#note-text")).to_contain_text(MESSAGES["en"]["live.others"])
        expect(page.locator("#place-text")).to_have_text("Answered by the server")
        page.errors[:] = [text for text in page.errors if "404" not in text]


@on_device
def test_video_has_a_timeline_of_people(browser, address, video_clip) -> None:
    with open_page(browser, address) as page:
        set_check(page, 18, 25)
        page.set_input_files("#files", str(video_clip))
        expect(page.locator("#faces-title")).to_have_text("1 person found", timeout=60_000)
        expect(page.locator("#time")).to_contain_text("0:01 / 0:01", timeout=60_000)
        expect(page.locator("#play")).to_have_text("Play")
        assert page.locator("#timeline rect").count() == 1
        assert float(page.locator("#timeline rect").get_attribute("width")) < 900  # of 1000
        expect(page.locator(".card .times")).to_contain_text("seen 0:0")
        expect(page.locator(".card .decision")).to_contain_text("Age check: ")
        assert contrast(page, ".portrait") > 10 > contrast(page, "#frame .analyzed")  # of the person, and of the end
        (row,) = csv.DictReader(save(page, "csv").read_text().splitlines())
        assert row["track"] == "1"
        assert float(row["last_seconds"]) < 1.5
        content = json.loads(save(page, "json").read_text())
        assert content["source"] == "clip.webm"
        assert [person["track"] for person in content["summary"]] == [1]
        seconds = [frame["seconds"] for frame in content["frames"]]
        assert all(first < second for first, second in pairwise(seconds))
        set_option(page, "gender")
        expect(page.locator(".card.stale .summary .why")).to_have_text(MESSAGES["en"]["video.stale"])
        expect(page.locator(".card.stale .decision")).to_have_count(0)
        page.click(".card h3 button")  # back to where the person is first seen
        expect(page.locator("#time")).to_contain_text("0:00 / 0:01")


def contrast(page, canvas: str) -> float:
    """The standard deviation of a canvas's bytes, without those for opacity."""
    values = page.evaluate(
        """(selector) => {
          const canvas = document.querySelector(selector);
          return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        }""",
        canvas,
    )
    return float(np.std(np.reshape(values, (-1, 4))[:, :3]))


def test_every_control_is_reached_by_keyboard(page) -> None:
    analyze(page, str(PERSON))
    page.click("#options summary")
    expect(page.locator("#key-field")).to_be_hidden()  # no key is asked for
    page.keyboard.press("Shift+Tab")
    focused = set()
    for _ in range(31):
        page.keyboard.press("Tab")
        focused.add(
            page.evaluate(
                """() => {
                  const { id, name, dataset, parentElement, tagName } = document.activeElement;
                  return id || name || dataset.action || parentElement.id || parentElement.className || tagName;
                }"""
            )
        )
    wanted = {
        "options",
        "age",
        "mask",
        "gender",
        "race",
        "threshold",
        "check",
        "attention",
        "crop",
        "place",
        "language",
    }
    assert wanted | {"add", "camera", "save"} <= focused
    page.keyboard.press("Escape")
    assert not page.evaluate("() => document.getElementById('options').open")


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", {"width": 1280, "height": 800}), ("dark", {"width": 1280, "height": 800}), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_accessibility(browser, address, scheme, viewport) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the check needs axe-playwright-python")
    with open_page(browser, address, color_scheme=scheme, viewport=viewport, bypass_csp=True) as page:

        def check() -> None:
            report = axe.Axe().run(page)
            assert report.violations_count == 0, report.generate_report()

        check()
        set_option(page, "race")
        analyze(page, str(PERSON))
        page.mouse.move(0, 0)
        check()
        set_check(page, 18, 25)
        page.click("#options summary")
        check()
        page.keyboard.press("Escape")
        page.click("#use-open")
        check()


def test_nothing_moves_for_those_who_want_less_motion(browser, address) -> None:
    with open_page(browser, address, reduced_motion="reduce") as page:
        durations = page.evaluate(
            "() => [...document.querySelectorAll('*')].map((element) => getComputedStyle(element).transitionDuration)"
        )
    assert set(durations) == {"0s"}


@pytest.mark.parametrize("code", [code for code in MESSAGES if code != "en"])
def test_language_of_the_browser(browser, address, code) -> None:
    context = browser.new_context(locale=code)
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#start h2")).to_have_text(MESSAGES[code]["start.title"])
    assert page.evaluate("() => document.documentElement.lang") == code
    context.close()


@pytest.mark.parametrize(
    ("weights", "kind"), [("oam-int8", "research"), ("oam-small", "open"), ("mine.onnx", "own")], ids=str
)
def test_terms_of_the_model_are_shown(browser, tmp_path, weights, kind) -> None:
    if kind == "own":
        shutil.copy(weights_file("oam-small"), tmp_path / weights)
        weights = tmp_path / weights
    expected = MESSAGES["en"][f"model.{kind}"].replace("{model}", Path(weights).stem)
    with run_server(Analyzer(weights, threads=1)) as address, open_page(browser, address) as page:
        expect(page.locator("#model")).to_have_text(expected)
        page.click("#use-open")
        expect(page.locator("#use")).to_contain_text(MESSAGES["en"]["use.not"])
        expect(page.locator("#use-model")).to_have_text(expected)
        page.keyboard.press("Escape")
        expect(page.locator("#use")).to_be_hidden()


def test_language_is_chosen_and_kept(page) -> None:
    analyze(page, str(PERSON))
    page.select_option("#language", "de")
    expect(page.locator(".label")).to_contain_text("Jahre")
    expect(page.locator(".tags")).to_contain_text("wirkt mindestens 18: ")
    page.reload()
    expect(page.locator("#start h2")).to_have_text(MESSAGES["de"]["start.title"])
    page.select_option("#language", "en")


def test_first_load_is_small(page) -> None:
    own = [path for path in STATIC.rglob("*.*") if "vendor" not in path.parts]
    assert sum(len(gzip.compress(path.read_bytes())) for path in own) < 150_000  # as it is sent
    assert sum(path.stat().st_size for path in (STATIC / "samples").iterdir()) < 60_000


def test_languages_have_every_text() -> None:
    keys = set(MESSAGES["en"])
    for code, texts in MESSAGES.items():
        assert set(texts) == keys, code
        for key, text in texts.items():
            forms = [text] if isinstance(text, str) else list(text.values())
            assert all(forms), (code, key)
            names = {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}
            english = MESSAGES["en"][key]
            expected = english if isinstance(english, str) else english["other"]
            assert names == set(re.findall(r"\{(\w+)\}", expected)), (code, key)


def test_every_class_has_a_text() -> None:
    for task, names in (("gender", GENDERS), ("race", RACES), ("mask", MASKS)):
        assert {f"{task}.{name}" for name in names} <= set(MESSAGES["en"])
    reasons = {"no face", "looks younger than", "may be younger than", *REASONS.values(), "too dark"}
    assert {f"reason.{name}" for name in reasons} <= set(MESSAGES["en"])


def own_scripts() -> dict[str, str]:
    return {path.name: path.read_text() for path in (STATIC / "page.js", *sorted((STATIC / "ui").glob("*.js")))}


def test_every_text_is_used_and_known() -> None:
    sources = "\n".join([(STATIC / "index.html").read_text(), *own_scripts().values()])
    asked = set(re.findall(r"""\bt\("([\w.]+)\"|data-t(?:-\w+)?="([\w.]+)\"""", sources))
    assert {name for pair in asked for name in pair if name} <= set(MESSAGES["en"])
    families = (*re.findall(r"`(\w+(?:\.\w+)*\.)\$\{", sources), *(f"{task}." for task in ("gender", "race", "mask")))
    assert not [key for key in MESSAGES["en"] if f'"{key}"' not in sources and not key.startswith(families)]


def test_no_text_is_in_the_html() -> None:
    found = []

    class Texts(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.extend(data.split())

        def handle_starttag(self, tag, attributes) -> None:
            visible = ("title", "placeholder", "aria-label", "alt", "style", "onclick")
            found.extend(value for name, value in attributes if name in visible)

    Texts().feed((STATIC / "index.html").read_text())
    assert set(found) == {"oamface"}


@pytest.mark.parametrize("name", own_scripts())
def test_no_text_is_in_the_scripts(name) -> None:
    """Texts for people have spaces, and begin with a capital or end with a stop."""
    code = re.sub(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", "", own_scripts()[name], flags=re.DOTALL)
    strings = re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'", code)
    texts = [text for pair in strings for text in pair if re.search(r"^[A-Z][a-z]+ |[a-z]{2,} [a-z ]+[.!?…]$", text)]
    assert not texts
