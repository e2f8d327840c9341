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
  if (!isWrong()) lastPolicy = typed();
  return lastPolicy;
}

/** What the fields of the age check say. */
function typed() {
  const [age, challenge] = CHECK_FIELDS.map((name) => input(name).valueAsNumber);
  return { age, challenge };
}

function isWrong() {
  try {
    checkPolicy(typed());
    return false;
  } catch {
    return true;
  }
}

/** What the age check goes by, once nobody types any more. */
export function restoreCheck() {
  if (!lastPolicy) return;
  CHECK_FIELDS.forEach((name, index) => {
    input(name).value = Object.values(/** @type {Policy} */ (lastPolicy))[index];
  });
  writeCheck();
}

/** Shows the fields of the age check, and what is wrong with them. */
export function writeCheck() {
  input("check").disabled = !input("age").checked; // it is about the age
  $("check-fields").hidden = !input("check").checked;
  const wrong = input("check").checked && isWrong();
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
