// What the worker computes with, apart from the networks and their runtime.

import { Analyzer } from "./analyzer.js";
import { CenterFace } from "./centerface.js";
import { FaceDetector } from "./face_detector.js";
import { FaceScanner } from "./face_scanner.js";
import { readDescription } from "./model_file.js";
import { Predictor } from "./predictor.js";

export { decode, pixelsOf } from "./pixels.js";
export { Tracker } from "./tracker.js";

/** @typedef {import("./runtime.js").Network} Network */

/**
 * @param {Network} scanner @param {Network} centerFace @param {Network} attributes
 * @param {Uint8Array} file that of the attributes
 */
export function createAnalyzer(scanner, centerFace, attributes, file) {
  return new Analyzer(
    new FaceDetector(new FaceScanner(scanner.runInOrder), new CenterFace(centerFace.runInOrder)),
    new Predictor(readDescription(file), (values, size) => attributes.run(values, [1, 3, size, size])),
  );
}
