/** Reads the fields that config.json has in many architectures. */
import type { RotaryScaling } from '../modules/rotary-embedding.ts';
import { isToken, type Fields } from './fields.ts';
import type { DecoderConfig, DecoderLayer, Rope } from './decoder.ts';
import type { LanguageModelConfig, ModelConfig } from './model.ts';
import { MAX_LAYERS } from './weights.ts';

/** The sizes of a decoder, under the names that most architectures have for them. */
export function readSizes(fields: Fields): LanguageModelConfig & { readonly headDim: number } {
  const embedDim = fields.size('hidden_size');
  const numHeads = fields.size('num_attention_heads');
  const numKvHeads = fields.size('num_key_value_heads', numHeads);
  const headDim = fields.size('head_dim', embedDim / numHeads);
  const maxLength = fields.size('max_position_embeddings', 2048);
  const numLayers = fields.size('num_hidden_layers');
  if (numLayers > MAX_LAYERS) fields.fail('num_hidden_layers', `be at most ${MAX_LAYERS}`);
  if (headDim % 2 !== 0) fields.fail('head_dim', 'be even');
  if (numHeads % numKvHeads !== 0) fields.fail('num_key_value_heads', `divide the ${numHeads} heads`);
  return { embedDim, numHeads, numKvHeads, headDim, maxLength, numLayers, vocabSize: fields.size('vocab_size') };
}

/** The sizes of an encoder, under the names that most architectures have for them. */
export function readEncoderSizes(fields: Fields): ModelConfig & { readonly hiddenDim: number } {
  fields.refuseUnless('quantization_config', [null]);
  const embedDim = fields.size('hidden_size');
  const numHeads = fields.size('num_attention_heads');
  const numLayers = fields.size('num_hidden_layers');
  if (numLayers > MAX_LAYERS) fields.fail('num_hidden_layers', `be at most ${MAX_LAYERS}`);
  if (embedDim % numHeads !== 0) fields.fail('num_attention_heads', `divide the ${embedDim} columns`);
  return { embedDim, numHeads, numLayers, hiddenDim: fields.size('intermediate_size') };
}

/** What the decoders that descend from Llama have in common: the rest of their config is what differs. */
export function readGatedDecoder(fields: Fields, rotary = readRotary(fields)): DecoderConfig {
  fields.refuseUnless('quantization_config', [null]);
  fields.refuseUnless('partial_rotary_factor', [1]);
  return {
    ...readSizes(fields),
    hiddenDim: fields.size('intermediate_size'),
    normEps: fields.positive('rms_norm_eps', 1e-6),
    ...rotary,
    interleaved: false,
    tiesClassifier: fields.flag('tie_word_embeddings'),
  };
}

/** For each layer whether it sees a window of keys only, as `layer_types` says; without it the `fallback` decides. */
export function readSlidingLayers(
  fields: Fields,
  numLayers: number,
  fallback: (layer: number) => boolean,
): readonly boolean[] {
  const types = fields.list('layer_types');
  if (types.length === 0) return Array.from({ length: numLayers }, (_, layer) => fallback(layer));
  const isKnown = types.every((type) => type === 'sliding_attention' || type === 'full_attention');
  if (types.length !== numLayers || !isKnown) {
    fields.fail('layer_types', `hold sliding_attention or full_attention for each of ${numLayers} layers`);
  }
  return types.map((type) => type === 'sliding_attention');
}

/** The windows of layers, of which some see `sliding_window` keys. */
export function readWindows(
  fields: Fields,
  numLayers: number,
  fallback: (layer: number) => boolean,
): { readonly layers?: readonly DecoderLayer[] } {
  if (fields.value('sliding_window') === undefined) return {};
  const sliding = readSlidingLayers(fields, numLayers, fallback);
  if (!sliding.includes(true)) return {};
  const window = fields.size('sliding_window');
  return { layers: sliding.map((slides) => (slides ? { window } : {})) };
}

/** Reads `rope_theta` and `rope_scaling`, which newer files join in `rope_parameters`. */
export function readRotary(fields: Fields): { readonly ropeBase: number; readonly ropeScaling?: RotaryScaling } {
  const together = fields.child('rope_parameters');
  const { base, scaling } = readRope(together ?? fields, 1e4, together ?? fields.child('rope_scaling'));
  return { ropeBase: base, ropeScaling: scaling };
}

/** Reads `rope_theta`, and from `scaling` what it is scaled by. */
export function readRope(fields: Fields, base: number, scaling: Fields | undefined): Rope {
  fields.refuseUnless('partial_rotary_factor', [1]);
  return { base: fields.positive('rope_theta', base), scaling: scaling && readScaling(scaling) };
}

function readScaling(fields: Fields): RotaryScaling | undefined {
  const named = fields.value('rope_type') === undefined ? 'type' : 'rope_type';
  const type = fields.text(named, 'default');
  switch (type) {
    case 'default':
      return undefined;
    case 'linear':
      return { type, factor: fields.positive('factor') };
    case 'llama3':
      return {
        type,
        factor: fields.positive('factor'),
        lowFreqFactor: fields.positive('low_freq_factor'),
        highFreqFactor: fields.positive('high_freq_factor'),
        originalMaxLength: fields.size('original_max_position_embeddings'),
      };
    case 'yarn':
      // only the defaults of these are supported
      for (const name of ['attention_factor', 'mscale', 'mscale_all_dim', 'truncate'])
        fields.refuseUnless(name, [null]);
      return {
        type,
        factor: fields.positive('factor'),
        originalMaxLength: fields.size('original_max_position_embeddings'),
        betaFast: fields.positive('beta_fast', 32),
        betaSlow: fields.positive('beta_slow', 1),
      };
    default:
      return fields.fail(named, 'be default, linear, llama3 or yarn');
  }
}

/** The tokens that begin and end a text. Values that are not tokens are left out. */
export function readTokens(fields: Fields): { readonly beginToken: number | undefined; readonly endTokens: number[] } {
  const begin = fields.value('bos_token_id');
  return {
    beginToken: isToken(begin) ? begin : undefined,
    endTokens: [fields.value('eos_token_id')].flat().filter(isToken),
  };
}
