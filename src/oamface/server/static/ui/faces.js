// The cards beside the image: one for each face, with all that is predicted about it.

import { $, colorOf, create, createSvg } from "./elements.js";
import { clock, number, percent, t } from "./messages.js";
import {
  because, CLASS_TASKS, className, likely, outcome, thresholds, visible, whyUncertain, years,
} from "./phrases.js";

/**
 * @typedef {{ id: number } & Partial<import("./people.js").Seen>} Extra
 * @typedef {import("../engine.js").Face & Extra} Face
 */

export class FaceList {
  /**
   * @param {(id: number, event: "enter" | "leave" | "open" | "close") => void} onPoint a card was pointed at
   */
  constructor(onPoint) {
    this.list = $("faces");
    this.onPoint = onPoint;
    /** @type {Map<number, Card>} */
    this.cards = new Map();
  }

  /**
   * @param {Face[]} faces
   * @param {CanvasImageSource | null} source the image they were found in, for their portraits
   */
  show(faces, source) {
    const ids = new Set(faces.map(({ id }) => id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      card.item.remove();
      this.cards.delete(id);
    }
    for (const face of faces) {
      let card = this.cards.get(face.id);
      if (!card) {
        card = new Card(face, source, this.onPoint);
        this.cards.set(face.id, card);
        this.list.append(card.item);
      }
      card.update(face);
    }
  }

  /** Forgets all cards; the next `show` makes new ones. */
  clear() {
    this.cards.clear();
    this.list.replaceChildren();
  }

  /** @param {number | null} id */
  highlight(id) {
    for (const [each, { item }] of this.cards) item.classList.toggle("current", each === id);
  }

  /** Shows all of one face and closes the others. @param {number} id */
  open(id) {
    for (const [each, card] of this.cards) card.expand(each === id);
  }

  /** Moves to a face's card. @param {number} id */
  focus(id) {
    const card = this.cards.get(id);
    const smooth = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    card?.item.scrollIntoView({ block: "nearest", inline: "nearest", behavior: smooth ? "smooth" : "auto" });
    card?.button.focus({ preventScroll: true });
  }
}

class Card {
  /**
   * @param {Face} face
   * @param {CanvasImageSource | null} source
   * @param {(id: number, event: "enter" | "leave" | "open" | "close") => void} onPoint
   */
  constructor(face, source, onPoint) {
    const { id } = face;
    this.written = "";
    this.button = create("button", { type: "button", ariaExpanded: "false" });
    this.summary = create("div", { className: "summary" });
    this.details = create("div", { className: "details", id: `details-${id}`, hidden: true });
    this.button.setAttribute("aria-controls", this.details.id);
    this.item = create(
      "li",
      { className: "card" },
      face.portrait ?? portrait(face, source),
      create("div", { className: "head" }, create("h3", null, this.button), this.summary),
      this.details,
    );
    this.item.style.setProperty("--color", colorOf(id));
    this.item.dataset.id = String(id);
    this.item.addEventListener("pointerenter", () => onPoint(id, "enter"));
    this.item.addEventListener("pointerleave", () => onPoint(id, "leave"));
    this.button.addEventListener("focus", () => onPoint(id, "enter"));
    this.button.addEventListener("blur", () => onPoint(id, "leave"));
    this.button.addEventListener("click", () => {
      const open = this.button.ariaExpanded !== "true";
      onPoint(id, open ? "open" : "close");
      if (!open) this.expand(false);
    });
  }

  /** @param {boolean} open */
  expand(open) {
    this.button.ariaExpanded = String(open);
    this.details.hidden = !open;
  }

  /** Writes what has changed. @param {Face} face */
  update(face) {
    const { box, score, landmarks, attention, portrait: cut, ...answers } = face;
    const text = JSON.stringify(answers) + document.documentElement.lang;
    if (text === this.written) return;
    this.written = text;
    this.item.classList.toggle("stale", Boolean(face.stale));
    this.button.textContent = t(face.spans ? "person" : "face", { number: face.id });
    this.summary.replaceChildren(...summary(face));
    this.details.replaceChildren(...details(face));
  }
}

/** A face, cut from the image it was found in. @param {import("../engine.js").Face} face @param {any} source */
export function portrait(face, source) {
  const canvas = create("canvas", { className: "portrait", width: 112, height: 112 });
  canvas.ariaHidden = "true";
  if (!source) return canvas;
  const [x, y, width, height] = face.box;
  const side = 1.3 * Math.max(width, height);
  canvas
    .getContext("2d")
    .drawImage(source, x + (width - side) / 2, y + (height - side) / 2, side, side, 0, 0, 112, 112);
  return canvas;
}

/** @param {Face} face */
function summary(face) {
  const found = [];
  if (face.age)
    found.push(
      create(
        "p",
        { className: "age" },
        create("b", { textContent: years(face.age) }),
        " ",
        create("span", { textContent: likely(face.age) }),
      ),
    );
  if (face.decision) found.push(decisionLine(face.decision));
  const tags = CLASS_TASKS.filter((task) => face[task]).map((task) => {
    const { label } = /** @type {any} */ (face[task]);
    return create("span", {
      className: label === "uncertain" ? "tag uncertain" : "tag",
      textContent: className(task, label),
    });
  });
  const limits = face.age ? thresholds(face.age) : [];
  tags.push(...limits.map(({ text }) => create("span", { className: "tag", textContent: text })));
  if (!face.detected) tags.unshift(create("span", { className: "tag uncertain", textContent: t("assumed") }));
  found.push(create("p", { className: "tags" }, ...tags));
  if (face.spans) {
    const times = face.spans.map(([start, end]) => `${clock(start)}–${clock(end)}`).join(", ");
    found.push(create("p", { className: "times", textContent: t("video.seen", { times }) }));
    if (face.stale) found.push(create("p", { className: "why", textContent: t("video.stale") }));
  }
  return found;
}

/** @param {Face} face */
function details(face) {
  const found = [];
  if (!face.detected) found.push(create("p", { className: "why", textContent: t("why.assumed") }));
  if (face.decision) found.push(...aboutDecision(face.decision));
  if (face.age) found.push(...aboutAge(face.age));
  for (const task of CLASS_TASKS) if (face[task]) found.push(...aboutClasses(face, task));
  found.push(
    create("h4", { textContent: t("visible") }),
    create("p", { textContent: visible(face) }),
    meter([["fill", 0, 100 * face.visibility]]),
  );
  return found;
}

/** @param {import("../engine.js").Decision} decision */
function decisionLine(decision) {
  const line = create(
    "p",
    { className: "decision" },
    create("b", { textContent: outcome(decision) }),
    " ",
    create("span", { textContent: because(decision) }),
  );
  line.dataset.outcome = decision.outcome;
  return line;
}

/** @param {import("../engine.js").Decision} decision */
function aboutDecision({ outcome: name, probability }) {
  const found = [create("h4", { textContent: t("check") }), create("p", { textContent: t(`check.why.${name}`) })];
  if (probability !== null) {
    const text = t("check.probability", { percent: percent(probability) });
    found.push(create("p", { className: "at-least", textContent: text }), meter([["fill", 0, 100 * probability]]));
  }
  found.push(create("p", { className: "use", textContent: t("check.use") }));
  return found;
}

/** @param {NonNullable<Face["age"]>} age */
function aboutAge(age) {
  const scale = create(
    "p",
    { className: "scale" },
    ...[0, 25, 50, 75, 100].map((year) => create("span", { textContent: number(year) })),
  );
  scale.ariaHidden = "true";
  const found = [
    create("h4", { textContent: t("task.age") }),
    meter([
      ["fill", age.low, age.high - age.low],
      ["point", age.years - 0.75, 1.5],
    ]),
    scale,
    create("p", {
      textContent: t("age.level", {
        low: Math.round(age.low),
        high: Math.round(age.high),
        count: Math.round(10 * age.level),
      }),
    }),
  ];
  for (const { text, probability } of thresholds(age)) {
    found.push(create("p", { className: "at-least", textContent: text }), meter([["fill", 0, 100 * probability]]));
  }
  return found;
}

/** @param {Face} face @param {import("./phrases.js").ClassTask} task */
function aboutClasses(face, task) {
  const { label, probabilities } = /** @type {import("../engine.js").Classification} */ (face[task]);
  const found = [create("h4", { textContent: t(`task.${task}`) })];
  const sorted = Object.entries(probabilities)
    .sort((one, other) => other[1] - one[1])
    .slice(0, 4);
  for (const [name, probability] of sorted) {
    found.push(
      create(
        "div",
        { className: "bar" },
        create("span", { textContent: className(task, name) }),
        meter([["fill", 0, 100 * probability]]),
        create("span", { textContent: percent(probability) }),
      ),
    );
  }
  if (label === "uncertain") found.push(create("p", { className: "why", textContent: whyUncertain(face, task) }));
  if (task !== "mask") found.push(create("p", { className: "use", textContent: t(`note.${task}`) }));
  return found;
}

/** A bar from 0 to 100; its text says the same. @param {[string, number, number][]} ranges class, start and width */
function meter(ranges) {
  const rectangles = /** @type {[string, number, number][]} */ ([["track", 0, 100], ...ranges]).map(
    ([name, x, width]) =>
      createSvg("rect", {
        class: name,
        x,
        width: Math.max(0, width),
        y: name === "point" ? 0 : 2,
        height: name === "point" ? 10 : 6,
        rx: 1,
      }),
  );
  return createSvg(
    "svg",
    { class: "meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...rectangles,
  );
}
