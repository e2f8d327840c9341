// Who answers: the engine on this device, or else the server. Nothing goes to the server unless the page says so.

import { EngineError, authorization, openEngine, readIndex } from "../engine.js";
import { percent, t } from "./messages.js";
import * as options from "./options.js";

/** @typedef {import("../engine.js").Engine} Engine */
/** @typedef {import("../engine.js").Result} Result */

const MAX_ATTEMPTS = 6; // while the server is busy

export class Answers {
  /** @param {() => void} onChange the state is another one */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Engine | null} */
    this.engine = null;
    this.hasServer = false;
    /** @type {import("../engine.js").Index | null} */
    this.index = null; // unknown without a connection, or without a key that the server asks for
    this.share = 0; // of the networks that is here
    /** @type {EngineError | null} */
    this.problem = null; // why the device cannot answer
    this.loading = true; // until `start` knows better
    /** @type {(() => void)[]} */
    this.waiting = [];
  }

  changed() {
    this.waiting.splice(0).forEach((resume) => resume());
    this.onChange();
  }

  nextChange() {
    return new Promise((resolve) => {
      this.waiting.push(() => resolve(null));
    });
  }

  /** Looks for a server: at the start, and later where there was none, such as without a connection. */
  async findServer() {
    if (this.index) return;
    try {
      this.index = await readIndex(options.key());
      this.hasServer = this.index.service;
    } catch (/** @type {any} */ error) {
      this.hasServer ||= error.code === "key";
    }
    options.allowPlace("server", this.hasServer);
    if (this.hasServer) this.onChange();
  }

  /** The model that answers, and its terms; null while unknown. */
  get model() {
    const info = this.engine?.info;
    const name = info?.model ?? this.index?.model;
    return name ? { name, terms: info?.terms ?? this.index?.models[name].terms ?? "" } : null;
  }

  /** Loads the networks unless the visitor saves data. */
  async start() {
    this.onChange();
    await this.findServer();
    this.loading = false;
    const { connection } = /** @type {any} */ (navigator);
    if (connection?.saveData) this.changed();
    else await this.load();
  }

  async load() {
    if (this.engine || this.loading) return;
    this.loading = true;
    this.problem = null;
    this.onChange();
    try {
      this.engine = await openEngine({
        key: options.key(),
        onProgress: ({ loaded, total }) => {
          this.share = total ? loaded / total : 0;
          this.onChange();
        },
      });
    } catch (error) {
      this.problem = error instanceof EngineError ? error : new EngineError("failed", String(error));
      if (this.problem.code === "key") options.askForKey();
      else if (this.hasServer) options.choosePlace("server");
    }
    this.loading = false;
    options.allowPlace("device", this.problem === null || this.problem.code === "key");
    this.changed();
  }

  /** After a start without a connection: looks again for the server and the networks. */
  async reconnect() {
    await this.findServer();
    if (this.problem?.code === "unreachable") await this.load();
  }

  /** Whether the device cannot load its networks without a key, or with the present one. */
  get lacksKey() {
    return options.place() === "device" && this.problem?.code === "key";
  }

  /**
   * @param {boolean} [moving] for moving images, which the device answers where it can
   * @returns {{ place: "device" | "server" | "none", text: string, share: number | null }} share: while loading
   */
  state(moving = false) {
    if (options.place() === "server" && this.hasServer && !(moving && !this.problem))
      return { place: "server", text: t("place.by.server"), share: null };
    if (this.engine) return { place: "device", text: t("place.by.device"), share: null };
    if (this.problem)
      return { place: "none", text: t(this.problem.code === "key" ? "place.key" : "place.none"), share: null };
    return {
      place: "device",
      text: this.loading ? loadingText(this.share) : t("place.by.device"),
      share: this.loading ? this.share : null,
    };
  }

  /**
   * The faces of an image, and who found them. Throws EngineError.
   *
   * @param {Blob} file @param {options.Request} request @param {"server"} [place] by default the chosen one
   * @returns {Promise<{ result: Result, place: "device" | "server" }>}
   */
  async analyze(file, request, place) {
    if (!place) await this.ready();
    if (place || options.place() === "server") return { result: await askServer(file, request), place: "server" };
    if (!this.engine) throw this.problem;
    return { result: await this.engine.analyze(file, request), place: "device" };
  }

  /** Waits until the chosen place can answer, or is known not to. */
  async ready() {
    while (options.place() === "device" && !this.engine) {
      if (this.problem && this.problem.code !== "key" && !this.hasServer) return;
      if (!this.loading && !this.problem) this.load();
      await this.nextChange();
    }
  }

  /** The engine, which moving images need: waits for it, or tries again. Throws EngineError. @returns {Promise<Engine>} */
  async openLive() {
    do {
      await this.load();
      while (this.loading) await this.nextChange();
    } while (!this.engine && !this.problem);
    if (!this.engine) throw this.problem;
    return this.engine;
  }

  /** Why moving images are unavailable. @param {{ code?: string }} error of `openLive` */
  liveProblem({ code = "failed" }) {
    const text = t("error.live", { reason: t(`error.${code}`) });
    return this.state().place === "none" ? text : `${text} ${t("live.others")}`;
  }
}

/** @param {number} share of the networks that is here */
const loadingText = (share) =>
  share < 1 ? t("place.loading", { percent: percent(share) }) : t("place.preparing");

/** @param {Blob} file @param {options.Request} request @returns {Promise<Result>} */
async function askServer(file, { tasks, crop, attention, atLeast, policy }) {
  const query = new URLSearchParams({ tasks: tasks.join(), crop: String(crop), attention: String(attention) });
  if (atLeast.length) query.set("at_least", atLeast.join());
  if (policy) query.set("policy", Object.entries(policy).map((field) => field.join("=")).join());
  const headers = authorization(options.key());
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(`v1/analyze?${query}`, { method: "POST", headers, body: file }).catch(() => null);
    if (!response) throw new EngineError("unreachable", "no response");
    if (response.ok) return response.json();
    if (response.status === 503 && attempt < MAX_ATTEMPTS) {
      const seconds = attempt * (Number(response.headers.get("Retry-After")) || 1);
      await new Promise((resolve) => {
        setTimeout(resolve, 1000 * seconds);
      });
      continue;
    }
    if (response.status === 401) options.askForKey();
    /** @type {Record<number, string>} */
    const codes = { 401: "key", 413: "pixels", 415: "image", 503: "busy", 504: "busy" };
    const { detail } = await response.json().catch(() => ({ detail: String(response.status) }));
    throw new EngineError(codes[response.status] ?? "failed", detail);
  }
}
