// Detected faces, as in oamface/detection.py.

import { SAME_FACE_IOU } from "./constants.js";
import { apply } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Point} Point
 * @typedef {{ width: number, height: number }} Size
 * @typedef {object} Detection
 * @property {number[]} box x, y, width, height
 * @property {Point[]} landmarks five
 * @property {number | null} score
 * @property {boolean} [assumed]
 */

/** Of one or more: large, near the center and certain. @param {Detection[]} faces @param {Size} image */
export function prominent(faces, { width, height }) {
  const weight = (/** @type {Detection} */ { box: [x, y, boxWidth, boxHeight], score }) => {
    const distance = Math.hypot((x + boxWidth / 2) / (width / 2) - 1, (y + boxHeight / 2) / (height / 2) - 1);
    return Math.sqrt(Math.max(boxWidth * boxHeight, 0)) * Math.max(2 - distance, 0.1) * (score ?? 1);
  };
  return faces.reduce((best, face) => (weight(face) > weight(best) ? face : best));
}

/** As in check_detections of oamface/given_faces.py. @param {Detection} face @param {Size} image */
export function isInImage({ landmarks }, { width, height }) {
  const [xs, ys] = [0, 1].map((axis) => landmarks.map((landmark) => landmark[axis]));
  return Math.max(...xs) > 0 && Math.max(...ys) > 0 && Math.min(...xs) < width && Math.min(...ys) < height;
}

/** Intersection over union. @param {number[]} one @param {number[]} other */
export function iou([ax, ay, aw, ah], [bx, by, bw, bh]) {
  const width = Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx));
  const height = Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by));
  return width * height / Math.max(aw * ah + bw * bh - width * height, 1e-9);
}

/** Of those whose boxes overlap the best alone, best score first. @template {{ box: number[], score: number | null }} T
 * @param {T[]} items @returns {T[]} */
export function suppress(items) {
  /** @type {T[]} */
  const kept = [];
  for (const item of [...items].sort((first, second) => (second.score ?? 0) - (first.score ?? 0))) {
    if (kept.every((better) => iou(better.box, item.box) <= SAME_FACE_IOU)) kept.push(item);
  }
  return kept;
}

/** The box stays upright. @param {Detection} face @param {import("./pixels.js").Matrix} matrix @returns {Detection} */
export function moved({ box: [x, y, width, height], landmarks, score }, matrix) {
  const [[a, b], [c, d]] = matrix;
  const scale = Math.sqrt(Math.abs(a * d - b * c));
  const [centerX, centerY] = apply([x + width / 2, y + height / 2], matrix);
  return {
    box: [centerX - width * scale / 2, centerY - height * scale / 2, width * scale, height * scale],
    landmarks: landmarks.map((landmark) => apply(landmark, matrix)),
    score,
  };
}

/** Degrees, counter-clockwise. @param {Detection} face */
export function tilt({ landmarks: [leftEye, rightEye, , leftMouth, rightMouth] }) {
  const right = [rightEye[0] - leftEye[0], rightEye[1] - leftEye[1]];
  const down = [0, 1].map((axis) => (leftMouth[axis] + rightMouth[axis] - leftEye[axis] - rightEye[axis]) / 2);
  return Math.atan2(right[1] - down[0], right[0] + down[1]) * 180 / Math.PI;
}

/** [row, column] above the threshold, as high as all around them.
 * @param {{ data: Float32Array, rows: number, columns: number }} map @param {number} threshold */
export function peaks({ data, rows, columns }, threshold) {
  const cells = [];
  for (let cell = 0; cell < rows * columns; cell += 1) {
    if (!(data[cell] > threshold)) continue;
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    let peak = true;
    for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y += 1) {
      for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x += 1) {
        if (data[y * columns + x] > data[cell]) peak = false;
      }
    }
    if (peak) cells.push([row, column]);
  }
  return cells;
}
