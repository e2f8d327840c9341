// From an image and a face's landmarks to its predictions, as in oamface/alignment.py, preprocessing.py, predictor.py.

import {
  CROP_SHARE, CROP_SIZE, FIRST_THRESHOLD, LANDMARKS_IN_BOX, LEAST_FACE, MEASURES, OVAL_SAMPLES, TEMPLATE,
} from "./constants.js";
import { decide } from "./age_policy.js";
import { fine, tenth } from "./numbers.js";
import { apply, cutRegion, invert, resize, round, warp } from "./pixels.js";
import { assess, inOval, measure, widening } from "./quality.js";

/**
 * @typedef {import("./detection.js").Detection} Detection
 * @typedef {import("./engine.js").Task} Task
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./pixels.js").Point} Point
 * @typedef {import("./pixels.js").Matrix} Matrix
 * @typedef {import("./runtime.js").Tensor} Tensor
 * @typedef {{ probabilities: Record<Task, number[]>, attention: number[][], crop: Pixels }} Predictions of one face;
 *   attention: over the crop, 0..1, 1 where the face is visible
 */

/** @type {Task[]} */
export const TASKS = ["age", "gender", "race", "mask"];
const TARGET = TEMPLATE.map((landmark) => landmark.map((share) => share * CROP_SIZE));

/** A crop in which no face was detected. @param {{ width: number, height: number }} image @returns {Detection} */
export function assumeFace({ width, height }) {
  const position = (/** @type {number} */ share, /** @type {number} */ length) => ((share - 0.5) * CROP_SHARE + 0.5) * length;
  const landmarks = LANDMARKS_IN_BOX.map(([x, y]) => [position(x, width), position(y, height)]);
  return { box: [0, 0, width, height], landmarks, score: null, assumed: true };
}

export class Predictor {
  /**
   * @param {import("./model_file.js").Description} description
   * @param {(values: Float32Array, size: number) => Promise<Record<string, Tensor>>} run (1, 3, size, size) to outputs
   */
  constructor(description, run) {
    this.description = description;
    this.run = run;
  }

  /** Of a crop as `cutCrop` makes it. @param {Pixels} crop @returns {Promise<Predictions>} */
  async predict(crop) {
    const { description: { input, temperatures } } = this;
    const outputs = await this.run(this.preprocess(crop), input.size);
    const probabilities = /** @type {Record<Task, number[]>} */ (Object.fromEntries(
      TASKS.map((task) => [task, softmax(outputs[task].data, temperatures[task])]),
    ));
    return { probabilities, attention: attentionOverCrop(outputs.attention, input.crop_box), crop };
  }

  /**
   * In schema oamface/1. @param {Detection} detection @param {Predictions} predictions
   * @param {import("./engine.js").AnalyzeOptions & { policy?: Required<import("./engine.js").Policy> }} options
   * @returns {import("./engine.js").Face}
   */
  face(detection, { probabilities, attention, crop }, { tasks = TASKS, attention: asked = false, atLeast = [], policy }) {
    const tiny = Math.max(detection.box[2], detection.box[3]) < LEAST_FACE; // nothing is predicted
    const detected = !detection.assumed;
    const visible = visibility(attention);
    const quality = assess({ ...measure(crop, detection.landmarks), visibility: visible });
    /** @type {any} */
    const face = { ...placeOf(detection), detected };
    for (const task of TASKS.filter((name) => tasks.includes(name))) {
      if (task === "age") face.age = this.age(probabilities.age, detected, tiny, atLeast, widening(quality.score));
      else face[task] = this.classification(task, probabilities[task], tiny);
    }
    face.visibility = fine(visible);
    const measures = Object.fromEntries(MEASURES.map((name) => [name, fine(quality.measures[name])]));
    if (policy) {
      const { age } = probabilities;
      const tails = calibratedTails(age, this.description.at_least ?? []);
      face.decision = decide(policy, { years: meanOf(age), tails, detected, quality });
    }
    face.quality = { score: fine(quality.score), reasons: quality.reasons, measures };
    if (asked) {
      const values = attention.map((row) => row.map((value) => Math.round(value * 100) / 100));
      const corners = cropCorners(cropTransform(detection.landmarks)).map((corner) => corner.map(tenth));
      face.attention = { values, corners };
    }
    return face;
  }

  /** The network's input: the crop box, resized and normalised, (3, size, size). @param {Pixels} crop */
  preprocess(crop) {
    const { size, crop_box: cropBox, mean, std } = this.description.input;
    const [left, top, right, bottom] = cropBox.map((edge) => round(edge * CROP_SIZE));
    const { data } = resize(cutRegion(crop, left, top, right - left, bottom - top), size, size);
    const values = new Float32Array(3 * size * size);
    for (let pixel = 0; pixel < size * size; pixel += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        values[channel * size * size + pixel] = (data[pixel * 3 + channel] / 255 - mean[channel]) / std[channel];
      }
    }
    return values;
  }

  /** The aligned face. @param {Pixels} image @param {Point[]} landmarks @returns {Pixels} */
  cutCrop(image, landmarks) {
    const transform = cropTransform(landmarks);
    const scale = Math.hypot(transform[0][0], transform[1][0]);
    if (scale >= 0.5) return warp(image, transform, CROP_SIZE); // a larger face is made smaller first, or it is noisy
    const corners = cropCorners(transform);
    const [[left, right], [top, bottom]] = [image.width, image.height].map((length, axis) => {
      const values = corners.map((corner) => corner[axis]);
      return [Math.max(Math.floor(Math.min(...values)) - 2, 0), Math.min(Math.ceil(Math.max(...values)) + 2, length)];
    });
    if (right <= left || bottom <= top) return warp(image, transform, CROP_SIZE);
    const region = cutRegion(image, left, top, right - left, bottom - top);
    const small = resize(region, Math.max(1, round(region.width * scale)), Math.max(1, round(region.height * scale)));
    const [scaleX, scaleY] = [region.width / small.width, region.height / small.height];
    const [x, y] = [left + (scaleX - 1) / 2, top + (scaleY - 1) / 2];
    const fromSmall = transform.map(([a, b, c]) => [a * scaleX, b * scaleY, c + a * x + b * y]);
    return warp(small, fromSmall, CROP_SIZE);
  }

  /** @param {number[]} probabilities of every year @param {boolean} detected @param {boolean} tiny @param {number[]} atLeast
   * @param {number} wider factor of the interval @returns {import("./engine.js").Age} */
  age(probabilities, detected, tiny, atLeast, wider) {
    const { intervals: { level, quantiles, undetected }, at_least: calibration = [] } = this.description;
    const table = detected ? quantiles : undetected || quantiles.map(() => Infinity); // infinite: excludes no year
    const mean = meanOf(probabilities);
    const meanSquare = probabilities.reduce((sum, probability, year) => sum + probability * year * year, 0);
    const std = Math.sqrt(Math.max(meanSquare - mean * mean, 0));
    const years = [...probabilities.keys()].filter((year) => tiny || Math.abs(mean - year) <= wider * table[year] * (std + 1));
    const [low, high] = [Math.min(mean, ...years), Math.max(mean, ...years)];
    const age = { years: tenth(mean), low: tenth(low), high: tenth(high), level };
    if (!atLeast.length) return age;
    const tails = calibratedTails(probabilities, calibration);
    const sorted = [...new Set(atLeast)].sort((one, other) => one - other);
    return { ...age, at_least: Object.fromEntries(sorted.map((year) => [String(year), fine(tails[year])])) };
  }

  /** @param {Task} task @param {number[]} probabilities @param {boolean} tiny
   * @returns {import("./engine.js").Classification} */
  classification(task, probabilities, tiny) {
    const classes = this.description.tasks[task].map(String);
    const probability = Math.max(...probabilities);
    const certain = !tiny && probability >= this.description.thresholds[task];
    return {
      label: certain ? classes[probabilities.indexOf(probability)] : "uncertain",
      probability: fine(probability),
      probabilities: Object.fromEntries(classes.map((name, index) => [name, fine(probabilities[index])])),
    };
  }
}

/** Where a face is, rounded as in schema oamface/1. @param {Detection} detection
 * @returns {Pick<import("./engine.js").Face, "box" | "score" | "landmarks">} */
export function placeOf({ box, score, landmarks }) {
  return {
    box: /** @type {[number, number, number, number]} */ (box.map(tenth)),
    score: score === null ? null : fine(score),
    landmarks: landmarks.map(([x, y]) => [tenth(x), tenth(y)]),
  };
}

/** The similarity that best maps landmarks onto the template (Umeyama, 1991). @param {Point[]} landmarks @returns {Matrix} */
function cropTransform(landmarks) {
  const mean = (/** @type {Point[]} */ points) => (
    [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length)
  );
  const [sourceX, sourceY] = mean(landmarks);
  const [targetX, targetY] = mean(TARGET);
  let spread = 0, cos = 0, sin = 0;
  landmarks.forEach(([x, y], index) => {
    const [u, v] = [x - sourceX, y - sourceY];
    const [p, q] = [TARGET[index][0] - targetX, TARGET[index][1] - targetY];
    spread += u * u + v * v;
    cos += u * p + v * q;
    sin += u * q - v * p;
  });
  cos /= spread;
  sin /= spread;
  return [[cos, -sin, targetX - cos * sourceX + sin * sourceY], [sin, cos, targetY - sin * sourceX - cos * sourceY]];
}

/** Of the crop in the image, clockwise. @param {Matrix} transform */
function cropCorners(transform) {
  const toImage = invert(transform);
  return [[0, 0], [CROP_SIZE, 0], [CROP_SIZE, CROP_SIZE], [0, CROP_SIZE]].map((corner) => apply(corner, toImage));
}

const meanOf = (/** @type {number[]} */ ages) => ages.reduce((sum, probability, year) => sum + probability * year, 0);

/** @param {ArrayLike<number>} logits @param {number} temperature */
function softmax(logits, temperature) {
  const values = Array.from(logits, (value) => value / temperature);
  const max = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - max));
  const sum = powers.reduce((first, second) => first + second, 0);
  return powers.map((value) => value / sum);
}

/**
 * The probability of every year or more, as in oamface/age_thresholds.py; never rising with the years.
 *
 * @param {number[]} probabilities @param {[number, number, number][]} calibration of beta calibration, from FIRST_THRESHOLD
 */
function calibratedTails(probabilities, calibration) {
  const clip = (/** @type {number} */ value, /** @type {number} */ edge) => Math.min(Math.max(value, edge), 1 - edge);
  let sum = 0, least = 1;
  const tails = [...probabilities].reverse().map((probability) => clip(sum += probability, 0)).reverse();
  return tails.map((tail, year) => {
    const parameters = calibration[year - FIRST_THRESHOLD];
    if (parameters) {
      const [a, b, c] = parameters;
      const p = clip(tail, 1e-6);
      tail = 1 / (1 + Math.exp(-(a * Math.log(p) - b * Math.log1p(-p) + c)));
    }
    return least = Math.min(least, tail);
  });
}

/** From the crop box to rows over the crop. @param {Tensor} attention @param {number[]} cropBox @returns {number[][]} */
function attentionOverCrop({ data, dims }, [left, top, right, bottom]) {
  const [, , height, width] = dims;
  const [rows, columns] = [round(height / (bottom - top)), round(width / (right - left))];
  /** @param {number} index @param {number} count @param {number} low @param {number} high @param {number} length */
  const position = (index, count, low, high, length) => {
    const value = Math.min(Math.max((((index + 0.5) / count - low) / (high - low)) * length - 0.5, 0), length - 1);
    const first = Math.min(Math.floor(value), Math.max(length - 2, 0));
    return [first, value - first];
  };
  return Array.from({ length: rows }, (_, row) => {
    const [y, fractionY] = position(row, rows, top, bottom, height);
    return Array.from({ length: columns }, (__, column) => {
      const [x, fractionX] = position(column, columns, left, right, width);
      const value = (/** @type {number} */ v, /** @type {number} */ u) => data[Math.min(v, height - 1) * width + Math.min(u, width - 1)];
      return (value(y, x) * (1 - fractionX) + value(y, x + 1) * fractionX) * (1 - fractionY)
        + (value(y + 1, x) * (1 - fractionX) + value(y + 1, x + 1) * fractionX) * fractionY;
    });
  });
}

/** The mean attention over the oval of the face. @param {number[][]} map */
function visibility(map) {
  let count = 0, sum = 0;
  map.forEach((row, y) => row.forEach((value, x) => {
    for (let v = 0; v < OVAL_SAMPLES; v += 1) {
      for (let u = 0; u < OVAL_SAMPLES; u += 1) {
        if (inOval((x + (u + 0.5) / OVAL_SAMPLES) / row.length, (y + (v + 0.5) / OVAL_SAMPLES) / map.length)) {
          count += 1;
          sum += value;
        }
      }
    }
  }));
  return Math.min(Math.max(sum / count, 0), 1);
}
