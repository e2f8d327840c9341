// What a model file carries about itself, read from the ONNX file as Python reads it: JSON under the key "oamface".

import { FORMAT } from "./constants.js";
import { EngineError } from "./engine.js";

const KEY = "oamface";
const METADATA = 14; // the field metadata_props of ONNX's ModelProto: messages of a key (1) and a value (2)

/**
 * @typedef {object} Description
 * @property {string} format
 * @property {Record<string, (string | number)[]>} tasks classes
 * @property {{ size: number, crop_box: number[], mean: number[], std: number[] }} input
 * @property {Record<string, number>} temperatures
 * @property {Record<string, number>} thresholds
 * @property {{ level: number, quantiles: number[], undetected?: number[] }} intervals
 * @property {[number, number, number][]} [at_least]
 */

/** @param {Uint8Array} model @returns {Description} */
export function readDescription(model) {
  const text = new TextDecoder();
  for (const { field, content } of fields(model)) {
    if (field !== METADATA) continue;
    const [key, value] = [...fields(content)].map((part) => text.decode(part.content));
    if (key !== KEY) continue;
    const description = JSON.parse(value);
    if (description.format === FORMAT) return description;
  }
  throw new EngineError("model", "The model file is not one of this version.");
}

/** The fields of a protocol buffer that have a length. @param {Uint8Array} bytes */
function* fields(bytes) {
  let position = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[position++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (position < bytes.length) {
    const tag = number();
    const kind = tag % 8;
    if (kind === 0) number();
    else if (kind === 1) position += 8;
    else if (kind === 5) position += 4;
    else if (kind === 2) {
      const length = number();
      yield { field: (tag - kind) / 8, content: bytes.subarray(position, position + length) };
      position += length;
    } else throw new EngineError("model", "The model file is damaged.");
  }
}
