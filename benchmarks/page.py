"""The page in headless Chromium: bytes before it is usable, seconds to the first answer, frames a second live.

python benchmarks/page.py [--weights oam-int8]
"""

import argparse
import base64
import shutil
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

from playwright.sync_api import BrowserContext, sync_playwright
from serving import free_port, start_server

from oamface.benchmark import PERSON

FRAMES, VISIT = 120, 8  # frames, seconds
ENGINE = """async ([site, bytes]) => {
  const started = performance.now();
  const image = new Blob([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))]);
  const { openEngine } = await import(site + "engine.js");
  window.engine = await openEngine();
  const opened = performance.now();
  await window.engine.analyze(image);
  const first = performance.now();
  await window.engine.analyze(image);
  return { ...window.engine.info, open: opened - started, first: first - opened, second: performance.now() - first };
}"""
STAY = """async ([bytes, seconds]) => {
  const image = new Blob([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))]);
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) await window.engine.analyze(image);
}"""
# A face that moves by some pixels from frame to frame, all 640 x 480.
LIVE = """async ([bytes, frames]) => {
  const blob = new Blob([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))]);
  const image = await createImageBitmap(blob);
  const context = new OffscreenCanvas(640, 480).getContext("2d");
  const view = window.engine.live();
  const times = [];
  let previous = [], still = 0;
  for (let number = 0; number < frames; number += 1) {
    context.drawImage(image, 60 * Math.sin(number / 9) - 60, 30 * Math.cos(number / 9) - 30, 760, 570);
    const frame = await createImageBitmap(context.canvas);
    const started = performance.now();
    const { faces } = await view.push(frame);
    times.push(performance.now() - started);
    if (faces.length !== 1) throw new Error(`${faces.length} faces`);
    if (String(previous) === String(faces[0].box)) still += 1;
    previous = faces[0].box;
  }
  return { times, still };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="oam-int8")
    arguments = parser.parse_args()
    port = free_port()
    service, seconds = start_server(port, "--weights", arguments.weights)
    print(f"service started in {seconds:.1f} s")
    try:
        with sync_playwright() as runner:
            program = shutil.which("chromium") or shutil.which("google-chrome")
            launch = partial(runner.chromium.launch_persistent_context, executable_path=program, args=["--no-sandbox"])
            measure(launch, f"http://127.0.0.1:{port}/")
    finally:
        service.terminate()


def measure(launch: Callable[[str], BrowserContext], site: str) -> None:
    """Prints one line a figure. launch: a browser with its profile in a folder, as people have one."""
    person = base64.b64encode(PERSON.read_bytes()).decode()
    with TemporaryDirectory() as folder:
        print_shell(launch(folder), site)
    with TemporaryDirectory() as folder:
        context = launch(folder)
        measure_visits(context, site, person)
        context.close()


def measure_visits(context: BrowserContext, site: str, person: str) -> None:
    """A first visit of some seconds, in which the browser keeps what it compiles, and a second one."""
    for state in ("cold", "warm"):
        tab = context.new_page()
        tab.goto(f"{site}manifest.webmanifest")
        done = tab.evaluate(ENGINE, [site, person])
        total = (done["open"] + done["first"]) / 1000
        print(
            f"{done['model']}, {state}, {done['backend']}, {done['threads']} threads: first answer in "
            f"{total:.2f} s (opened {done['open']:.0f} ms, first {done['first']:.0f}, second {done['second']:.0f})"
        )
        if state == "warm":
            live = tab.evaluate(LIVE, [person, FRAMES])
            times = sorted(live["times"][20:])
            rate = 1000 * len(times) / sum(times)
            print(
                f"live view 640 x 480, one face: {rate:.1f} frames/s; median {times[len(times) // 2]:.0f} ms, "
                f"p95 {times[len(times) * 95 // 100]:.0f}; boxes that stood still: {live['still']} of {FRAMES}"
            )
        if state == "cold":
            tab.evaluate(STAY, [person, VISIT])
            tab.goto(site)  # the service worker, which then keeps the page
            tab.evaluate("navigator.serviceWorker.ready.then(() => 0)")
            tab.wait_for_timeout(1000)
        tab.close()


def print_shell(context: BrowserContext, site: str) -> None:
    """What is transferred until the page is usable, networks and their runtime apart."""
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    urls: dict[str, str] = {}
    sizes: dict[str, int] = {}
    session.on("Network.responseReceived", lambda event: urls.update({event["requestId"]: event["response"]["url"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    session.send("Network.enable")
    tab.goto(site)
    shell = sum(size for number, size in sizes.items() if not urls.get(number, "").endswith((".onnx", ".wasm")))
    timing = tab.evaluate("() => performance.getEntriesByType('navigation')[0].toJSON()")
    print(
        f"page: {shell / 1000:.0f} kB in {len(sizes)} responses; DOM ready after "
        f"{timing['domContentLoadedEventEnd'] - timing['responseStart']:.0f} ms of the first byte"
    )
    context.close()


if __name__ == "__main__":
    main()
