// Finds every face in two steps, as oamface/face_detector.py does: the scanner gives candidates, close-ups decide.

import {
  BATCH, CANDIDATE_SCORE, CERTAIN_SCORE, CLOSE_UP, CLOSE_UP_FACE, CROWD, CROWD_FACE, CROWD_SCORE, FAINT_SCORE, MAX_FAINT,
  MAX_SCAN_SIDE, MIN_SCAN_SIDE, OVERVIEW_SIDE, REACH, ROTATIONS, SCAN_SIDES, THRESHOLD, TILTED, UNCERTAIN_MARGIN, WIDER,
} from "./constants.js";
import { moved, suppress, tilt } from "./detection.js";
import { candidate } from "./face_scanner.js";
import { interpolate } from "./numbers.js";
import { cutRegion, invert, multiply, rescale, rotationMatrix, warp } from "./pixels.js";

/**
 * @typedef {import("./detection.js").Detection} Detection
 * @typedef {import("./face_scanner.js").Candidate} Candidate
 * @typedef {import("./face_scanner.js").Place} Place
 * @typedef {import("./pixels.js").Pixels} Pixels
 */

const FOLLOWING = 96; // pixels of a close-up of a face that is known from the frame before

export class FaceDetector {
  /** @param {import("./face_scanner.js").FaceScanner} scanner @param {import("./centerface.js").CenterFace} network */
  constructor(scanner, network) {
    this.scanner = scanner;
    this.network = network;
  }

  /** Every face, best score first. @param {Pixels} image @returns {Promise<Detection[]>} */
  async detect(image) {
    const longSide = Math.max(image.width, image.height);
    let scale = scanScale(image);
    const pyramid = new Pyramid(image);
    let candidates = await this.scan(pyramid, [scale, OVERVIEW_SIDE / longSide]);
    while (scale < largest(longSide, 1) && isCrowd(candidates, scale)) {
      scale = Math.min(2 * scale, largest(longSide, 1));
      candidates = suppress([...candidates, ...await this.scan(pyramid, [scale])]);
    }
    let faces = await this.confirm(pyramid, candidates.filter(({ score }) => score >= CANDIDATE_SCORE));
    const faint = candidates.filter(({ score }) => score < CANDIDATE_SCORE).slice(0, MAX_FAINT);
    if (!faces.length) faces = await this.confirm(pyramid, faint);
    if (!faces.length) faces = await this.network.detectIn(image, MIN_SCAN_SIDE, THRESHOLD);
    while (!faces.length && scale < largest(longSide, 2)) {
      scale = Math.min(2 * scale, largest(longSide, 2));
      faces = await this.confirm(pyramid, (await this.scan(pyramid, [scale])).filter(({ score }) => score >= CANDIDATE_SCORE));
    }
    return faces;
  }

  /** The faces that a quick look shows beside known ones: large ones, for live views. @param {Pixels} image
   * @param {Detection[]} known */
  async glance(image, known) {
    const longSide = Math.max(image.width, image.height);
    const pyramid = new Pyramid(image);
    const candidates = await this.scan(pyramid, [Math.min(1, MIN_SCAN_SIDE / longSide), OVERVIEW_SIDE / longSide]);
    const places = known.map(placeOf);
    const faces = await this.confirm(pyramid, candidates.filter((place) => (
      place.score >= CANDIDATE_SCORE && !isWithin(place, places)
    )));
    return faces.filter((face) => !isWithin(placeOf(face), places));
  }

  /** Each face where it is now, close to where it is assumed, or null. @param {Pixels} image @param {Detection[]} faces */
  follow(image, faces) {
    const places = faces.map((face) => ({ ...placeOf(face), score: 1 }));
    return this.closeUps(new Pyramid(image), places, faces.map(tilt), FOLLOWING);
  }

  /** Every place that is at least faint at any of the scales, in the image's pixels. @param {Pyramid} pyramid
   * @param {number[]} scales */
  async scan(pyramid, scales) {
    /** @type {Candidate[]} */
    const candidates = [];
    for (const scale of scales) {
      const level = pyramid.at(scale);
      const [scaleX, scaleY] = [pyramid.image.width / level.width, pyramid.image.height / level.height];
      for (const { x, y, side, score } of await this.scanner.scan(level, FAINT_SCORE)) {
        candidates.push(candidate(scaleX * x, scaleY * y, Math.sqrt(scaleX * scaleY) * side, score));
      }
    }
    return suppress(candidates);
  }

  /** The faces that close-ups show there; turned ones come last: a large thing around an upright face may look like one. @param {Pyramid} pyramid
   * @param {Candidate[]} candidates */
  async confirm(pyramid, candidates) {
    /** @type {Detection[]} */
    const faces = [];
    /** @type {Candidate[]} */
    const missed = [];
    await judge(candidates, faces, async (places) => {
      missed.push(...(await this.detectAt(pyramid, places, 0, faces)).filter(({ score }) => score >= CERTAIN_SCORE));
    });
    const certain = faces.filter(({ score }) => Number(score) >= CERTAIN_SCORE).map(placeOf);
    const unsolved = missed.filter((place) => !certain.some((face) => isWithin(face, [place])));
    await judge(unsolved.sort((one, other) => other.score - one.score), faces, async (places) => {
      let left = places;
      for (const degrees of ROTATIONS) left = await this.detectAt(pyramid, left, degrees, faces);
      await this.detectAt(pyramid, left.map(({ x, y, side, score }) => candidate(x, y, WIDER * side, score)), 0, faces);
    });
    /** @type {Detection[]} */
    const best = [];
    for (const face of suppress(faces)) if (!isWithin(placeOf(face), best.map(placeOf))) best.push(face);
    return best;
  }

  /** Appends the faces at places, and gives the places that show none. @param {Pyramid} pyramid
   * @param {Candidate[]} places @param {number} degrees @param {Detection[]} faces */
  async detectAt(pyramid, places, degrees, faces) {
    /** @type {Candidate[]} */
    const missed = [];
    for (let first = 0; first < places.length; first += BATCH) {
      const batch = places.slice(first, first + BATCH);
      (await this.facesAt(pyramid, batch, degrees)).forEach((face, index) => {
        if (face) faces.push(face);
        else missed.push(batch[index]);
      });
    }
    return missed;
  }

  /** The face at each place or null; tilted ones get a close-up turned upright. @param {Pyramid} pyramid
   * @param {Candidate[]} places @param {number} degrees */
  async facesAt(pyramid, places, degrees) {
    const faces = await this.closeUps(pyramid, places, places.map(() => degrees));
    const tilts = faces.map((face) => (face ? tilt(face) : degrees));
    const again = [...faces.keys()].filter((index) => Math.abs(halfTurn(tilts[index] - degrees)) >= TILTED);
    const upright = await this.closeUps(pyramid, again.map((index) => places[index]), again.map((index) => tilts[index]));
    again.forEach((index, number) => { faces[index] = upright[number] || faces[index]; });
    return faces;
  }

  /** The face at each place that a close-up turned by these degrees shows, or null. @param {Pyramid} pyramid
   * @param {(Place & { score: number })[]} places @param {number[]} turns @param {number} [side]
   * @returns {Promise<(Detection | null)[]>} */
  async closeUps(pyramid, places, turns, side = CLOSE_UP) {
    if (!places.length) return [];
    const views = places.map((place, index) => closeUp(pyramid, place, turns[index], side));
    const detections = await this.network.detect(views.map(({ pixels }) => pixels), THRESHOLD);
    return places.map((place, index) => {
      const least = THRESHOLD + (place.score >= CERTAIN_SCORE ? 0 : UNCERTAIN_MARGIN);
      return detections[index]
        .map((face) => moved(face, views[index].back))
        .find((face) => /** @type {number} */ (face.score) >= least && isWithin(placeOf(face), [place])) ?? null;
    });
  }
}

/** A strip's faces are as large as its short side allows. @param {Pixels} image */
function consideredSide({ width, height }) {
  return Math.min(Math.max(width, height), 2 * Math.min(width, height));
}

/** The scanner's pixels for each of the image's. @param {Pixels} image */
function scanScale(image) {
  const side = consideredSide(image);
  const scale = Math.min(
    Math.max(interpolate(side, SCAN_SIDES[0], SCAN_SIDES[1]), MIN_SCAN_SIDE) / side,
    Math.max(2, MIN_SCAN_SIDE / Math.max(image.width, image.height)),
  );
  return scale <= 0.5 ? 1 / Math.trunc(1 / scale + 1e-9) : scale; // images are shrunk fastest by a whole factor
}

/** An image and what it was scaled to, each scale is made once, from the next larger one. */
class Pyramid {
  /** @param {Pixels} image */
  constructor(image) {
    this.image = image;
    this.scaled = new Map([[1, image]]);
  }

  /** @param {number} scale @returns {Pixels} */
  at(scale) {
    if (!this.scaled.has(scale)) {
      const larger = this.least(Math.min(scale, 1));
      this.scaled.set(scale, rescale(this.scaled.get(larger) ?? this.image, scale / larger));
    }
    return this.scaled.get(scale) ?? this.image;
  }

  /** The smallest of at least this scale, or the image itself. @param {number} scale */
  atLeast(scale) {
    return this.scaled.get(this.least(scale)) ?? this.image;
  }

  /** @param {number} scale */
  least(scale) {
    const larger = [...this.scaled.keys()].filter((other) => other >= scale);
    return larger.length ? Math.min(...larger) : 1;
  }
}

const isCrowd = (/** @type {Candidate[]} */ candidates, /** @type {number} */ scale) => (
  candidates.filter(({ side, score }) => score >= CROWD_SCORE && side * scale < CROWD_FACE).length >= CROWD
);

const largest = (/** @type {number} */ longSide, /** @type {number} */ scale) => Math.min(scale, MAX_SCAN_SIDE / longSide);

/**
 * Has all places looked at but those within a face. Inside a face smaller places look like faces too: a place inside a
 * better one waits until that is judged.
 *
 * @param {Candidate[]} places @param {Detection[]} faces @param {(places: Candidate[]) => Promise<void>} look
 */
async function judge(places, faces, look) {
  let waiting = places;
  while (waiting.length) {
    const first = waiting.filter((place, index) => !isWithin(place, waiting.slice(0, index)));
    await look(first);
    const confirmed = faces.map(placeOf);
    waiting = waiting.filter((place) => !first.includes(place) && !isWithin(place, confirmed));
  }
}

/** @param {Detection} face @returns {Place} */
export function placeOf({ box: [x, y, width, height] }) {
  return { x: x + width / 2, y: y + height / 2, side: Math.max(width, height) };
}

/** Whether its centre lies in another place, of which the size is not too different. @param {Place} place
 * @param {Place[]} others */
function isWithin(place, others) {
  return others.some(({ x, y, side }) => (
    Math.max(Math.abs(place.x - x), Math.abs(place.y - y)) < side / 2 && place.side / 3 < side && side < 3 * place.side
  ));
}

/** Its pixels, and the matrix back to the image. @param {Pyramid} pyramid @param {Place} place @param {number} degrees
 * @param {number} side */
function closeUp(pyramid, place, degrees, side) {
  const image = pyramid.atLeast(CLOSE_UP_FACE / place.side);
  const [ratioX, ratioY] = [image.width / pyramid.image.width, image.height / pyramid.image.height];
  const scale = CLOSE_UP_FACE / place.side / Math.sqrt(ratioX * ratioY);
  const [x, y, reach] = [place.x * ratioX, place.y * ratioY, REACH * (side / CLOSE_UP) / scale];
  const [[left, right], [top, bottom]] = [[x, image.width], [y, image.height]].map(([center, length]) => {
    const low = Math.min(Math.max(Math.floor(center - reach), 0), length - 1);
    return [low, Math.min(Math.max(Math.ceil(center + reach), low + 1), length)];
  });
  const small = rescale(cutRegion(image, left, top, right - left, bottom - top), Math.min(1, scale));
  const [stretchX, stretchY] = [(right - left) / small.width, (bottom - top) / small.height];
  const center = [(x - left) / stretchX, (y - top) / stretchY];
  const transform = rotationMatrix(center[0], center[1], degrees, Math.max(1, scale));
  transform.forEach((row, axis) => { row[2] += side / 2 - center[axis]; });
  const toImage = [[stretchX / ratioX, 0, left / ratioX], [0, stretchY / ratioY, top / ratioY]];
  const back = multiply(toImage, invert(transform));
  return { pixels: warp(small, transform, side), back };
}

const halfTurn = (/** @type {number} */ degrees) => degrees - 360 * Math.floor((degrees + 180) / 360); // -180..180
