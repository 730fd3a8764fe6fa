/** The interface of a language model of any architecture. `generate` and the command line know nothing else about one. */
import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import type { SafetensorsEntry } from '../io/safetensors.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { Fields } from './fields.ts';
import type { ForwardOptions, ModelCache, ModelCacheOptions } from './model-cache.ts';

/** The sizes that every network has; names as in modules. */
export interface ModelConfig {
  /** Width of the residual stream, E. */
  readonly embedDim: number;
  readonly numLayers: number;
  /** H; need not divide embedDim. */
  readonly numHeads: number;
}

/** The sizes that every language model has. */
export interface LanguageModelConfig extends ModelConfig {
  /** Hkv; divides H. */
  readonly numKvHeads: number;
  readonly vocabSize: number;
  /** Positions that the model was made for. */
  readonly maxLength: number;
}

/** A model that says which token may follow a text. `Llama` is one. */
export interface LanguageModel {
  readonly device: Device;
  readonly config: LanguageModelConfig;
  /** Dtype of weights, activations and logits. */
  readonly dtype: FloatDType;
  /** The longest text, in tokens; at most the config's `maxLength`. */
  readonly maxLength: number;
  /** Makes room for the keys and values of a batch of sequences. The caller disposes it. */
  createCache(options?: ModelCacheOptions): ModelCache;
  /**
   * Appends tokens to every sequence of a cache, and scores the tokens that may follow the last.
   *
   * @param ids [B, N]; int32 or uint32
   * @param cache made by this model's `createCache`
   * @returns logits [B, vocabSize] after the last token; with `logits: 'all'` [B, N, vocabSize] after each
   */
  forward(ids: Tensor, cache: ModelCache, options?: ForwardOptions): FloatTensor;
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface ModelOptions {
  /** Dtype of weights, activations and logits; default `'float32'`. Weights of a file are converted. */
  dtype?: FloatDType;
  /** The longest text, in tokens. It sets the length of the rotary tables. Default all positions that the model has. */
  maxLength?: number;
}

/** A weight on the host, as bytes of its file: F32, F16 or BF16. */
export type HostWeight = SafetensorsEntry;

/** A model on the host, as its files hold it. */
export interface Checkpoint<Config = LanguageModelConfig> {
  readonly config: Config;
  /** By Hugging Face's names: `model.layers.0.self_attn.q_proj.weight`, … */
  readonly weights: Readonly<Record<string, HostWeight>>;
  /** The token that begins a text, if the model has one. */
  readonly beginToken: number | undefined;
  /** Tokens that end a text. */
  readonly endTokens: readonly number[];
}

/** How to read and make models of one architecture. */
export interface Architecture<Config extends ModelConfig = LanguageModelConfig, Model = LanguageModel> {
  /** The name that users know: 'Llama'. */
  readonly name: string;
  /** Reads Hugging Face's config.json. */
  readConfig(fields: Fields): Config;
  /** Every weight of a model with its shape, by Hugging Face's names. */
  weightShapes(config: Config): ReadonlyMap<string, Shape>;
  /** What some files have before the names of the network's weights and others do not: `bert.` beside a head. */
  readonly stem?: string;
  /** Whether files may hold a weight of this name although the model has no use for it. */
  isSpare(name: string, config: Config): boolean;
  create(device: Device, checkpoint: Checkpoint<Config>, options?: ModelOptions): Model;
}

/** @throws ArgumentError for options that do not fit the model */
export function checkModelOptions(
  name: string,
  config: Pick<LanguageModelConfig, 'maxLength'>,
  options: ModelOptions,
): Required<ModelOptions> {
  checkOptions(name, options, ['dtype', 'maxLength']);
  const { dtype = 'float32', maxLength = config.maxLength } = options;
  if (dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`${name}: dtype must be float32 or float16, got ${describe(dtype)}`);
  }
  if (!Number.isSafeInteger(maxLength) || maxLength < 1 || maxLength > config.maxLength) {
    throw new ArgumentError(
      `${name}: maxLength must be an integer from 1 to the model's ${config.maxLength} positions, got ${describe(maxLength)}`,
    );
  }
  return { dtype, maxLength };
}
