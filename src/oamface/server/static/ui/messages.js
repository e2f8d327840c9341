// The page's texts, from messages.json: by language and key, in the browser's language unless another is picked.

const KEPT = "oamface.language"; // the only thing the page keeps between visits, and only after a choice
/** @type {Record<string, Record<string, string | Record<string, string>>>} */
let languages = {};
let language = "en";

/** Reads messages.json and fills the document. */
export async function loadMessages() {
  languages = await (await fetch(new URL("../messages.json", import.meta.url))).json();
  let kept = "";
  try {
    kept = localStorage.getItem(KEPT) ?? "";
  } catch {
    /* storage is forbidden */
  }
  const wanted = [kept, ...navigator.languages].map((name) => name.split("-")[0]);
  language = wanted.find((name) => name in languages) ?? "en";
  translate();
}

/** @returns {[string, string][]} codes and names, each in its own language */
export const languageNames = () =>
  Object.entries(languages).map(([code, texts]) => [code, String(texts["language.name"])]);

export const currentLanguage = () => language;

/** @param {string} code */
export function chooseLanguage(code) {
  language = code;
  try {
    localStorage.setItem(KEPT, code);
  } catch {
    /* storage is forbidden */
  }
  translate();
  document.dispatchEvent(new Event("language"));
}

/**
 * The text of a key. A text with several forms is chosen by `count`.
 *
 * @param {string} key @param {Record<string, string | number>} [values] of the {names} in the text
 */
export function t(key, values = {}) {
  const entry = languages[language]?.[key] ?? languages.en?.[key] ?? key;
  const text =
    typeof entry === "string"
      ? entry
      : (entry[new Intl.PluralRules(language).select(Number(values.count))] ?? entry.other);
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Whether a key has a text. @param {string} key */
export const hasText = (key) => key in (languages.en ?? {});

/** @param {number} share 0..1 */
export const percent = (share) => new Intl.NumberFormat(language, { style: "percent" }).format(share);

/** @param {number} value @param {number} [digits] */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

/** "one, two and three". @param {string[]} texts */
export const list = (texts) => new Intl.ListFormat(language).format(texts);

/** 75 as 1:15. @param {number} seconds */
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function translate() {
  document.documentElement.lang = language;
  for (const [name, attribute] of [
    ["data-t", ""],
    ["data-t-label", "aria-label"],
    ["data-t-alt", "alt"],
  ]) {
    document.querySelectorAll(`[${name}]`).forEach((element) => {
      const text = t(element.getAttribute(name) ?? "");
      if (attribute) element.setAttribute(attribute, text);
      else element.textContent = text;
    });
  }
  document.querySelectorAll("option[data-years]").forEach((option) => {
    option.textContent = t("age.years", { count: Number(option.getAttribute("value")) });
  });
}
