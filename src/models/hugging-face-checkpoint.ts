/** Llama-architecture models as Hugging Face stores them: config.json and safetensors. */
import { LoadError } from '../gpu/errors.ts';
import { parseSafetensors } from '../io/safetensors.ts';
import type { RotaryScaling } from '../modules/rotary-embedding.ts';
import { parseFields, type Fields } from './fields.ts';
import {
  checkWeights,
  MAX_LAYERS,
  type HostWeight,
  type LlamaCheckpoint,
  type LlamaConfig,
} from './llama-checkpoint.ts';

const CALL = 'readHuggingFaceLlama';
const ARCHITECTURE = 'LlamaForCausalLM';

/**
 * Reads a `LlamaForCausalLM` from the text of its config.json and the bytes of its safetensors, one or several shards.
 * Weights may be F32, F16 or BF16. Of rotary scaling, the types `default`, `linear`, `llama3` and `yarn` are known.
 *
 * @returns weights that are views of `files`
 * @throws LoadError, one sentence, for another architecture, an option of it that is not supported, files that are no
 *   safetensors, and missing, unexpected or misshapen weights
 */
export function readHuggingFaceLlama(config: string, files: readonly Uint8Array[]): LlamaCheckpoint {
  const fields = parseFields(CALL, 'config.json', config);
  const sizes = readConfig(fields);
  const weights: Record<string, HostWeight> = Object.create(null);
  for (const file of files) {
    for (const [name, weight] of Object.entries(parseSafetensors(file).tensors)) {
      if (name in weights) throw new LoadError(`${CALL}: weight '${name}' must be in one file, got it in two`);
      weights[name] = weight;
    }
  }
  checkWeights(CALL, { config: sizes, weights });
  const begin = fields.value('bos_token_id');
  const end = [fields.value('eos_token_id')].flat();
  return {
    config: sizes,
    weights,
    beginToken: isToken(begin) ? begin : undefined,
    endTokens: end.filter(isToken),
  };
}

function readConfig(fields: Fields): LlamaConfig {
  const architectures = fields.value('architectures') ?? [ARCHITECTURE];
  if (!Array.isArray(architectures) || !architectures.includes(ARCHITECTURE)) {
    fields.fail('architectures', `hold ${ARCHITECTURE}`);
  }
  fields.refuseUnless('model_type', ['llama']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  fields.refuseUnless('quantization_config', [null]);
  fields.refuseUnless('partial_rotary_factor', [1]);
  const embedDim = fields.size('hidden_size');
  const numHeads = fields.size('num_attention_heads');
  const numKvHeads = fields.size('num_key_value_heads', numHeads);
  const headDim = fields.size('head_dim', embedDim / numHeads);
  const maxLength = fields.size('max_position_embeddings', 2048);
  const numLayers = fields.size('num_hidden_layers');
  if (numLayers > MAX_LAYERS) fields.fail('num_hidden_layers', `be at most ${MAX_LAYERS}`);
  if (headDim % 2 !== 0) fields.fail('head_dim', 'be even');
  if (numHeads % numKvHeads !== 0) fields.fail('num_key_value_heads', `divide the ${numHeads} heads`);
  return {
    embedDim,
    numHeads,
    numKvHeads,
    headDim,
    maxLength,
    hiddenDim: fields.size('intermediate_size'),
    numLayers,
    vocabSize: fields.size('vocab_size'),
    normEps: fields.positive('rms_norm_eps', 1e-6),
    ...readRotary(fields),
    interleaved: false,
    tiesClassifier: fields.flag('tie_word_embeddings'),
    attentionBias: fields.flag('attention_bias'),
    feedForwardBias: fields.flag('mlp_bias'),
  };
}

/** `rope_theta` and `rope_scaling`, which newer files have together in `rope_parameters`. */
function readRotary(fields: Fields): Pick<LlamaConfig, 'ropeBase' | 'ropeScaling'> {
  const together = fields.child('rope_parameters');
  const ropeBase = (together ?? fields).positive('rope_theta', 10000);
  const scaling = together ?? fields.child('rope_scaling');
  return { ropeBase, ropeScaling: scaling && readScaling(scaling) };
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
      // of these only the defaults are known
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

function isToken(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
