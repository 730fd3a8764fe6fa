/** What the networks that are read from files share: their weights, and the layers that use them by name. */
import { Module } from '../modules/module.ts';
import { reshape } from '../ops/copy.ts';
import { linear } from '../ops/linear.ts';
import { layerNorm, rmsNorm } from '../ops/normalise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { Architecture, Checkpoint, ModelConfig } from './model.ts';
import { checkWeights, joinedShape, joinNames, uploadWeights, type WeightChange } from './weights.ts';

export interface NetworkWeights {
  /** For the name of each joined map the names of its parts: one product serves all of them. */
  readonly joins?: Readonly<Record<string, readonly string[]>>;
  /** What becomes of a weight on its way to the device. */
  readonly changeOf?: (name: string) => WeightChange | undefined;
}

/** A network with the weights of a checkpoint. It is for inference, and its weights require no gradients. */
export abstract class Network<Config extends ModelConfig> extends Module {
  readonly device: Device;
  readonly config: Config;
  readonly dtype: FloatDType;

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for a model that the device cannot hold
   */
  constructor(
    name: string,
    device: Device,
    architecture: Architecture<Config, unknown>,
    { config, weights }: Pick<Checkpoint<Config>, 'config' | 'weights'>,
    dtype: FloatDType,
    { joins = {}, changeOf = () => undefined }: NetworkWeights = {},
  ) {
    super(name);
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    checkWeights(name, architecture, { config, weights });
    const joined = [...joinNames(architecture.weightShapes(config).keys(), joins)].map(([target, names]) => ({
      target,
      parts: names.map((part) => weights[part]),
      change: changeOf(names[0]),
    }));
    device.checkRoom(
      name,
      joined.map(({ parts }) => joinedShape(parts)),
      dtype,
    );
    try {
      for (const { target, parts, change } of joined)
        this.register(target, uploadWeights(device, parts, dtype, change));
    } catch (error) {
      super.dispose(); // tensors made before memory ran out have no other owner; what a subclass has is not there yet
      throw error;
    }
    this.requiresGrad(false);
  }

  /** Makes what else a network has. If that fails, the weights are freed too. */
  protected complete(make: () => void): void {
    try {
      make();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** A weight by its name without `.weight`. */
  protected weight(name: string): Tensor {
    return this.parameter(`${name}.weight`)!;
  }

  protected linear(x: Tensor, name: string): FloatTensor {
    return linear(x, this.weight(name), { bias: this.parameter(`${name}.bias`) });
  }

  protected layerNorm(x: Tensor, name: string, eps: number): FloatTensor {
    const weight = this.weight(name);
    return layerNorm(x, weight.shape, { weight, bias: this.parameter(`${name}.bias`), eps });
  }

  protected rmsNorm(x: Tensor, name: string, eps: number): FloatTensor {
    const weight = this.weight(name);
    return rmsNorm(x, weight.shape, { weight, eps });
  }
}

/** Columns [first · D, (first + count) · D) of x [B, N, …] as heads [B, count, N, D], a view. */
export function headsOf(x: Tensor, first: number, count: number, headDim: number): Tensor {
  const [batch, length] = x.shape;
  return x
    .slice(2, first * headDim, (first + count) * headDim)
    .reshape([batch, length, count, headDim])
    .transpose(1, 2);
}

/** Heads [B, H, N, D] side by side, [B, N, H · D]. */
export function joinHeads(x: Tensor): Tensor {
  const [batch, heads, length, dim] = x.shape;
  return reshape(x.transpose(1, 2), [batch, length, heads * dim]);
}

/** Adds the weights of a linear map, [out, in] and perhaps [out], to a list of weights. */
export function addLinear(shapes: Map<string, Shape>, name: string, out: number, into: number, bias: boolean): void {
  shapes.set(`${name}.weight`, [out, into]);
  if (bias) shapes.set(`${name}.bias`, [out]);
}

/** Adds the weight of a norm, and perhaps its bias. */
export function addNorm(shapes: Map<string, Shape>, name: string, width: number, bias = false): void {
  shapes.set(`${name}.weight`, [width]);
  if (bias) shapes.set(`${name}.bias`, [width]);
}
