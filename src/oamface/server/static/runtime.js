// ONNX Runtime Web: WebGPU where the browser has it, else WebAssembly, with threads where the page is isolated.

import { EngineError } from "./engine.js";

const SCRIPTS = { webgpu: "./vendor/ort.jspi.bundle.min.mjs", wasm: "./vendor/ort.wasm.bundle.min.mjs" };
const MOST_THREADS = 4;

/** @returns {Promise<import("./engine.js").Backend>} */
export async function bestBackend() {
  const { gpu } = /** @type {any} */ (navigator);
  if (!gpu || !("Suspending" in WebAssembly)) return "wasm"; // the runtime waits for the GPU by JSPI
  const adapter = await gpu.requestAdapter().catch(() => null);
  return adapter && !adapter.info?.isFallbackAdapter ? "webgpu" : "wasm"; // one in software is slower
}

/**
 * @typedef {{ data: any, dims: readonly number[] }} Tensor
 * @typedef {object} Network
 * @property {(values: Float32Array | Uint8Array, dims: number[]) => Promise<Record<string, Tensor>>} run by output
 * @property {(values: Float32Array | Uint8Array, dims: number[]) => Promise<Tensor[]>} runInOrder of the file's outputs
 */

/** The script of ONNX Runtime Web. @param {import("./engine.js").Backend} backend @returns {Promise<any>} */
export function importRuntime(backend) {
  return import(SCRIPTS[backend]).catch(() => {
    throw new EngineError("runtime", "This installation was built without ONNX Runtime Web.");
  });
}

export class Runtime {
  /**
   * @param {any} ort @param {import("./engine.js").Backend} backend
   * @param {string} binary the path of its WebAssembly, which the browser has in its cache by now: from there, and only
   *   from there, it comes compiled
   */
  constructor(ort, backend, binary) {
    this.ort = ort;
    this.backend = backend;
    const cores = navigator.hardwareConcurrency || 1;
    ort.env.wasm.wasmPaths = { wasm: new URL(binary, import.meta.url).href };
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, cores) : 1;
    ort.env.logLevel = "error";
  }

  /** @returns {number} */
  get threads() {
    return this.ort.env.wasm.numThreads;
  }

  /** @param {Uint8Array} model @param {"float32" | "uint8"} type of its input @returns {Promise<Network>} */
  async open(model, type) {
    const { ort } = this;
    const providers = this.backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
    const session = await ort.InferenceSession.create(model, {
      executionProviders: providers,
      logSeverityLevel: 3,
      extra: { session: { intra_op: { allow_spinning: "0" } } }, // waiting threads leave the cores to others
    });
    /** @type {Network["run"]} */
    const run = (values, dims) => session.run({ [session.inputNames[0]]: new ort.Tensor(type, values, dims) });
    /** @type {Network["runInOrder"]} */
    const runInOrder = async (values, dims) => {
      const outputs = await run(values, dims);
      return session.outputNames.map((/** @type {string} */ name) => outputs[name]);
    };
    return { run, runInOrder };
  }
}
