/**
 * A run in one safetensors file: weights under `model.`, the optimiser's state under `optimiser.`, and in the metadata the
 * step, the losses so far, the options, and the device's next seed. Numbers are float32 as on the device, and dropout goes on
 * from the same seed, so that what goes on goes on exactly.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { loadSafetensors, saveSafetensors } from 'webgpu-attention';

const PARTS = ['model', 'optimiser'];

/** Written beside its place and renamed, so that an interruption leaves the one before. */
export async function saveCheckpoint(file, { device, model, optimiser }, state) {
  const dicts = { model: model.stateDict(), optimiser: optimiser.stateDict() };
  const tensors = PARTS.flatMap((part) => entriesOf(dicts[part], (name) => `${part}.${name}`));
  const bytes = await saveSafetensors(Object.fromEntries(tensors), {
    state: JSON.stringify(state),
    deviceSeed: String(device.seed),
  });
  await writeFile(`${file}.partial`, bytes);
  await rename(`${file}.partial`, file);
}

/** Puts what `saveCheckpoint` wrote into the model, the optimiser and the device, and returns the state. */
export async function loadCheckpoint(file, { model, optimiser, device }) {
  const bytes = await readFile(file);
  const tensors = await loadSafetensors(device, bytes);
  const [weights, moments] = PARTS.map((part) => {
    const own = Object.entries(tensors).filter(([name]) => name.startsWith(`${part}.`));
    return Object.fromEntries(own.map(([name, tensor]) => [name.slice(part.length + 1), tensor]));
  });
  model.loadStateDict(weights);
  optimiser.loadStateDict(moments);
  for (const tensor of Object.values(tensors)) tensor.dispose();
  const { state: json, deviceSeed } = metadataIn(bytes);
  device.seed = Number(deviceSeed);
  return JSON.parse(json);
}

/** The state alone, as for the sizes of the model that is to be made. */
export async function readState(file) {
  return JSON.parse(metadataIn(await readFile(file)).state);
}

/** It is in the file's header, which has no tensor: `u64 length | JSON | data`. */
function metadataIn(bytes) {
  const length = Number(bytes.readBigUInt64LE());
  return JSON.parse(bytes.toString('utf8', 8, 8 + length)).__metadata__;
}

function entriesOf(dict, rename) {
  return Object.entries(dict).map(([name, tensor]) => [rename(name), tensor]);
}
