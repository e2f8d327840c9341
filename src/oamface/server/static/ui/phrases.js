// What is predicted about a face, in words.

import { LEAST_FACE, OPEN_WEIGHTS } from "../constants.js";
import { hasText, list, percent, t } from "./messages.js";

/** @typedef {import("../engine.js").Face} Face */
/** @typedef {"gender" | "race" | "mask"} ClassTask */

/** @type {ClassTask[]} */
export const CLASS_TASKS = ["mask", "gender", "race"];

/** @param {NonNullable<Face["age"]>} age */
export const years = (age) => t("age.years", { count: Math.round(age.years) });

/** @param {NonNullable<Face["age"]>} age */
export const likely = (age) => t("age.likely", { low: Math.round(age.low), high: Math.round(age.high) });

/** "looks at least 18: 97 %", one for each threshold. @param {NonNullable<Face["age"]>} age */
export const thresholds = (age) =>
  Object.entries(age.at_least ?? {}).map(([limit, probability]) => ({
    text: t("age.atLeast", { years: limit, percent: percent(probability) }),
    probability,
  }));

/** @param {ClassTask} task @param {string} name */
export function className(task, name) {
  if (name === "uncertain") return t("uncertain", { task: t(`task.${task}`) });
  return hasText(`${task}.${name}`) ? t(`${task}.${name}`) : name;
}

/** @param {Face} face */
const isCovered = (face) => Boolean(face.quality?.reasons.includes("occluded"));

/** Why a prediction is uncertain. @param {Face} face @param {ClassTask} task */
export function whyUncertain(face, task) {
  if (Math.max(face.box[2], face.box[3]) < LEAST_FACE) return t("why.small", { pixels: LEAST_FACE });
  if (isCovered(face)) return t("why.covered");
  const probabilities = Object.entries(face[task]?.probabilities ?? {}).sort((one, other) => other[1] - one[1]);
  const [first, second] = probabilities.map(([name]) => className(task, name));
  return t("why.close", { first, second });
}

/** @param {Face} face */
export function visible(face) {
  const level = isCovered(face) ? "low" : face.visibility < 0.85 ? "middle" : "high";
  return t(`visible.${level}`, { percent: percent(face.visibility) });
}

/** What a model may be used for, as far as is known. @param {{ name: string, terms: string }} model */
export function termsOf({ name, terms }) {
  const kind = terms ? "research" : OPEN_WEIGHTS.includes(name) ? "open" : "own";
  return t(`model.${kind}`, { model: name });
}

/** "Age check: refer". @param {import("../engine.js").Decision} decision */
export const outcome = (decision) => t("check.is", { outcome: briefly(decision) });

/** "refer". @param {import("../engine.js").Decision} decision */
export const briefly = ({ outcome: name }) => t(`check.${name}`);

/**
 * Why it was decided so, or what a refused person needs; "" if nothing has to be added.
 *
 * @param {import("../engine.js").Decision} decision
 */
export function because({ outcome: name, reasons }) {
  if (name === "refuse") return t("check.appeal");
  return list(
    reasons.map((reason) => {
      const [, text, limit = ""] = /** @type {RegExpExecArray} */ (/^(.*?)(?: (\d+))?$/.exec(reason));
      return hasText(`reason.${text}`) ? t(`reason.${text}`, { years: limit }) : reason;
    }),
  );
}

/** Of an image without a face. @param {boolean} checked whether its age check was asked for */
export const nobody = (checked) => (checked ? `${t("faces.none")} ${t("check.nobody")}` : t("faces.none"));

/** The lines of a face's label on the image: the most important first. @param {Face} face */
export function lines(face) {
  const found = [];
  if (face.decision) found.push(outcome(face.decision));
  if (face.age) found.push(years(face.age), likely(face.age));
  for (const task of CLASS_TASKS) {
    const answer = face[task];
    if (answer) found.push(className(task, answer.label));
  }
  return found;
}
