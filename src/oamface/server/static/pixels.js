// Images as { data: Uint8Array of RGB, width, height }, and OpenCV's operations on them, step for step as in Python.

const GRAY = 127; // outside an image

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
  return width <= image.width && height <= image.height ? shrink(image, width, height) : enlarge(image, width, height);
}

function shrink(image, width, height) {
  const columnShares = shares(image.width, width);
  const rowShares = shares(image.height, height);
  // OpenCV rounds exact halves up where sides are halved, else to the even number.
  const nearest = image.width === 2 * width && image.height === 2 * height ? Math.round : round;
  const stride = width * 3;
  const data = new Uint8Array(stride * height);
  const sums = new Float64Array(stride);
  rowShares.forEach((rows, y) => {
    sums.fill(0);
    for (const [row, rowShare] of rows) {
      for (let x = 0; x < width; x += 1) {
        let red = 0, green = 0, blue = 0;
        for (const [column, share] of columnShares[x]) {
          const from = (row * image.width + column) * 3;
          red += share * image.data[from];
          green += share * image.data[from + 1];
          blue += share * image.data[from + 2];
        }
        sums[3 * x] += rowShare * red;
        sums[3 * x + 1] += rowShare * green;
        sums[3 * x + 2] += rowShare * blue;
      }
    }
    for (let x = 0; x < stride; x += 1) data[y * stride + x] = nearest(sums[x]);
  });
  return { data, width, height };
}

function shares(from, to) { // for every target pixel, the source pixels that it covers and their shares
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

function enlarge(image, width, height) { // in OpenCV's whole numbers: weights of 11 bits, sums shifted in between
  const columns = neighbours(image.width, width);
  const stride = width * 3;
  const data = new Uint8Array(stride * height);
  const rows = Array.from({ length: image.height }, (_, row) => { // at the new width
    const values = new Int32Array(stride);
    columns.forEach(([left, right, leftWeight, rightWeight], x) => {
      for (let channel = 0; channel < 3; channel += 1) {
        const [one, other] = [left, right].map((column) => image.data[(row * image.width + column) * 3 + channel]);
        values[3 * x + channel] = (one * leftWeight + other * rightWeight) >> 4;
      }
    });
    return values;
  });
  neighbours(image.height, height).forEach(([top, bottom, topWeight, bottomWeight], y) => {
    const [above, below] = [rows[top], rows[bottom]];
    for (let x = 0; x < stride; x += 1) {
      data[y * stride + x] = (((above[x] * topWeight) >> 16) + ((below[x] * bottomWeight) >> 16) + 2) >> 2;
    }
  });
  return { data, width, height };
}

function neighbours(from, to) { // for every target pixel, two source pixels and their weights of 2048
  return Array.from({ length: to }, (_, target) => {
    const position = Math.fround(Math.min(Math.max((target + 0.5) * (from / to) - 0.5, 0), from - 1));
    const low = Math.floor(position);
    return [low, Math.min(low + 1, from - 1), round((1 - position + low) * 2048), round((position - low) * 2048)];
  });
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

export function pad(image, multiple) { // with black at the right and the bottom, to sides that are multiples
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / multiple) * multiple);
  if (width === image.width && height === image.height) return image;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < image.height; y += 1) {
    data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), y * width * 3);
  }
  return { data, width, height };
}

export function warp(image, transform, side) { // a square of `side` pixels; gray outside the image
  const [[a, b, c], [d, e, f]] = invert(transform);
  const data = new Uint8Array(side * side * 3);
  const { width, height } = image;
  const pixel = (x, y, channel) =>
    (x < 0 || y < 0 || x >= width || y >= height ? GRAY : image.data[(y * width + x) * 3 + channel]);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const u = a * x + b * y + c;
      const v = d * x + e * y + f;
      const left = Math.floor(u), top = Math.floor(v);
      const right = u - left, bottom = v - top;
      for (let channel = 0; channel < 3; channel += 1) {
        const above = pixel(left, top, channel) * (1 - right) + pixel(left + 1, top, channel) * right;
        const below = pixel(left, top + 1, channel) * (1 - right) + pixel(left + 1, top + 1, channel) * right;
        data[(y * side + x) * 3 + channel] = round(above * (1 - bottom) + below * bottom);
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
