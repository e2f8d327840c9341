// Images as { data: Uint8Array of RGB, width, height }, and OpenCV's operations on them, step for step as in Python.

export const GRAY = 127;

export function round(value) { // half to even, as Python and OpenCV do
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

export async function decode(file) {
  // As the server does: EXIF orientation applied, colour profiles ignored, transparency on white.
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { data, width, height };
}

export function rescale(image, scale) { // both sides times scale, at least one pixel each
  const side = (length) => Math.max(1, round(length * scale));
  return resize(image, side(image.width), side(image.height));
}

export function resize(image, width, height) { // INTER_AREA when it gets smaller, else INTER_LINEAR
  if (width === image.width && height === image.height) return image;
  const weights = width <= image.width && height <= image.height ? areaWeights : linearWeights;
  const columnWeights = weights(image.width, width);
  const rowWeights = weights(image.height, height);
  const rows = new Float32Array(image.height * width * 3);
  for (let y = 0; y < image.height; y += 1) {
    const start = y * image.width * 3;
    for (let x = 0; x < width; x += 1) {
      let red = 0, green = 0, blue = 0;
      for (const [column, weight] of columnWeights[x]) {
        const from = start + column * 3;
        red += weight * image.data[from];
        green += weight * image.data[from + 1];
        blue += weight * image.data[from + 2];
      }
      const to = (y * width + x) * 3;
      rows[to] = red;
      rows[to + 1] = green;
      rows[to + 2] = blue;
    }
  }
  const data = new Uint8Array(width * height * 3);
  const stride = width * 3;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < stride; x += 1) {
      let sum = 0;
      for (const [row, weight] of rowWeights[y]) sum += weight * rows[row * stride + x];
      data[y * stride + x] = Math.min(255, Math.max(0, round(sum)));
    }
  }
  return { data, width, height };
}

function areaWeights(from, to) { // for every target pixel, the source pixels that it covers and their shares
  const step = from / to;
  return Array.from({ length: to }, (_, target) => {
    const start = target * step;
    const end = Math.min(start + step, from);
    const weights = [];
    for (let source = Math.floor(start + 1e-9); source < end - 1e-9; source += 1) {
      weights.push([source, (Math.min(source + 1, end) - Math.max(source, start)) / (end - start)]);
    }
    return weights;
  });
}

function linearWeights(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, target) => {
    const position = Math.min(Math.max((target + 0.5) * step - 0.5, 0), from - 1);
    const low = Math.min(Math.floor(position), Math.max(from - 2, 0));
    return from === 1 ? [[0, 1]] : [[low, 1 - (position - low)], [low + 1, position - low]];
  });
}

export function addBorder(image, left, top) { // gray, on every side
  const width = image.width + 2 * left;
  const height = image.height + 2 * top;
  const data = new Uint8Array(width * height * 3).fill(GRAY);
  for (let y = 0; y < image.height; y += 1) {
    data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), ((y + top) * width + left) * 3);
  }
  return { data, width, height };
}

export function cutRegion(image, left, top, width, height) {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { data, width, height };
}

export function rotateQuarter(image) { // by 90 degrees, counter-clockwise
  const { width, height } = image;
  const data = new Uint8Array(image.data.length);
  for (let y = 0; y < width; y += 1) {
    for (let x = 0; x < height; x += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        data[(y * height + x) * 3 + channel] = image.data[(x * width + width - 1 - y) * 3 + channel];
      }
    }
  }
  return { data, width: height, height: width };
}

export function warp(image, transform, side) { // a square of `side` pixels; gray outside the image
  const [[a, b, c], [d, e, f]] = invert(transform);
  const data = new Uint8Array(side * side * 3);
  const { width, height } = image;
  const pixel = (x, y, channel) =>
    (x < 0 || y < 0 || x >= width || y >= height ? GRAY : image.data[(y * width + x) * 3 + channel]);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      // OpenCV samples at 32nds of a pixel.
      const u = Math.round((a * x + b * y + c) * 32) / 32;
      const v = Math.round((d * x + e * y + f) * 32) / 32;
      const left = Math.floor(u), top = Math.floor(v);
      const right = u - left, bottom = v - top;
      for (let channel = 0; channel < 3; channel += 1) {
        const above = pixel(left, top, channel) * (1 - right) + pixel(left + 1, top, channel) * right;
        const below = pixel(left, top + 1, channel) * (1 - right) + pixel(left + 1, top + 1, channel) * right;
        data[(y * side + x) * 3 + channel] = Math.round(above * (1 - bottom) + below * bottom);
      }
    }
  }
  return { data, width: side, height: side };
}

// 2 x 3 affine matrices, as in OpenCV.

export function rotationMatrix(x, y, degrees, scale) { // about a point, counter-clockwise
  const cos = Math.cos(degrees * Math.PI / 180) * scale;
  const sin = Math.sin(degrees * Math.PI / 180) * scale;
  return [[cos, sin, (1 - cos) * x - sin * y], [-sin, cos, sin * x + (1 - cos) * y]];
}

export function invert([[a, b, c], [d, e, f]]) {
  const determinant = a * e - b * d;
  return [
    [e / determinant, -b / determinant, (b * f - e * c) / determinant],
    [-d / determinant, a / determinant, (d * c - a * f) / determinant],
  ];
}

export function multiply([[a, b, c], [d, e, f]], [[g, h, i], [j, k, l]]) { // the first applied after the second
  return [[a * g + b * j, a * h + b * k, a * i + b * l + c], [d * g + e * j, d * h + e * k, d * i + e * l + f]];
}

export function apply([x, y], [[a, b, c], [d, e, f]]) {
  return [a * x + b * y + c, d * x + e * y + f];
}
