// Frames of a playing video, one at a time as the engine is ready for them. The frame that was answered covers the
// video, so that answers are never seen on a later one.

import { create } from "./elements.js";

/** @typedef {import("../engine.js").LiveResult & { seconds: number }} FrameResult seconds: of the frame in the video */

export class Frames {
  /**
   * @param {HTMLVideoElement} video
   * @param {import("../engine.js").LiveView} view
   * @param {(result: FrameResult) => void} onResult
   */
  constructor(video, view, onResult) {
    this.video = video;
    this.view = view;
    this.onResult = onResult;
    this.stopped = false;
    this.canvas = create("canvas", { className: "analyzed", ariaHidden: "true" });
    this.busy = false;
    this.late = false; // a frame came while another was computed
    this.request();
  }

  request() {
    if (this.stopped) return;
    this.video.requestVideoFrameCallback((now, { mediaTime }) => {
      this.request();
      this.take(mediaTime);
    });
  }

  /** @param {number} seconds */
  async take(seconds) {
    if (this.stopped) return;
    if (this.busy) {
      this.late = true;
      return;
    }
    this.late = false;
    this.busy = true;
    try {
      const { options } = this.view;
      const frame = await createImageBitmap(this.video);
      const copy = await createImageBitmap(frame); // the engine takes the frame over
      const result = await this.view.push(frame, seconds);
      if (!this.stopped && options === this.view.options) {
        this.show(copy);
        this.onResult({ ...result, seconds });
      }
      copy.close();
    } catch {
      /* the video or the engine was closed meanwhile */
    }
    this.busy = false;
    // The last frame stays in view, and must have its answers.
    if (this.late && this.video.paused && this.video.readyState > 1) this.take(this.video.currentTime);
  }

  /** @param {ImageBitmap} frame */
  show(frame) {
    const { canvas } = this;
    if (canvas.width !== frame.width || canvas.height !== frame.height)
      Object.assign(canvas, { width: frame.width, height: frame.height });
    canvas.getContext("2d").drawImage(frame, 0, 0);
    if (!canvas.isConnected) this.video.after(canvas);
  }

  /** Other options from now on, for the frame that is shown too. @param {import("../engine.js").LiveOptions} request
   * @returns {boolean} whether they are others */
  change(request) {
    const options = { ...this.view.options, ...request };
    if (JSON.stringify(options) === JSON.stringify(this.view.options)) return false;
    this.view.options = options;
    if (this.video.paused) this.take(this.video.currentTime);
    return true;
  }

  stop() {
    this.stopped = true;
  }
}
