// What is asked for, as the options' form says.

import { checkPolicy } from "../age_policy.js";
import { $, warn } from "./elements.js";
import { t } from "./messages.js";

/** @typedef {import("../engine.js").Task} Task */
/** @typedef {import("../engine.js").Policy} Policy */
/** @typedef {{ tasks: Task[], atLeast: number[], attention: boolean, crop: boolean, policy?: Policy }} Request */

/** @type {Task[]} */
export const TASKS = ["age", "mask", "gender", "race"];

const CHECK_FIELDS = ["check-age", "check-challenge"];
/** @type {Policy | undefined} */
let lastPolicy; // the last one that was right

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
    policy: policy(),
  };
}

/** Of the age check, undefined while it is off; the last one while the fields are wrong. @returns {Policy | undefined} */
function policy() {
  if (!input("check").checked || !input("age").checked) return undefined;
  lastPolicy = typed() ?? lastPolicy;
  return lastPolicy;
}

/** What the fields of the age check say, null while they are wrong. @returns {{ age: number, challenge: number } | null} */
function typed() {
  const [age, challenge] = CHECK_FIELDS.map((name) => input(name).valueAsNumber);
  try {
    checkPolicy({ age, challenge });
    return { age, challenge };
  } catch {
    return null;
  }
}

/** What the age check goes by, once nobody types any more. */
export function restoreCheck() {
  if (!lastPolicy) return;
  input("check-age").value = lastPolicy.age;
  input("check-challenge").value = lastPolicy.challenge;
  writeCheck();
}

/** Shows the fields of the age check, and what is wrong with them. */
export function writeCheck() {
  const off = !input("age").checked; // it is about the age
  $("check-off").textContent = off ? t("check.off") : "";
  for (const name of ["check", ...CHECK_FIELDS]) input(name).disabled = off;
  $("check-fields").hidden = off || !input("check").checked;
  const wrong = !off && input("check").checked && typed() === null;
  $("check-problem").textContent = wrong ? t("error.policy") : "";
  for (const name of CHECK_FIELDS) input(name).setAttribute("aria-invalid", String(wrong));
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

export const key = () => input("key").value.trim();

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
    writeCheck();
    callback(target.name === "place" || target.name === "key" ? target.name : "request");
  });
}
