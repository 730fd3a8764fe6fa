import { decoderArchitecture, type DecoderConfig } from './decoder.ts';
import type { Fields } from './fields.ts';
import { readGatedDecoder, readWindows } from './hugging-face-config.ts';

function readQwen(fields: Fields, type: string): DecoderConfig {
  fields.refuseUnless('model_type', [type]);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  const config = readGatedDecoder(fields);
  if (!fields.flag('use_sliding_window')) return config;
  const first = fields.value('max_window_layers') === 0 ? 0 : fields.size('max_window_layers', config.numLayers);
  return { ...config, ...readWindows(fields, config.numLayers, (layer) => layer >= first) };
}

/** Qwen 2 and 2.5 (Yang et al. 2024, arXiv:2407.10671): a Llama with biases on queries, keys and values. */
export const QWEN2 = decoderArchitecture('Qwen 2', (fields) => ({
  ...readQwen(fields, 'qwen2'),
  queryKeyValueBias: true,
}));

/** Qwen 3 (Yang et al. 2025, arXiv:2505.09388): a Llama with norms of the queries and keys of each head. */
export const QWEN3 = decoderArchitecture('Qwen 3', (fields) => ({
  ...readQwen(fields, 'qwen3'),
  attentionBias: fields.flag('attention_bias'),
  queryKeyNorm: 'head',
}));
