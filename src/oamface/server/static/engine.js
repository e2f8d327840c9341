// From a picture and its landmarks to answers, as oamface/align.py, engine.py and faces.py do it.

import { inverse, moved, part, resized, rounded, warped } from "./pixels.js";

// ArcFace's five points for a chip of 112 pixels.
const ARCFACE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

// Where the landmarks of a crop lie that no face was found in; oamface/analyzer.py says from where.
const IN_BOX = [[0.27, 0.327], [0.73, 0.327], [0.5, 0.529], [0.314, 0.716], [0.686, 0.716]];

export function assumed({ width, height }) {
  const at = (share, length) => ((share - 0.5) * 0.75 + 0.5) * length;
  return { box: [0, 0, width, height], landmarks: IN_BOX.map(([x, y]) => [at(x, width), at(y, height)]), score: null, assumed: true };
}

export class Engine {
  constructor(description, run) { // run: (1, 3, size, size) values -> the outputs by name
    this.description = description;
    this.run = run;
    this.chip = description.chip.size;
    this.template = ARCFACE.map((mark) => mark.map((at) => ((at / 112 - 0.5) * description.chip.margin + 0.5) * this.chip));
  }

  async answer(image, found, tasks, attention) { // one face in the schema oamface/1
    const { size, window = [0, 0, 1, 1], mean, deviation } = this.description.input;
    const transform = this.transform(found.landmarks);
    const chip = this.cut(image, transform);
    const [left, top, right, bottom] = window.map((edge) => rounded(edge * this.chip));
    const seen = resized(part(chip, left, top, right, bottom), size, size);
    const values = new Float32Array(3 * size * size);
    for (let at = 0; at < size * size; at += 1) {
      for (let colour = 0; colour < 3; colour += 1) {
        values[colour * size * size + at] = (seen.data[at * 3 + colour] / 255 - mean[colour]) / deviation[colour];
      }
    }
    const outputs = await this.run(values, size);
    const map = overChip(outputs.attention, window);
    const face = {
      box: found.box.map(tenth),
      score: found.score === null ? null : fine(found.score),
      detected: !found.assumed,
      landmarks: found.landmarks.map((mark) => mark.map(tenth)),
    };
    if (tasks.includes("age")) face.age = this.age(outputs.age.data, !found.assumed);
    for (const task of ["gender", "race", "mask"]) if (tasks.includes(task)) face[task] = this.choice(task, outputs[task].data);
    face.visibility = fine(visibility(map, this.template.map((mark) => mark.map((at) => at / this.chip))));
    if (attention) {
      const values = map.map((row) => row.map((value) => Math.round(value * 100) / 100));
      face.attention = { values, corners: this.corners(transform) };
    }
    return face;
  }

  transform(landmarks) { // the similarity that best lays landmarks on the template (Umeyama, 1991)
    const centre = (marks) => [0, 1].map((axis) => marks.reduce((sum, mark) => sum + mark[axis], 0) / marks.length);
    const [sx, sy] = centre(landmarks);
    const [tx, ty] = centre(this.template);
    let spread = 0, cos = 0, sin = 0;
    landmarks.forEach(([x, y], mark) => {
      const [u, v] = [x - sx, y - sy];
      const [p, q] = [this.template[mark][0] - tx, this.template[mark][1] - ty];
      spread += u * u + v * v;
      cos += u * p + v * q;
      sin += u * q - v * p;
    });
    cos /= spread;
    sin /= spread;
    return [[cos, -sin, tx - cos * sx + sin * sy], [sin, cos, ty - sin * sx - cos * sy]];
  }

  corners(transform) { // where the chip's corners lie in the picture, clockwise
    const back = inverse(transform);
    return [[0, 0], [this.chip, 0], [this.chip, this.chip], [0, this.chip]].map((corner) => moved(corner, back));
  }

  cut(image, transform) { // the aligned chip; a large face is shrunk first, or the chip would be full of noise
    const scale = Math.hypot(transform[0][0], transform[1][0]);
    if (scale >= 0.5) return warped(image, transform, this.chip);
    const corners = this.corners(transform);
    const [[left, right], [top, bottom]] = [image.width, image.height].map((length, axis) => {
      const at = corners.map((corner) => corner[axis]);
      return [Math.max(Math.floor(Math.min(...at)) - 2, 0), Math.min(Math.ceil(Math.max(...at)) + 2, length)];
    });
    if (right <= left || bottom <= top) return warped(image, transform, this.chip);
    const face = part(image, left, top, right, bottom);
    const small = resized(face, Math.max(1, rounded(face.width * scale)), Math.max(1, rounded(face.height * scale)));
    const stretch = [face.width / small.width, face.height / small.height];
    const offset = [left + (stretch[0] - 1) / 2, top + (stretch[1] - 1) / 2];
    return warped(small, transform.map(([a, b, c]) => [a * stretch[0], b * stretch[1], c + a * offset[0] + b * offset[1]]), this.chip);
  }

  age(logits, detected) {
    const { level, quantiles, undetected } = this.description.intervals;
    const table = detected ? quantiles : undetected || quantiles.map(() => Infinity); // which rules out no year
    const ages = softmax(logits, this.description.temperatures.age);
    const mean = ages.reduce((sum, share, year) => sum + share * year, 0);
    const square = ages.reduce((sum, share, year) => sum + share * year * year, 0);
    const deviation = Math.sqrt(Math.max(square - mean * mean, 0));
    const possible = [...ages.keys()].filter((year) => Math.abs(mean - year) <= table[year] * (deviation + 1));
    return { years: tenth(mean), low: tenth(Math.min(mean, ...possible)), high: tenth(Math.max(mean, ...possible)), level };
  }

  choice(task, logits) {
    const shares = softmax(logits, this.description.temperatures[task]);
    const names = this.description.tasks[task];
    const best = shares.indexOf(Math.max(...shares));
    const label = shares[best] >= this.description.thresholds[task] ? names[best] : "uncertain";
    return { label, probability: fine(shares[best]), probabilities: Object.fromEntries(names.map((name, at) => [name, fine(shares[at])])) };
  }
}

const tenth = (value) => Math.round(value * 10) / 10;
const fine = (value) => Math.round(value * 10_000) / 10_000;

function softmax(logits, temperature) {
  const values = Array.from(logits, (value) => value / temperature);
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map((value) => value / sum);
}

function overChip({ data, dims }, [left, top, right, bottom]) { // a map over the window as rows over the chip
  const [, , height, width] = dims;
  const [rows, columns] = [rounded(height / (bottom - top)), rounded(width / (right - left))];
  const place = (at, count, low, high, length) => {
    const value = Math.min(Math.max((((at + 0.5) / count - low) / (high - low)) * length - 0.5, 0), length - 1);
    const first = Math.min(Math.floor(value), Math.max(length - 2, 0));
    return [first, value - first];
  };
  return Array.from({ length: rows }, (_, row) => {
    const [y, down] = place(row, rows, top, bottom, height);
    return Array.from({ length: columns }, (__, column) => {
      const [x, across] = place(column, columns, left, right, width);
      const at = (v, u) => data[Math.min(v, height - 1) * width + Math.min(u, width - 1)];
      return (at(y, x) * (1 - across) + at(y, x + 1) * across) * (1 - down)
        + (at(y + 1, x) * (1 - across) + at(y + 1, x + 1) * across) * down;
    });
  });
}

function visibility(map, [one, other, , left, right]) { // the attention's mean over the face's oval
  const FINE = 8;
  const middle = [0, 1].map((axis) => (one[axis] + other[axis]) / 2 * 0.4 + (left[axis] + right[axis]) / 2 * 0.6);
  let inside = 0, seen = 0;
  map.forEach((row, y) => row.forEach((value, x) => {
    for (let v = 0; v < FINE; v += 1) {
      for (let u = 0; u < FINE; u += 1) {
        const across = ((x + (u + 0.5) / FINE) / row.length - middle[0]) / 0.3;
        const down = ((y + (v + 0.5) / FINE) / map.length - middle[1]) / 0.4;
        if (across * across + down * down <= 1) {
          inside += 1;
          seen += value;
        }
      }
    }
  }));
  return Math.min(Math.max(seen / inside, 0), 1);
}
