// The camera as a running view, answered on this device.

import { $, create, warn } from "./elements.js";
import { Frames } from "./frames.js";
import { number, t } from "./messages.js";
import * as options from "./options.js";
import { nobody } from "./phrases.js";

const CARDS_EVERY = 500; // ms between changes of the cards, which nobody could read faster

export class Live {
  /**
   * @param {object} page
   * @param {import("./answers.js").Answers} page.answers @param {import("./stage.js").Stage} page.stage
   * @param {(faces: any[], source: CanvasImageSource) => void} page.showFaces
   * @param {(file: File, stay: boolean) => void} page.onSnapshot stay: in the view
   */
  constructor({ answers, stage, showFaces, onSnapshot }) {
    this.answers = answers;
    this.stage = stage;
    this.showFaces = showFaces;
    this.onSnapshot = onSnapshot;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {import("../engine.js").LiveView | null} */
    this.view = null;
    /** @type {Frames | null} */
    this.frames = null;
    this.facing = "user";
    this.snapshots = 0;
    this.shownAt = 0;
    this.video = create("video", { playsInline: true, muted: true });
    $("pause").addEventListener("click", () => this.pause(!this.video.paused));
    $("snapshot").addEventListener("click", () => this.snapshot());
    $("switch").addEventListener("click", () => this.open(this.facing === "user" ? "environment" : "user"));
  }

  /** What is seen: the analyzed frame, or the camera before there is one. */
  get image() {
    return this.frames?.canvas.isConnected ? this.frames.canvas : this.video;
  }

  get running() {
    return this.stream !== null;
  }

  /** @param {string} [facing] @returns {Promise<boolean>} whether there is a camera */
  async open(facing = this.facing) {
    this.close();
    this.facing = facing;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } },
      });
    } catch {
      warn(t("error.camera"));
      return false;
    }
    this.video.setAttribute("aria-label", t("live.label"));
    this.video.srcObject = this.stream;
    await this.video.play();
    const size = { width: this.video.videoWidth, height: this.video.videoHeight };
    const [track] = this.stream.getVideoTracks();
    this.stage.show(this.video, size, track.getSettings().facingMode !== "environment");
    this.shownAt = 0;
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
    $("switch").hidden = cameras.length < 2;
    $("rate").textContent = "";
    this.writePause();
    this.answer();
    return true;
  }

  async answer() {
    const { stream } = this;
    try {
      const engine = await this.answers.openLive();
      if (this.stream !== stream) return; // closed meanwhile
      this.view = engine.live(liveRequest());
      this.frames = new Frames(this.video, this.view, (result) => this.draw(result));
      if (this.video.paused) this.frames.take(this.video.currentTime); // it was paused before the networks were here
    } catch (/** @type {any} */ error) {
      if (this.stream === stream) this.stage.note(this.answers.liveProblem(error));
    }
  }

  /** @param {import("./frames.js").FrameResult} result */
  draw(result) {
    this.stage.draw(result.faces, result);
    this.stage.setStale(false);
    if (!this.video.paused) $("rate").textContent = t("live.rate", { rate: number(result.frames_per_second, 1) });
    const now = performance.now();
    if (now - this.shownAt < CARDS_EVERY && !this.video.paused) return;
    this.shownAt = now;
    this.showFaces(result.faces, this.image);
    this.stage.note(this.view?.options.policy && !result.faces.length ? nobody(true) : "");
  }

  /** @param {boolean} still */
  async pause(still) {
    if (still) {
      this.video.pause();
      $("rate").textContent = "";
    } else await this.video.play();
    this.writePause();
  }

  writePause() {
    $("pause").firstElementChild.textContent = t(this.video.paused ? "live.resume" : "live.pause");
  }

  /** The frame that is seen becomes an image of the strip. A view that is paused or still loads its networks stays. */
  snapshot() {
    const stay = this.video.paused || !this.answers.engine;
    const canvas = create("canvas", { width: this.video.videoWidth, height: this.video.videoHeight });
    canvas.getContext("2d").drawImage(this.image, 0, 0);
    this.snapshots += 1;
    canvas.toBlob(
      (/** @type {Blob} */ blob) =>
        this.onSnapshot(new File([blob], `camera-${this.snapshots}.jpg`, { type: "image/jpeg" }), stay),
      "image/jpeg",
      0.92,
    );
  }

  /** Other options from now on. */
  change() {
    if (!this.frames?.change(liveRequest())) return;
    this.stage.setStale(true);
    this.shownAt = 0;
  }

  close() {
    this.frames?.stop();
    this.view?.close();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.view = this.frames = null;
    this.video.srcObject = null;
  }
}

export function liveRequest() {
  const { tasks, atLeast, policy } = options.request();
  return { tasks, atLeast, policy };
}
