import { KeyValueCache } from '../caches/key-value-cache.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { describe } from '../ops/internal/check.ts';
import type { Causal } from '../ops/attention/internal/options.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { CrossAttention } from './cross-attention.ts';
import { LayerNorm } from './layer-norm.ts';
import { Module } from './module.ts';
import type { ModuleList } from './module-list.ts';
import type { AttentionCache, ProjectedContext } from './projected-attention.ts';
import { SelfAttention } from './self-attention.ts';
import {
  makeLayers,
  stackOptions,
  TransformerLayer,
  type TransformerLayerOptions,
  type TransformerStackOptions,
} from './transformer-layer.ts';

/** Masks are [Nt, Nt] and [Nt, Nm], or broadcast to [B, H, Nt, …]; key masks are [B, …]. In all of them true = may attend. */
export interface TransformerDecoderForwardOptions {
  /** Which targets a target may attend to. */
  tgtMask?: Tensor;
  /** Which positions of the memory a target may attend to. */
  memoryMask?: Tensor;
  /** Which targets may be attended to: not the padding. */
  tgtKeyMask?: Tensor;
  /** Which positions of the memory may be attended to: not the padding. */
  memoryKeyMask?: Tensor;
  /** Whether a target sees only itself and those before it; default false, with a cache true. */
  tgtIsCausal?: Causal;
  /** The same of the memory; default false. */
  memoryIsCausal?: Causal;
}

const FORWARD_OPTIONS = ['tgtMask', 'memoryMask', 'tgtKeyMask', 'memoryKeyMask', 'tgtIsCausal', 'memoryIsCausal'];

/** What a decoder layer keeps from step to step: the targets' keys and values, and the memory's, projected once. */
export interface TransformerDecoderLayerCache {
  readonly targets: AttentionCache;
  readonly memory: ProjectedContext;
}

/**
 * Self-attention, attention to a memory and a feed-forward block, each with a residual and a norm (Vaswani et al. 2017), as
 * torch.nn.TransformerDecoderLayer with `batch_first`, and with its state dict: `self_attn`, `multihead_attn`, `linear1`,
 * `linear2`, `norm1`, `norm2`, `norm3`.
 */
export class TransformerDecoderLayer extends TransformerLayer {
  readonly #attention: SelfAttention;
  readonly #crossAttention: CrossAttention;
  readonly #norms: readonly [attention: LayerNorm, crossAttention: LayerNorm, feedForward: LayerNorm];

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: TransformerLayerOptions) {
    super('TransformerDecoderLayer', device, options);
    this.#attention = this.registerModule('self_attn', new SelfAttention(device, this.attentionOptions()));
    this.#crossAttention = this.registerModule('multihead_attn', new CrossAttention(device, this.attentionOptions()));
    this.registerFeedForward();
    this.#norms = [this.registerNorm('norm1'), this.registerNorm('norm2'), this.registerNorm('norm3')];
  }

  /**
   * @param tgt [B, Nt, dModel]; with a cache, the targets that follow those that it holds
   * @param memory [B, Nm, dModel], the encoder's output; or a cache of it
   * @returns [B, Nt, dModel]
   * @throws ArgumentError for shapes, dtypes or options that do not fit
   */
  forward(
    tgt: Tensor,
    memory: Tensor | TransformerDecoderLayerCache,
    options: TransformerDecoderForwardOptions = {},
  ): Tensor {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    const { tgtMask, tgtKeyMask, tgtIsCausal, memoryMask, memoryKeyMask, memoryIsCausal } = options;
    this.checkInput('tgt', tgt);
    const cache = isCache(memory) ? memory : undefined;
    if (!cache) this.checkInput('memory', memory as Tensor);
    const context = cache?.memory ?? (memory as Tensor);
    const own = { mask: tgtMask, keyMask: tgtKeyMask, isCausal: tgtIsCausal, cache: cache?.targets };
    const cross = { mask: memoryMask, keyMask: memoryKeyMask, isCausal: memoryIsCausal };
    const [attentionNorm, crossNorm, feedNorm] = this.#norms;
    return this.device.scope(() => {
      const attended = this.residual(tgt, attentionNorm, (x) => this.#attention.forward(x, own).output);
      const informed = this.residual(
        attended,
        crossNorm,
        (x) => this.#crossAttention.forward(x, context, cross).output,
      );
      return this.residual(informed, feedNorm, (x) => this.feedForward(x));
    });
  }

  /** Projects the memory for the steps of `forward` that share it. Dispose the result after the last. */
  projectMemory(memory: Tensor): ProjectedContext {
    this.checkInput('memory', memory);
    return this.#crossAttention.projectContext(memory);
  }
}

function isCache(memory: unknown): memory is TransformerDecoderLayerCache {
  return typeof memory === 'object' && memory !== null && 'targets' in memory && 'memory' in memory;
}

export interface TransformerDecoderCacheOptions {
  /** Number of targets that fit. */
  capacity: number;
  /** What keys and values of targets are stored as; default the weights' dtype. */
  dtype?: FloatDType;
}

/** The keys and values of a decoder's layers, for one memory: those of the targets so far, and those of the memory. */
export class TransformerDecoderCache {
  readonly layers: readonly (TransformerDecoderLayerCache & { readonly targets: KeyValueCache })[];

  constructor(layers: TransformerDecoderCache['layers']) {
    this.layers = layers;
  }

  /** Number of targets held. */
  get length(): number {
    return this.layers[0].targets.length;
  }

  /** Forgets the targets, and keeps the memory. */
  reset(): void {
    for (const { targets } of this.layers) targets.reset();
  }

  /** Frees everything. Calling it again does nothing. */
  dispose(): void {
    for (const { targets, memory } of this.layers) {
      targets.dispose();
      memory.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * `numLayers` decoder layers, as torch.nn.TransformerDecoder, with its state dict: `layers.0` and so on, and `norm` if there is
 * one. It takes the layers' options instead of a layer to copy, and each layer's initial weights are its own.
 */
export class TransformerDecoder extends Module {
  readonly layers: ModuleList<TransformerDecoderLayer>;
  readonly norm?: LayerNorm;
  readonly #device: Device;
  readonly #cacheOptions: { readonly numKvHeads: number; readonly headDim: number; readonly dtype?: FloatDType };

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: TransformerStackOptions) {
    const name = 'TransformerDecoder';
    super(name);
    const layers = stackOptions(name, device, options);
    const { dModel, nhead, layerNormEps: eps, bias, dtype } = options;
    this.#device = device;
    this.layers = makeLayers(layers, (each) => new TransformerDecoderLayer(device, each));
    if (options.norm) this.norm = new LayerNorm(device, { normalizedShape: dModel, eps, bias, dtype });
    this.#cacheOptions = { numKvHeads: nhead, headDim: dModel / nhead, dtype };
  }

  /**
   * @param tgt [B, Nt, dModel]; with a cache, the targets that follow those that it holds
   * @param memory [B, Nm, dModel], the encoder's output; or a cache that `createCache` made of it
   * @returns [B, Nt, dModel]
   * @throws ArgumentError for shapes, dtypes or options that do not fit
   */
  forward(
    tgt: Tensor,
    memory: Tensor | TransformerDecoderCache,
    options: TransformerDecoderForwardOptions = {},
  ): Tensor {
    const cache = memory instanceof TransformerDecoderCache ? memory : undefined;
    if (cache && cache.layers.length !== this.layers.length) {
      throw new ArgumentError(
        `${this.name}: memory must be a cache of ${this.layers.length} layers, got one of ${cache.layers.length}`,
      );
    }
    return this.#device.scope(() => {
      let x = tgt;
      for (const [i, layer] of [...this.layers].entries()) {
        x = layer.forward(x, cache?.layers[i] ?? (memory as Tensor), options);
      }
      return this.norm ? this.norm.forward(x) : x;
    });
  }

  /**
   * What decoding step by step keeps: the memory's keys and values are projected here, once, and those of targets are added by
   * `forward`. Dispose it after the last step.
   *
   *     using cache = decoder.createCache(memory, { capacity: 128 });
   *     const output = decoder.forward(target, cache);
   *
   * @param memory [B, Nm, dModel]
   * @throws ArgumentError for a memory or options that do not fit, or storage that the device cannot hold
   */
  createCache(memory: Tensor, options: TransformerDecoderCacheOptions): TransformerDecoderCache {
    const call = `${this.name}.createCache`;
    checkOptions(call, options, ['capacity', 'dtype']);
    if (!Number.isSafeInteger(options.capacity) || options.capacity < 1) {
      throw new ArgumentError(`${call}: capacity must be a positive integer, got ${describe(options.capacity)}`);
    }
    return this.#device.scope(() => {
      const made: { targets: KeyValueCache; memory: ProjectedContext }[] = [];
      try {
        for (const layer of this.layers) {
          const projected = layer.projectMemory(memory);
          const targets = new KeyValueCache(this.#device, {
            ...this.#cacheOptions,
            ...options,
            batch: memory.shape[0],
          });
          made.push({ memory: projected, targets });
        }
      } catch (error) {
        for (const { targets } of made) targets.dispose();
        throw error;
      }
      // it owns them, whatever scope they were made in
      for (const { memory: kept } of made) for (const tensor of [kept.k, kept.v]) this.#device.keep(tensor);
      return new TransformerDecoderCache(made);
    });
  }
}
