// Boxes and labels over an image or a video, and on demand what was looked at.

import { colorOf, create } from "./elements.js";
import { placeLabels } from "./labels.js";
import { t } from "./messages.js";
import { briefly, lines } from "./phrases.js";

/** @typedef {import("../engine.js").Face & { id: number }} Face */
/** @typedef {{ box: HTMLButtonElement, label: HTMLElement, text: string }} Parts */

const PADDING = [20, 12],
  LINE = 18; // of a label in pixels, see page.css
const measure = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));

export class Overlay {
  /**
   * @param {HTMLElement} frame whose size is the image's
   * @param {(id: number, event: "enter" | "leave" | "click") => void} onPoint
   */
  constructor(frame, onPoint) {
    this.frame = frame;
    this.onPoint = onPoint;
    this.layer = create("div", { className: "overlay" });
    /** @type {Map<number, Parts>} */
    this.parts = new Map();
    this.places = new Map();
    /** @type {Face[]} */
    this.faces = [];
    this.size = { width: 1, height: 1 };
    this.mirrored = false;
    new ResizeObserver(() => this.layout()).observe(frame);
  }

  /** @param {Face[]} faces @param {{ width: number, height: number }} size of the image in its pixels */
  show(faces, size) {
    this.faces = faces;
    this.size = size;
    const ids = new Set(faces.map(({ id }) => id));
    for (const [id, { box, label }] of this.parts) {
      if (ids.has(id)) continue;
      box.remove();
      label.remove();
      this.parts.delete(id);
      this.places.delete(id);
    }
    this.layout();
  }

  /** Highlights one face, or none. @param {number | null} id */
  highlight(id) {
    this.layer.classList.toggle("dimmed", id !== null && this.parts.has(id));
    for (const [each, { box, label }] of this.parts) {
      box.classList.toggle("current", each === id);
      label.classList.toggle("current", each === id);
    }
  }

  layout() {
    const bounds = { width: this.frame.clientWidth, height: this.frame.clientHeight };
    if (!bounds.width) return;
    const scale = bounds.width / this.size.width;
    const boxes = this.faces.map(({ id, box: [x, y, width, height] }) => ({
      id,
      x: (this.mirrored ? this.size.width - x - width : x) * scale,
      y: y * scale,
      width: width * scale,
      height: height * scale,
    }));
    const texts = this.faces.map((face) => variants(face));
    this.places = placeLabels(
      boxes,
      texts.map((each) => each.map(sizeOf)),
      bounds,
      this.places,
    );
    boxes.forEach(({ id, x, y, width, height }, index) => {
      const { box, label } = this.partsOf(id);
      box.style.transform = `translate(${x}px, ${y}px)`;
      box.style.width = `${width}px`;
      box.style.height = `${height}px`;
      const place = this.places.get(id);
      label.hidden = !place;
      if (!place) return;
      label.style.transform = `translate(${place.x}px, ${place.y}px)`;
      this.write(id, texts[index][place.variant]);
    });
  }

  /** @param {number} id @param {string[]} texts */
  write(id, texts) {
    const parts = this.partsOf(id);
    const text = texts.join("\n");
    if (parts.text === text) return;
    parts.text = text;
    parts.label.replaceChildren(...texts.map((line, index) => create(index ? "span" : "b", { textContent: line })));
  }

  /** @param {number} id @returns {Parts} */
  partsOf(id) {
    const known = this.parts.get(id);
    if (known) return known;
    const box = create("button", {
      type: "button",
      className: "box",
      tabIndex: -1,
      ariaLabel: t("face", { number: id }),
    });
    const label = create("div", { className: "label" });
    for (const element of [box, label]) {
      element.style.setProperty("--color", colorOf(id));
      element.dataset.id = String(id);
    }
    box.addEventListener("pointerenter", () => this.onPoint(id, "enter"));
    box.addEventListener("pointerleave", () => this.onPoint(id, "leave"));
    box.addEventListener("click", () => this.onPoint(id, "click"));
    label.ariaHidden = "true"; // the cards say the same
    this.layer.append(box, label);
    const parts = { box, label, text: "" };
    this.parts.set(id, parts);
    return parts;
  }
}

/** Everything, the age or the decision alone, the number alone. @param {Face} face */
function variants(face) {
  const all = lines(face);
  const brief = face.decision ? [briefly(face.decision)] : all.slice(0, 1);
  return [all, brief, [`#${face.id}`]].filter(
    (texts, index, list) => texts.length && (!index || texts.join() !== list[index - 1].join()),
  );
}

/** @param {string[]} texts */
function sizeOf(texts) {
  const widths = texts.map((text, index) => {
    measure.font = `${index ? 500 : 650} 13px system-ui, sans-serif`;
    return measure.measureText(text).width;
  });
  return { width: Math.ceil(Math.max(...widths)) + PADDING[0] + 2, height: texts.length * LINE + PADDING[1] };
}

/**
 * A canvas that hatches what the network took to be covered. @param {import("../engine.js").Face[]} faces
 * @param {{ width: number, height: number }} size of the image
 */
export function attentionCanvas(faces, size) {
  const scale = Math.min(1, 1600 / Math.max(size.width, size.height));
  const canvas = create("canvas", {
    className: "attention",
    width: Math.round(size.width * scale),
    height: Math.round(size.height * scale),
  });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", t("attention.label"));
  const context = canvas.getContext("2d");
  for (const { attention } of faces) {
    if (!attention) continue;
    const { values, corners } = attention;
    const map = create("canvas", { width: values[0].length, height: values.length });
    const mapContext = map.getContext("2d");
    values.forEach((row, y) =>
      row.forEach((value, x) => {
        mapContext.fillStyle = `rgba(213, 94, 0, ${0.75 * (1 - value)})`;
        mapContext.fillRect(x, y, 1, 1);
      }),
    );
    const [[x0, y0], [x1, y1], , [x3, y3]] = corners.map((corner) => corner.map((at) => at * scale));
    context.setTransform(
      (x1 - x0) / map.width,
      (y1 - y0) / map.width,
      (x3 - x0) / map.height,
      (y3 - y0) / map.height,
      x0,
      y0,
    );
    context.drawImage(map, 0, 0);
  }
  return canvas;
}
