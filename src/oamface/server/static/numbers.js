// Rounding as in schema oamface/1, and interpolation.

/** @param {number} value */
export const tenth = (value) => Math.round(value * 10) / 10;

/** @param {number} value */
export const fine = (value) => Math.round(value * 10_000) / 10_000;

/** Linear between points, constant outside them. @param {number} value @param {number[]} xs rising @param {number[]} ys */
export function interpolate(value, xs, ys) {
  const next = xs.findIndex((x) => x >= value);
  if (next < 0) return ys[ys.length - 1];
  if (next === 0) return ys[0];
  return ys[next - 1] + (value - xs[next - 1]) / (xs[next] - xs[next - 1]) * (ys[next] - ys[next - 1]);
}
