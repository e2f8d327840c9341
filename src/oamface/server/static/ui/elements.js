// Small helpers for the document.

/** The element of an id. @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * A new element. @param {string} name @param {Record<string, any> | null} [properties] of the element
 * @param {...(Node | string)} children @returns {any}
 */
export function create(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/**
 * A new SVG element.
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 */
export function createSvg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** A line of status, read out by screen readers. @param {string} text */
export function announce(text) {
  $("status").textContent = text;
}

const WARNED = 10_000; // ms
let hide = 0;

/** A line over the page for a while, about what did not work; also read out. @param {string} text */
export function warn(text) {
  $("alert").textContent = text;
  clearTimeout(hide);
  hide = setTimeout(() => $("alert").replaceChildren(), WARNED);
}

/**
 * Fills a square canvas with the middle of an image.
 *
 * @param {HTMLCanvasElement} canvas @param {CanvasImageSource} image @param {number} width of the image @param {number} height
 */
export function drawThumbnail(canvas, image, width, height) {
  const side = Math.min(width, height);
  const [left, top] = [(width - side) / 2, (height - side) / 2];
  canvas.getContext("2d")?.drawImage(image, left, top, side, side, 0, 0, canvas.width, canvas.height);
}

/** Saves a file where the browser keeps downloads. @param {string} name @param {Blob} blob */
export function saveFile(name, blob) {
  const link = create("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Okabe and Ito's colours, which the colour-blind can tell apart; without black.
const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];

/** @param {number} id from 1 */
export const colorOf = (id) => PALETTE[(id - 1) % PALETTE.length];
