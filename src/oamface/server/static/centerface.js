// CenterFace: the faces in images of one size, as in oamface/centerface.py.

import { CELL } from "./constants.js";
import { moved, peaks, suppress } from "./detection.js";
import { pad, rescale } from "./pixels.js";

/**
 * @typedef {import("./detection.js").Detection} Detection
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./runtime.js").Tensor} Tensor
 * @typedef {{ data: Float32Array, rows: number, columns: number }} Map
 */

export class CenterFace {
  /** @param {(values: Float32Array, dims: number[]) => Promise<Tensor[]>} run (N, 3, height, width) to the four maps */
  constructor(run) {
    this.run = run;
  }

  /** The faces of each, best first; sides are multiples of 32. @param {Pixels[]} images @param {number} threshold */
  async detect(images, threshold) {
    const [{ width, height }] = images;
    const cells = width * height;
    const values = new Float32Array(images.length * 3 * cells);
    images.forEach(({ data }, index) => {
      for (let channel = 0; channel < 3; channel += 1) {
        const start = (3 * index + channel) * cells;
        for (let cell = 0; cell < cells; cell += 1) values[start + cell] = data[3 * cell + channel];
      }
    });
    const maps = await this.run(values, [images.length, 3, height, width]);
    return images.map((_, index) => decode(maps.map((map) => mapsOf(map, index)), threshold));
  }

  /** The same of one image at a long side of `side` pixels, in its own pixels. @param {Pixels} image @param {number} side
   * @param {number} threshold */
  async detectIn(image, side, threshold) {
    const small = rescale(image, side / Math.max(image.width, image.height));
    const toImage = [[image.width / small.width, 0, 0], [0, image.height / small.height, 0]];
    const [faces] = await this.detect([pad(small, side)], threshold);
    return faces.map((face) => moved(face, toImage));
  }
}

/** One image's, of a whole batch's. @param {Tensor} tensor @param {number} index @returns {Map} */
function mapsOf({ data, dims: [, channels, rows, columns] }, index) {
  const size = channels * rows * columns;
  return { data: data.subarray(index * size, (index + 1) * size), rows, columns };
}

/** A face for each peak. @param {Map[]} maps @param {number} threshold @returns {Detection[]} */
function decode([heat, { data: sizes }, { data: offsets }, { data: points }], threshold) {
  const cells = heat.rows * heat.columns;
  return suppress(peaks(heat, threshold).map(([row, column]) => {
    const cell = row * heat.columns + column;
    const [height, width] = [sizes[cell], sizes[cells + cell]].map((size) => Math.exp(size) * CELL);
    const left = (column + offsets[cells + cell] + 0.5) * CELL - width / 2;
    const top = (row + offsets[cell] + 0.5) * CELL - height / 2;
    const landmarks = [0, 1, 2, 3, 4].map((index) => [
      left + points[(2 * index + 1) * cells + cell] * width,
      top + points[2 * index * cells + cell] * height,
    ]);
    return { box: [left, top, width, height], landmarks, score: heat.data[cell] };
  }));
}
