import { ArgumentError } from '../gpu/errors.ts';
import { checkBoolean, checkFloat, checkProbability, checkSeed, checkTensor, describe } from '../ops/internal/check.ts';
import { concat, reshape } from '../ops/copy.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { matmul } from '../ops/matmul.ts';
import { scaledDotProductAttention } from '../ops/attention/scaled-dot-product-attention.ts';
import { mean } from '../ops/sum.ts';
import {
  checkOptionValues,
  type Causal,
  type VisibilityOptions,
  type Window,
} from '../ops/attention/internal/options.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { droppedBy, type AttentionDropoutForwardOptions, type AttentionDropoutOptions } from './attention-dropout.ts';
import { checkSizes } from './check.ts';
import { gaussian, makeTensors, uniformByFan, xavierUniform, type Initial } from './initialise.ts';
import { Module } from './module.ts';

export interface ProjectionOptions extends AttentionDropoutOptions {
  /** Width E of the query and of the output. */
  embedDim: number;
  /** H; divides embedDim. */
  numHeads: number;
  /** Biases on the four projections; default true. */
  bias?: boolean;
  /** Dtype of the weights, and so of the inputs; default `'float32'`. */
  dtype?: FloatDType;
  /** Seed of the initial weights; default the device's next seed, so that each module starts differently. */
  seed?: number;
}

export const PROJECTION_OPTIONS = ['embedDim', 'numHeads', 'bias', 'dropoutP', 'dtype', 'seed'] as const;

interface FullOptions extends ProjectionOptions {
  kDim?: number;
  vDim?: number;
  addBiasKv?: boolean;
}

/**
 * What attention modules ask of a cache: a `KeyValueCache`, or for sequences of a paged one
 * `{ lengthAfter: (n) => cache.length(id) + n, append: (k, v) => cache.append([id], k, v), attend: (q, options) =>
 * cache.attend([id], q, options) }`.
 */
export interface AttentionCache {
  /** Number of keys held once `count` more are appended. */
  lengthAfter(count: number): number;
  /** Appends k and v [B, H, N, E/H]. */
  append(k: Tensor, v: Tensor): void;
  /** Attention of q [B, H, Nq, E/H] to the keys held, causal (`'bottom-right'`) unless `isCausal` says otherwise. */
  attend(q: Tensor, options: VisibilityOptions & { window?: Window }): { readonly output: FloatTensor };
}

/**
 * Keys and values of a context, projected once for many calls of the `forward` that attends to it. Dispose it after the last.
 */
export class ProjectedContext {
  /** Keys [B, H, Nk, E/H]. */
  readonly k: Tensor;
  /** Values [B, H, Nk, E/H]. */
  readonly v: Tensor;
  /** @internal The module that projected it. */
  readonly owner: object;

  /** @internal */
  constructor(owner: object, k: Tensor, v: Tensor) {
    this.owner = owner;
    this.k = k;
    this.v = v;
  }

  /** Frees both. Calling it again does nothing. */
  dispose(): void {
    this.k.dispose();
    this.v.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** `mask` is [Nq, Nk], or broadcasts to [B, H, Nq, Nk] with four axes. */
export interface AttentionForwardOptions extends VisibilityOptions, AttentionDropoutForwardOptions {
  /** Also return the weights. Attention is then materialised rather than fused. Default false. */
  needWeights?: boolean;
  /** With `needWeights`, return the mean of the weights over the heads. Default false (PyTorch: true). */
  averageWeights?: boolean;
}

/** `forward` of self-attention. Masks are over the keys held, with a cache. */
export interface CachedForwardOptions {
  /**
   * Holds the keys and values of earlier calls. Those of this call are appended, and its queries attend to all that are
   * held. They have the last positions: attention is causal by those unless `isCausal` is false. The cache has numHeads key
   * heads of E/H columns. Needs evaluation mode if the module has dropout, and no weights are returned. There is no gradient
   * through a cache.
   */
  cache?: AttentionCache;
}

export const FORWARD_OPTIONS = ['mask', 'keyMask', 'isCausal', 'needWeights', 'averageWeights', 'dropoutSeed'];

export interface AttentionModuleResult {
  /** [B, Nq, E]. */
  output: FloatTensor;
  /** With `needWeights`: [B, H, Nq, Nk], or averaged [B, Nq, Nk]; appended keys are further columns. */
  weights?: FloatTensor;
}

/** Heads of one projected input: a strided view [B, H, N, E/H] of the projection [B, N, E]. */
export interface Heads {
  q: Tensor;
  k: Tensor;
  v: Tensor;
}

/**
 * The projections around attention that the weighted modules share, with torch.nn.MultiheadAttention's parameters:
 * `in_proj_weight` [3E, E] (rows of q, k, v), or if kDim or vDim differs from E `q_proj_weight` [E, E],
 * `k_proj_weight` [E, kDim], `v_proj_weight` [E, vDim]; `in_proj_bias` [3E]; `bias_k`, `bias_v` [1, 1, E];
 * `out_proj.weight` [E, E], `out_proj.bias` [E].
 */
export abstract class ProjectedAttention extends Module {
  readonly embedDim: number;
  readonly numHeads: number;
  readonly kDim: number;
  readonly vDim: number;
  readonly dropoutP: number;
  readonly dtype: FloatDType;
  protected readonly device: Device;

  constructor(name: string, device: Device, options: FullOptions) {
    super(name);
    const { embedDim, numHeads, bias = true, addBiasKv = false, dtype = 'float32', dropoutP = 0 } = options;
    const { seed = device.nextSeed() } = options;
    const { kDim = embedDim, vDim = embedDim } = options;
    checkSizes(name, { embedDim, numHeads, kDim, vDim });
    if (embedDim % numHeads !== 0) {
      throw new ArgumentError(`${name}: numHeads must divide embedDim ${embedDim}, got ${numHeads}`);
    }
    if (dtype !== 'float32' && dtype !== 'float16') {
      throw new ArgumentError(`${name}: dtype must be float32 or float16, got ${describe(dtype)}`);
    }
    if (!Number.isInteger(seed)) throw new ArgumentError(`${name}: seed must be an integer, got ${describe(seed)}`);
    checkBoolean(name, 'bias', bias);
    checkBoolean(name, 'addBiasKv', addBiasKv);
    checkProbability(name, 'dropoutP', dropoutP);
    this.device = device;
    this.embedDim = embedDim;
    this.numHeads = numHeads;
    this.kDim = kDim;
    this.vDim = vDim;
    this.dropoutP = dropoutP;
    this.dtype = dtype;
    this.registerAll(makeTensors(name, device, dtype, this.#initial(bias, addBiasKv), seed));
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { embedDim, numHeads, kDim, vDim, dropoutP, dtype } = this;
    return {
      embedDim,
      numHeads,
      kDim: kDim === embedDim ? undefined : kDim,
      vDim: vDim === embedDim ? undefined : vDim,
      bias: this.parameter('in_proj_bias') !== undefined,
      dropoutP: dropoutP || undefined,
      dtype: dtype === 'float32' ? undefined : dtype,
    };
  }

  /** Checks an input [B, N, dim] of `forward`. */
  protected checkInput(argument: string, x: Tensor, dim: number): void {
    checkFloat(this.name, argument, x);
    if (x.rank !== 3 || x.shape[2] !== dim) {
      throw new ArgumentError(`${this.name}: ${argument} must be [batch, length, ${dim}], got ${formatShape(x.shape)}`);
    }
    if (x.dtype !== this.dtype) {
      throw new ArgumentError(`${this.name}: ${argument} must have the weights' dtype ${this.dtype}, got ${x.dtype}`);
    }
    if (x.device !== this.device) {
      throw new ArgumentError(
        `${this.name}: ${argument} must be on the module's device, got a tensor of another device`,
      );
    }
  }

  /**
   * Checks the options of `forward` before anything is recorded. Masks of modules are [Nq, Nk] or have four axes: three
   * could mean batches or heads.
   */
  protected checkForward(
    query: Tensor,
    key: Pick<Tensor, 'shape'>,
    options: AttentionForwardOptions & CachedForwardOptions,
    known: readonly string[],
  ): void {
    checkOptions(`${this.name}.forward`, options, known);
    const { mask, needWeights, averageWeights, dropoutSeed, cache } = options;
    checkBoolean(this.name, 'needWeights', needWeights);
    checkBoolean(this.name, 'averageWeights', averageWeights);
    checkSeed(this.name, 'dropoutSeed', dropoutSeed);
    if (mask !== undefined) {
      checkTensor(this.name, 'mask', mask);
      if (mask.rank !== 2 && mask.rank !== 4) {
        throw new ArgumentError(
          `${this.name}: mask must be [Nq, Nk] or broadcast to [B, H, Nq, Nk] with four axes, got ${describe(mask)}`,
        );
      }
    }
    const { keyMask, isCausal } = options;
    if (cache !== undefined) this.#checkCache(cache, needWeights, isCausal);
    const [batch, queryLength] = query.shape;
    checkOptionValues(
      { mask, keyMask, isCausal },
      {
        op: this.name,
        like: { name: 'query', tensor: query },
        batch,
        heads: this.numHeads,
        queryLength,
        keyLength: cache ? cache.lengthAfter(key.shape[1]) : key.shape[1],
        headDim: this.embedDim / this.numHeads,
        isHeadless: false,
      },
    );
  }

  /** Projects, with one product for neighbouring inputs that are the same tensor, and splits the heads. */
  protected project(query: Tensor, key: Tensor, value: Tensor, addZeroAttn = false): Heads {
    const [q, k, v] = this.#projectParts([query, key, value], 0);
    return {
      q: this.#split(q),
      k: this.#split(this.#append(k, this.parameter('bias_k'), addZeroAttn)),
      v: this.#split(this.#append(v, this.parameter('bias_v'), addZeroAttn)),
    };
  }

  /** The heads of the queries alone. */
  protected projectQuery(query: Tensor): Tensor {
    return this.#split(this.#projectParts([query], 0)[0]);
  }

  /** The heads of the keys and values of a context. */
  protected projectKeyValue(context: Tensor): ProjectedContext {
    const [k, v] = this.#projectParts([context, context], 1);
    return new ProjectedContext(this, this.#split(k), this.#split(v));
  }

  /** The projections [B, N, E] of inputs from number `from` of q, k, v on. */
  #projectParts(inputs: readonly Tensor[], from: number): Tensor[] {
    const packed = this.parameter('in_proj_weight') !== undefined;
    const projected: Tensor[] = [];
    while (projected.length < inputs.length) {
      const first = projected.length;
      let end = first + 1;
      while (packed && end < inputs.length && inputs[end] === inputs[first]) end++;
      const joint = this.#linear(inputs[first], from + first, from + end);
      for (let part = 0; part < end - first; part++) {
        projected.push(joint.slice(2, part * this.embedDim, (part + 1) * this.embedDim));
      }
    }
    return projected;
  }

  /** Attention on projected heads, fused unless the weights are wanted, and the output projection. */
  protected attend({ q, k, v }: Heads, options: AttentionForwardOptions & CachedForwardOptions): AttentionModuleResult {
    const { needWeights = false, averageWeights = false, dropoutSeed, cache, ...visibility } = options;
    if (cache) return { output: this.attendCached(cache, { q, k, v }, visibility) };
    const attention = { ...visibility, ...droppedBy(this, dropoutSeed) };
    if (!needWeights) {
      return { output: this.combine(flashAttention(q, k, v, attention).output) };
    }
    const { output, weights } = scaledDotProductAttention(q, k, v, { ...attention, returnWeights: true });
    return { output: this.combine(output), weights: averageWeights ? mean(weights!, { axes: 1 }) : weights };
  }

  /** Appends the keys and values, attends to all that the cache then holds, and projects. */
  protected attendCached(
    cache: AttentionCache,
    { q, k, v }: Heads,
    { isCausal = true, ...options }: VisibilityOptions & { window?: Window },
  ): FloatTensor {
    cache.append(k, v);
    return this.combine(cache.attend(q, { ...options, isCausal: isCausal && 'bottom-right' }).output);
  }

  #checkCache(cache: AttentionCache, needWeights: boolean | undefined, isCausal: Causal | undefined): void {
    const methods: readonly (keyof AttentionCache)[] = ['append', 'attend', 'lengthAfter'];
    if (methods.some((method) => typeof cache?.[method] !== 'function')) {
      throw new ArgumentError(`${this.name}: cache must be a KeyValueCache, got ${describe(cache)}`);
    }
    if (needWeights) throw new ArgumentError(`${this.name}: needWeights must be false with a cache, got true`);
    if (isCausal === 'top-left') {
      throw new ArgumentError(
        `${this.name}: isCausal must be true, false or 'bottom-right' with a cache, got 'top-left'`,
      );
    }
    if (this.training && this.dropoutP > 0) {
      throw new ArgumentError(
        `${this.name}: cache must come in evaluation mode with dropoutP ${this.dropoutP}, got training mode`,
      );
    }
  }

  /** Merges the heads [B, H, N, E/H] and applies the output projection: [B, N, E]. */
  protected combine(heads: Tensor): FloatTensor {
    const [batch, , length] = heads.shape;
    const merged = reshape(heads.transpose(1, 2), [batch, length, this.embedDim]);
    return matmul(merged, this.parameter('out_proj.weight')!, {
      transposeB: true,
      bias: this.parameter('out_proj.bias'),
    });
  }

  #initial(bias: boolean, addBiasKv: boolean): Record<string, Initial | undefined> {
    const { embedDim, kDim, vDim } = this;
    const isPacked = kDim === embedDim && vDim === embedDim;
    const apart = (width: number) => (isPacked ? undefined : xavierUniform([embedDim, width]));
    // xavier_normal_ of [1, 1, E], whose fans are both E
    const row = addBiasKv ? gaussian([1, 1, embedDim], 1 / Math.sqrt(embedDim)) : undefined;
    const zeros = (length: number) => (bias ? { shape: [length], filling: 0 } : undefined);
    return {
      in_proj_weight: isPacked ? xavierUniform([3 * embedDim, embedDim]) : undefined,
      q_proj_weight: apart(embedDim),
      k_proj_weight: apart(kDim),
      v_proj_weight: apart(vDim),
      in_proj_bias: zeros(3 * embedDim),
      bias_k: row,
      bias_v: row,
      'out_proj.weight': uniformByFan([embedDim, embedDim]),
      'out_proj.bias': zeros(embedDim),
    };
  }

  /** The projections numbered [first, end) of q, k, v: rows of the packed weight, or one separate weight. */
  #linear(x: Tensor, first: number, end: number): FloatTensor {
    // do not slice if all three are wanted: the gradient of a slice is added to zeros
    const rows = (joint: Tensor | undefined): Tensor | undefined =>
      end - first === 3 ? joint : joint?.slice(0, first * this.embedDim, end * this.embedDim);
    const weight =
      rows(this.parameter('in_proj_weight')) ??
      this.parameter(['q_proj_weight', 'k_proj_weight', 'v_proj_weight'][first])!;
    return matmul(x, weight, { transposeB: true, bias: rows(this.parameter('in_proj_bias')) });
  }

  #append(x: Tensor, row: Tensor | undefined, addZero: boolean): Tensor {
    const extended = row ? concat(x, row.expand([x.shape[0], 1, this.embedDim]), 1) : x;
    if (!addZero) return extended;
    return concat(
      extended,
      this.device.zeros([1, 1, 1], { dtype: this.dtype }).expand([x.shape[0], 1, this.embedDim]),
      1,
    );
  }

  #split(x: Tensor): Tensor {
    const [batch, length] = x.shape;
    return x.reshape([batch, length, this.numHeads, this.embedDim / this.numHeads]).transpose(1, 2);
  }
}
