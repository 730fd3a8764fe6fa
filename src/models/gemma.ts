import { decoderArchitecture, type DecoderConfig } from './decoder.ts';
import type { Fields } from './fields.ts';
import { readGatedDecoder, readRope, readSlidingLayers, readWindows } from './hugging-face-config.ts';

/** Layers with norms before and after each block that multiply by 1 + weight, and scaled embeddings. */
function readGemma(fields: Fields, common: DecoderConfig): DecoderConfig {
  fields.refuseUnless('hidden_activation', ['gelu_pytorch_tanh']);
  fields.refuseUnless('use_bidirectional_attention', [null, false]);
  const optional = (name: string) => (fields.value(name) === undefined ? undefined : fields.positive(name));
  return {
    ...common,
    tiesClassifier: fields.flag('tie_word_embeddings', true),
    attentionBias: fields.flag('attention_bias'),
    norms: 'both',
    addsOneToNorms: true,
    activation: 'geluTanh',
    scale: fields.positive('query_pre_attn_scalar', common.headDim) ** -0.5,
    softcap: optional('attn_logit_softcapping'),
    logitSoftcap: optional('final_logit_softcapping'),
    embeddingScale: Math.sqrt(common.embedDim),
  };
}

/** Gemma 2 (2024, arXiv:2408.00118): every other layer sees a window, and scores and logits are capped. */
export const GEMMA2 = decoderArchitecture('Gemma 2', (fields) => {
  fields.refuseUnless('model_type', ['gemma2']);
  const config = readGemma(fields, readGatedDecoder(fields));
  return { ...config, ...readWindows(fields, config.numLayers, (layer) => layer % 2 === 0) };
});

/** Gemma 3 (2025, arXiv:2503.19786), text only: norms of queries and keys; layers with a window rotate by a base of their own. */
export const GEMMA3 = decoderArchitecture('Gemma 3', (fields) => {
  fields.refuseUnless('model_type', ['gemma3_text']);
  const ropes = fields.child('rope_parameters');
  const full = ropes?.child('full_attention');
  const sliding = ropes?.child('sliding_attention');
  const global = readRope(full ?? fields, 1e6, full ?? fields.child('rope_scaling'));
  const local = sliding ? readRope(sliding, 1e4, sliding) : { base: fields.positive('rope_local_base_freq', 1e4) };
  const config = readGemma(fields, readGatedDecoder(fields, { ropeBase: global.base, ropeScaling: global.scaling }));
  const pattern = fields.size('sliding_window_pattern', 6);
  const slides = readSlidingLayers(fields, config.numLayers, (layer) => (layer + 1) % pattern !== 0);
  const window = fields.size('sliding_window', 4096);
  return {
    ...config,
    queryKeyNorm: 'head',
    layers: slides.map((isLocal) => (isLocal ? { window, rope: local } : {})),
  };
});
