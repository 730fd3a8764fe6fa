import { ArgumentError } from '../gpu/errors.ts';
import { checkTensor } from '../ops/check.ts';
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

  /** @throws ArgumentError for options that do not fit, as numHeads that does not divide embedDim */
  constructor(device: Device, options: MultiHeadAttentionOptions) {
    const name = 'MultiHeadAttention';
    checkOptions(name, options, [...PROJECTION_OPTIONS, 'kDim', 'vDim', 'addBiasKv', 'addZeroAttn']);
    super(name, device, options);
    this.#addZeroAttn = options.addZeroAttn ?? false;
  }

  /**
   * @param query [B, Nq, embedDim]
   * @param key [B, Nk, kDim]
   * @param value [B, Nk, vDim]
   */
  forward(query: Tensor, key: Tensor, value: Tensor, options: AttentionForwardOptions = {}): AttentionModuleResult {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    this.checkInput('query', query, this.embedDim);
    this.checkInput('key', key, this.kDim);
    this.checkInput('value', value, this.vDim);
    if (key.shape[0] !== query.shape[0]) this.#mismatch('key', `query's batch ${query.shape[0]}`, key);
    if (value.shape[0] !== key.shape[0] || value.shape[1] !== key.shape[1]) {
      this.#mismatch('value', `key's batch and length ${formatShape(key.shape.slice(0, 2))}`, value);
    }
    return this.device.scope(() => {
      const heads = this.project(query, key, value, this.#addZeroAttn);
      return this.attend(heads, this.#extend(options, heads.q, key, heads.k.shape[2] - key.shape[1]));
    });
  }

  /** Masks for keys of which the last `appended` were appended and may always be attended to. */
  #extend(options: AttentionForwardOptions, q: Tensor, key: Tensor, appended: number): AttentionForwardOptions {
    if (appended === 0) return options;
    const { mask, keyMask, isCausal } = options;
    if (isCausal) {
      throw new ArgumentError(
        `${this.name}: isCausal must be false with addBiasKv or addZeroAttn, whose keys have no position, got ` +
          `${String(isCausal)}; pass a causal mask instead`,
      );
    }
    const [batch, heads, queryLength] = q.shape;
    const keyLength = key.shape[1];
    const visible = (like: Tensor, shape: readonly number[]) =>
      like.dtype === 'bool'
        ? this.device.tensor(new Uint8Array([1]), [1]).expand(shape)
        : this.device.zeros([1], { dtype: like.dtype }).expand(shape);
    const extended = { ...options };
    if (mask) {
      checkTensor(this.name, 'mask', mask);
      this.checkMask(mask);
      const target = [...(mask.rank === 2 ? [] : [batch, heads]), queryLength];
      extended.mask = concat(mask.expand([...target, keyLength]), visible(mask, [...target, appended]), -1);
    }
    if (keyMask) {
      checkTensor(this.name, 'keyMask', keyMask);
      extended.keyMask = concat(keyMask.expand([batch, keyLength]), visible(keyMask, [batch, appended]), 1);
    }
    return extended;
  }

  #mismatch(argument: string, expected: string, got: Tensor): never {
    throw new ArgumentError(`${this.name}: ${argument} must have ${expected}, got ${formatShape(got.shape)}`);
  }
}
