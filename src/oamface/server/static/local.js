// A worker that runs the pipeline on this device, in WebAssembly. After `load` it sends no request.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { Detector, mostProminent } from "./detector.js";
import { assumeFace, Predictor } from "./predictor.js";
import { decode } from "./pixels.js";

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
  const openNetwork = async (name) => {
    const model = new Uint8Array(await (await request(`models/${name}.onnx`)).arrayBuffer());
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const run = (values, height, width) =>
      session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, [1, 3, height, width]) });
    return { run, outputNames: session.outputNames };
  };
  const description = await (await request("v1/model")).json();
  const centerFace = await openNetwork("detector");
  const network = await openNetwork("predictor");
  return {
    detector: new Detector(async (values, height, width) => {
      const outputs = await centerFace.run(values, height, width);
      return centerFace.outputNames.map((name) => outputs[name]);
    }),
    predictor: new Predictor(description, (values, size) => network.run(values, size, size)),
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
  let detections = await detector.detect(image);
  if (crop) detections = [detections.length ? mostProminent(detections, image) : assumeFace(image)];
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
