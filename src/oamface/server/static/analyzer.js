// The one pipeline, as in oamface/analyzer.py: detect, predict, and the result in schema oamface/1.

import { NO_FACE, checkPolicy } from "./age_policy.js";
import { isInImage, prominent } from "./detection.js";
import { assumeFace } from "./predictor.js";

export class Analyzer {
  /** @param {import("./face_detector.js").FaceDetector} detector @param {import("./predictor.js").Predictor} predictor */
  constructor(detector, predictor) {
    this.detector = detector;
    this.predictor = predictor;
  }

  /**
   * @param {import("./pixels.js").Pixels} image @param {import("./engine.js").AnalyzeOptions} options
   * @returns {Promise<import("./engine.js").Result>}
   */
  async analyze(image, { policy: given, ...options }) {
    const policy = given && checkPolicy(given);
    let detections = (await this.detector.detect(image)).filter((face) => isInImage(face, image));
    if (options.crop) detections = [detections.length ? prominent(detections, image) : assumeFace(image)];
    const faces = [];
    for (const detection of detections) {
      const crop = this.predictor.cutCrop(image, detection.landmarks);
      faces.push(this.predictor.face(detection, await this.predictor.predict(crop), { ...options, policy }));
    }
    const decision = policy && !faces.length ? { decision: NO_FACE } : {};
    return { schema: "oamface/1", source: null, width: image.width, height: image.height, ...decision, faces };
  }
}
