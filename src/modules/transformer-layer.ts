/** What the layers of torch's Transformer share: options, dropout, the feed-forward block. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkBoolean, checkFinite, checkFloat, checkProbability, describe } from '../ops/internal/check.ts';
import { dropout } from '../ops/dropout.ts';
import { add, gelu, relu } from '../ops/elementwise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkDType, checkSizes, seedOf } from './check.ts';
import { LayerNorm } from './layer-norm.ts';
import { Linear } from './linear.ts';
import { Module } from './module.ts';
import { ModuleList } from './module-list.ts';
import type { ProjectionOptions } from './projected-attention.ts';

export interface TransformerLayerOptions {
  /** Width E of inputs and outputs. */
  dModel: number;
  /** Number of heads; divides dModel. */
  nhead: number;
  /** Width of the feed-forward block; default 2048. */
  dimFeedforward?: number;
  /** Probability with which attention weights, activations and what is added to the residual are dropped in training; default 0.1. */
  dropout?: number;
  /** Between the two projections of the feed-forward block: `'relu'` (the default), `'gelu'`, or a function of a tensor. */
  activation?: 'relu' | 'gelu' | ((x: Tensor) => Tensor);
  /** Added to the variance by the norms; default 1e-5. */
  layerNormEps?: number;
  /** Whether norms come before attention and feed-forward (pre-norm) rather than after the sums; default false. */
  normFirst?: boolean;
  /** Whether projections and norms have biases; default true. */
  bias?: boolean;
  /** Dtype of the weights, and so of the inputs; default `'float32'`. */
  dtype?: FloatDType;
  /** Seed of the initial weights; default the device's next seed. */
  seed?: number;
}

const LAYER_OPTIONS = [
  'dModel',
  'nhead',
  'dimFeedforward',
  'dropout',
  'activation',
  'layerNormEps',
  'normFirst',
  'bias',
  'dtype',
  'seed',
];

/** How far apart the seeds of a stack's layers are: each module of a layer has its own. */
const SEEDS = 8;

export interface TransformerStackOptions extends TransformerLayerOptions {
  numLayers: number;
  /** Whether a LayerNorm follows the last layer, as is usual with `normFirst`; default false. */
  norm?: boolean;
}

/**
 * The base of both layers. A subclass makes its modules in torch's order, which is that of the state dict: attention, the
 * feed-forward block, norms.
 */
export abstract class TransformerLayer extends Module {
  readonly dModel: number;
  readonly nhead: number;
  readonly dimFeedforward: number;
  readonly dropout: number;
  readonly activation: 'relu' | 'gelu' | ((x: Tensor) => Tensor);
  readonly normFirst: boolean;
  protected readonly device: Device;
  readonly #options: TransformerLayerOptions;
  /** The next of its modules' seeds; each takes one of the device's without it. */
  #seed?: number;
  #linear1!: Linear;
  #linear2!: Linear;

  constructor(name: string, device: Device, options: TransformerLayerOptions) {
    super(name);
    checkOptions(name, options, LAYER_OPTIONS);
    const { dModel, nhead, dimFeedforward = 2048, dropout: p = 0.1, activation = 'relu' } = options;
    const { layerNormEps, normFirst = false, bias, dtype = 'float32' } = options;
    checkSizes(name, { dModel, nhead, dimFeedforward });
    if (dModel % nhead !== 0) throw new ArgumentError(`${name}: nhead must divide dModel ${dModel}, got ${nhead}`);
    checkProbability(name, 'dropout', p);
    if (activation !== 'relu' && activation !== 'gelu' && typeof activation !== 'function') {
      throw new ArgumentError(`${name}: activation must be 'relu', 'gelu' or a function, got ${describe(activation)}`);
    }
    if (layerNormEps !== undefined) checkFinite(name, 'layerNormEps', layerNormEps);
    checkBoolean(name, 'normFirst', normFirst);
    checkBoolean(name, 'bias', bias);
    checkDType(name, dtype);
    this.device = device;
    this.dModel = dModel;
    this.nhead = nhead;
    this.dimFeedforward = dimFeedforward;
    this.dropout = p;
    this.activation = activation;
    this.normFirst = normFirst;
    this.#options = options;
    if (options.seed !== undefined) this.#seed = seedOf(name, device, options.seed);
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { dModel, nhead, dimFeedforward, dropout: p, normFirst } = this;
    const activation = typeof this.activation === 'function' ? this.activation.name || 'function' : this.activation;
    return { dModel, nhead, dimFeedforward, dropout: p || undefined, activation, normFirst };
  }

  /** Options of an attention module, with a seed of its own. */
  protected attentionOptions(): ProjectionOptions {
    const { bias, dtype } = this.#options;
    return { embedDim: this.dModel, numHeads: this.nhead, dropoutP: this.dropout, bias, dtype, seed: this.#nextSeed() };
  }

  /** Makes `linear1` and `linear2`. */
  protected registerFeedForward(): void {
    const { dModel, dimFeedforward, device } = this;
    const { bias, dtype } = this.#options;
    const make = (name: string, inFeatures: number, outFeatures: number) =>
      this.registerModule(name, new Linear(device, { inFeatures, outFeatures, bias, dtype, seed: this.#nextSeed() }));
    this.#linear1 = make('linear1', dModel, dimFeedforward);
    this.#linear2 = make('linear2', dimFeedforward, dModel);
  }

  protected registerNorm(name: string): LayerNorm {
    const { layerNormEps: eps, bias, dtype } = this.#options;
    return this.registerModule(name, new LayerNorm(this.device, { normalizedShape: this.dModel, eps, bias, dtype }));
  }

  /** Checks an input [B, N, dModel]. */
  protected checkInput(argument: string, x: Tensor): void {
    checkFloat(this.name, argument, x);
    if (x.rank === 3 && x.shape[2] === this.dModel) return;
    throw new ArgumentError(
      `${this.name}: ${argument} must be [batch, length, ${this.dModel}], got ${formatShape(x.shape)}`,
    );
  }

  /** x + block(norm(x)), or norm(x + block(x)). What is added is dropped in training. */
  protected residual(x: Tensor, norm: LayerNorm, block: (x: Tensor) => Tensor): Tensor {
    return this.normFirst ? add(x, this.#drop(block(norm.forward(x)))) : norm.forward(add(x, this.#drop(block(x))));
  }

  protected feedForward(x: Tensor): Tensor {
    const { activation } = this;
    const hidden = this.#linear1.forward(x);
    const active = activation === 'relu' ? relu(hidden) : activation === 'gelu' ? gelu(hidden) : activation(hidden);
    return this.#linear2.forward(this.#drop(active));
  }

  #nextSeed(): number | undefined {
    return this.#seed === undefined ? undefined : this.#seed++;
  }

  #drop(x: Tensor): Tensor {
    return this.training && this.dropout > 0 ? dropout(x, { p: this.dropout }) : x;
  }
}

/** The options of each layer of a stack, whose weights differ. */
export function stackOptions(name: string, device: Device, given: TransformerStackOptions): TransformerLayerOptions[] {
  checkOptions(name, given, [...LAYER_OPTIONS, 'numLayers', 'norm']);
  const { numLayers, norm, ...options } = given;
  checkSizes(name, { numLayers });
  checkBoolean(name, 'norm', norm);
  const seed = options.seed === undefined ? undefined : seedOf(name, device, options.seed);
  return Array.from({ length: numLayers }, (_, i) => ({
    ...options,
    ...(seed !== undefined && { seed: seed + SEEDS * i }),
  }));
}

/** A list of modules. If one cannot be made, those before it are freed. */
export function makeLayers<T extends Module>(
  options: readonly TransformerLayerOptions[],
  make: (options: TransformerLayerOptions) => T,
): ModuleList<T> {
  const made = new ModuleList<T>();
  try {
    for (const each of options) made.append(make(each));
  } catch (error) {
    made.dispose();
    throw error;
  }
  return made;
}
