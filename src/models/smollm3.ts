import { decoderArchitecture } from './decoder.ts';
import { readGatedDecoder, readWindows } from './hugging-face-config.ts';

/** SmolLM3 (2025): a Llama of which every fourth layer, or those of `no_rope_layers`, does not rotate. */
export const SMOLLM3 = decoderArchitecture('SmolLM3', (fields) => {
  fields.refuseUnless('model_type', ['smollm3']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  const config = readGatedDecoder(fields);
  const { numLayers } = config;
  const interval = fields.size('no_rope_layer_interval', 4);
  const given = fields.list('no_rope_layers');
  if (given.length > 0 && (given.length !== numLayers || given.some((flag) => flag !== 0 && flag !== 1))) {
    fields.fail('no_rope_layers', `hold 0 or 1 for each of ${numLayers} layers`);
  }
  const rotates = (layer: number) => (given.length > 0 ? given[layer] === 1 : (layer + 1) % interval !== 0);
  const windows = fields.flag('use_sliding_window')
    ? readWindows(fields, numLayers, (layer) => !rotates(layer)).layers
    : undefined;
  return {
    ...config,
    tiesClassifier: fields.flag('tie_word_embeddings', true),
    attentionBias: fields.flag('attention_bias'),
    feedForwardBias: fields.flag('mlp_bias'),
    layers: Array.from({ length: numLayers }, (_, layer) => ({
      ...windows?.[layer],
      ...(!rotates(layer) && { rope: null }),
    })),
  };
});
