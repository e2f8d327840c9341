// A worker that runs the pipeline on this device, in WebAssembly. After `load` it sends no request.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { CenterFace } from "./centerface.js";
import { isInImage, prominent } from "./detection.js";
import { FaceDetector } from "./face_detector.js";
import { FaceScanner } from "./face_scanner.js";
import { decode } from "./pixels.js";
import { assumeFace, Predictor } from "./predictor.js";

const MAX_PIXELS = 40_000_000;
ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";
let pipeline = null; // a promise of { detector, predictor }

async function load(headers) {
  const request = async (path) => {
    const response = await fetch(path, { headers });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || `${path}: the server returned status ${response.status}.`);
  };
  const openNetwork = async (name, type) => { // a function of values and dims that gives the outputs by name
    const model = new Uint8Array(await (await request(`models/${name}.onnx`)).arrayBuffer());
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const run = (values, dims) => session.run({ [session.inputNames[0]]: new ort.Tensor(type, values, dims) });
    const runInOrder = async (values, dims) => {
      const outputs = await run(values, dims);
      return session.outputNames.map((name) => outputs[name]);
    };
    return { run, runInOrder };
  };
  const description = await (await request("v1/model")).json();
  const scanner = await openNetwork("face_scanner", "uint8");
  const centerFace = await openNetwork("centerface", "float32");
  const predictor = await openNetwork("predictor", "float32");
  return {
    detector: new FaceDetector(new FaceScanner(scanner.runInOrder), new CenterFace(centerFace.runInOrder)),
    predictor: new Predictor(description, (values, size) => predictor.run(values, [1, 3, size, size])),
  };
}

async function analyze(file, { tasks, crop, attention }) {
  const { detector, predictor } = await pipeline;
  let image;
  try {
    image = await decode(file);
  } catch {
    throw new Error("This browser cannot read it: not an image, damaged, or in an unknown format.");
  }
  if (image.width * image.height > MAX_PIXELS) {
    throw new Error(`More than ${MAX_PIXELS / 1e6} million pixels; make it smaller first.`);
  }
  let detections = (await detector.detect(image)).filter((face) => isInImage(face, image));
  if (crop) detections = [detections.length ? prominent(detections, image) : assumeFace(image)];
  const faces = [];
  for (const detection of detections) faces.push(await predictor.predict(image, detection, tasks, attention));
  return { schema: "oamface/1", source: null, width: image.width, height: image.height, faces };
}

self.onmessage = async ({ data: { id, headers, file, options } }) => { // headers: load; file: analyze
  try {
    if (headers) {
      pipeline = load(headers);
      await pipeline;
    }
    self.postMessage({ id, result: file ? await analyze(file, options) : {} });
  } catch (error) {
    if (headers) pipeline = null;
    self.postMessage({ id, result: { error: error.message } });
  }
};
