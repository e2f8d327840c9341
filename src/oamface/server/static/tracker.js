// Follows the faces of a live view: a close-up of each in every frame, a look at the whole frame now and then, answers
// averaged over time as in oamface/video/tracker.py.

import { checkPolicy } from "./age_policy.js";
import { iou } from "./detection.js";
import { placeOf as centerOf } from "./face_detector.js";
import { cutRegion, resize } from "./pixels.js";
import { placeOf } from "./predictor.js";

const GLANCE_EVERY = 10; // frames from one look at the whole frame to the next, while all tracks are followed
const ANSWER_EVERY = 6; // frames from one prediction of a track to its next
const HALF_LIFE = 1.5; // seconds after which a prediction counts half
const HOLD = 0.25; // seconds for which a face that is lost stays where it was
const PATIENCE = 1; // seconds for which a face that is lost keeps its track
const MIN_IOU = 0.25; // of a track's box and a detection, to be matched by place
const MIN_SIMILARITY = 0.6; // of their embeddings, to be matched though the boxes do not overlap
const MAX_DISTANCE = 1; // face widths between these boxes; grows by as much every second
const EMBEDDING_UPDATE = 0.3; // weight of a new embedding in a track's running mean
const EMBEDDING_SIDE = 16; // pixels
const CLEAR_EYES = 30; // pixels between the eyes from which a larger face does not count more
// A new place is mixed with the expected one, since detections jitter. Its weight, and how it grows with the distance
// between both, in sides of the face; and the weight of the speed that it shows.
const STILL = 0.25, SURPRISE = 4, ACCELERATION = 0.1;

/**
 * @typedef {import("./detection.js").Detection} Detection
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./predictor.js").Predictions} Predictions
 * @typedef {object} Track
 * @property {number} id
 * @property {Detection} shown its place, steadied
 * @property {number[]} velocity pixels per second
 * @property {number} seen seconds, when it was found last
 * @property {number} answered the number of the frame of its last prediction
 * @property {number} weight of its average
 * @property {number} averaged seconds, of its last prediction
 * @property {Predictions | null} average
 * @property {Float32Array} embedding
 */

export class Tracker {
  /** @param {import("./analyzer.js").Analyzer} analyzer */
  constructor({ detector, predictor }) {
    this.detector = detector;
    this.predictor = predictor;
    /** @type {Track[]} */
    this.tracks = [];
    this.ids = 0;
    this.frames = 0;
    /** @type {number[]} */
    this.times = [];
  }

  /**
   * The faces of the next frame. @param {Pixels} image @param {number} seconds its time
   * @param {import("./engine.js").LiveOptions} options @returns {Promise<import("./engine.js").TrackedFace[]>}
   */
  async update(image, seconds, options) {
    const policy = options.policy && checkPolicy(options.policy);
    this.frames += 1;
    const lost = await this.follow(image, seconds);
    if (lost || !this.tracks.length || this.frames % GLANCE_EVERY === 0) await this.glance(image, seconds);
    this.tracks = this.tracks.filter(({ seen }) => seconds - seen <= PATIENCE && seconds >= seen);
    await this.answer(image, seconds);
    return this.tracks.filter(({ seen, average }) => average && seconds - seen <= HOLD).map((track) => ({
      id: track.id,
      ...this.predictor.face(track.shown, /** @type {Predictions} */ (track.average), { ...options, policy }),
      ...placeOf(track.shown),
    }));
  }

  /** Frames per second of late. @param {number} seconds of the clock */
  rate(seconds) {
    this.times = [...this.times.filter((time) => seconds - time < 1.5), seconds];
    const [first] = this.times;
    return this.times.length > 1 ? (this.times.length - 1) / (seconds - first) : 0;
  }

  /** Moves every track to where a close-up shows its face; whether one shows none. @param {Pixels} image
   * @param {number} seconds */
  async follow(image, seconds) {
    if (!this.tracks.length) return false;
    const expected = this.tracks.map(({ shown, velocity, seen }) => {
      const elapsed = Math.min(Math.max(seconds - seen, 0), 0.2);
      return shifted(shown, velocity[0] * elapsed, velocity[1] * elapsed);
    });
    const found = await this.detector.follow(image, expected);
    this.tracks.forEach((track, number) => {
      const face = found[number];
      if (face) move(track, expected[number], face, seconds);
    });
    const held = this.tracks.filter(({ seen }) => seen === seconds);
    // Two tracks on one face: the younger ends.
    const doubled = held.filter((track, number) => (
      held.slice(0, number).some((older) => iou(older.shown.box, track.shown.box) >= 0.5)
    ));
    this.tracks = this.tracks.filter((track) => !doubled.includes(track));
    return found.includes(null);
  }

  /** Finds faces that no track has, and continues lost tracks with them or starts new ones. @param {Pixels} image
   * @param {number} seconds */
  async glance(image, seconds) {
    const held = this.tracks.filter(({ seen }) => seen === seconds);
    for (const face of await this.detector.glance(image, held.map(({ shown }) => shown))) {
      const embedding = embed(this.predictor.cutCrop(image, face.landmarks));
      const track = this.tracks
        .filter((other) => other.seen !== seconds)
        .map((other) => ({ other, score: matchScore(other, face, embedding, seconds) }))
        .filter(({ score }) => score !== null)
        .sort((one, other) => Number(other.score) - Number(one.score))[0]?.other;
      if (track) {
        track.shown = face; // it may have jumped
        track.velocity = [0, 0];
        track.seen = seconds;
      } else {
        this.ids += 1;
        this.tracks.push({
          id: this.ids, shown: face, velocity: [0, 0], seen: seconds, answered: -Infinity, weight: 0, averaged: seconds,
          average: null, embedding,
        });
      }
    }
  }

  /** Predicts the faces that have no answer yet, and one of those whose last is too old. @param {Pixels} image
   * @param {number} seconds */
  async answer(image, seconds) {
    const held = this.tracks.filter(({ seen }) => seen === seconds);
    const due = held.filter(({ average, answered }) => average && this.frames - answered >= ANSWER_EVERY);
    const oldest = due.sort((one, other) => one.answered - other.answered).slice(0, 1);
    for (const track of [...held.filter(({ average }) => !average), ...oldest]) {
      const crop = this.predictor.cutCrop(image, track.shown.landmarks);
      const predictions = await this.predictor.predict(crop);
      const [[x0, y0], [x1, y1]] = track.shown.landmarks;
      const clear = Math.min(1, Math.hypot(x1 - x0, y1 - y0) / CLEAR_EYES); // a large, certain face says more
      average(track, predictions, Math.max(1e-3, (track.shown.score ?? 1) * clear), seconds);
      const embedding = embed(crop);
      track.embedding = track.embedding.map((value, index) => value + (embedding[index] - value) * EMBEDDING_UPDATE);
      track.answered = this.frames;
    }
  }
}

/** @param {Detection} face @param {number} dx @param {number} dy @returns {Detection} */
function shifted({ box: [x, y, width, height], landmarks, score }, dx, dy) {
  return { box: [x + dx, y + dy, width, height], landmarks: landmarks.map(([u, v]) => [u + dx, v + dy]), score };
}

/** To a new place, steadied. @param {Track} track @param {Detection} expected @param {Detection} face
 * @param {number} seconds */
function move(track, expected, face, seconds) {
  const [before, now] = [centerOf(expected), centerOf(face)];
  const surprise = Math.hypot(now.x - before.x, now.y - before.y, now.side - before.side) / before.side;
  const weight = Math.min(1, STILL + SURPRISE * surprise);
  const mix = (/** @type {number} */ old, /** @type {number} */ fresh) => old + (fresh - old) * weight;
  track.shown = {
    box: expected.box.map((value, index) => mix(value, face.box[index])),
    landmarks: expected.landmarks.map((point, index) => point.map((value, axis) => mix(value, face.landmarks[index][axis]))),
    score: face.score,
  };
  const elapsed = seconds - track.seen;
  if (elapsed > 0) {
    const share = ACCELERATION * weight / STILL / elapsed;
    track.velocity = [track.velocity[0] + share * (now.x - before.x), track.velocity[1] + share * (now.y - before.y)];
  }
  track.seen = seconds;
}

/** How well a detection continues a lost track, by place and appearance; null if it cannot. @param {Track} track
 * @param {Detection} face @param {Float32Array} embedding @param {number} seconds */
function matchScore(track, face, embedding, seconds) {
  const length = Math.hypot(...track.embedding) || 1;
  const similarity = track.embedding.reduce((sum, value, index) => sum + value * embedding[index], 0) / length;
  const overlap = iou(track.shown.box, face.box);
  if (overlap >= MIN_IOU) return overlap + similarity;
  const [before, now] = [centerOf(track.shown), centerOf(face)];
  const distance = Math.hypot(now.x - before.x, now.y - before.y) / ((before.side + now.side) / 2);
  const near = distance <= MAX_DISTANCE * (1 + seconds - track.seen);
  const sameSize = now.side / before.side > 0.6 && now.side / before.side < 1.7;
  return similarity >= MIN_SIMILARITY && sameSize && near ? similarity - 0.1 * distance : null;
}

/** @param {Track} track @param {Predictions} predictions @param {number} weight @param {number} seconds */
function average(track, predictions, weight, seconds) {
  track.weight = track.weight * 0.5 ** ((seconds - track.averaged) / HALF_LIFE) + weight;
  track.averaged = seconds;
  const share = weight / track.weight;
  const { probabilities, attention } = track.average ?? predictions;
  const blend = (/** @type {number[]} */ old, /** @type {number[]} */ now) =>
    now.map((value, index) => old[index] + (value - old[index]) * share);
  const means = Object.entries(predictions.probabilities).map(([task, values]) => [
    task,
    blend(probabilities[/** @type {import("./engine.js").Task} */ (task)], values),
  ]);
  track.average = {
    probabilities: Object.fromEntries(means),
    attention: predictions.attention.map((row, y) => blend(attention[y], row)),
    crop: predictions.crop,
  };
}

/** The middle of a crop as a vector of length 1; the product of two, -1..1, is their similarity. @param {Pixels} crop */
function embed(crop) {
  const border = Math.floor(crop.height / 8);
  const inner = cutRegion(crop, border, border, crop.width - 2 * border, crop.height - 2 * border);
  const values = Float32Array.from(resize(inner, EMBEDDING_SIDE, EMBEDDING_SIDE).data);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const centered = values.map((value) => value - mean);
  const length = Math.hypot(...centered) || 1;
  return centered.map((value) => value / length);
}
