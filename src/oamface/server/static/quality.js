// How far the age of a face can be relied on, by its image, as in oamface/quality.py.

import {
  CROP_SIZE, CURVES, DARK, GLARE, LEAST_FACTOR, LEAST_QUALITY, LEAST_VISIBILITY, LEAST_WASHED_OUT, MOST_TURN,
  OVAL_EYES, OVAL_RADIUS, OVAL_SAMPLES, REASONS, TEMPLATE, UNKNOWN, WIDENING,
} from "./constants.js";
import { interpolate } from "./numbers.js";
import { halve, resize } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./pixels.js").Point} Point
 */

const CENTER = [0, 1].map((axis) => (
  (TEMPLATE[0][axis] + TEMPLATE[1][axis]) / 2 * OVAL_EYES + (TEMPLATE[3][axis] + TEMPLATE[4][axis]) / 2 * (1 - OVAL_EYES)
));

/** Whether a point of an aligned crop is of the face. @param {number} x share of the crop @param {number} y */
export function inOval(x, y) {
  return squared(x, 0) + squared(y, 1) <= 1;
}

/** Distance from the oval's center in radii, squared. @param {number} at share of the crop @param {0 | 1} axis */
function squared(at, axis) {
  const distance = (at - CENTER[axis]) / OVAL_RADIUS[axis];
  return distance * distance;
}

const OVAL = pixelsInOval(CROP_SIZE);
const HALF_OVAL = pixelsInOval(CROP_SIZE / 2);

/** The pixels of which more than half lies in the oval. @param {number} side */
function pixelsInOval(side) {
  const samples = (/** @type {0 | 1} */ axis) => Float64Array.from({ length: side * OVAL_SAMPLES }, (_, step) => (
    squared((step + 0.5) / OVAL_SAMPLES / side, axis)));
  const across = samples(0), down = samples(1);
  const pixels = [];
  for (let pixel = 0; pixel < side * side; pixel += 1) {
    const left = pixel % side * OVAL_SAMPLES, top = Math.floor(pixel / side) * OVAL_SAMPLES;
    let inside = 0;
    for (let y = top; y < top + OVAL_SAMPLES; y += 1) {
      for (let x = left; x < left + OVAL_SAMPLES; x += 1) if (across[x] + down[y] <= 1) inside += 1;
    }
    if (inside > OVAL_SAMPLES ** 2 / 2) pixels.push(pixel);
  }
  return pixels;
}

/** All measures but the visibility. @param {Pixels} crop aligned @param {Point[]} landmarks in the image's pixels */
export function measure(crop, landmarks) {
  const gray = toGray(resize(crop, CROP_SIZE, CROP_SIZE));
  const levels = OVAL.map((pixel) => gray[pixel]).sort((one, other) => one - other);
  const [dark, light] = [0.05, 0.95].map((share) => levels[Math.floor(share * (levels.length - 1))] / 255);
  const half = halve(gray, CROP_SIZE / 2, CROP_SIZE / 2, 1);
  const detail = laplacian(half, CROP_SIZE / 2);
  const sharpness = variance(HALF_OVAL.map((pixel) => detail[pixel])) / (variance(HALF_OVAL.map((pixel) => half[pixel])) + 1);
  const glare = levels.filter((level) => level >= GLARE).length / levels.length;
  return { ...geometry(landmarks), sharpness, light, glare, contrast: light - dark };
}

/** @param {Record<string, number>} measures */
export function assess(measures) {
  const factors = Object.fromEntries(Object.entries(CURVES).map(([name, { at, penalty }]) => (
    [name, Math.exp(-interpolate(measures[name], at, penalty))]
  )));
  let score = Object.values(factors).reduce((product, factor) => product * factor, 1);
  const beyond = { turn: measures.turn > MOST_TURN, visibility: measures.visibility < LEAST_VISIBILITY };
  for (const [name] of Object.entries(beyond).filter(([, is]) => is)) {
    score = Math.min(score, UNKNOWN);
    factors[name] = UNKNOWN;
  }
  const names = Object.keys(factors);
  let found = names.filter((name) => factors[name] < LEAST_FACTOR);
  if (found.includes("glare") && measures.visibility >= LEAST_WASHED_OUT) {
    found = found.filter((name) => name !== "visibility");
  }
  if (score < LEAST_QUALITY && !found.length) {
    found = [names.reduce((least, name) => (factors[name] < factors[least] ? name : least))];
  }
  /** @type {Record<string, string>} */
  const reasons = { ...REASONS, ...(measures.light < DARK ? { contrast: "too dark" } : {}) };
  return { score, reasons: found.map((name) => reasons[name]), measures };
}

/** By how much the age interval is wider. @param {number} score */
export const widening = (score) => interpolate(score, WIDENING.at, WIDENING.factor);

/** OpenCV's gray, in whole numbers of 15 bits. @param {Pixels} image */
function toGray({ data }) {
  const gray = new Uint8Array(data.length / 3);
  for (let pixel = 0, from = 0; pixel < gray.length; pixel += 1, from += 3) {
    gray[pixel] = (data[from] * 9798 + data[from + 1] * 19235 + data[from + 2] * 3735 + 16384) >> 15;
  }
  return gray;
}

/** The border is mirrored. @param {Uint8Array} values @param {number} side */
function laplacian(values, side) {
  const inside = (/** @type {number} */ index) => side - 1 - Math.abs(side - 1 - Math.abs(index));
  return Float64Array.from(values, (value, pixel) => {
    const x = pixel % side, row = pixel - x, y = row / side;
    const beside = values[row + inside(x - 1)] + values[row + inside(x + 1)];
    return beside + values[inside(y - 1) * side + x] + values[inside(y + 1) * side + x] - 4 * value;
  });
}

/** @param {number[]} values */
function variance(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

/** @param {Point[]} landmarks */
function geometry([leftEye, rightEye, nose, leftMouth, rightMouth]) {
  const middle = (/** @type {Point} */ one, /** @type {Point} */ other) => [0, 1].map((axis) => (one[axis] + other[axis]) / 2);
  const [eyes, mouth] = [middle(leftEye, rightEye), middle(leftMouth, rightMouth)];
  const [downX, downY] = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
  const height = Math.max(Math.hypot(downX, downY), 1e-6);
  const center = middle(eyes, mouth);
  const turn = Math.abs((nose[0] - center[0]) * downY - (nose[1] - center[1]) * downX) / height ** 2;
  const across = Math.hypot(rightEye[0] - leftEye[0], rightEye[1] - leftEye[1]);
  return { eye_distance: Math.max(across, 0.866 * height), turn };
}
