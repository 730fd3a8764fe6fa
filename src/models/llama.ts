import type { Device } from '../tensor/device.ts';
import { Decoder, decoderWeights, isSpareOfDecoder, type DecoderCheckpoint, type DecoderConfig } from './decoder.ts';
import type { Fields } from './fields.ts';
import { readGatedDecoder } from './hugging-face-config.ts';
import type { Architecture, ModelOptions } from './model.ts';

/** The sizes and constants of a model; names as in modules. */
export type LlamaConfig = DecoderConfig;

/** A Llama on the host, as its files hold it. */
export type LlamaCheckpoint = DecoderCheckpoint;

export const LLAMA: Architecture<LlamaConfig> = {
  name: 'Llama',
  readConfig,
  weightShapes: decoderWeights,
  isSpare: isSpareOfDecoder,
  create: (device, checkpoint, options) => new Llama(device, checkpoint, options),
};

function readConfig(fields: Fields): LlamaConfig {
  fields.refuseUnless('model_type', ['llama']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  return {
    ...readGatedDecoder(fields),
    attentionBias: fields.flag('attention_bias'),
    feedForwardBias: fields.flag('mlp_bias'),
  };
}

/**
 * A language model of the Llama architecture (Touvron et al. 2023, arXiv:2302.13971): pre-normalised layers of rotary
 * attention with grouped key heads and a SwiGLU feed-forward block, without dropout. It is for inference and records nothing
 * for gradients.
 */
export class Llama extends Decoder {
  /**
   * @param checkpoint as `readLlama2c` or `readHuggingFaceLlama` returns it; not needed afterwards
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(device: Device, checkpoint: Pick<LlamaCheckpoint, 'config' | 'weights'>, options: ModelOptions = {}) {
    super('Llama', device, LLAMA, checkpoint, options);
  }
}
