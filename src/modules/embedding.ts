import { embedding } from '../ops/embedding.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkDType, checkSizes, seedOf, shownDType } from './check.ts';
import { gaussian, makeTensors } from './initialise.ts';
import { Module } from './module.ts';

export interface EmbeddingOptions {
  /** Rows of the table. */
  numEmbeddings: number;
  /** Their length. */
  embeddingDim: number;
  /** Dtype of the table, and so of the output; default `'float32'`. */
  dtype?: FloatDType;
  /** Seed of the initial table; default the device's next seed, so that each module starts differently. */
  seed?: number;
}

/**
 * Rows of a table by their numbers, with torch.nn.Embedding's state dict, `weight` [numEmbeddings, embeddingDim], and its
 * initial distribution, standard normal.
 */
export class Embedding extends Module {
  readonly numEmbeddings: number;
  readonly embeddingDim: number;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: EmbeddingOptions) {
    const name = 'Embedding';
    super(name);
    checkOptions(name, options, ['numEmbeddings', 'embeddingDim', 'dtype', 'seed']);
    const { numEmbeddings, embeddingDim, dtype = 'float32' } = options;
    checkSizes(name, { numEmbeddings, embeddingDim });
    checkDType(name, dtype);
    const seed = seedOf(name, device, options.seed);
    this.numEmbeddings = numEmbeddings;
    this.embeddingDim = embeddingDim;
    const weight = gaussian([numEmbeddings, embeddingDim], 1);
    this.registerAll(makeTensors(name, device, dtype, { weight }, seed));
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { numEmbeddings, embeddingDim } = this;
    return { numEmbeddings, embeddingDim, dtype: shownDType(this.parameter('weight')) };
  }

  /**
   * @param ids [...], int32 or uint32
   * @returns [..., embeddingDim]; NaN for an id out of range
   */
  forward(ids: Tensor): FloatTensor {
    return embedding(ids, this.parameter('weight')!);
  }
}
