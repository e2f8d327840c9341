// Accept, refuse or refer, as in oamface/age_policy.py.

import { LEAST_QUALITY } from "./constants.js";
import { EngineError } from "./engine.js";
import { fine } from "./numbers.js";

/**
 * @typedef {import("./engine.js").Decision} Decision
 * @typedef {import("./engine.js").Policy} Policy
 */

const DEFAULTS = { age: 18, max_false_accept: 0.05, max_false_refuse: 0.05 };

/** With its defaults filled in. @param {Policy} policy @returns {Required<Policy>} */
export function checkPolicy(policy) {
  const unknown = Object.keys(policy).filter((name) => !["challenge", ...Object.keys(DEFAULTS)].includes(name));
  if (unknown.length) throw new EngineError("policy", `policy: unknown field ${unknown[0]}`);
  const filled = { ...DEFAULTS, ...policy };
  const challenge = filled.challenge ?? filled.age;
  const areYears = [filled.age, challenge].every((years) => Number.isInteger(years) && years >= 1 && years <= 100);
  const rates = [filled.max_false_accept, filled.max_false_refuse];
  if (!areYears || challenge < filled.age) {
    throw new EngineError("policy", "policy: expected whole years from 1 to 100, the challenge not below the age");
  }
  if (!rates.every((rate) => rate >= 0 && rate <= 1) || rates[0] + rates[1] > 1) {
    throw new EngineError("policy", "policy: expected rates within 0 to 1 that add up to at most 1");
  }
  return { ...filled, challenge };
}

/**
 * @param {Required<Policy>} policy @param {object} face before rounding
 * @param {number} face.years @param {number[]} face.tails probability of every year or more @param {boolean} face.detected
 * @param {{ score: number, reasons: string[] }} face.quality @returns {Decision}
 */
export function decide(policy, { years, tails, detected, quality }) {
  const probability = tails[policy.age];
  /** @param {Decision["outcome"]} outcome @param {string[]} reasons */
  const decision = (outcome, ...reasons) => ({ outcome, probability: fine(probability), reasons });
  if (!detected) return decision("refer", "no face");
  if (quality.score < LEAST_QUALITY) return decision("refer", ...quality.reasons);
  if (probability <= policy.max_false_refuse) return decision("refuse");
  const mayBeYounger = 1 - probability > policy.max_false_accept;
  if (years >= policy.challenge && !mayBeYounger) return decision("accept");
  return decision("refer", mayBeYounger ? `may be younger than ${policy.age}` : `looks younger than ${policy.challenge}`);
}

/** Of an image without a face. @type {Decision} */
export const NO_FACE = { outcome: "refer", probability: null, reasons: ["no face"] };
