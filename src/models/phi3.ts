import { decoderArchitecture } from './decoder.ts';
import { readGatedDecoder, readWindows } from './hugging-face-config.ts';

/** Phi-3 (Abdin et al. 2024, arXiv:2404.14219): a Llama whose files hold joined projections. */
export const PHI3 = decoderArchitecture('Phi-3', (fields) => {
  fields.refuseUnless('model_type', ['phi3']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  const config = readGatedDecoder(fields);
  return { ...config, holdsJoined: true, ...readWindows(fields, config.numLayers, () => true) };
});
