// CenterFace as oamface/detect.py runs it: the same scans and close-ups, in the same order, with the same thresholds.

import { bordered, inverse, moved, rotation, rounded, scaled, warped } from "./pixels.js";

const THRESHOLD = 0.4;
const SCAN_SIDES = [[490, 640, 1000, 1250], [320, 416, 1000, 1200]];
const LEAST_SCAN = SCAN_SIDES[1][0];
const LAST_SIDE = 2000;
const SMALL_FACE = 20;
const TILE = 960;
const OVERLAP_PIXELS = 96;
const TURNED_FROM = 800;
const TURNED_SIDE = 320;
const [NOTICED, FAINT, TURNED] = [0.05, 0.03, 0.1];
const DOUBT = 0.05;
const SURE = 0.6;
const LARGE_FACE = 224;
const [CLOSE_UP, CLOSE_UP_FACE] = [160, 72];
const BORDER = 0.3;
const TILTS = [-40, 40];
const TILTED = 20;
const OVERLAP = 0.3;

const long = ({ width, height }) => Math.max(width, height);
const size = ({ box }) => Math.max(box[2], box[3]);

export class Detector {
  constructor(run) { // run: (1, 3, H, W) values, height, width -> the four maps, in the model's order
    this.run = run;
  }

  async detect(image) { // faces as { box, landmarks, score }, best score first
    let scale = this.scale(image);
    const large = long(image) >= TURNED_FROM;
    const noticed = await this.scan(image, scale, large ? FAINT : NOTICED);
    const smallest = () => Math.min(Infinity, ...noticed.filter(({ score }) => score >= 4 * NOTICED).map(size));
    while (scale < 1 && smallest() * scale < SMALL_FACE && long(image) * scale < LAST_SIDE) {
      scale = Math.min(2 * scale, 1);
      noticed.push(...await this.scan(image, scale, NOTICED));
    }
    if (large) for (const turns of [1, 2, 3]) noticed.push(...await this.scanTurned(image, turns));
    let found = await this.confirmed(image, suppressed(noticed, 0));
    if (!found.length) found = await this.search(image);
    const upright = [];
    for (const face of suppressed(found, 0)) upright.push(await this.upright(image, face));
    return upright;
  }

  scale(image) {
    const side = Math.min(long(image), 2 * Math.min(image.width, image.height));
    return Math.min(Math.max(scanSide(side), LEAST_SCAN) / side, Math.max(2, LEAST_SCAN / long(image)));
  }

  async scan(image, scale, threshold) {
    const small = scaled(image, scale);
    const [across, down] = [image.width / small.width, image.height / small.height];
    const found = [];
    for (const [top, height] of tiles(small.height)) {
      for (const [left, width] of tiles(small.width)) {
        const back = [[across, 0, across * left], [0, down, down * top]];
        const tile = part(small, left, top, Math.min(width, small.width - left), Math.min(height, small.height - top));
        found.push(...(await this.pass(tile, threshold)).map((face) => carried(face, back)));
      }
    }
    return suppressed(found, 0);
  }

  async scanTurned(image, turns) {
    const side = Math.min(long(image), 2 * Math.min(image.width, image.height));
    const small = scaled(image, Math.min(this.scale(image), TURNED_SIDE / side));
    let turned = small;
    let back = [[image.width / small.width, 0, 0], [0, image.height / small.height, 0]];
    for (let turn = 0; turn < turns; turn += 1) {
      back = after(back, [[0, -1, turned.width], [1, 0, 0]]);
      turned = quarterTurned(turned);
    }
    return (await this.scan(turned, 1, NOTICED)).map((face) => carried(face, back));
  }

  async confirmed(image, noticed) {
    const found = [];
    const scale = this.scale(image);
    for (const face of noticed) {
      if (found.some((other) => samePlace(face, other))) continue;
      const sure = face.score >= SURE;
      const closer = sure && size(face) * scale <= LARGE_FACE ? face : await this.closer(image, face);
      if (closer || sure) found.push(closer || face);
    }
    return found.length ? found : noticed.filter(({ score }) => score >= THRESHOLD);
  }

  async closer(image, face) {
    const lean = rounded(tilt(face) / 90) * 90;
    const leastScore = THRESHOLD + (face.score >= THRESHOLD ? 0 : DOUBT);
    const least = long(image) < TURNED_FROM ? NOTICED : TURNED;
    let best = null;
    for (const degrees of face.score >= least ? [lean, lean + 180, lean + 90, lean + 270] : [lean]) {
      for (const other of await this.closeUp(image, face.box, degrees)) {
        if (other.score >= leastScore && samePlace(other, face) && (!best || other.score > best.score)) best = other;
      }
      if (best && best.score >= SURE) break;
    }
    return best;
  }

  async search(image) {
    let found = await this.scanBordered(image);
    let scale = this.scale(image);
    const largest = Math.min(2, LAST_SIDE / long(image));
    while (!found.length && scale < largest) {
      scale = Math.min(2 * scale, largest);
      found = await this.scan(image, scale, THRESHOLD);
    }
    for (const degrees of TILTS) if (!found.length) found = await this.scanTilted(image, degrees);
    return found;
  }

  async pass(image, threshold) {
    const width = Math.ceil(image.width / 32) * 32;
    const height = Math.ceil(image.height / 32) * 32;
    const values = new Float32Array(3 * width * height);
    for (let y = 0; y < image.height; y += 1) {
      for (let x = 0; x < image.width; x += 1) {
        for (let colour = 0; colour < 3; colour += 1) {
          values[(colour * height + y) * width + x] = image.data[(y * image.width + x) * 3 + colour];
        }
      }
    }
    return decoded(await this.run(values, height, width), threshold);
  }

  async scanBordered(image) {
    const small = scaled(image, Math.min(1, LEAST_SCAN / long(image)));
    const left = rounded(small.width * BORDER);
    const top = rounded(small.height * BORDER);
    const across = image.width / small.width;
    const down = image.height / small.height;
    const back = [[across, 0, -across * left], [0, down, -down * top]];
    const whole = bordered(small, left, top);
    return (await this.scan(whole, LEAST_SCAN / long(whole), THRESHOLD)).map((face) => carried(face, back));
  }

  async scanTilted(image, degrees) {
    const whole = Math.ceil(Math.hypot(image.width, image.height));
    const shrink = Math.min(1, 2 * LEAST_SCAN / whole);
    const there = rotation(image.width / 2, image.height / 2, degrees, shrink);
    const side = Math.ceil(whole * shrink);
    there[0][2] += side / 2 - image.width / 2;
    there[1][2] += side / 2 - image.height / 2;
    return this.passThrough(image, there, side);
  }

  async closeUp(image, [x, y, width, height], degrees) {
    const scale = CLOSE_UP_FACE / Math.max(width, height);
    const reach = CLOSE_UP / scale;
    const [left, top] = [x + width / 2 - reach, y + height / 2 - reach].map((edge) => Math.max(Math.floor(edge), 0));
    const right = Math.min(Math.ceil(x + width / 2 + reach), image.width);
    const bottom = Math.min(Math.ceil(y + height / 2 + reach), image.height);
    if (right <= left || bottom <= top) return [];
    const small = scaled(part(image, left, top, right - left, bottom - top), Math.min(1, scale));
    const [across, down] = [(right - left) / small.width, (bottom - top) / small.height];
    const centre = [(x + width / 2 - left) / across, (y + height / 2 - top) / down];
    const there = rotation(...centre, degrees, Math.max(1, scale));
    there[0][2] += CLOSE_UP / 2 - centre[0];
    there[1][2] += CLOSE_UP / 2 - centre[1];
    const back = [[across, 0, left], [0, down, top]];
    return (await this.passThrough(small, there, CLOSE_UP)).map((face) => carried(face, back));
  }

  async passThrough(image, there, side) {
    const back = inverse(there);
    return (await this.pass(warped(image, there, side), THRESHOLD)).map((face) => carried(face, back));
  }

  async upright(image, face) {
    const degrees = tilt(face);
    if (Math.abs(degrees) < TILTED || !(size(face) > 0 && size(face) < Infinity)) return face;
    const again = (await this.closeUp(image, face.box, degrees)).filter((seen) => overlap(face.box, seen.box) > OVERLAP);
    return again.reduce((best, seen) => (best === face || seen.score > best.score ? seen : best), face);
  }
}

export function prominent(faces, image) { // of a picture of one person: large, near the centre and sure
  const weight = ({ box: [x, y, width, height], score }) => {
    const away = Math.hypot((x + width / 2) / (image.width / 2) - 1, (y + height / 2) / (image.height / 2) - 1);
    return Math.sqrt(Math.max(width * height, 0)) * Math.max(2 - away, 0.1) * score;
  };
  return faces.reduce((best, face) => (weight(face) > weight(best) ? face : best));
}

function decoded([heat, sizes, offsets, points], threshold) { // one face for each peak of the heat, in the network's pixels
  const [, , rows, columns] = heat.dims;
  const cells = rows * columns;
  const faces = [];
  for (let cell = 0; cell < cells; cell += 1) {
    const score = heat.data[cell];
    const row = Math.floor(cell / columns);
    const column = cell % columns;
    if (!(score > threshold) || !isPeak(heat.data, row, column, rows, columns)) continue;
    const height = Math.exp(sizes.data[cell]) * 4;
    const width = Math.exp(sizes.data[cells + cell]) * 4;
    const left = (column + offsets.data[cells + cell] + 0.5) * 4 - width / 2;
    const top = (row + offsets.data[cell] + 0.5) * 4 - height / 2;
    const landmarks = Array.from({ length: 5 }, (_, mark) => [
      left + points.data[(2 * mark + 1) * cells + cell] * width,
      top + points.data[2 * mark * cells + cell] * height,
    ]);
    faces.push({ box: [left, top, width, height], landmarks, score });
  }
  return suppressed(faces, 0);
}

function isPeak(heat, row, column, rows, columns) {
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y += 1) {
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x += 1) {
      if (heat[y * columns + x] > heat[row * columns + column]) return false;
    }
  }
  return true;
}

function scanSide(side) { // the network's long side for an image's, linear between the known ones
  const [sides, scans] = SCAN_SIDES;
  if (side <= sides[0]) return scans[0];
  const next = sides.findIndex((known) => known >= side);
  if (next < 0) return scans[scans.length - 1];
  const share = (side - sides[next - 1]) / (sides[next] - sides[next - 1]);
  return scans[next - 1] + share * (scans[next] - scans[next - 1]);
}

function tiles(length) { // [start, size] of parts of at most TILE that share OVERLAP_PIXELS
  const count = Math.max(1, Math.ceil((length - OVERLAP_PIXELS) / (TILE - OVERLAP_PIXELS)));
  const size = Math.ceil((length + (count - 1) * OVERLAP_PIXELS) / count);
  return Array.from({ length: count }, (_, number) => [rounded(number * (length - size) / Math.max(count - 1, 1)), size]);
}

function part(image, left, top, width, height) {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image;
  const data = new image.data.constructor(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { ...image, width, height, data };
}

function quarterTurned(image) { // counter-clockwise
  const { width, height, data } = image;
  const turned = new data.constructor(data.length);
  for (let y = 0; y < width; y += 1) {
    for (let x = 0; x < height; x += 1) {
      for (let colour = 0; colour < 3; colour += 1) {
        turned[(y * height + x) * 3 + colour] = data[(x * width + width - 1 - y) * 3 + colour];
      }
    }
  }
  return { ...image, width: height, height: width, data: turned };
}

function after([[a, b, c], [d, e, f]], [[g, h, i], [j, k, l]]) { // the first 2 x 3 matrix applied after the second
  return [[a * g + b * j, a * h + b * k, a * i + b * l + c], [d * g + e * j, d * h + e * k, d * i + e * l + f]];
}

function samePlace({ box: [x, y, width, height] }, { box: [left, top, across, down] }) {
  const inside = left <= x + width / 2 && x + width / 2 <= left + across && top <= y + height / 2 && y + height / 2 <= top + down;
  const ratio = Math.max(width, height) / Math.max(across, down, 1e-9);
  return inside && ratio > 1 / 3 && ratio < 3;
}

function tilt({ landmarks: [left, right, , one, other] }) { // degrees by which to turn it counter-clockwise to be upright
  const eyes = [right[0] - left[0], right[1] - left[1]];
  const down = [(one[0] + other[0] - left[0] - right[0]) / 2, (one[1] + other[1] - left[1] - right[1]) / 2];
  return Math.atan2(eyes[1] - down[0], eyes[0] + down[1]) * 180 / Math.PI;
}

function suppressed(faces, least) { // the best of those that overlap, best score first
  const kept = [];
  for (const face of faces.filter(({ score }) => score > least).sort((one, other) => other.score - one.score)) {
    if (kept.every((better) => overlap(better.box, face.box) <= OVERLAP)) kept.push(face);
  }
  return kept;
}

function overlap([ax, ay, aw, ah], [bx, by, bw, bh]) { // intersection over union
  const width = Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx));
  const height = Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by));
  return width * height / Math.max(aw * ah + bw * bh - width * height, 1e-9);
}

function carried({ box: [x, y, width, height], landmarks, score }, back) { // under a similarity; the box stays upright
  const [cx, cy] = moved([x + width / 2, y + height / 2], back);
  const scale = Math.sqrt(Math.abs(back[0][0] * back[1][1] - back[0][1] * back[1][0]));
  return {
    box: [cx - width * scale / 2, cy - height * scale / 2, width * scale, height * scale],
    landmarks: landmarks.map((mark) => moved(mark, back)),
    score,
  };
}
