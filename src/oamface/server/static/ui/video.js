// A video file, played with live answers, and a timeline of the people found in it.

import { $, colorOf, create, createSvg, drawThumbnail } from "./elements.js";
import { Frames } from "./frames.js";
import { liveRequest } from "./live.js";
import { clock, number, t } from "./messages.js";
import { People } from "./people.js";

const CARDS_EVERY = 500; // ms
const FRAMES_WANTED = 8; // answered for each second of the video; a slow device plays it slower
const LAST = 0.3; // seconds, so long before its end a video is over
const ROW = 8; // of the timeline, in pixels

export class VideoView {
  /**
   * @param {object} page
   * @param {import("./answers.js").Answers} page.answers @param {import("./stage.js").Stage} page.stage
   * @param {(people: any[], source: CanvasImageSource) => void} page.showFaces
   */
  constructor({ answers, stage, showFaces }) {
    this.answers = answers;
    this.stage = stage;
    this.showFaces = showFaces;
    /** @type {import("./images.js").Item | null} */
    this.item = null;
    /** @type {WeakMap<object, People>} */
    this.found = new WeakMap();
    /** @type {import("../engine.js").LiveView | null} */
    this.view = null;
    /** @type {Frames | null} */
    this.frames = null;
    this.shownAt = 0;
    this.video = create("video", { playsInline: true, muted: true, preload: "auto" });
    this.video.addEventListener("timeupdate", () => this.writeTime());
    this.video.addEventListener("play", () => this.writeTime());
    this.video.addEventListener("pause", () => {
      this.writeTime();
      this.showPeople();
    });
    $("play").addEventListener("click", () => (this.video.paused ? this.video.play() : this.video.pause()));
    $("seek").addEventListener("input", () => this.seek(Number($("seek").value)));
  }

  /** @returns {People | null} of the shown video */
  get people() {
    return this.item ? (this.found.get(this.item) ?? null) : null;
  }

  /** @param {import("./images.js").Item} item */
  async open(item) {
    this.close();
    this.item = item;
    if (!this.found.has(item)) this.found.set(item, new People());
    this.people?.restart();
    this.video.setAttribute("aria-label", item.name);
    this.video.src = item.url;
    const readable = await new Promise((resolve) => {
      this.video.onloadeddata = () => resolve(this.video.videoWidth > 0); // 0: sound alone
      this.video.onerror = () => resolve(false);
    });
    if (this.item !== item) return;
    const size = { width: this.video.videoWidth || 640, height: this.video.videoHeight || 360 };
    this.stage.show(readable ? this.video : null, size);
    $("video-controls").hidden = !readable;
    if (!readable) {
      this.stage.note(t("error.video"));
      item.element.classList.add("failed");
      return;
    }
    $("seek").max = this.video.duration;
    this.video.currentTime = this.people?.frames.at(-1)?.seconds ?? 0; // it goes on where it was left
    this.showPeople();
    const canvas = /** @type {HTMLCanvasElement} */ (item.element.querySelector("canvas"));
    drawThumbnail(canvas, this.video, this.video.videoWidth, this.video.videoHeight);
    this.answer(item);
  }

  /** @param {import("./images.js").Item} item */
  async answer(item) {
    try {
      const engine = await this.answers.openLive();
      if (this.item !== item) return;
      this.view = engine.live(liveRequest());
      this.frames = new Frames(this.video, this.view, (result) => this.draw(result));
      this.stage.note();
      if (this.video.currentTime < this.video.duration - LAST) await this.video.play();
    } catch (/** @type {any} */ error) {
      if (this.item === item && error.name !== "AbortError")
        this.stage.note(this.answers.liveProblem(error));
    }
  }

  /** @param {import("./frames.js").FrameResult} result */
  draw(result) {
    if (!this.frames) return;
    const faces = this.people?.add(result.seconds, result.faces, this.frames.canvas) ?? [];
    this.stage.draw(faces, result);
    this.stage.setStale(false);
    const share = 1000 / result.milliseconds / FRAMES_WANTED;
    this.video.playbackRate = Math.min(1, Math.max(0.25, Math.round(4 * share) / 4));
    const now = performance.now();
    if (now - this.shownAt < CARDS_EVERY) return;
    this.shownAt = now;
    this.showPeople();
  }

  showPeople() {
    if (!this.item) return;
    const people = this.people?.list() ?? [];
    this.showFaces(people, this.video);
    this.drawTimeline(people);
    this.writeTime();
  }

  /** One row for each person, beside the time bar. @param {import("./people.js").Person[]} people */
  drawTimeline(people) {
    const duration = this.video.duration || 1;
    const rows = people.flatMap(({ id, spans }, row) =>
      spans.map(([start, end]) =>
        createSvg("rect", {
          x: (1000 * start) / duration,
          width: Math.max(4, (1000 * (end - start)) / duration),
          y: row * ROW + 1,
          height: ROW - 2,
          rx: 2,
          fill: colorOf(id),
        }),
      ),
    );
    $("timeline").setAttribute("viewBox", `0 0 1000 ${Math.max(1, people.length) * ROW}`);
    $("timeline").setAttribute("preserveAspectRatio", "none");
    $("timeline").setAttribute("aria-label", t("video.people", { count: people.length }));
    $("timeline").style.height = `${Math.min(people.length, 12) * ROW}px`;
    $("timeline").replaceChildren(...rows);
  }

  writeTime() {
    const { currentTime, duration, paused, playbackRate } = this.video;
    $("seek").value = currentTime;
    $("seek").setAttribute("aria-valuetext", clock(currentTime));
    $("time").textContent =
      `${clock(currentTime)} / ${clock(duration || 0)}${playbackRate < 1 ? ` ×${number(playbackRate, 2)}` : ""}`;
    $("play").firstElementChild.textContent = t(paused ? "video.play" : "video.pause");
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.people?.restart();
    this.view?.reset();
    this.video.currentTime = seconds;
  }

  /** To where a person is first seen. @param {number} id */
  seekTo(id) {
    const person = this.people?.byId.get(id);
    if (!person) return;
    this.video.pause();
    this.seek(person.spans[0][0]);
  }

  change() {
    if (!this.frames?.change(liveRequest())) return;
    this.stage.setStale(true);
    this.people?.expire();
    this.showPeople();
    this.shownAt = 0;
  }

  close() {
    this.frames?.stop();
    this.view?.close();
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    $("video-controls").hidden = true;
    this.item = this.view = this.frames = null;
  }
}
