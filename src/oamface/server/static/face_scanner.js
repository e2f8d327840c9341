// Places that may show a face, as in oamface/face_scanner.py.

import { MULTIPLE, STRIDES, TILE, TILE_OVERLAP } from "./constants.js";
import { peaks, suppress } from "./detection.js";
import { cutRegion, pad, round } from "./pixels.js";

/**
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./runtime.js").Tensor} Tensor
 * @typedef {{ x: number, y: number, side: number }} Place
 * @typedef {Place & { score: number, box: number[] }} Candidate
 */

export class FaceScanner {
  /** @param {(values: Uint8Array, dims: number[]) => Promise<Tensor[]>} run (1, height, width, 3) to a map for each stride */
  constructor(run) {
    this.run = run;
  }

  /** Best first; large images in tiles. @param {Pixels} image @param {number} threshold */
  async scan(image, threshold) {
    /** @type {Candidate[]} */
    const candidates = [];
    for (const [top, height] of tiles(image.height)) {
      for (const [left, width] of tiles(image.width)) {
        for (const { x, y, side, score } of await this.pass(cutRegion(image, left, top, width, height), threshold)) {
          candidates.push(candidate(x + left, y + top, side, score));
        }
      }
    }
    return suppress(candidates);
  }

  /** @param {Pixels} image @param {number} threshold */
  async pass(image, threshold) {
    const { data, width, height } = pad(image, MULTIPLE);
    const maps = await this.run(data, [1, height, width, 3]);
    return STRIDES.flatMap((stride, index) => decode(maps[index], stride, threshold));
  }
}

/** A place that may show a face: its centre and long side. @param {number} x @param {number} y @param {number} side
 * @param {number} score @returns {Candidate} */
export function candidate(x, y, side, score) {
  return { x, y, side, score, box: [x - side / 2, y - side / 2, side, side] };
}

/** Lengths are in cells. @param {Tensor} map @param {number} stride @param {number} threshold */
function decode({ data, dims: [, , rows, columns] }, stride, threshold) {
  const [score, side, x, y] = [0, 1, 2, 3].map((index) => index * rows * columns);
  return peaks({ data, rows, columns }, threshold).map(([row, column]) => {
    const cell = row * columns + column;
    return candidate(
      (column + 0.5 + data[x + cell]) * stride,
      (row + 0.5 + data[y + cell]) * stride,
      Math.exp(data[side + cell]) * stride,
      data[score + cell],
    );
  });
}

/** [start, size] of parts of at most TILE that share TILE_OVERLAP. @param {number} length */
function tiles(length) {
  const count = Math.max(1, Math.ceil((length - TILE_OVERLAP) / (TILE - TILE_OVERLAP)));
  const size = Math.ceil((length + (count - 1) * TILE_OVERLAP) / count);
  return Array.from({ length: count }, (_, number) => [round(number * (length - size) / Math.max(count - 1, 1)), size]);
}
