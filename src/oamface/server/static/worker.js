// The worker of an engine (engine.js): loads the networks, then answers call after call. After `open` it sends no request.

import { download, fetchIndex } from "./downloads.js";
import { EngineError, authorization } from "./engine.js";
import { bestBackend, importRuntime, Runtime } from "./runtime.js";

const MAX_PIXELS = 40_000_000; // a browser's memory is small
/** @type {Promise<typeof import("./pipeline.js")>} */
let pipeline;
/** @type {import("./analyzer.js").Analyzer} */
let analyzer;
/** @type {Map<number, import("./tracker.js").Tracker>} */
const views = new Map();
/** @type {Promise<void>} */
let last = Promise.resolve(); // calls are answered one after the other

/** @type {Record<string, (values: any) => Promise<any>>} */
const METHODS = {
  async open({ model, backend, key }) {
    const headers = authorization(key);
    /** @type {Promise<import("./engine.js").Backend>} */
    const preferred = backend ? Promise.resolve(backend) : bestBackend();
    const script = preferred.then(importRuntime);
    script.catch(() => {}); // what the index lacks is said first
    const index = await fetchIndex(headers);
    const best = await preferred;
    const name = model ?? index.model;
    if (!name || !index.models[name]) throw new EngineError("model", "The site has no such network for a browser.");
    const binary = index.runtime[best];
    if (!binary) throw new EngineError("runtime", "This installation was built without ONNX Runtime Web.");
    /** @type {Record<string, import("./engine.js").ListedFile>} */
    const networks = { ...index.detectors, [name]: index.models[name] };
    const total = [binary, ...Object.values(networks)].reduce((sum, { bytes }) => sum + bytes, 0);
    let loaded = 0;
    const load = (/** @type {string} */ path, /** @type {import("./engine.js").ListedFile} */ file) =>
      download(path, file, headers, (bytes) => {
        loaded += bytes;
        self.postMessage({ progress: { loaded, total } });
      });
    const runtime = load(binary.path, binary).then(async () => new Runtime(await script, best, binary.path));
    pipeline = runtime.then(() => import("./pipeline.js")); // while the runtime starts, which it would delay before
    // Each network opens as soon as it is there: the first starts the runtime, which takes longest.
    const open = async (/** @type {string} */ each, /** @type {"float32" | "uint8"} */ type) => {
      const response = await load(`models/${encodeURIComponent(each)}.onnx`, networks[each]);
      const file = new Uint8Array(await response.arrayBuffer());
      return { file, network: await (await runtime).open(file, type) };
    };
    const [{ createAnalyzer }, scanner, centerFace, attributes] = await Promise.all(
      [pipeline, open("face_scanner", "uint8"), open("centerface", "float32"), open(name, "float32")]);
    analyzer = createAnalyzer(scanner.network, centerFace.network, attributes.network, attributes.file);
    const { threads } = await runtime;
    return { backend: best, threads, model: name, bytes: total, terms: index.models[name].terms };
  },

  async analyze({ image, options }) {
    const { decode, pixelsOf } = await pipeline;
    let pixels;
    try {
      pixels = image instanceof Blob ? await decode(image, MAX_PIXELS) : pixelsOf(image, MAX_PIXELS);
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw new EngineError("image", "This browser cannot read it: not an image, damaged, or in an unknown format.");
    }
    return analyzer.analyze(pixels, options);
  },

  async push({ view, options, frame, seconds }) {
    const started = performance.now();
    const { pixelsOf, Tracker } = await pipeline;
    const tracker = views.get(view) ?? new Tracker(analyzer);
    views.set(view, tracker);
    const pixels = pixelsOf(frame, MAX_PIXELS);
    frame.close();
    const faces = await tracker.update(pixels, seconds, options);
    const { width, height } = pixels;
    const milliseconds = performance.now() - started;
    return { faces, width, height, milliseconds, frames_per_second: tracker.rate(performance.now() / 1000) };
  },

  async forget({ view }) {
    views.delete(view);
  },
};

self.onmessage = ({ data: { id, method, ...values } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await METHODS[method](values) });
    } catch (error) {
      const { code = "failed", message } = /** @type {EngineError} */ (error);
      self.postMessage({ id, error: { code, message } });
    }
  });
};
