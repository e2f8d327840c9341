// From an image and a face's landmarks to its predictions, as in oamface/alignment.py, preprocessing.py, predictor.py.

import { LANDMARKS_IN_BOX, LEAST_FACE } from "./constants.js";
import { apply, cutRegion, invert, resize, round, warp } from "./pixels.js";

// ArcFace's five landmarks in a crop of 112 pixels.
const ARCFACE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

export function assumeFace({ width, height }) { // a crop in which no face was detected
  const position = (share, length) => ((share - 0.5) * 0.75 + 0.5) * length;
  const landmarks = LANDMARKS_IN_BOX.map(([x, y]) => [position(x, width), position(y, height)]);
  return { box: [0, 0, width, height], landmarks, score: null, assumed: true };
}

export class Predictor {
  constructor(description, run) { // description: the model file's; run: (1, 3, size, size) values -> outputs by name
    this.description = description;
    this.run = run;
    this.cropSize = description.crop.size;
    const { margin } = description.crop;
    this.template = ARCFACE.map((landmark) => landmark.map((at) => ((at / 112 - 0.5) * margin + 0.5) * this.cropSize));
  }

  async predict(image, detection, tasks, attention) { // one face in schema oamface/1
    const transform = this.cropTransform(detection.landmarks);
    const { size, crop_box: cropBox } = this.description.input;
    const outputs = await this.run(this.preprocess(this.cutCrop(image, transform)), size);
    const map = attentionOverCrop(outputs.attention, cropBox);
    const tiny = Math.max(detection.box[2], detection.box[3]) < LEAST_FACE; // nothing is predicted
    const face = {
      box: detection.box.map(tenth),
      score: detection.score === null ? null : fine(detection.score),
      detected: !detection.assumed,
      landmarks: detection.landmarks.map((landmark) => landmark.map(tenth)),
    };
    if (tasks.includes("age")) face.age = this.age(outputs.age.data, face.detected, tiny);
    for (const task of ["gender", "race", "mask"]) {
      if (tasks.includes(task)) face[task] = this.classification(task, outputs[task].data, tiny);
    }
    face.visibility = fine(visibility(map, this.template.map((landmark) => landmark.map((at) => at / this.cropSize))));
    if (attention) {
      const values = map.map((row) => row.map((value) => Math.round(value * 100) / 100));
      face.attention = { values, corners: this.cropCorners(transform) };
    }
    return face;
  }

  preprocess(crop) { // the network's input: the crop box, resized and normalised, (3, size, size)
    const { size, crop_box: cropBox, mean, std } = this.description.input;
    const [left, top, right, bottom] = cropBox.map((edge) => round(edge * this.cropSize));
    const { data } = resize(cutRegion(crop, left, top, right - left, bottom - top), size, size);
    const values = new Float32Array(3 * size * size);
    for (let pixel = 0; pixel < size * size; pixel += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        values[channel * size * size + pixel] = (data[pixel * 3 + channel] / 255 - mean[channel]) / std[channel];
      }
    }
    return values;
  }

  cropTransform(landmarks) { // the similarity that best maps landmarks onto the template (Umeyama, 1991)
    const mean = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
    const [sourceX, sourceY] = mean(landmarks);
    const [targetX, targetY] = mean(this.template);
    let spread = 0, cos = 0, sin = 0;
    landmarks.forEach(([x, y], index) => {
      const [u, v] = [x - sourceX, y - sourceY];
      const [p, q] = [this.template[index][0] - targetX, this.template[index][1] - targetY];
      spread += u * u + v * v;
      cos += u * p + v * q;
      sin += u * q - v * p;
    });
    cos /= spread;
    sin /= spread;
    return [[cos, -sin, targetX - cos * sourceX + sin * sourceY], [sin, cos, targetY - sin * sourceX - cos * sourceY]];
  }

  cropCorners(transform) { // of the crop in the image, clockwise
    const size = this.cropSize;
    const toImage = invert(transform);
    return [[0, 0], [size, 0], [size, size], [0, size]].map((corner) => apply(corner, toImage));
  }

  cutCrop(image, transform) { // the aligned crop; a large face is made smaller first, or the crop would be noisy
    const scale = Math.hypot(transform[0][0], transform[1][0]);
    if (scale >= 0.5) return warp(image, transform, this.cropSize);
    const corners = this.cropCorners(transform);
    const [[left, right], [top, bottom]] = [image.width, image.height].map((length, axis) => {
      const values = corners.map((corner) => corner[axis]);
      return [Math.max(Math.floor(Math.min(...values)) - 2, 0), Math.min(Math.ceil(Math.max(...values)) + 2, length)];
    });
    if (right <= left || bottom <= top) return warp(image, transform, this.cropSize);
    const region = cutRegion(image, left, top, right - left, bottom - top);
    const small = resize(region, Math.max(1, round(region.width * scale)), Math.max(1, round(region.height * scale)));
    const [scaleX, scaleY] = [region.width / small.width, region.height / small.height];
    const [x, y] = [left + (scaleX - 1) / 2, top + (scaleY - 1) / 2];
    const fromSmall = transform.map(([a, b, c]) => [a * scaleX, b * scaleY, c + a * x + b * y]);
    return warp(small, fromSmall, this.cropSize);
  }

  age(logits, detected, tiny) {
    const { level, quantiles, undetected } = this.description.intervals;
    const table = detected ? quantiles : undetected || quantiles.map(() => Infinity); // infinite: excludes no year
    const probabilities = softmax(logits, this.description.temperatures.age);
    const mean = probabilities.reduce((sum, probability, year) => sum + probability * year, 0);
    const meanSquare = probabilities.reduce((sum, probability, year) => sum + probability * year * year, 0);
    const std = Math.sqrt(Math.max(meanSquare - mean * mean, 0));
    const years = [...probabilities.keys()].filter((year) => tiny || Math.abs(mean - year) <= table[year] * (std + 1));
    return { years: tenth(mean), low: tenth(Math.min(mean, ...years)), high: tenth(Math.max(mean, ...years)), level };
  }

  classification(task, logits, tiny) {
    const probabilities = softmax(logits, this.description.temperatures[task]);
    const classes = this.description.tasks[task];
    const probability = Math.max(...probabilities);
    const certain = !tiny && probability >= this.description.thresholds[task];
    return {
      label: certain ? classes[probabilities.indexOf(probability)] : "uncertain",
      probability: fine(probability),
      probabilities: Object.fromEntries(classes.map((name, index) => [name, fine(probabilities[index])])),
    };
  }
}

const tenth = (value) => Math.round(value * 10) / 10;
const fine = (value) => Math.round(value * 10_000) / 10_000;

function softmax(logits, temperature) {
  const values = Array.from(logits, (value) => value / temperature);
  const max = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - max));
  const sum = powers.reduce((first, second) => first + second, 0);
  return powers.map((value) => value / sum);
}

function attentionOverCrop({ data, dims }, [left, top, right, bottom]) { // from the crop box to rows over the crop
  const [, , height, width] = dims;
  const [rows, columns] = [round(height / (bottom - top)), round(width / (right - left))];
  const position = (index, count, low, high, length) => {
    const value = Math.min(Math.max((((index + 0.5) / count - low) / (high - low)) * length - 0.5, 0), length - 1);
    const first = Math.min(Math.floor(value), Math.max(length - 2, 0));
    return [first, value - first];
  };
  return Array.from({ length: rows }, (_, row) => {
    const [y, fractionY] = position(row, rows, top, bottom, height);
    return Array.from({ length: columns }, (__, column) => {
      const [x, fractionX] = position(column, columns, left, right, width);
      const value = (v, u) => data[Math.min(v, height - 1) * width + Math.min(u, width - 1)];
      return (value(y, x) * (1 - fractionX) + value(y, x + 1) * fractionX) * (1 - fractionY)
        + (value(y + 1, x) * (1 - fractionX) + value(y + 1, x + 1) * fractionX) * fractionY;
    });
  });
}

function visibility(map, [leftEye, rightEye, , leftMouth, rightMouth]) { // the mean attention over the oval of the face
  const SAMPLES = 8; // of a cell in each direction
  const between = (first, second, axis) => (first[axis] + second[axis]) / 2;
  const middle = (axis) => between(leftEye, rightEye, axis) * 0.4 + between(leftMouth, rightMouth, axis) * 0.6;
  const center = [middle(0), middle(1)];
  let count = 0, sum = 0;
  map.forEach((row, y) => row.forEach((value, x) => {
    for (let v = 0; v < SAMPLES; v += 1) {
      for (let u = 0; u < SAMPLES; u += 1) {
        const dx = ((x + (u + 0.5) / SAMPLES) / row.length - center[0]) / 0.3;
        const dy = ((y + (v + 0.5) / SAMPLES) / map.length - center[1]) / 0.4;
        if (dx * dx + dy * dy <= 1) {
          count += 1;
          sum += value;
        }
      }
    }
  }));
  return Math.min(Math.max(sum / count, 0), 1);
}
