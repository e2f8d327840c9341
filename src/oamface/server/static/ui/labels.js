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

const overlap = (one, other) => one.x < other.x + other.width && other.x < one.x + one.width
  && one.y < other.y + other.height && other.y < one.y + one.height;

/**
 * The place of every label that has one.
 *
 * @param {Box[]} boxes @param {Size[][]} variants of every box: its label's sizes, from the preferred one to the smallest
 * @param {Size} bounds @param {Map<number, Place>} [previous] by id: kept where still possible, so that nothing jumps
 * @returns {Map<number, Place>} by id
 */
export function placeLabels(boxes, variants, bounds, previous = new Map()) {
  /** @type {Map<number, Place>} */
  const places = new Map();
  /** @type {(Box | Place & Size)[]} */
  const taken = [];
  boxes.forEach((box, index) => {
    const others = [...boxes.filter((other) => other !== box), ...taken];
    const fit = (variant, side) => {
      const size = variants[index][variant];
      const inside = side >= INSIDE;
      if (!size || inside && size.height > 0.34 * box.height) return null;
      const [left, y] = SIDES[side](box, size);
      const x = side < 4 ? Math.min(Math.max(left, 0), bounds.width - size.width) : left;
      const label = { x, y, variant, side, ...size };
      const within = x >= 0 && y >= 0 && x + size.width <= bounds.width && y + size.height <= bounds.height;
      return within && !others.some((other) => overlap(label, other)) ? label : null;
    };
    const before = previous.get(box.id);
    let label = before && before.side < INSIDE && before.variant === 0 ? fit(before.variant, before.side) : null;
    for (const sides of [[0, INSIDE], [INSIDE, SIDES.length]]) {
      for (let variant = 0; !label && variant < variants[index].length; variant += 1) {
        for (let side = sides[0]; !label && side < sides[1]; side += 1) label = fit(variant, side);
      }
    }
    if (!label) return;
    taken.push(label);
    places.set(box.id, { x: label.x, y: label.y, variant: label.variant, side: label.side });
  });
  return places;
}
