import { ArgumentError } from '../gpu/errors.ts';
import { checkBoolean } from '../ops/internal/check.ts';
import { concat } from '../ops/copy.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  FORWARD_OPTIONS,
  PROJECTION_OPTIONS,
  ProjectedAttention,
  type AttentionForwardOptions,
  type AttentionModuleResult,
  type CachedForwardOptions,
  type ProjectionOptions,
} from './projected-attention.ts';

export interface MultiHeadAttentionOptions extends ProjectionOptions {
  /** Width of the key input; default embedDim. */
  kDim?: number;
  /** Width of the value input; default embedDim. */
  vDim?: number;
  /** A learned key and value appended to the projected ones (torch's `add_bias_kv`). */
  addBiasKv?: boolean;
  /** A key and value of zeros appended after them (torch's `add_zero_attn`). */
  addZeroAttn?: boolean;
}

/**
 * torch.nn.MultiheadAttention (`batch_first`, per-head weights by default), with its state dict: projections, attention
 * on H heads, output projection. Without `needWeights` the attention is fused.
 */
export class MultiHeadAttention extends ProjectedAttention {
  readonly #addZeroAttn: boolean;
  readonly #appendsKeys: boolean;

  /** @throws ArgumentError for options that do not fit, such as numHeads that does not divide embedDim */
  constructor(device: Device, options: MultiHeadAttentionOptions) {
    const name = 'MultiHeadAttention';
    checkOptions(name, options, [...PROJECTION_OPTIONS, 'kDim', 'vDim', 'addBiasKv', 'addZeroAttn']);
    checkBoolean(name, 'addZeroAttn', options.addZeroAttn);
    super(name, device, options);
    this.#addZeroAttn = options.addZeroAttn ?? false;
    this.#appendsKeys = this.#addZeroAttn || options.addBiasKv === true;
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const addBiasKv = this.parameter('bias_k') !== undefined || undefined;
    return { ...super.extraRepr(), addBiasKv, addZeroAttn: this.#addZeroAttn || undefined };
  }

  /**
   * @param query [B, Nq, embedDim]
   * @param key [B, Nk, kDim]
   * @param value [B, Nk, vDim]
   */
  forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: AttentionForwardOptions & CachedForwardOptions = {},
  ): AttentionModuleResult {
    this.checkInput('query', query, this.embedDim);
    this.checkInput('key', key, this.kDim);
    this.checkInput('value', value, this.vDim);
    if (key.shape[0] !== query.shape[0]) this.#mismatch('key', `query's batch ${query.shape[0]}`, key);
    if (value.shape[0] !== key.shape[0] || value.shape[1] !== key.shape[1]) {
      this.#mismatch('value', `key's batch and length ${formatShape(key.shape.slice(0, 2))}`, value);
    }
    this.checkForward(query, key, options, [...FORWARD_OPTIONS, 'cache']);
    if (this.#appendsKeys && options.cache) {
      throw new ArgumentError(`${this.name}: cache must not come with addBiasKv or addZeroAttn, got both`);
    }
    if (this.#appendsKeys && options.isCausal) {
      throw new ArgumentError(
        `${this.name}: isCausal must be false with addBiasKv or addZeroAttn, whose keys have no position, got ` +
          `${String(options.isCausal)}; pass a causal mask instead`,
      );
    }
    return this.device.scope(() => {
      const heads = this.project(query, key, value, this.#addZeroAttn);
      return this.attend(heads, this.#extend(options, key.shape[1], heads.k.shape[2] - key.shape[1]));
    });
  }

  /** Extends the masks to the last `appended` of the keys, which may always be attended to. */
  #extend(options: AttentionForwardOptions, keyLength: number, appended: number): AttentionForwardOptions {
    if (appended === 0) return options;
    const extend = (mask: Tensor) => {
      const rows = mask.shape.slice(0, -1);
      const visible =
        mask.dtype === 'bool'
          ? this.device.tensor(new Uint8Array([1]), [1])
          : this.device.zeros([1], { dtype: mask.dtype });
      return concat(mask.expand([...rows, keyLength]), visible.expand([...rows, appended]), -1);
    };
    const { mask, keyMask } = options;
    return { ...options, mask: mask && extend(mask), keyMask: keyMask && extend(keyMask) };
  }

  #mismatch(argument: string, expected: string, got: Tensor): never {
    throw new ArgumentError(`${this.name}: ${argument} must have ${expected}, got ${formatShape(got.shape)}`);
  }
}
