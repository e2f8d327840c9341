// CenterFace as in oamface/centerface.py: the same scans and close-ups, in the same order, with the same thresholds.

import {
  addBorder, apply, cutRegion, invert, multiply, rescale, rotateQuarter, rotationMatrix, round, warp,
} from "./pixels.js";

const THRESHOLD = 0.4;
const SCAN_SIDES = [[490, 640, 1000, 1250], [320, 416, 1000, 1200]];
const MIN_SCAN_SIDE = SCAN_SIDES[1][0];
const MAX_SCAN_SIDE = 2000;
const SMALL_FACE = 20;
const TILE = 960;
const TILE_OVERLAP = 96;
const ROTATED_SCANS_FROM = 800; // pixels of an image's long side
const ROTATED_SCAN_SIDE = 320;
const [CANDIDATE, FAINT_CANDIDATE, ROTATED_CANDIDATE] = [0.05, 0.03, 0.1];
const FAINT_MARGIN = 0.05;
const CERTAIN = 0.6;
const LARGE_FACE = 224;
const [CLOSE_UP_SIDE, CLOSE_UP_FACE] = [160, 72];
const BORDER = 0.3;
const TILTS = [-40, 40];
const UPRIGHT_TILT = 20;
const MAX_IOU = 0.3; // of two faces

const longSide = ({ width, height }) => Math.max(width, height);
const faceSize = ({ box }) => Math.max(box[2], box[3]);
const smallestFace = (candidates) =>
  Math.min(Infinity, ...candidates.filter(({ score }) => score >= 4 * CANDIDATE).map(faceSize));

export class Detector {
  constructor(run) { // run: (1, 3, H, W) values, height, width -> the network's four outputs, in its order
    this.run = run;
  }

  async detect(image) { // faces as { box, landmarks, score }, best score first
    let scale = this.scanScale(image);
    const large = longSide(image) >= ROTATED_SCANS_FROM;
    const candidates = await this.scan(image, scale, large ? FAINT_CANDIDATE : CANDIDATE);
    while (scale < 1 && smallestFace(candidates) * scale < SMALL_FACE && longSide(image) * scale < MAX_SCAN_SIDE) {
      scale = Math.min(2 * scale, 1);
      candidates.push(...await this.scan(image, scale, CANDIDATE));
    }
    if (large) for (const quarters of [1, 2, 3]) candidates.push(...await this.scanRotated(image, quarters));
    let faces = await this.confirm(image, suppress(candidates));
    if (!faces.length) faces = await this.search(image);
    const upright = [];
    for (const face of suppress(faces)) upright.push(await this.refineTilted(image, face));
    return upright;
  }

  scanScale(image) {
    const side = Math.min(longSide(image), 2 * Math.min(image.width, image.height));
    return Math.min(Math.max(scanSide(side), MIN_SCAN_SIDE) / side, Math.max(2, MIN_SCAN_SIDE / longSide(image)));
  }

  async scan(image, scale, threshold) {
    const small = rescale(image, scale);
    const [scaleX, scaleY] = [image.width / small.width, image.height / small.height];
    const faces = [];
    for (const [top, height] of tiles(small.height)) {
      for (const [left, width] of tiles(small.width)) {
        const [tileWidth, tileHeight] = [Math.min(width, small.width - left), Math.min(height, small.height - top)];
        const tile = cutRegion(small, left, top, tileWidth, tileHeight);
        const toImage = [[scaleX, 0, scaleX * left], [0, scaleY, scaleY * top]];
        faces.push(...(await this.detectOnce(tile, threshold)).map((face) => transformFace(face, toImage)));
      }
    }
    return suppress(faces);
  }

  async scanRotated(image, quarters) {
    const side = Math.min(longSide(image), 2 * Math.min(image.width, image.height));
    const small = rescale(image, Math.min(this.scanScale(image), ROTATED_SCAN_SIDE / side));
    let rotated = small;
    let toImage = [[image.width / small.width, 0, 0], [0, image.height / small.height, 0]];
    for (let quarter = 0; quarter < quarters; quarter += 1) {
      toImage = multiply(toImage, [[0, -1, rotated.width], [1, 0, 0]]);
      rotated = rotateQuarter(rotated);
    }
    return (await this.scan(rotated, 1, CANDIDATE)).map((face) => transformFace(face, toImage));
  }

  async confirm(image, candidates) { // the certain ones, and those that a close-up shows to be faces
    const faces = [];
    const scale = this.scanScale(image);
    for (const candidate of candidates) {
      if (faces.some((face) => isSamePlace(candidate, face))) continue;
      const certain = candidate.score >= CERTAIN;
      const skipCloseUp = certain && faceSize(candidate) * scale <= LARGE_FACE;
      const closer = skipCloseUp ? candidate : await this.bestCloseUp(image, candidate);
      if (closer || certain) faces.push(closer || candidate);
    }
    return faces.length ? faces : candidates.filter(({ score }) => score >= THRESHOLD);
  }

  async bestCloseUp(image, candidate) { // null if no close-up shows a face
    const rotation = round(tilt(candidate) / 90) * 90;
    const minScore = THRESHOLD + (candidate.score >= THRESHOLD ? 0 : FAINT_MARGIN);
    const minRotatedScore = longSide(image) < ROTATED_SCANS_FROM ? CANDIDATE : ROTATED_CANDIDATE;
    const rotations = [rotation, rotation + 180, rotation + 90, rotation + 270];
    let best = null;
    for (const degrees of candidate.score >= minRotatedScore ? rotations : [rotation]) {
      for (const face of await this.closeUp(image, candidate.box, degrees)) {
        if (face.score >= minScore && isSamePlace(face, candidate) && (!best || face.score > best.score)) best = face;
      }
      if (best && best.score >= CERTAIN) break;
    }
    return best;
  }

  async search(image) { // where nothing was detected: with a border, enlarged, tilted
    let faces = await this.scanWithBorder(image);
    let scale = this.scanScale(image);
    const maxScale = Math.min(2, MAX_SCAN_SIDE / longSide(image));
    while (!faces.length && scale < maxScale) {
      scale = Math.min(2 * scale, maxScale);
      faces = await this.scan(image, scale, THRESHOLD);
    }
    for (const degrees of TILTS) if (!faces.length) faces = await this.scanTilted(image, degrees);
    return faces;
  }

  async detectOnce(image, threshold) { // one pass of the network
    const width = Math.ceil(image.width / 32) * 32;
    const height = Math.ceil(image.height / 32) * 32;
    const values = new Float32Array(3 * width * height);
    for (let y = 0; y < image.height; y += 1) {
      for (let x = 0; x < image.width; x += 1) {
        for (let channel = 0; channel < 3; channel += 1) {
          values[(channel * height + y) * width + x] = image.data[(y * image.width + x) * 3 + channel];
        }
      }
    }
    return decodeFaces(await this.run(values, height, width), threshold);
  }

  async scanWithBorder(image) {
    const small = rescale(image, Math.min(1, MIN_SCAN_SIDE / longSide(image)));
    const left = round(small.width * BORDER);
    const top = round(small.height * BORDER);
    const [scaleX, scaleY] = [image.width / small.width, image.height / small.height];
    const toImage = [[scaleX, 0, -scaleX * left], [0, scaleY, -scaleY * top]];
    const bordered = addBorder(small, left, top);
    const faces = await this.scan(bordered, MIN_SCAN_SIDE / longSide(bordered), THRESHOLD);
    return faces.map((face) => transformFace(face, toImage));
  }

  async scanTilted(image, degrees) {
    const diagonal = Math.ceil(Math.hypot(image.width, image.height));
    const scale = Math.min(1, 2 * MIN_SCAN_SIDE / diagonal);
    const transform = rotationMatrix(image.width / 2, image.height / 2, degrees, scale);
    const side = Math.ceil(diagonal * scale);
    transform[0][2] += side / 2 - image.width / 2;
    transform[1][2] += side / 2 - image.height / 2;
    return this.detectWarped(image, transform, side);
  }

  async closeUp(image, [x, y, width, height], degrees) { // faces around a box, at a size that suits the network
    const scale = CLOSE_UP_FACE / Math.max(width, height);
    const reach = CLOSE_UP_SIDE / scale;
    const [left, top] = [x + width / 2 - reach, y + height / 2 - reach].map((edge) => Math.max(Math.floor(edge), 0));
    const right = Math.min(Math.ceil(x + width / 2 + reach), image.width);
    const bottom = Math.min(Math.ceil(y + height / 2 + reach), image.height);
    if (right <= left || bottom <= top) return [];
    const small = rescale(cutRegion(image, left, top, right - left, bottom - top), Math.min(1, scale));
    const [scaleX, scaleY] = [(right - left) / small.width, (bottom - top) / small.height];
    const center = [(x + width / 2 - left) / scaleX, (y + height / 2 - top) / scaleY];
    const transform = rotationMatrix(...center, degrees, Math.max(1, scale));
    transform[0][2] += CLOSE_UP_SIDE / 2 - center[0];
    transform[1][2] += CLOSE_UP_SIDE / 2 - center[1];
    const toImage = [[scaleX, 0, left], [0, scaleY, top]];
    return (await this.detectWarped(small, transform, CLOSE_UP_SIDE)).map((face) => transformFace(face, toImage));
  }

  async detectWarped(image, transform, side) {
    const toImage = invert(transform);
    const faces = await this.detectOnce(warp(image, transform, side), THRESHOLD);
    return faces.map((face) => transformFace(face, toImage));
  }

  async refineTilted(image, face) { // a tilted face with the landmarks of an upright close-up, if that shows it
    const degrees = tilt(face);
    if (Math.abs(degrees) < UPRIGHT_TILT || !(faceSize(face) > 0 && faceSize(face) < Infinity)) return face;
    const faces = (await this.closeUp(image, face.box, degrees)).filter(({ box }) => iou(face.box, box) > MAX_IOU);
    return faces.reduce((best, other) => (best === face || other.score > best.score ? other : best), face);
  }
}

export function mostProminent(faces, image) { // large, near the center and certain
  const weight = ({ box: [x, y, width, height], score }) => {
    const distance = Math.hypot((x + width / 2) / (image.width / 2) - 1, (y + height / 2) / (image.height / 2) - 1);
    return Math.sqrt(Math.max(width * height, 0)) * Math.max(2 - distance, 0.1) * score;
  };
  return faces.reduce((best, face) => (weight(face) > weight(best) ? face : best));
}

function decodeFaces([heatmap, sizes, offsets, points], threshold) { // a face for each peak, in the network's pixels
  const [, , rows, columns] = heatmap.dims;
  const cells = rows * columns;
  const faces = [];
  for (let cell = 0; cell < cells; cell += 1) {
    const score = heatmap.data[cell];
    const row = Math.floor(cell / columns);
    const column = cell % columns;
    if (!(score > threshold) || !isPeak(heatmap.data, row, column, rows, columns)) continue;
    const height = Math.exp(sizes.data[cell]) * 4;
    const width = Math.exp(sizes.data[cells + cell]) * 4;
    const left = (column + offsets.data[cells + cell] + 0.5) * 4 - width / 2;
    const top = (row + offsets.data[cell] + 0.5) * 4 - height / 2;
    const landmarks = Array.from({ length: 5 }, (_, index) => [
      left + points.data[(2 * index + 1) * cells + cell] * width,
      top + points.data[2 * index * cells + cell] * height,
    ]);
    faces.push({ box: [left, top, width, height], landmarks, score });
  }
  return suppress(faces);
}

function isPeak(heatmap, row, column, rows, columns) {
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y += 1) {
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x += 1) {
      if (heatmap[y * columns + x] > heatmap[row * columns + column]) return false;
    }
  }
  return true;
}

function scanSide(side) { // the scan's long side for an image's, interpolated
  const [imageSides, scanSides] = SCAN_SIDES;
  if (side <= imageSides[0]) return scanSides[0];
  const next = imageSides.findIndex((imageSide) => imageSide >= side);
  if (next < 0) return scanSides[scanSides.length - 1];
  const share = (side - imageSides[next - 1]) / (imageSides[next] - imageSides[next - 1]);
  return scanSides[next - 1] + share * (scanSides[next] - scanSides[next - 1]);
}

function tiles(length) { // [start, size] of tiles of at most TILE that overlap by TILE_OVERLAP
  const count = Math.max(1, Math.ceil((length - TILE_OVERLAP) / (TILE - TILE_OVERLAP)));
  const size = Math.ceil((length + (count - 1) * TILE_OVERLAP) / count);
  const step = (length - size) / Math.max(count - 1, 1);
  return Array.from({ length: count }, (_, number) => [round(number * step), size]);
}

function isSamePlace({ box: [x, y, width, height] }, { box: [left, top, otherWidth, otherHeight] }) {
  const [centerX, centerY] = [x + width / 2, y + height / 2];
  const inside = left <= centerX && centerX <= left + otherWidth && top <= centerY && centerY <= top + otherHeight;
  const ratio = Math.max(width, height) / Math.max(otherWidth, otherHeight, 1e-9);
  return inside && ratio > 1 / 3 && ratio < 3;
}

function tilt({ landmarks: [leftEye, rightEye, , leftMouth, rightMouth] }) { // degrees to rotate it counter-clockwise
  const eyes = [rightEye[0] - leftEye[0], rightEye[1] - leftEye[1]];
  const down = [0, 1].map((axis) => (leftMouth[axis] + rightMouth[axis] - leftEye[axis] - rightEye[axis]) / 2);
  return Math.atan2(eyes[1] - down[0], eyes[0] + down[1]) * 180 / Math.PI;
}

function suppress(faces) { // non-maximum suppression; best score first
  const kept = [];
  for (const face of faces.filter(({ score }) => score > 0).sort((first, second) => second.score - first.score)) {
    if (kept.every((better) => iou(better.box, face.box) <= MAX_IOU)) kept.push(face);
  }
  return kept;
}

function iou([ax, ay, aw, ah], [bx, by, bw, bh]) { // intersection over union
  const width = Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx));
  const height = Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by));
  return width * height / Math.max(aw * ah + bw * bh - width * height, 1e-9);
}

function transformFace({ box: [x, y, width, height], landmarks, score }, transform) { // the box stays upright
  const [centerX, centerY] = apply([x + width / 2, y + height / 2], transform);
  const scale = Math.sqrt(Math.abs(transform[0][0] * transform[1][1] - transform[0][1] * transform[1][0]));
  return {
    box: [centerX - width * scale / 2, centerY - height * scale / 2, width * scale, height * scale],
    landmarks: landmarks.map((landmark) => apply(landmark, transform)),
    score,
  };
}
