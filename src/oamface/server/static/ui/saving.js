// Answers as files: CSV and JSON of everything on the page, and the shown image with what is drawn on it.

import { $, colorOf, saveFile } from "./elements.js";

/** @typedef {import("./images.js").Item} Item */
/** @typedef {import("./people.js").People} People */

const FACE = ["x", "y", "box_width", "box_height"];
const AGE = ["age", "age_low", "age_high"];
const ANSWERS = [
  "gender",
  "gender_probability",
  "race",
  "race_probability",
  "mask",
  "mask_probability",
  "visibility",
  "detected",
  "decision",
  "decision_probability",
  "reason",
];

/** The thresholds that some of the faces were compared with. @param {import("../engine.js").Face[]} faces */
const limitsOf = (faces) => [...new Set(faces.flatMap(({ age }) => Object.keys(age?.at_least ?? {})))];

/** @param {string[]} limits */
const columns = (limits) => [...AGE, ...limits.map((years) => `age_at_least_${years}`), ...ANSWERS];

/** The cells of `columns`. @param {import("../engine.js").Face} face @param {string[]} limits */
const answersOf = (face, limits) => [
  face.age?.years,
  face.age?.low,
  face.age?.high,
  ...limits.map((years) => face.age?.at_least?.[years]),
  .../** @type {const} */ (["gender", "race", "mask"]).flatMap((task) => [face[task]?.label, face[task]?.probability]),
  face.visibility,
  face.detected,
  ...decisionOf(face.decision),
];

/** @param {import("../engine.js").Decision} [decision] */
const decisionOf = (decision) => [decision?.outcome, decision?.probability, decision?.reasons.join(", ")];

/**
 * One row for each face, each image without one, and each image that could not be read; the columns have the names of
 * `oamface analyze --csv`. @param {Item[]} items
 */
export function saveCsv(items) {
  const limits = limitsOf(items.flatMap(({ result }) => result?.faces ?? []));
  const heading = ["source", "error", "face", ...FACE, ...columns(limits)];
  const blank = Array(heading.length - 2 - decisionOf().length).fill("");
  const rows = items
    .filter(({ result, error }) => result || error)
    .flatMap(({ name, result, error }) =>
      result?.faces.length
        ? result.faces.map((face) => [name, "", face.id, ...face.box, ...answersOf(face, limits)])
        : [[name, error?.message, ...blank, ...decisionOf(result?.decision)]],
    );
  saveRows("oamface.csv", [heading, ...rows]);
}

/** The results of schema oamface/1, each with its image's name, or why there is none. @param {Item[]} items */
export function saveJson(items) {
  const images = items
    .filter(({ result, error }) => result || error)
    .map(({ name, result, error }) =>
      result
        ? { ...result, faces: result.faces.map(({ id, ...face }) => face) }
        : { schema: "oamface/1", source: name, error: { type: typeOf(error), message: error?.message } },
    );
  saveObject("oamface.json", { images });
}

/** As Python names it. @param {(Error & { code?: string }) | null} error */
const typeOf = (error) => (["image", "pixels"].includes(error?.code ?? "") ? "ImageError" : error?.constructor.name);

/** One row for each person. @param {string} name @param {People} people */
export function saveVideoCsv(name, people) {
  const all = people.list();
  const limits = limitsOf(all);
  const rows = all.map((person) => [
    name,
    person.id,
    person.spans[0][0],
    person.spans.at(-1)?.[1],
    person.frames,
    ...answersOf(person, limits),
  ]);
  const heading = ["video", "track", "first_seconds", "last_seconds", "frames", ...columns(limits)];
  saveRows(`${name}.csv`, [heading, ...rows]);
}

/** Every analyzed frame, and a summary of every person. @param {string} name @param {People} people */
export function saveVideoJson(name, people) {
  const withTrack = (/** @type {any} */ { id, ...face }) => ({ track: id, ...face });
  const frames = people.frames.map(({ seconds, faces }) => ({
    schema: "oamface/1",
    seconds,
    faces: faces.map(withTrack),
  }));
  const summary = people.list().map(({ box, landmarks, score, spans, portrait, stale, ...person }) => ({
    ...withTrack(person),
    first: spans[0][0],
    last: spans[spans.length - 1][1],
    spans,
  }));
  saveObject(`${name}.json`, { source: name, frames, summary });
}

/** @param {string} name @param {any[][]} rows */
function saveRows(name, rows) {
  const cell = (/** @type {any} */ value) => {
    const text = typeof value === "boolean" ? (value ? "True" : "False") : String(value ?? ""); // as Python has them
    // A spreadsheet would run a name as a formula.
    const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = rows.map((row) => row.map(cell).join(","));
  saveFile(name, new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
}

/** @param {string} name @param {object} content */
function saveObject(name, content) {
  saveFile(name, new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
}

/**
 * What the stage shows, in the image's own pixels. @param {string} name @param {CanvasImageSource & HTMLElement} media
 * @param {import("./overlay.js").Overlay} overlay
 */
export function saveImage(name, media, overlay) {
  const { width, height } = overlay.size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.save();
  if (overlay.mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
  context.drawImage(media, 0, 0, width, height);
  context.restore();
  const attention = overlay.frame.querySelector(".attention");
  if (attention) context.drawImage(/** @type {HTMLCanvasElement} */ (attention), 0, 0, width, height);
  const scale = width / overlay.frame.clientWidth;
  context.scale(scale, scale);
  const origin = overlay.frame.getBoundingClientRect();
  const place = (/** @type {Element} */ element) => {
    const { x, y, width: w, height: h } = element.getBoundingClientRect();
    return /** @type {[number, number, number, number]} */ ([x - origin.x, y - origin.y, w, h]);
  };
  for (const [id, { box, label }] of overlay.parts) {
    context.lineWidth = 2.5;
    context.strokeStyle = colorOf(id);
    rounded(context, place(box), 10);
    context.stroke();
    if (label.hidden) continue;
    const [x, y, w, h] = place(label);
    context.fillStyle = "rgba(17, 19, 22, 0.86)";
    rounded(context, [x, y, w, h], 8);
    context.fill();
    [...label.children].forEach((line, index) => {
      context.font = `${index ? 500 : 650} 13px system-ui, sans-serif`;
      context.fillStyle = index ? "#d5d9e0" : "#fff";
      context.fillText(line.textContent ?? "", x + 11, y + 19 + 18 * index);
    });
  }
  canvas.toBlob((blob) => blob && saveFile(`${name.replace(/\.\w+$/, "")}-answers.png`, blob));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number, number, number]} rectangle
 * @param {number} radius
 */
function rounded(context, rectangle, radius) {
  context.beginPath();
  context.roundRect(...rectangle, radius);
}

/** Nothing can be saved while there is nothing. @param {boolean} any @param {boolean} image */
export function allowSaving(any, image) {
  for (const id of ["csv", "json"]) $(id).disabled = !any;
  $("image").disabled = !image;
}
