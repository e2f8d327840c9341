// The pipeline on this device: what the page calls. All of it runs in a worker (worker.js), so that the page stays
// responsive. Once opened, an engine sends no request.
//
//   const engine = await openEngine({ onProgress: ({ loaded, total }) => ... });
//   const result = await engine.analyze(file, { tasks: ["age", "mask"] });      // schema oamface/1
//   const view = engine.live({ tasks: ["age", "mask"] });
//   const { faces } = await view.push(await createImageBitmap(video));          // one frame at a time
//
// Errors are EngineErrors, whose `code` says what happened.

/**
 * @typedef {"age" | "gender" | "race" | "mask"} Task
 * @typedef {{ years: number, low: number, high: number, level: number, at_least?: Record<string, number> }} Age
 * @typedef {{ label: string, probability: number, probabilities: Record<string, number> }} Classification label may be
 *   "uncertain"
 * @typedef {{ score: number, reasons: string[], measures: Record<string, number> }} Quality score: 0..1
 * @typedef {{ age?: number, challenge?: number, max_false_accept?: number, max_false_refuse?: number }} Policy see
 *   docs/age-thresholds.md
 * @typedef {{ outcome: "accept" | "refuse" | "refer", probability: number | null, reasons: string[] }} Decision
 * @typedef {object} Face as in schema oamface/1; lengths in the image's pixels
 * @property {[number, number, number, number]} box x, y, width, height; may reach outside the image
 * @property {number | null} score 0..1
 * @property {boolean} detected false: no face was found, the landmarks are assumed
 * @property {[number, number][]} landmarks left eye, right eye, nose, left and right corner of the mouth, as seen
 * @property {Age} [age]
 * @property {Classification} [gender]
 * @property {Classification} [race]
 * @property {Classification} [mask]
 * @property {number} visibility 0..1, the share of the face that is not covered
 * @property {Decision} [decision] of the policy
 * @property {Quality} [quality] how far the age can be relied on, by the image alone
 * @property {{ values: number[][], corners: [number, number][] }} [attention] values: over the aligned crop, 0..1, 1
 *   where the face is visible; corners: of the crop in the image, clockwise
 * @typedef {Face & { id: number }} TrackedFace id: from 1, in order of appearance
 * @typedef {{ schema: "oamface/1", source: null, width: number, height: number, faces: Face[],
 *   decision?: Decision }} Result decision: of the policy about an image without a face
 *
 * @typedef {object} AnalyzeOptions
 * @property {Task[]} [tasks] all by default
 * @property {boolean} [crop] the image is one face that fills it
 * @property {boolean} [attention] add `attention` to each face
 * @property {number[]} [atLeast] years for which `age.at_least` gives the probability of looking so old or older
 * @property {Policy} [policy] decides about every face; needs the task age
 *
 * @typedef {object} LiveOptions
 * @property {Task[]} [tasks]
 * @property {boolean} [attention]
 * @property {number[]} [atLeast]
 * @property {Policy} [policy] decides about every face, by its averaged answers
 *
 * @typedef {object} LiveResult
 * @property {TrackedFace[]} faces with boxes and landmarks of this frame, and answers averaged over time
 * @property {number} width of the frame
 * @property {number} height
 * @property {number} milliseconds that this frame took
 * @property {number} frames_per_second over the last second or two
 *
 * @typedef {"webgpu" | "wasm"} Backend
 * @typedef {{ backend: Backend, threads: number, model: string, bytes: number, terms: string }} Info bytes: of all
 *   networks and the runtime, downloaded or from the cache; terms: what the model may be used for, "" for everything
 * @typedef {{ bytes: number, sha256: string }} ListedFile
 * @typedef {object} Index what models/index.json lists
 * @property {boolean} service whether the site has a service that analyzes: POST v1/analyze
 * @property {string | null} model the served one; null: no browser can run it
 * @property {Record<string, ListedFile & { terms: string }>} models by name: models/NAME.onnx
 * @property {Record<string, ListedFile>} detectors likewise
 * @property {Partial<Record<Backend, ListedFile & { path: string }>>} runtime empty: built without ONNX Runtime Web
 */

/** `code`: "key" (the server asks for one), "unreachable", "runtime" (this build or browser has none), "damaged" (a
 * download is not the listed file), "model" (not listed), "policy" (wrong), "image" (cannot be read), "pixels" (too many), "failed". */
export class EngineError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * The networks, ready to compute, in a worker of their own.
 *
 * @param {object} [options]
 * @param {string} [options.model] a name from models/index.json; the served one by default
 * @param {Backend} [options.backend] by default WebGPU where there is some, else WebAssembly
 * @param {string} [options.key] the server's, where it asks for one
 * @param {Task[]} [options.tasks] the default of `analyze` and `live`
 * @param {(progress: { loaded: number, total: number }) => void} [options.onProgress] bytes
 * @returns {Promise<Engine>}
 */
export async function openEngine({ model, backend, key, tasks, onProgress } = {}) {
  const engine = new Engine(tasks, onProgress);
  try {
    engine.info = await engine.call("open", { model, backend, key });
  } catch (error) {
    engine.close();
    throw error;
  }
  return engine;
}

export class Engine {
  /** Of `openEngine` only. @param {Task[]} [tasks] @param {(progress: { loaded: number, total: number }) => void} [onProgress] */
  constructor(tasks, onProgress) {
    this.tasks = tasks;
    /** @type {Info} */
    this.info = { backend: "wasm", threads: 1, model: "", bytes: 0, terms: "" };
    /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
    this.waiting = new Map();
    this.calls = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.progress) { onProgress?.(data.progress); return; }
      const caller = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) caller?.reject(new EngineError(data.error.code, data.error.message));
      else caller?.resolve(data.result);
    };
    this.worker.onerror = () => this.fail(new EngineError("runtime", "The browser cannot run it."));
  }

  /** The faces of one image. @param {Blob | ImageBitmap} image @param {AnalyzeOptions} [options] @returns {Promise<Result>} */
  analyze(image, options = {}) {
    return this.call("analyze", { image, options: { tasks: this.tasks, ...options } });
  }

  /** A view of successive frames. @param {LiveOptions} [options] */
  live(options = {}) {
    return new LiveView(this, { tasks: this.tasks, ...options });
  }

  /** Ends the worker; what still waits fails. */
  close() {
    this.worker.terminate();
    this.fail(new EngineError("failed", "The engine was closed."));
  }

  /** @param {Error} error */
  fail(error) {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  /** @param {string} method @param {object} values @param {Transferable[]} [transfer] @returns {Promise<any>} */
  call(method, values, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = this.calls += 1;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, ...values }, transfer);
    });
  }
}

export class LiveView {
  /** @param {Engine} engine @param {LiveOptions} options may be replaced: counts from the next frame on */
  constructor(engine, options) {
    this.engine = engine;
    this.view = engine.calls += 1;
    this.options = options;
  }

  /**
   * The faces of the next frame, which is taken over and closed. Wait for one before pushing the next.
   *
   * @param {ImageBitmap | VideoFrame} frame
   * @param {number} [seconds] the frame's time; by default that of the clock
   * @returns {Promise<LiveResult>}
   */
  push(frame, seconds = performance.now() / 1000) {
    const { view, options } = this;
    return this.engine.call("push", { view, options, frame, seconds }, [frame]);
  }

  /** Another scene: forgets all tracks. @param {LiveOptions} [options] new ones from now on */
  reset(options = {}) {
    Object.assign(this.options, options);
    return this.engine.call("forget", { view: this.view });
  }

  /** Frees what was kept. */
  close() {
    return this.engine.call("forget", { view: this.view });
  }
}

/** What a request sends with a key. Throws EngineError: no header can carry it. @param {string} [key] */
export function authorization(key) {
  try {
    return new Headers(key ? { Authorization: `Bearer ${key}` } : {});
  } catch {
    throw new EngineError("key", "A key has no such letters.");
  }
}

/**
 * What the server or the static site offers. @param {string} [key] the server's, where it asks for one
 * @returns {Promise<Index>}
 */
export async function readIndex(key) {
  const headers = authorization(key);
  const response = await fetch(new URL("./models/index.json", import.meta.url), { headers }).catch(() => null);
  if (!response) throw new EngineError("unreachable", "The server cannot be reached.");
  if (response.status === 401) throw new EngineError("key", "The server asks for a key.");
  if (!response.ok) throw new EngineError("unreachable", `The server returned status ${response.status}.`);
  return response.json();
}
