// The files of an engine: downloaded once, checked against the SHA-256 that the server lists, kept in the browser.

import { EngineError } from "./engine.js";

const CACHE = "oamface-networks";
const SITE = new URL("./", import.meta.url);

/**
 * models/index.json, of the last visit where there is no connection. @param {HeadersInit} headers
 * @returns {Promise<import("./engine.js").Index>}
 */
export async function fetchIndex(headers) {
  const path = "models/index.json";
  const cache = await openCache();
  try {
    const response = await request(path, headers);
    await cache?.put(new URL(path, SITE), response.clone()).catch(() => {}); // a full disk
    return await response.json();
  } catch (error) {
    const kept = await cache?.match(new URL(path, SITE));
    if (kept && error instanceof EngineError && error.code === "unreachable") return kept.json();
    throw error;
  }
}

/**
 * A file with its content, which is not read yet where the browser has kept it.
 *
 * @param {string} path @param {import("./engine.js").ListedFile} listed @param {HeadersInit} headers
 * @param {(bytes: number) => void} onBytes called with every part that arrives
 * @returns {Promise<Response>}
 */
export async function download(path, { bytes, sha256 }, headers, onBytes) {
  const url = new URL(path, SITE);
  const name = `${url}?${sha256}`; // in the cache only: a file of another hash is another one
  const cache = await openCache();
  const kept = await cache?.match(name);
  if (kept) {
    onBytes(bytes);
    return kept;
  }
  const content = await read(await request(path, headers), bytes, onBytes);
  if (await digest(content) !== sha256) throw new EngineError("damaged", `${path}: is not the file that is listed.`);
  await keep(cache, url, name, content);
  return new Response(content);
}

/** @param {string} path @param {HeadersInit} headers */
async function request(path, headers) {
  let response;
  try {
    response = await fetch(new URL(path, SITE), { headers });
  } catch {
    throw new EngineError("unreachable", "The server cannot be reached.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const code = response.status === 401 ? "key" : "unreachable";
  throw new EngineError(code, problem.detail || `${path}: the server returned status ${response.status}.`);
}

/** @param {Response} response @param {number} bytes as many as are expected @param {(bytes: number) => void} onBytes */
async function read(response, bytes, onBytes) {
  const content = new Uint8Array(bytes);
  let length = 0;
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (length + part.value.length > bytes) throw new EngineError("damaged", `${response.url}: is longer than listed.`);
    content.set(part.value, length);
    length += part.value.length;
    onBytes(part.value.length);
  }
  return content;
}

/** Hexadecimal SHA-256. @param {Uint8Array<ArrayBuffer>} content */
async function digest(content) {
  if (!self.isSecureContext) throw new EngineError("runtime", "A browser computes only on HTTPS or localhost.");
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Keeps a file, and no other version of it. @param {Cache | null} cache @param {URL} url @param {string} name
 * @param {Uint8Array<ArrayBuffer>} content */
async function keep(cache, url, name, content) {
  if (!cache) return;
  const plain = (/** @type {string} */ path) => path.replace(/\.[0-9a-f]{12}\.wasm$/, ".wasm"); // without its version
  for (const other of await cache.keys()) {
    if (plain(new URL(other.url).pathname) === plain(url.pathname)) await cache.delete(other);
  }
  await cache.put(name, new Response(content)).catch(() => {}); // a full disk: downloaded again next time
}

/** Null where the browser keeps nothing, as in some private windows. */
const openCache = () => (self.caches ? caches.open(CACHE).catch(() => null) : Promise.resolve(null));
