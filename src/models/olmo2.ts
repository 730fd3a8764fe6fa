import { decoderArchitecture } from './decoder.ts';
import { readGatedDecoder } from './hugging-face-config.ts';

/** OLMo 2 (2025, arXiv:2501.00656): norms after each block, and of the whole projections of queries and keys. */
export const OLMO2 = decoderArchitecture('OLMo 2', (fields) => {
  fields.refuseUnless('model_type', ['olmo2']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  return {
    ...readGatedDecoder(fields),
    attentionBias: fields.flag('attention_bias'),
    norms: 'after',
    queryKeyNorm: 'projection',
  };
});
