/** The trained model that the page ships: `npm run playground:train` makes its files. */
import { cast, loadSafetensors, noGrad, type Device } from 'webgpu-attention';
import {
  readHuggingFaceLlama,
  readHuggingFaceTokenizer,
  type LlamaCheckpoint,
  type Tokenizer,
} from 'webgpu-attention/models';
import configText from './model/config.json?raw';
import tokenizerText from './model/tokenizer.json?raw';
import weightsUrl from './model/model.safetensors?url';
import { Network } from './network.ts';

export const tokenizer: Tokenizer = readHuggingFaceTokenizer(tokenizerText);

async function fetchWeights(): Promise<Uint8Array> {
  const response = await fetch(weightsUrl);
  if (!response.ok) throw new Error(`the model's weights must be at ${weightsUrl}, got status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** For generating text. */
export async function loadCheckpoint(): Promise<LlamaCheckpoint> {
  return readHuggingFaceLlama(configText, [await fetchWeights()]);
}

/** For looking at its attention. */
export async function loadNetwork(device: Device): Promise<Network> {
  const bytes = await fetchWeights();
  const { config } = readHuggingFaceLlama(configText, [bytes]);
  const network = new Network(device, config, 0);
  const weights = await loadSafetensors(device, bytes);
  noGrad(() =>
    device.scope(() => {
      const wide = Object.entries(weights).map(([name, weight]) => [name, cast(weight, 'float32')]);
      network.loadStateDict(Object.fromEntries(wide));
    }),
  );
  for (const weight of Object.values(weights)) weight.dispose();
  network.requiresGrad(false);
  return network;
}
