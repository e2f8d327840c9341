"""The page's engine in a real browser: Debian's Chromium, driven by Playwright."""

import base64
import functools
import http.server
import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import uvicorn
from PIL import Image

from oamface.age_policy import AgePolicy
from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.quality import MEASURES, assess
from oamface.server.app import create_app
from oamface.server.site import STATIC, Site

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="the engine's tests need playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="the engine's tests need a Chromium; apt-get install chromium"),
    pytest.mark.skipif(
        not (STATIC / "vendor").is_dir(), reason="built without npm: the page has no runtime of its own"
    ),
]

OPEN = """async ([site, options]) => {
  const { openEngine } = await import(site + "engine.js");
  window.progress = [];
  const onProgress = (progress) => window.progress.push(progress);
  try {
    window.engine = await openEngine({ ...options, onProgress });
    return window.engine.info;
  } catch (error) { return { code: error.code }; }
}"""
BLOB = "new Blob([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))])"
ANALYZE = f"""async ([bytes, options]) => {{
  try {{
    return await window.engine.analyze({BLOB}, options);
  }} catch (error) {{ return {{ code: error.code }}; }}
}}"""
POST = f"async ([url, bytes]) => (await fetch(url, {{ method: 'POST', body: {BLOB} }})).json()"
# Faces of `image`, [x, y, width, height] in frames of 640 x 480, one list a frame, at 10 frames a second.
FRAMES = f"""async ([bytes, frames, start]) => {{
  const image = await createImageBitmap({BLOB});
  const context = new OffscreenCanvas(640, 480).getContext("2d");
  window.view ??= window.engine.live({{ tasks: ["age"] }});
  const results = [];
  for (const [number, places] of frames.entries()) {{
    context.fillStyle = "#7f7f7f";
    context.fillRect(0, 0, 640, 480);
    for (const place of places) context.drawImage(image, ...place);
    results.push(await window.view.push(await createImageBitmap(context.canvas), start + number / 10));
  }}
  return results;
}}"""


@contextmanager
def run_service(analyzer, **options):
    server = uvicorn.Server(uvicorn.Config(create_app(analyzer, **options), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def small():
    return Analyzer("oam-small", threads=1, at_least=(18, 21))


@pytest.fixture(scope="module")
def address(small):
    with run_service(small) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as runner:
        yield runner.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


@contextmanager
def open_tab(browser, site, options=None):
    """A tab of its own with an opened engine; yields the tab and what opening gave."""
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{site}manifest.webmanifest")  # of the same origin, and without the page's own engine
    yield tab, tab.evaluate(OPEN, [site, options or {}])
    context.close()


@pytest.fixture(scope="module")
def tab(browser, address):
    with open_tab(browser, address) as (tab, _):
        yield tab


def base64_of(image: np.ndarray | bytes) -> str:
    data = image if isinstance(image, bytes) else cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def images(portrait, tmp_path_factory) -> dict[str, bytes]:
    """Faces near, far, tilted, upside down, below LEAST_FACE, in a strip of several tiles, drawn; and none."""
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
        "nobody": portrait[:80, :80],
    }
    rotated = Image.fromarray(person).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    rotated.save(folder / "rotated.jpg", exif=exif, quality=95)
    files = {name: cv2.imencode(".png", image[..., ::-1])[1].tobytes() for name, image in contents.items()}
    samples = {path.stem: path.read_bytes() for path in sorted((STATIC / "samples").glob("*.webp"))}
    return {**files, **samples, "rotated": (folder / "rotated.jpg").read_bytes()}


EIGHT_BITS = 4  # a tenth of a pixel in the landmarks changes the answers of quantised networks by so much more


def check_equal(one, other, where: str, factor: float = 1, tolerance: float = 0) -> None:
    """Whether two results are the same but for rounding. factor: of the tolerances of years and probabilities."""
    assert type(one) is type(other) or {type(one), type(other)} == {int, float}, (where, one, other)
    if isinstance(one, dict):
        # Pixels of large faces are further apart in the close-up that a box comes from.
        pixels = max(0.3, 0.003 * one["box"][2]) if "box" in one else tolerance
        tolerances = {"box": pixels, "landmarks": pixels, "attention": pixels, "corners": 4 * tolerance}
        tolerances |= {"quality": pixels, "measures": pixels, "eye_distance": pixels, "sharpness": factor * 0.05}
        tolerances |= {"years": factor * 0.3, "low": factor * 1.1, "high": factor * 1.1}
        assert one.keys() == other.keys(), where
        for key in one:
            check_equal(one[key], other[key], f"{where}.{key}", factor, tolerances.get(key, factor * 0.02))
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            check_equal(*pair, f"{where}[{number}]", factor, tolerance)
    elif isinstance(one, float | int) and not isinstance(one, bool):
        assert round(abs(one - other), 6) <= tolerance, (where, one, other)
    else:
        assert one == other, where


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "factor", "names"),
    [
        ("oam-open", 1, None),
        ("oam-int8", EIGHT_BITS, ("portrait", "tilted", "tiny", "masks")),
        ("oam-small", EIGHT_BITS, ("close", "tilted", "tiny", "masks")),
    ],
)
def test_results_equal_those_of_python(browser, address, images, weights, factor, names) -> None:
    analyzer = Analyzer(weights, threads=1, at_least=(18, 21), policy=AgePolicy(age=18, challenge=25))
    options = {"atLeast": [18, 21], "policy": {"age": 18, "challenge": 25}}
    with open_tab(browser, address, {"model": weights}) as (tab, info):
        assert info["model"] == weights
        for name in names or images:
            expected = analyzer.analyze(images[name]).to_dict()
            result = tab.evaluate(ANALYZE, [base64_of(images[name]), options])
            check_equal(expected, result, name, factor)
        assert len(tab.evaluate(ANALYZE, [base64_of(images["masks"]), {"tasks": ["mask"]}])["faces"]) > 1
        (face,) = tab.evaluate(ANALYZE, [base64_of(images["tiny"]), {"crop": True}])["faces"]
        assert face["mask"]["label"] == "uncertain"


@pytest.mark.parametrize(
    "policy", [{"age": 18, "challenge": 16}, {"max_false_accept": 2}, {"age": 0}, {"years": 18}, {"age": "18"}], ids=str
)
def test_wrong_policy_is_an_error(tab, images, policy) -> None:
    assert tab.evaluate(ANALYZE, [base64_of(images["nobody"]), {"policy": policy}]) == {"code": "policy"}


def test_quality_by_measures_equals_that_of_python(tab, address) -> None:
    low = (2, 0.0005, 0.02, 0, 0.02, 0, 0.1)
    rows = np.random.default_rng(0).uniform(low, (60, 0.4, 0.9, 0.8, 0.8, 0.8, 1), (300, 7)).tolist()
    code = "async ([url, all]) => { const { assess } = await import(url); return all.map(assess); }"
    found = tab.evaluate(code, [f"{address}quality.js", [dict(zip(MEASURES, row, strict=True)) for row in rows]])
    expected = [assess(row) for row in rows]
    assert [tuple(one["reasons"]) for one in found] == [one.reasons for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one.score for one in expected])


def test_crop_and_attention_equal_those_of_the_service(tab, address, images) -> None:
    for name in ("close", "nobody"):
        url, body = f"{address}v1/analyze?crop=true&attention=true&at_least=18", base64_of(images[name])
        expected = tab.evaluate(POST, [url, body])
        result = tab.evaluate(ANALYZE, [body, {"crop": True, "attention": True, "atLeast": [18]}])
        check_equal(expected, result, name, EIGHT_BITS)
        assert result["faces"][0]["detected"] == (name == "close")


def test_images_that_a_browser_cannot_read(tab) -> None:
    assert tab.evaluate(ANALYZE, [base64_of(b"text"), {}]) == {"code": "image"}


def test_live_view_follows_faces(tab, portrait) -> None:
    face = base64_of(portrait[:400, 100:400])  # 300 x 400 pixels

    def play(frames, start):
        return tab.evaluate(FRAMES, [face, frames, start])

    moving = [[[20 + 8 * number, 60, 225, 300]] for number in range(24)]
    results = play(moving, 0)
    assert {tuple(one["id"] for one in result["faces"]) for result in results} == {(1,)}
    lefts = np.array([result["faces"][0]["box"][0] for result in results])
    assert (np.diff(lefts) > 2).all()  # moves every frame
    assert np.abs(np.diff(lefts[8:]) - 8).max() < 4  # and does not flicker
    ages = np.array([result["faces"][0]["age"]["years"] for result in results])
    assert np.abs(np.diff(ages)).max() < 6
    assert all((result["width"], result["height"]) == (640, 480) for result in results)
    assert results[-1]["frames_per_second"] > 0
    still = [20 + 8 * 23, 60, 225, 300]
    both = play([[still, [440, 100, 180, 240]]] * 12, 2.4)
    assert [one["id"] for one in both[-1]["faces"]] == [1, 2]
    gone = play([[[440, 100, 180, 240]]] * 4 + [[still, [440, 100, 180, 240]]] * 3, 3.6)
    assert [one["id"] for one in gone[3]["faces"]] == [2]
    assert {one["id"] for one in gone[-1]["faces"]} == {1, 2}  # it comes back under its number
    assert play([[]] * 12, 4.3)[-1]["faces"] == []
    tab.evaluate("() => window.view.reset()")
    (first,) = play([[still]], 6)
    assert [one["id"] for one in first["faces"]] == [1]


def test_engine_sends_no_request_once_opened(browser, address, portrait) -> None:
    with open_tab(browser, address) as (tab, info):
        (first, *_, last) = tab.evaluate("() => window.progress")
        assert first["loaded"] < last["loaded"] == last["total"] == info["bytes"]
        urls = []
        tab.context.on("request", lambda request: urls.append(request.url))
        tab.context.set_offline(True)
        assert len(tab.evaluate(ANALYZE, [base64_of(portrait), {}])["faces"]) == 1
        assert len(tab.evaluate(FRAMES, [base64_of(portrait), [[[0, 0, 480, 480]]] * 3, 0])[-1]["faces"]) == 1
        assert not [url for url in urls if not url.startswith(("blob:", "data:"))]
        # Another engine takes the networks from the cache.
        tab.context.set_offline(False)
        assert tab.evaluate(OPEN, [address, {}])["bytes"] == info["bytes"]
        assert not [url for url in urls if url.endswith(".onnx")]


def test_changed_networks_are_rejected(browser, address) -> None:
    with open_tab(browser, address, {"model": "unknown"}) as (tab, opened):
        assert opened == {"code": "model"}
        content = bytearray(Site("oam-small").networks["face_scanner"].read())
        content[-1] ^= 1
        tab.context.route("**/face_scanner.onnx", lambda route: route.fulfill(body=bytes(content)))
        assert tab.evaluate(OPEN, [address, {}]) == {"code": "damaged"}
        tab.context.unroute("**/face_scanner.onnx")
        assert tab.evaluate(OPEN, [address, {}])["model"] == "oam-small"


def test_engine_without_runtime_key_or_server(browser, address, small) -> None:
    with open_tab(browser, address, {"model": "unknown"}) as (tab, _):
        tab.context.route("**/vendor/*.mjs", lambda route: route.fulfill(status=404))
        assert tab.evaluate(OPEN, [address, {}]) == {"code": "runtime"}
    key = "a-key-that-is-long-enough"
    with run_service(small, keys=[key]) as locked, open_tab(browser, locked) as (tab, opened):
        assert opened == {"code": "key"}
        assert tab.evaluate(OPEN, [locked, {"key": key}])["model"] == "oam-small"


def test_exported_site_works_offline(browser, tmp_path, portrait) -> None:
    folder = tmp_path / "site"
    Site("oam-small").export(folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    context = browser.new_context()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        site, tab = f"http://127.0.0.1:{server.server_port}/", context.new_page()
        tab.goto(site)
        assert not tab.evaluate("() => crossOriginIsolated")
        info = tab.evaluate(OPEN, [site, {}])
        assert (info["model"], info["threads"]) == ("oam-small", 1)
        tab.evaluate("async () => { await navigator.serviceWorker.ready; }")
        server.shutdown()
    tab.goto(site)  # there is no server any more
    assert tab.title().startswith("oamface")
    assert tab.evaluate("() => crossOriginIsolated")  # the service worker sees to it
    assert tab.evaluate(OPEN, [site, {}])["model"] == "oam-small"
    (face,) = tab.evaluate(ANALYZE, [base64_of(portrait), {}])["faces"]
    assert face["detected"]
    context.close()


def test_site_can_be_installed(browser, address) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(address)
    tab.evaluate("async () => { await navigator.serviceWorker.ready; }")
    session = context.new_cdp_session(tab)
    assert not session.send("Page.getAppManifest")["errors"]
    problems = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [each["errorId"] for each in problems if each["errorId"] != "in-incognito"] == []
    context.close()


@pytest.mark.network
def test_types(tmp_path) -> None:
    npx = shutil.which("npx") or pytest.skip("the types are checked by npm's typescript")
    shutil.copytree(STATIC, tmp_path / "static")
    for name in ("constants.js", "files.js"):
        (tmp_path / "static" / name).write_bytes(Site("oam-small").files[name].read())
    options = {"allowJs": True, "checkJs": True, "noEmit": True, "strict": True, "target": "es2022", "module": "es2022"}
    options |= {
        "moduleResolution": "bundler",
        "skipLibCheck": True,
        "lib": ["es2023", "dom", "dom.iterable"],
        "types": [],
    }
    # The service worker and its list have the types of another world.
    outside = ["static/service-worker.js", "static/files.js"]
    config = {"compilerOptions": options, "include": ["static/*.js", "static/ui/*.js"], "exclude": outside}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    call = [npx, "--yes", "--package", "typescript@5.9.3", "tsc", "--project", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
