// The images and videos on the page: a strip of thumbnails, analyzed one after the other, the shown one first.

import { $, announce, create, drawThumbnail, warn } from "./elements.js";
import { t } from "./messages.js";
import * as options from "./options.js";

/**
 * @typedef {import("../engine.js").Face & { id: number }} Face
 * @typedef {object} Item
 * @property {number} number from 1
 * @property {string} name of the file
 * @property {Blob} file
 * @property {string} url of its content, for as long as it is on the page
 * @property {"image" | "video"} kind
 * @property {string} asked the request that `result` or `error` answers
 * @property {(Omit<import("../engine.js").Result, "faces"> & { faces: Face[] }) | null} result
 * @property {(Error & { code?: string }) | null} error
 * @property {"device" | "server" | null} place who answered
 * @property {"device" | "server"} askedPlace who was asked last
 * @property {HTMLElement} element in the strip
 */

// Names of files that the server reads and most browsers do not; others that a browser cannot read are damaged.
export const SERVER_READS = /\.(tiff?|hei[cf]|hif|jp[2cfx]|j2k)$/i;

export class Images {
  /**
   * @param {import("./answers.js").Answers} answers
   * @param {(item: Item | null) => void} onShow the shown item is another one or has changed
   */
  constructor(answers, onShow) {
    this.answers = answers;
    this.onShow = onShow;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Item | null} */
    this.shown = null;
    this.running = false;
    this.count = 0;
  }

  /** @param {Iterable<File>} files @param {boolean} [show] the first of them */
  add(files, show = true) {
    const usable = [...files].filter(({ type }) => !type || /^(image|video)\//.test(type));
    if (!usable.length) {
      warn(t("error.notImage"));
      return;
    }
    const added = usable.map((file) => this.#add(file));
    if (show) this.show(added[0]);
    this.process();
  }

  /** @param {File} file */
  #add(file) {
    this.count += 1;
    const kind = file.type.startsWith("video/") ? "video" : "image";
    /** @type {Item} */
    const item = {
      number: this.count,
      name: file.name || t("image.unnamed", { number: this.count }),
      file,
      kind,
      url: URL.createObjectURL(file),
      asked: "",
      result: null,
      error: null,
      place: null,
      askedPlace: "device",
      element: create("li", { className: kind }),
    };
    const button = create(
      "button",
      { type: "button", title: item.name },
      create("canvas", { width: 96, height: 96 }),
      create("span", { className: "unseen", textContent: item.name }),
    );
    button.addEventListener("click", () => this.show(item));
    item.element.append(button);
    this.items.push(item);
    $("strip").append(item.element);
    if (kind === "image") drawFile(file, button, this.answers);
    return item;
  }

  /** @param {Item | null} item */
  show(item) {
    this.hide();
    this.shown = item;
    item?.element.firstElementChild?.setAttribute("aria-current", "true");
    item?.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.onShow(item);
    this.process();
  }

  /** Something else is shown. */
  hide() {
    this.shown?.element.firstElementChild?.removeAttribute("aria-current");
    this.shown = null;
  }

  /** Answers what has no answer to the present request. */
  async process() {
    this.#writeLeft();
    for (const item of this.items) item.element.classList.toggle("stale", this.isStale(item));
    if (this.running) return;
    this.running = true;
    while (this.#next()) {
      await this.answers.ready(); // meanwhile another may be selected
      const item = this.#next();
      if (!item) break;
      await this.analyze(item);
      this.#report();
    }
    this.running = false;
  }

  /** How much is left, or how it went. */
  #report() {
    const left = this.#left();
    const all = this.items.filter(({ kind }) => kind === "image");
    const failed = all.filter(({ error }) => error).length;
    if (left) announce(t("status.left", { count: left }));
    else if (failed) announce(t("status.failed", { count: failed, total: all.length }));
    else announce(t("status.done", { count: all.length }));
    this.#writeLeft();
  }

  #left() {
    return this.items.filter((each) => this.#waits(each)).length;
  }

  /** Beside what can be saved. */
  #writeLeft() {
    const left = this.#left();
    $("to-come").textContent = left ? t("save.left", { count: left }) : "";
  }

  /** @param {Item} item @param {"server"} [place] by default the chosen one */
  async analyze(item, place) {
    const request = options.request();
    const asked = JSON.stringify(request);
    item.element.classList.add("busy");
    try {
      const { result, place: by } = await this.answers.analyze(item.file, request, place);
      const faces = result.faces.map((face, index) => ({ ...face, id: index + 1 }));
      Object.assign(item, { result: { ...result, source: item.name, faces }, error: null, place: by });
    } catch (error) {
      Object.assign(item, { result: null, error, place: null });
    }
    item.asked = asked;
    item.askedPlace = place ?? options.place();
    item.element.classList.remove("busy");
    item.element.classList.toggle("stale", this.isStale(item));
    item.element.classList.toggle("failed", item.error !== null);
    item.element.dataset.faces = item.result ? String(item.result.faces.length) : "";
    if (item === this.shown) this.onShow(item);
  }

  /** Those with an error are asked again, such as after another place was chosen. */
  retry() {
    for (const item of this.items) if (item.error) item.asked = "";
    this.process();
  }

  clear() {
    for (const { url } of this.items) URL.revokeObjectURL(url);
    this.items = [];
    $("strip").replaceChildren();
    this.show(null);
  }

  /** Whether its answers are those to another request, until the new ones are there. @param {Item} item */
  isStale(item) {
    return item.result !== null && this.#waits(item);
  }

  /** @param {Item} item */
  #waits(item) {
    return item.kind === "image" && item.asked !== JSON.stringify(options.request());
  }

  #next() {
    return [this.shown, ...this.items].find((item) => item && this.#waits(item)) ?? null;
  }
}

/**
 * A file's thumbnail; where only the server reads it, a line that says so.
 *
 * @param {File} file @param {HTMLElement} button @param {import("./answers.js").Answers} answers
 */
async function drawFile(file, button, answers) {
  const image = await createImageBitmap(file).catch(() => null);
  if (image) {
    drawThumbnail(/** @type {HTMLCanvasElement} */ (button.firstChild), image, image.width, image.height);
    image.close();
  } else if (SERVER_READS.test(file.name)) {
    const line = create("span", { className: "by-server", textContent: t("image.serverOnly") });
    line.hidden = !answers.hasServer;
    line.dataset.t = "image.serverOnly"; // in the language that is chosen later
    line.dataset.server = ""; // seen once a server is found
    button.append(line);
  }
}
