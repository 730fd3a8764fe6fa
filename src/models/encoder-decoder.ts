/** Networks that read one text and write another. */
import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { EncodeOptions } from './encoder.ts';
import {
  checkForwardOptions,
  checkStep,
  ModelCache,
  type ForwardOptions,
  type LayerCache,
  type ModelCacheOptions,
} from './model-cache.ts';
import type { LanguageModel, LanguageModelConfig } from './model.ts';

export interface EncoderDecoderConfig extends LanguageModelConfig {
  /** Layers of the encoder; `numLayers` are the decoder's. */
  readonly numEncoderLayers: number;
  /** D. */
  readonly headDim: number;
  readonly hiddenDim: number;
  /** The token that begins each text that is written. */
  readonly startToken: number;
}

/** A model that reads a text and writes another. */
export interface EncoderDecoder {
  readonly device: Device;
  readonly config: EncoderDecoderConfig;
  readonly dtype: FloatDType;
  /** The token that begins each text that is written: the prompt of `generate`. */
  readonly startToken: number;
  /**
   * Reads texts, and projects for each layer of the decoder what it attends to, once.
   *
   *     using source = model.encode(ids, { attentionMask });
   *     for await (const token of generate(source, [model.startToken])) …
   *
   * @param ids [B, N]; int32 or uint32; one text for `generate`
   * @returns a language model that writes the other text; dispose it after the last use
   * @throws ArgumentError for ids or options that do not fit
   */
  encode(ids: Tensor, options?: EncodeOptions): EncodedText;
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Keys and values [B, H, N, D] of the encoded text for one layer. */
export interface Context {
  readonly k: Tensor;
  readonly v: Tensor;
}

/** What a decoder attends to. */
export interface Encoded {
  /** For each layer of the decoder. */
  readonly contexts: readonly Context[];
  /** bool [B, N], true = may attend. */
  readonly keyMask: Tensor | undefined;
}

/** The decoder of a network. */
export interface DecoderParts {
  readonly name: string;
  readonly device: Device;
  readonly config: EncoderDecoderConfig;
  readonly dtype: FloatDType;
  readonly maxLength: number;
  /** ids [B, N] at `position` and on → x [B, N, E]. */
  embed(ids: Tensor, position: number): Tensor;
  /** What all layers share of a step: a bias of positions, for one. Called once for each step. */
  shared?(position: number, added: number): Tensor | undefined;
  layer(x: Tensor, index: number, cache: LayerCache, encoded: Encoded, shared: Tensor | undefined): Tensor;
  /** x [B, N, E] → logits [B, N, V]. */
  classify(x: Tensor): FloatTensor;
}

/** A text that was read, as a language model that writes the other text. It belongs to its model, which must live as long. */
export class EncodedText implements LanguageModel {
  readonly device: Device;
  readonly config: EncoderDecoderConfig;
  readonly dtype: FloatDType;
  readonly maxLength: number;
  readonly #decoder: DecoderParts;
  readonly #encoded: Encoded;

  /** @internal */
  constructor(decoder: DecoderParts, encoded: Encoded) {
    const { device, config, dtype, maxLength } = decoder;
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    this.maxLength = maxLength;
    this.#decoder = decoder;
    this.#encoded = encoded;
    // it owns them, whatever scope they were made in
    for (const { k, v } of encoded.contexts) for (const tensor of [k, v]) device.keep(tensor);
    if (encoded.keyMask) device.keep(encoded.keyMask);
  }

  /** Makes room for the keys and values of the texts that are written, one for each that was read. The caller disposes it. */
  createCache(options: ModelCacheOptions = {}): ModelCache {
    const batch = this.#encoded.contexts[0].k.shape[0];
    const call = `${this.#decoder.name}.createCache`;
    const { batch: wanted = batch } = options;
    if (wanted !== batch) {
      throw new ArgumentError(`${call}: batch must be the ${batch} of the texts that were read, got ${wanted}`);
    }
    const sizes = { ...this.config, maxLength: this.maxLength, dtype: this.dtype };
    return new ModelCache(call, this.device, sizes, { ...options, batch });
  }

  /** As `LanguageModel.forward`. The first token is the model's `startToken`. */
  forward(ids: Tensor, cache: ModelCache, options: ForwardOptions = {}): FloatTensor {
    const call = `${this.#decoder.name}.forward`;
    checkStep(call, ids, cache, this.config.numLayers);
    const takesAll = checkForwardOptions(call, options);
    return noGrad(() => this.device.scope(() => this.#run(ids, cache, takesAll)));
  }

  /** Frees what the decoder attends to. Calling it again does nothing. */
  dispose(): void {
    for (const { k, v } of this.#encoded.contexts) {
      k.dispose();
      v.dispose();
    }
    this.#encoded.keyMask?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #run(ids: Tensor, cache: ModelCache, takesAll: boolean): FloatTensor {
    const decoder = this.#decoder;
    const { embedDim, vocabSize } = this.config;
    const { batch, length, layers } = cache;
    const added = ids.shape[1];
    const shared = decoder.shared?.(length, added);
    let x = decoder.embed(ids, length);
    for (const [index, layer] of layers.entries()) {
      const next = this.device.scope(() => decoder.layer(x, index, layer, this.#encoded, shared));
      x.dispose();
      x = next;
    }
    cache.advance(added);
    if (takesAll) return decoder.classify(x);
    const last = x.slice(1, added - 1, added).reshape([batch, 1, embedDim]);
    return decoder.classify(last).reshape([batch, vocabSize]);
  }
}
