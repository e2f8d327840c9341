// Images, and OpenCV's operations on them, step for step as in Python.

import { GREY } from "./constants.js";
import { EngineError } from "./engine.js";

/**
 * @typedef {{ data: Uint8Array, width: number, height: number }} Pixels data: red, green and blue of every pixel
 * @typedef {number[]} Point x, y
 * @typedef {number[][]} Matrix 2 x 3, affine, as in OpenCV
 */

/** Half to even, as Python and OpenCV do. @param {number} value */
export function round(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/**
 * Of a file as the server does: EXIF orientation applied, colour profiles ignored, transparency on white.
 *
 * @param {Blob} file @param {number} most pixels
 */
export async function decode(file, most) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  try {
    return pixelsOf(bitmap, most);
  } finally {
    bitmap.close();
  }
}

/** @type {OffscreenCanvas | undefined} */
let canvas; // frames of a view have one size

/** @param {ImageBitmap | VideoFrame} image @param {number} most pixels @returns {Pixels} */
export function pixelsOf(image, most) {
  const [width, height] = "displayWidth" in image ? [image.displayWidth, image.displayHeight] : [image.width, image.height];
  if (width * height > most) {
    throw new EngineError("pixels", `More than ${most / 1e6} million pixels; make it smaller first.`);
  }
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  if (width * height > 4_000_000) canvas = undefined; // too large to be kept
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { data, width, height };
}

/** Both sides times scale, at least one pixel each. @param {Pixels} image @param {number} scale */
export function rescale(image, scale) {
  const side = (/** @type {number} */ length) => Math.max(1, round(length * scale));
  return resize(image, side(image.width), side(image.height));
}

/** INTER_AREA when it gets smaller, else INTER_LINEAR. @param {Pixels} image @param {number} width @param {number} height
 * @returns {Pixels} */
export function resize(image, width, height) {
  if (width === image.width && height === image.height) return image;
  return width <= image.width && height <= image.height ? shrink(image, width, height) : enlarge(image, width, height);
}

/** @param {Pixels} image @param {number} width @param {number} height @returns {Pixels} */
function shrink(image, width, height) {
  if (image.width === 2 * width && image.height === 2 * height) {
    return { data: halve(image.data, width, height, 3), width, height };
  }
  const { first, starts, weights } = shares(image.width, width);
  const rows = shares(image.height, height);
  const { data: source } = image;
  const stride = width * 3, sourceStride = image.width * 3;
  const data = new Uint8Array(stride * height);
  const sums = new Float64Array(stride);
  for (let y = 0; y < height; y += 1) {
    sums.fill(0);
    let rowStart = rows.first[y] * sourceStride;
    for (let entry = rows.starts[y]; entry < rows.starts[y + 1]; entry += 1, rowStart += sourceStride) {
      const rowShare = rows.weights[entry];
      for (let x = 0, to = 0; x < width; x += 1, to += 3) {
        let red = 0, green = 0, blue = 0;
        let from = rowStart + first[x] * 3;
        for (let column = starts[x]; column < starts[x + 1]; column += 1, from += 3) {
          const share = weights[column];
          red += share * source[from];
          green += share * source[from + 1];
          blue += share * source[from + 2];
        }
        sums[to] += rowShare * red;
        sums[to + 1] += rowShare * green;
        sums[to + 2] += rowShare * blue;
      }
    }
    for (let x = 0, to = y * stride; x < stride; x += 1, to += 1) data[to] = round(sums[x]);
  }
  return { data, width, height };
}

/**
 * The values of an image at half its sides, which are then width and height. Exact halves are rounded up here, in
 * `shrink` to the even number, as OpenCV does.
 *
 * @param {Uint8Array} source @param {number} width @param {number} height @param {number} channels
 */
export function halve(source, width, height, channels) {
  const below = 2 * width * channels;
  const data = new Uint8Array(width * height * channels);
  for (let y = 0, to = 0; y < height; y += 1) {
    for (let x = 0, from = 2 * y * below; x < width; x += 1, from += channels) {
      for (let channel = 0; channel < channels; channel += 1, from += 1, to += 1) {
        const above = source[from] + source[from + channels];
        data[to] = (above + source[from + below] + source[from + below + channels] + 2) >> 2;
      }
    }
  }
  return data;
}

/**
 * For every target pixel the source pixels that it covers, from `first` on, and their shares: weights from `starts` of
 * the pixel to that of the next. @param {number} from @param {number} to
 */
function shares(from, to) {
  const step = from / to;
  const first = new Int32Array(to), starts = new Int32Array(to + 1);
  const weights = new Float64Array(from + 2 * to);
  let count = 0;
  for (let target = 0; target < to; target += 1) {
    const start = target * step;
    const end = Math.min(start + step, from);
    first[target] = Math.floor(start + 1e-9);
    starts[target] = count;
    for (let source = first[target]; source < end - 1e-9; source += 1) {
      weights[count++] = (Math.min(source + 1, end) - Math.max(source, start)) / (end - start);
    }
  }
  starts[to] = count;
  return { first, starts, weights };
}

/** In OpenCV's whole numbers: weights of 11 bits, sums shifted in between. @param {Pixels} image @param {number} width
 * @param {number} height @returns {Pixels} */
function enlarge({ data: source, width: sourceWidth, height: sourceHeight }, width, height) {
  const columns = neighbours(sourceWidth, width), rows = neighbours(sourceHeight, height);
  const stride = width * 3;
  const wide = new Int32Array(stride * sourceHeight); // the rows at the new width
  for (let row = 0, to = 0; row < sourceHeight; row += 1) {
    const start = row * sourceWidth * 3;
    for (let x = 0; x < width; x += 1) {
      const left = start + columns.low[x] * 3, right = start + columns.high[x] * 3;
      const leftWeight = columns.lowWeight[x], rightWeight = columns.highWeight[x];
      for (let channel = 0; channel < 3; channel += 1, to += 1) {
        wide[to] = (source[left + channel] * leftWeight + source[right + channel] * rightWeight) >> 4;
      }
    }
  }
  const data = new Uint8Array(stride * height);
  for (let y = 0, to = 0; y < height; y += 1) {
    const top = rows.low[y] * stride, bottom = rows.high[y] * stride;
    const topWeight = rows.lowWeight[y], bottomWeight = rows.highWeight[y];
    for (let x = 0; x < stride; x += 1, to += 1) {
      data[to] = (((wide[top + x] * topWeight) >> 16) + ((wide[bottom + x] * bottomWeight) >> 16) + 2) >> 2;
    }
  }
  return { data, width, height };
}

/** For every target pixel, two source pixels and their weights of 2048. @param {number} from @param {number} to */
function neighbours(from, to) {
  const [low, high, lowWeight, highWeight] = Array.from({ length: 4 }, () => new Int32Array(to));
  for (let target = 0; target < to; target += 1) {
    const position = Math.fround(Math.min(Math.max((target + 0.5) * (from / to) - 0.5, 0), from - 1));
    low[target] = Math.floor(position);
    high[target] = Math.min(low[target] + 1, from - 1);
    lowWeight[target] = round((1 - position + low[target]) * 2048);
    highWeight[target] = round((position - low[target]) * 2048);
  }
  return { low, high, lowWeight, highWeight };
}

/** @param {Pixels} image @param {number} left @param {number} top @param {number} width @param {number} height
 * @returns {Pixels} */
export function cutRegion(image, left, top, width, height) {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { data, width, height };
}

/** With black at the right and the bottom, to sides that are multiples. @param {Pixels} image @param {number} multiple
 * @returns {Pixels} */
export function pad(image, multiple) {
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / multiple) * multiple);
  if (width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < image.height; y += 1) {
    data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), y * width * 3);
  }
  return { data, width, height };
}

/** A square of `side` pixels; gray outside the image. @param {Pixels} image @param {Matrix} transform @param {number} side
 * @returns {Pixels} */
export function warp(image, transform, side) {
  const [[a, b, c], [d, e, f]] = invert(transform);
  const data = new Uint8Array(side * side * 3);
  const { width, height, data: source } = image;
  const pixel = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ channel) =>
    (x < 0 || y < 0 || x >= width || y >= height ? GREY[channel] : source[(y * width + x) * 3 + channel]);
  for (let y = 0, to = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const u = a * x + b * y + c;
      const v = d * x + e * y + f;
      const left = Math.floor(u), top = Math.floor(v);
      const right = u - left, bottom = v - top;
      const inside = left >= 0 && top >= 0 && left < width - 1 && top < height - 1;
      for (let channel = 0, from = (top * width + left) * 3; channel < 3; channel += 1, from += 1, to += 1) {
        const northWest = inside ? source[from] : pixel(left, top, channel);
        const northEast = inside ? source[from + 3] : pixel(left + 1, top, channel);
        const southWest = inside ? source[from + width * 3] : pixel(left, top + 1, channel);
        const southEast = inside ? source[from + width * 3 + 3] : pixel(left + 1, top + 1, channel);
        const above = northWest * (1 - right) + northEast * right;
        const below = southWest * (1 - right) + southEast * right;
        data[to] = round(above * (1 - bottom) + below * bottom);
      }
    }
  }
  return { data, width: side, height: side };
}

/** About a point, counter-clockwise. @param {number} x @param {number} y @param {number} degrees @param {number} scale
 * @returns {Matrix} */
export function rotationMatrix(x, y, degrees, scale) {
  const cos = Math.cos(degrees * Math.PI / 180) * scale;
  const sin = Math.sin(degrees * Math.PI / 180) * scale;
  return [[cos, sin, (1 - cos) * x - sin * y], [-sin, cos, sin * x + (1 - cos) * y]];
}

/** @param {Matrix} matrix @returns {Matrix} */
export function invert([[a, b, c], [d, e, f]]) {
  const determinant = a * e - b * d;
  return [
    [e / determinant, -b / determinant, (b * f - e * c) / determinant],
    [-d / determinant, a / determinant, (d * c - a * f) / determinant],
  ];
}

/** The first applied after the second. @param {Matrix} first @param {Matrix} second @returns {Matrix} */
export function multiply([[a, b, c], [d, e, f]], [[g, h, i], [j, k, l]]) {
  return [[a * g + b * j, a * h + b * k, a * i + b * l + c], [d * g + e * j, d * h + e * k, d * i + e * l + f]];
}

/** @param {Point} point @param {Matrix} matrix @returns {Point} */
export function apply([x, y], [[a, b, c], [d, e, f]]) {
  return [a * x + b * y + c, d * x + e * y + f];
}
