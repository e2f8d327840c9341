// CenterFace: the faces in images of one size, as in oamface/centerface.py.

import { moved, peaks, suppress } from "./detection.js";
import { pad, rescale } from "./pixels.js";

const STRIDE = 4; // image pixels of a cell in the network's maps

export class CenterFace {
  constructor(run) { // run: (N, 3, height, width) values, dims -> the network's four maps
    this.run = run;
  }

  async detect(images, threshold) { // the faces of each, best first; sides are multiples of 32
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

  async detectIn(image, side, threshold) { // the same of one image at a long side of `side` pixels, in its own pixels
    const small = rescale(image, side / Math.max(image.width, image.height));
    const toImage = [[image.width / small.width, 0, 0], [0, image.height / small.height, 0]];
    const [faces] = await this.detect([pad(small, side)], threshold);
    return faces.map((face) => moved(face, toImage));
  }
}

function mapsOf({ data, dims: [, channels, rows, columns] }, index) { // one image's, of a whole batch's
  const size = channels * rows * columns;
  return { data: data.subarray(index * size, (index + 1) * size), rows, columns };
}

function decode([heat, { data: sizes }, { data: offsets }, { data: points }], threshold) { // a face for each peak
  const cells = heat.rows * heat.columns;
  return suppress(peaks(heat, threshold).map(([row, column]) => {
    const cell = row * heat.columns + column;
    const [height, width] = [sizes[cell], sizes[cells + cell]].map((size) => Math.exp(size) * STRIDE);
    const left = (column + offsets[cells + cell] + 0.5) * STRIDE - width / 2;
    const top = (row + offsets[cell] + 0.5) * STRIDE - height / 2;
    const landmarks = [0, 1, 2, 3, 4].map((index) => [
      left + points[(2 * index + 1) * cells + cell] * width,
      top + points[2 * index * cells + cell] * height,
    ]);
    return { box: [left, top, width, height], landmarks, score: heat.data[cell] };
  }));
}
