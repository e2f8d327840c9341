// ONNX Runtime Web: WebGPU where the browser has it, else WebAssembly, with threads where the page is isolated.

import { EngineError } from "./engine.js";

/** Scripts and their WebAssembly. */
const FILES = {
  webgpu: { script: "./vendor/ort.jspi.bundle.min.mjs", binary: "vendor/ort-wasm-simd-threaded.jspi.wasm" },
  wasm: { script: "./vendor/ort.wasm.bundle.min.mjs", binary: "vendor/ort-wasm-simd-threaded.wasm" },
};
const MOST_THREADS = 4;

/** The path of a backend's WebAssembly. @param {import("./engine.js").Backend} backend */
export const binaryOf = (backend) => FILES[backend].binary;

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

export class Runtime {
  /** Of `openRuntime`. @param {any} ort @param {import("./engine.js").Backend} backend */
  constructor(ort, backend) {
    this.ort = ort;
    this.backend = backend;
  }

  /** @returns {number} */
  get threads() {
    return this.ort.env.wasm.numThreads;
  }

  /** @param {Uint8Array} model @param {"float32" | "uint8"} type of its input @returns {Promise<Network>} */
  async open(model, type) {
    const { ort } = this;
    const providers = this.backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
    const session = await ort.InferenceSession.create(model, { executionProviders: providers, logSeverityLevel: 3 });
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

/** @param {import("./engine.js").Backend} backend @param {Uint8Array} binary its WebAssembly */
export async function openRuntime(backend, binary) {
  let ort;
  try {
    ort = await import(FILES[backend].script);
  } catch {
    throw new EngineError("runtime", "This installation was built without ONNX Runtime Web.");
  }
  const cores = navigator.hardwareConcurrency || 1;
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, cores) : 1;
  ort.env.logLevel = "error";
  return new Runtime(ort, backend);
}
