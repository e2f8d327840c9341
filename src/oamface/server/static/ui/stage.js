// The stage: one image or video, with its answers drawn on it.

import { $ } from "./elements.js";
import { attentionCanvas, Overlay } from "./overlay.js";

export class Stage {
  /** @param {(id: number, event: "enter" | "leave" | "click") => void} onPoint a face was pointed at */
  constructor(onPoint) {
    this.frame = $("frame");
    this.overlay = new Overlay(this.frame, onPoint);
    /** @type {(() => void) | null} */
    this.action = null;
    $("note-action").addEventListener("click", () => this.action?.());
  }

  /**
   * @param {HTMLElement | null} media null where the browser cannot show the image
   * @param {{ width: number, height: number }} size in pixels @param {boolean} [mirrored] as in a mirror
   */
  show(media, size, mirrored = false) {
    this.frame.style.setProperty("--ratio", String(size.width / size.height));
    this.frame.classList.toggle("mirrored", mirrored);
    this.frame.replaceChildren(...(media ? [media] : []), this.overlay.layer);
    this.overlay.mirrored = mirrored;
    this.overlay.show([], size);
  }

  /** @param {(import("../engine.js").Face & { id: number })[]} faces @param {{ width: number, height: number }} size */
  draw(faces, size) {
    this.overlay.show(faces, size);
    this.frame.querySelector(".attention")?.remove();
    if (faces.some((face) => face.attention)) this.overlay.layer.before(attentionCanvas(faces, size));
  }

  /** Whether the answers shown are those to other options, and new ones are computed. @param {boolean} stale */
  setStale(stale) {
    $("work").classList.toggle("stale", stale);
    $("faces").ariaBusy = String(stale);
  }

  /**
   * A line under the image, with something to do about it.
   * @param {string} [text]
   * @param {string} [label]
   * @param {() => void} [action]
   */
  note(text = "", label = "", action) {
    $("note").hidden = !text;
    if ($("note-text").textContent !== text) $("note-text").textContent = text;
    $("note-action").hidden = !action;
    $("note-action").textContent = label;
    this.action = action ?? null;
  }
}
