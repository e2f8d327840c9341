// Who was seen in a video, and when: the engine's tracks put together.

import { portrait } from "./faces.js";

/** @typedef {import("../engine.js").TrackedFace} TrackedFace */
/**
 * @typedef {object} Seen
 * @property {[number, number][]} spans seconds, from first to last
 * @property {number} frames
 * @property {HTMLCanvasElement} portrait of the frame where the person was first seen
 * @property {boolean} [stale] the answers are those to other options
 * @typedef {TrackedFace & Seen} Person
 */

const GAP = 1; // seconds without a face that end a span

export class People {
  constructor() {
    /** @type {Map<number, Person>} */
    this.byId = new Map();
    /** @type {{ seconds: number, faces: TrackedFace[] }[]} */
    this.frames = [];
    this.offset = 0;
  }

  /** The engine numbers its tracks from 1 again. */
  restart() {
    this.offset = Math.max(0, ...this.byId.keys());
  }

  /**
   * @param {number} seconds @param {TrackedFace[]} faces @param {HTMLCanvasElement} frame where they were found
   * @returns {TrackedFace[]} with the numbers of people
   */
  add(seconds, faces, frame) {
    const before = this.frames.at(-1);
    const numbered = faces.map((face) => ({ ...face, id: face.id + this.offset }));
    this.frames.push({ seconds, faces: numbered });
    for (const face of numbered) {
      const person = this.byId.get(face.id);
      const spans = person?.spans ?? [];
      const last = spans.at(-1);
      const stayed = before?.faces.some(({ id }) => id === face.id); // on a slow device frames are far apart
      if (last && seconds >= last[1] && (stayed || seconds - last[1] <= GAP)) last[1] = seconds;
      else spans.push([seconds, seconds]);
      this.byId.set(face.id, {
        ...face,
        spans,
        frames: (person?.frames ?? 0) + 1,
        portrait: person?.portrait ?? portrait(face, frame),
      });
    }
    return numbered;
  }

  /** The options have changed: who is seen again gets new answers. A decision by another age check does not stay. */
  expire() {
    for (const [id, { decision, ...person }] of this.byId) this.byId.set(id, { ...person, stale: true });
  }

  list() {
    return [...this.byId.values()];
  }
}
