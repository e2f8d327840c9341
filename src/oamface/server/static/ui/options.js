// What is asked for, as the options' form says.

import { $, warn } from "./elements.js";
import { t } from "./messages.js";

/** @typedef {import("../engine.js").Task} Task */
/** @typedef {{ tasks: Task[], atLeast: number[], attention: boolean, crop: boolean }} Request */

/** @type {Task[]} */
export const TASKS = ["age", "mask", "gender", "race"];

const form = () => $("options-form");
/** @param {string} name @returns {any} one input, or the radio buttons of a name */
const input = (name) => form().elements.namedItem(name);

/** @returns {Request} */
export function request() {
  const threshold = Number(input("threshold").value);
  return {
    tasks: TASKS.filter((task) => input(task).checked),
    atLeast: threshold && input("age").checked ? [threshold] : [],
    attention: input("attention").checked,
    crop: input("crop").checked,
  };
}

/** @returns {"device" | "server"} */
export const place = () => input("place").value;

/** @param {"device" | "server"} name */
export const choosePlace = (name) => {
  input("place").value = name;
};

/** Forbids a place that cannot answer. @param {"device" | "server"} name @param {boolean} possible */
export function allowPlace(name, possible) {
  form().querySelector(`[value=${name}]`).disabled = !possible;
}

export const key = () => input("key").value;

/** Shows the field for the server's key, says whether the present one is wrong, and moves there. */
export function askForKey() {
  $("key-field").hidden = false;
  $("options").open = true;
  $("key-problem").textContent = key() ? t("options.wrongKey") : "";
  input("key").setAttribute("aria-invalid", String(key() !== ""));
  input("key").focus();
}

/** @param {(what: "request" | "place" | "key") => void} callback called after every change */
export function onChange(callback) {
  form().addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  input("key").addEventListener("input", () => {
    $("key-problem").textContent = "";
    input("key").removeAttribute("aria-invalid");
  });
  form().addEventListener("change", (/** @type {any} */ { target }) => {
    if (!request().tasks.length) {
      // nothing would be asked for
      target.checked = true;
      warn(t("options.least"));
      return;
    }
    callback(target.name === "place" || target.name === "key" ? target.name : "request");
  });
}
