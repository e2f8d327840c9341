// A worker that answers on this device: the server's pipeline in WebAssembly. After `load` it asks the network nothing.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { Detector, prominent } from "./detector.js";
import { assumed, Engine } from "./engine.js";
import { decode } from "./pixels.js";

const MOST_PIXELS = 40_000_000;
ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";
let ready = null;

async function load(headers) {
  const fetched = async (path) => {
    const response = await fetch(path, { headers });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail || `${path}: the server said ${response.status}`);
    return response;
  };
  const description = await (await fetched("v1/model")).json();
  const sessions = [];
  for (const path of ["models/detector.onnx", "models/engine.onnx"]) {
    const model = new Uint8Array(await (await fetched(path)).arrayBuffer());
    sessions.push(await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }));
  }
  const [detector, engine] = sessions;
  const run = async (session, values, height, width) => {
    const given = new ort.Tensor("float32", values, [1, 3, height, width]);
    return session.run({ [session.inputNames[0]]: given });
  };
  return {
    detector: new Detector(async (values, height, width) => {
      const outputs = await run(detector, values, height, width);
      return detector.outputNames.map((name) => outputs[name]);
    }),
    engine: new Engine(description, (values, size) => run(engine, values, size, size)),
  };
}

async function analyze(file, { tasks, crop, attention }) {
  const { detector, engine } = await ready;
  let image;
  try {
    image = await decode(file);
  } catch {
    throw new Error("This browser cannot read it: not a picture, damaged, or in a format that it does not know.");
  }
  if (image.width * image.height > MOST_PIXELS) throw new Error(`More than ${MOST_PIXELS / 1e6} million pixels; shrink it first.`);
  let found = await detector.detect(image);
  if (crop) found = [found.length ? prominent(found, image) : assumed(image)];
  const faces = [];
  for (const face of found) faces.push(await engine.answer(image, face, tasks, attention));
  return { schema: "oamface/1", source: null, width: image.width, height: image.height, faces };
}

self.onmessage = async ({ data: { id, headers, file, options } }) => {
  try {
    if (headers) {
      ready = load(headers);
      await ready;
    }
    self.postMessage({ id, answer: file ? await analyze(file, options) : {} });
  } catch (error) {
    if (headers) ready = null;
    self.postMessage({ id, answer: { error: error.message } });
  }
};
