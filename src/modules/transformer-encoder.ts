import type { VisibilityOptions } from '../ops/attention/internal/options.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { LayerNorm } from './layer-norm.ts';
import { Module } from './module.ts';
import type { ModuleList } from './module-list.ts';
import { SelfAttention } from './self-attention.ts';
import {
  makeLayers,
  stackOptions,
  TransformerLayer,
  type TransformerLayerOptions,
  type TransformerStackOptions,
} from './transformer-layer.ts';

/** `mask` is [N, N], or broadcasts to [B, H, N, N]; `keyMask` is [B, N]. In both true = may attend. */
export type TransformerEncoderForwardOptions = Pick<VisibilityOptions, 'mask' | 'keyMask' | 'isCausal'>;

const FORWARD_OPTIONS = ['mask', 'keyMask', 'isCausal'];

/**
 * Self-attention and a feed-forward block, each with a residual and a norm (Vaswani et al. 2017), as
 * torch.nn.TransformerEncoderLayer with `batch_first`, and with its state dict: `self_attn`, `linear1`, `linear2`, `norm1`,
 * `norm2`.
 */
export class TransformerEncoderLayer extends TransformerLayer {
  readonly #attention: SelfAttention;
  readonly #norms: readonly [attention: LayerNorm, feedForward: LayerNorm];

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: TransformerLayerOptions) {
    super('TransformerEncoderLayer', device, options);
    this.#attention = this.registerModule('self_attn', new SelfAttention(device, this.attentionOptions()));
    this.registerFeedForward();
    this.#norms = [this.registerNorm('norm1'), this.registerNorm('norm2')];
  }

  /**
   * @param src [B, N, dModel]
   * @returns [B, N, dModel]
   * @throws ArgumentError for shapes, dtypes or options that do not fit
   */
  forward(src: Tensor, options: TransformerEncoderForwardOptions = {}): Tensor {
    checkOptions(`${this.name}.forward`, options, FORWARD_OPTIONS);
    this.checkInput('src', src);
    const [attentionNorm, feedNorm] = this.#norms;
    return this.device.scope(() => {
      const attended = this.residual(src, attentionNorm, (x) => this.#attention.forward(x, options).output);
      return this.residual(attended, feedNorm, (x) => this.feedForward(x));
    });
  }
}

/**
 * `numLayers` encoder layers, as torch.nn.TransformerEncoder, with its state dict: `layers.0` and so on, and `norm` if there is
 * one. It takes the layers' options instead of a layer to copy, and each layer's initial weights are its own.
 */
export class TransformerEncoder extends Module {
  readonly layers: ModuleList<TransformerEncoderLayer>;
  readonly norm?: LayerNorm;
  readonly #device: Device;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: TransformerStackOptions) {
    const name = 'TransformerEncoder';
    super(name);
    const layers = stackOptions(name, device, options);
    this.#device = device;
    this.layers = makeLayers(layers, (each) => new TransformerEncoderLayer(device, each));
    if (options.norm) {
      const { dModel, layerNormEps: eps, bias, dtype } = options;
      this.norm = new LayerNorm(device, { normalizedShape: dModel, eps, bias, dtype });
    }
  }

  /**
   * @param src [B, N, dModel]
   * @returns [B, N, dModel]
   * @throws ArgumentError for shapes, dtypes or options that do not fit
   */
  forward(src: Tensor, options: TransformerEncoderForwardOptions = {}): Tensor {
    return this.#device.scope(() => {
      let x = src;
      for (const layer of this.layers) x = layer.forward(x, options);
      return this.norm ? this.norm.forward(x) : x;
    });
  }
}
