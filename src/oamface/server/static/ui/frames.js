// Frames of a playing video, one at a time as the engine is ready for them.

/** @typedef {import("../engine.js").LiveResult & { seconds: number }} FrameResult seconds: of the frame in the video */

export class Frames {
  /** @param {HTMLVideoElement} video @param {import("../engine.js").LiveView} view @param {(result: FrameResult) => void} onResult */
  constructor(video, view, onResult) {
    this.video = video;
    this.view = view;
    this.onResult = onResult;
    this.stopped = false;
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
      const frame = await createImageBitmap(this.video);
      const result = await this.view.push(frame, seconds);
      if (!this.stopped) this.onResult({ ...result, seconds });
    } catch { /* the video or the engine was closed meanwhile */ }
    this.busy = false;
    if (this.late && this.video.paused && this.video.readyState > 1) this.take(this.video.currentTime); // the last frame stays in view
  }

  stop() {
    this.stopped = true;
  }
}
