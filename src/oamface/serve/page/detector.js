// CenterFace as oamface/detect.py runs it: the same looks, in the same order, with the same thresholds.

import { bordered, inverse, moved, rotation, rounded, scaled, warped } from "./pixels.js";

const THRESHOLD = 0.4;
const FIRST_SIDE = 320;
const LAST_SIDE = 1600;
const SMALL_FACE = 20;
const LARGE_FACE = 224;
const BORDER = 0.3;
const TILTS = [-40, 40];
const TILTED = 20;
const OVERLAP = 0.3;

export class Detector {
  constructor(run) { // run: (1, 3, H, W) values, height, width -> the four maps, in the model's order
    this.run = run;
  }

  async detect(image) { // faces as { box, landmarks, score }, best score first
    const long = Math.max(image.width, image.height);
    let side = FIRST_SIDE;
    const found = await this.look(image, side);
    if (!found.length || extent(found, Math.max) * side / long > LARGE_FACE) found.push(...await this.lookBordered(image));
    while (side < Math.min(LAST_SIDE, found.length ? long : 2 * long)
      && (!found.length || extent(found, Math.min) * side / long < SMALL_FACE)) {
      side = Math.min(2 * side, LAST_SIDE);
      found.push(...await this.look(image, side));
    }
    if (!found.length) for (const degrees of TILTS) found.push(...await this.lookTilted(image, degrees));
    const upright = [];
    for (const face of suppressed(found, 0)) upright.push(await this.upright(image, face));
    return upright;
  }

  async look(image, side) {
    const small = scaled(image, side / Math.max(image.width, image.height));
    const width = Math.ceil(small.width / 32) * 32;
    const height = Math.ceil(small.height / 32) * 32;
    const values = new Float32Array(3 * width * height);
    for (let y = 0; y < small.height; y += 1) {
      for (let x = 0; x < small.width; x += 1) {
        for (let colour = 0; colour < 3; colour += 1) {
          values[(colour * height + y) * width + x] = small.data[(y * small.width + x) * 3 + colour];
        }
      }
    }
    return decoded(await this.run(values, height, width), small.width / image.width, small.height / image.height);
  }

  async lookBordered(image) {
    const shrink = Math.min(1, FIRST_SIDE / Math.max(image.width, image.height));
    const small = shrink < 1 ? scaled(image, shrink) : image;
    const left = rounded(small.width * BORDER);
    const top = rounded(small.height * BORDER);
    const across = image.width / small.width;
    const down = image.height / small.height;
    const back = [[across, 0, -across * left], [0, down, -down * top]];
    return (await this.look(bordered(small, left, top), FIRST_SIDE)).map((face) => carried(face, back));
  }

  async lookTilted(image, degrees) {
    const whole = Math.ceil(Math.hypot(image.width, image.height));
    const shrink = Math.min(1, 2 * FIRST_SIDE / whole);
    const there = rotation(image.width / 2, image.height / 2, degrees, shrink);
    const side = Math.ceil(whole * shrink);
    there[0][2] += side / 2 - image.width / 2;
    there[1][2] += side / 2 - image.height / 2;
    return this.lookThrough(image, there, side);
  }

  async lookThrough(image, there, side) {
    const back = inverse(there);
    return (await this.look(warped(image, there, side), side)).map((face) => carried(face, back));
  }

  async upright(image, face) {
    const [left, right, , one, other] = face.landmarks;
    const eyes = [right[0] - left[0], right[1] - left[1]];
    const down = [(one[0] + other[0] - left[0] - right[0]) / 2, (one[1] + other[1] - left[1] - right[1]) / 2];
    const degrees = Math.atan2(eyes[1] - down[0], eyes[0] + down[1]) * 180 / Math.PI;
    const [x, y, width, height] = face.box;
    const long = Math.max(width, height);
    if (Math.abs(degrees) < TILTED || !(long > 0 && long < Infinity)) return face;
    const side = FIRST_SIDE / 2;
    const there = rotation(x + width / 2, y + height / 2, degrees, side / 2 / long);
    there[0][2] += side / 2 - x - width / 2;
    there[1][2] += side / 2 - y - height / 2;
    const again = (await this.lookThrough(image, there, side)).filter((seen) => overlap(face.box, seen.box) > OVERLAP);
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

const extent = (faces, most) => faces.map(({ box }) => Math.max(box[2], box[3])).reduce((one, other) => most(one, other));

function decoded([heat, sizes, offsets, points], across, down) {
  const [, , rows, columns] = heat.dims;
  const cells = rows * columns;
  const faces = [];
  for (let cell = 0; cell < cells; cell += 1) {
    const score = heat.data[cell];
    if (!(score > THRESHOLD)) continue;
    const row = Math.floor(cell / columns);
    const column = cell % columns;
    const height = Math.exp(sizes.data[cell]) * 4;
    const width = Math.exp(sizes.data[cells + cell]) * 4;
    const left = (column + offsets.data[cells + cell] + 0.5) * 4 - width / 2;
    const top = (row + offsets.data[cell] + 0.5) * 4 - height / 2;
    const landmarks = Array.from({ length: 5 }, (_, mark) => [
      (left + points.data[(2 * mark + 1) * cells + cell] * width) / across,
      (top + points.data[2 * mark * cells + cell] * height) / down,
    ]);
    faces.push({ box: [left / across, top / down, width / across, height / down], landmarks, score });
  }
  return suppressed(faces, THRESHOLD);
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
