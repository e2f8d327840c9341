// Pictures as { data: Uint8Array of RGB, width, height }, and what OpenCV does to them on the server, step for step.

export const GREY = 127;

export function rounded(value) { // half to even, as Python and OpenCV do
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

export async function decode(file) {
  // What the server's decoder does: EXIF's orientation applied, colour profiles left alone, transparency on white.
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, width, height);
  const colours = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    colours[to++] = data[from];
    colours[to++] = data[from + 1];
    colours[to++] = data[from + 2];
  }
  return { data: colours, width, height };
}

export function scaled(image, scale) {
  const side = (length) => Math.max(1, rounded(length * scale));
  return resized(image, side(image.width), side(image.height));
}

export function resized(image, width, height) { // area averages when it shrinks, linear when it grows
  if (width === image.width && height === image.height) return image;
  const shares = width <= image.width && height <= image.height ? areas : linear;
  const across = shares(image.width, width);
  const down = shares(image.height, height);
  const rows = new Float32Array(image.height * width * 3);
  for (let y = 0; y < image.height; y += 1) {
    const from = y * image.width * 3;
    for (let x = 0; x < width; x += 1) {
      let red = 0, green = 0, blue = 0;
      for (const [at, share] of across[x]) {
        const place = from + at * 3;
        red += share * image.data[place];
        green += share * image.data[place + 1];
        blue += share * image.data[place + 2];
      }
      const to = (y * width + x) * 3;
      rows[to] = red;
      rows[to + 1] = green;
      rows[to + 2] = blue;
    }
  }
  const data = new Uint8Array(width * height * 3);
  const line = width * 3;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < line; x += 1) {
      let sum = 0;
      for (const [at, share] of down[y]) sum += share * rows[at * line + x];
      data[y * line + x] = Math.min(255, Math.max(0, rounded(sum)));
    }
  }
  return { data, width, height };
}

function areas(from, to) { // for every pixel of the smaller side, which of the larger it covers and by how much
  const step = from / to;
  return Array.from({ length: to }, (_, place) => {
    const start = place * step;
    const end = Math.min(start + step, from);
    const found = [];
    for (let at = Math.floor(start + 1e-9); at < end - 1e-9; at += 1) {
      found.push([at, (Math.min(at + 1, end) - Math.max(at, start)) / (end - start)]);
    }
    return found;
  });
}

function linear(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, place) => {
    const at = Math.min(Math.max((place + 0.5) * step - 0.5, 0), from - 1);
    const low = Math.min(Math.floor(at), Math.max(from - 2, 0));
    return from === 1 ? [[0, 1]] : [[low, 1 - (at - low)], [low + 1, at - low]];
  });
}

export function bordered(image, left, top) {
  const width = image.width + 2 * left;
  const height = image.height + 2 * top;
  const data = new Uint8Array(width * height * 3).fill(GREY);
  for (let y = 0; y < image.height; y += 1) {
    data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), ((y + top) * width + left) * 3);
  }
  return { data, width, height };
}

export function part(image, left, top, right, bottom) {
  const width = right - left;
  const height = bottom - top;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const from = ((y + top) * image.width + left) * 3;
    data.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { data, width, height };
}

export function warped(image, there, side) { // a square of `side` pixels; what lies outside the picture is grey
  const [[a, b, c], [d, e, f]] = inverse(there);
  const data = new Uint8Array(side * side * 3);
  const { width, height } = image;
  const at = (x, y, colour) =>
    (x < 0 || y < 0 || x >= width || y >= height ? GREY : image.data[(y * width + x) * 3 + colour]);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      // OpenCV samples at 32nds of a pixel.
      const u = Math.round((a * x + b * y + c) * 32) / 32;
      const v = Math.round((d * x + e * y + f) * 32) / 32;
      const left = Math.floor(u), top = Math.floor(v);
      const right = u - left, low = v - top;
      for (let colour = 0; colour < 3; colour += 1) {
        const above = at(left, top, colour) * (1 - right) + at(left + 1, top, colour) * right;
        const below = at(left, top + 1, colour) * (1 - right) + at(left + 1, top + 1, colour) * right;
        data[(y * side + x) * 3 + colour] = Math.round(above * (1 - low) + below * low);
      }
    }
  }
  return { data, width: side, height: side };
}

// 2 x 3 affine matrices, as OpenCV writes them.

export function rotation(x, y, degrees, scale) {
  const cos = Math.cos(degrees * Math.PI / 180) * scale;
  const sin = Math.sin(degrees * Math.PI / 180) * scale;
  return [[cos, sin, (1 - cos) * x - sin * y], [-sin, cos, sin * x + (1 - cos) * y]];
}

export function inverse([[a, b, c], [d, e, f]]) {
  const area = a * e - b * d;
  return [[e / area, -b / area, (b * f - e * c) / area], [-d / area, a / area, (d * c - a * f) / area]];
}

export function moved([x, y], [[a, b, c], [d, e, f]]) {
  return [a * x + b * y + c, d * x + e * y + f];
}
