// Where the labels of faces lie: beside their own box, never over another face or label.

/**
 * @typedef {{ id: number, x: number, y: number, width: number, height: number }} Box
 * @typedef {{ width: number, height: number }} Size
 * @typedef {{ x: number, y: number, variant: number, side: number }} Place variant: which of the sizes
 */

const GAP = 6;
/** Left and top of a label, by the side of the box; the last two lie inside it. @type {((box: Box, size: Size) => [number, number])[]} */
const SIDES = [
  (box, { height }) => [box.x, box.y - height - GAP],
  (box, { width, height }) => [box.x + box.width - width, box.y - height - GAP],
  (box) => [box.x, box.y + box.height + GAP],
  (box, { width }) => [box.x + box.width - width, box.y + box.height + GAP],
  (box) => [box.x + box.width + GAP, box.y],
  (box, { width }) => [box.x - width - GAP, box.y],
  (box, { height }) => [box.x + box.width + GAP, box.y + box.height - height],
  (box, { width, height }) => [box.x - width - GAP, box.y + box.height - height],
  (box, { height }) => [box.x + GAP, box.y + box.height - height - GAP],
  (box) => [box.x + GAP, box.y + GAP],
];
const INSIDE = SIDES.length - 2;

/** @param {Pick<Box, "x" | "y"> & Size} one @param {Pick<Box, "x" | "y"> & Size} other */
const overlap = (one, other) => one.x < other.x + other.width && other.x < one.x + one.width
  && one.y < other.y + other.height && other.y < one.y + one.height;

/**
 * The place of every label that has one. Where not all have one, all become smaller, and then grow where there is room.
 *
 * @param {Box[]} boxes @param {Size[][]} variants of every box: its label's sizes, from the preferred one to the smallest
 * @param {Size} bounds @param {Map<number, Place>} [previous] by id: kept where still possible, so that nothing jumps
 * @returns {Map<number, Place>} by id
 */
export function placeLabels(boxes, variants, bounds, previous = new Map()) {
  /** @type {Map<number, Place & Size>} */
  let best = new Map();
  for (let first = 0; best.size < boxes.length && first < Math.max(...variants.map(({ length }) => length)); first += 1) {
    const places = new Map();
    boxes.forEach((box, index) => place(box, variants[index], first, boxes, places, bounds, previous));
    if (places.size > best.size) best = places;
  }
  boxes.forEach((box, index) => {
    if (best.get(box.id)?.variant) place(box, variants[index], 0, boxes, best, bounds, previous);
  });
  return best;
}

/**
 * Places one label where it covers no other face or label, if it can.
 *
 * @param {Box} box @param {Size[]} sizes @param {number} first of the sizes to try @param {Box[]} boxes
 * @param {Map<number, Place & Size>} places of the labels so far; the new one is added @param {Size} bounds
 * @param {Map<number, Place>} previous
 */
function place(box, sizes, first, boxes, places, bounds, previous) {
  const labels = [...places].filter(([id]) => id !== box.id).map(([, label]) => label);
  const others = [...boxes.filter((other) => other !== box), ...labels];
  const fit = (/** @type {number} */ variant, /** @type {number} */ side) => {
    const size = sizes[variant];
    if (side >= INSIDE && size.height > 0.34 * box.height) return null;
    const [left, y] = SIDES[side](box, size);
    const x = side < 4 ? Math.min(Math.max(left, 0), bounds.width - size.width) : left;
    const within = x >= 0 && y >= 0 && x + size.width <= bounds.width && y + size.height <= bounds.height;
    return within && !others.some((other) => overlap({ x, y, ...size }, other)) ? { x, y, variant, side, ...size } : null;
  };
  const start = Math.min(first, sizes.length - 1);
  const before = previous.get(box.id);
  let label = before && before.side < INSIDE && before.variant === start ? fit(start, before.side) : null;
  for (const [from, to] of [[0, INSIDE], [INSIDE, SIDES.length]]) {
    for (let variant = start; !label && variant < sizes.length; variant += 1) {
      for (let side = from; !label && side < to; side += 1) label = fit(variant, side);
    }
  }
  if (label) places.set(box.id, label);
}
