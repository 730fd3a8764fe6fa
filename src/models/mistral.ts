import { decoderArchitecture } from './decoder.ts';
import { readGatedDecoder, readWindows } from './hugging-face-config.ts';

/** Mistral (Jiang et al. 2023, arXiv:2310.06825): a Llama whose layers see a window of keys. */
export const MISTRAL = decoderArchitecture('Mistral', (fields) => {
  fields.refuseUnless('model_type', ['mistral']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  const config = readGatedDecoder(fields);
  return { ...config, ...readWindows(fields, config.numLayers, () => true) };
});
