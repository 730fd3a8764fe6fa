import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { concat, reshape } from '../ops/copy.ts';
import { add, gelu } from '../ops/elementwise.ts';
import { checkFloat, checkSameDevice } from '../ops/internal/check.ts';
import { linear } from '../ops/linear.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { ImageEncoder, ImageEncoderConfig } from './encoder.ts';
import type { Fields } from './fields.ts';
import { readEncoderSizes } from './hugging-face-config.ts';
import { checkModelOptions, type Architecture, type Checkpoint, type ModelOptions } from './model.ts';
import { addLinear, addNorm, headsOf, joinHeads, Network } from './network.ts';

export interface VitConfig extends ImageEncoderConfig {
  readonly hiddenDim: number;
  readonly normEps: number;
  readonly attentionBias: boolean;
}

export const VIT: Architecture<VitConfig, ImageEncoder> = {
  name: 'ViT',
  readConfig,
  weightShapes,
  // the pooler, and heads of other classes
  isSpare: (name) => !/^(embeddings|encoder|layernorm)\./.test(name),
  stem: 'vit.',
  create: (device, checkpoint, options) => new Vit(device, checkpoint, options),
};

function readConfig(fields: Fields): VitConfig {
  fields.refuseUnless('model_type', ['vit']);
  fields.refuseUnless('hidden_act', ['gelu']);
  const [imageSize, patchSize] = [fields.size('image_size', 224), fields.size('patch_size', 16)];
  if (imageSize % patchSize !== 0) fields.fail('patch_size', `divide the image's ${imageSize} pixels`);
  return {
    ...readEncoderSizes(fields),
    imageSize,
    patchSize,
    numChannels: fields.size('num_channels', 3),
    normEps: fields.positive('layer_norm_eps', 1e-12),
    attentionBias: fields.flag('qkv_bias', true),
  };
}

/** Patches of an image. */
const patchesOf = ({ imageSize, patchSize }: VitConfig): number => (imageSize / patchSize) ** 2;

function weightShapes(config: VitConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, numChannels, patchSize, attentionBias } = config;
  const shapes = new Map<string, Shape>([
    ['embeddings.cls_token', [1, 1, embedDim]],
    ['embeddings.position_embeddings', [1, 1 + patchesOf(config), embedDim]],
    ['embeddings.patch_embeddings.projection.weight', [embedDim, numChannels, patchSize, patchSize]],
    ['embeddings.patch_embeddings.projection.bias', [embedDim]],
  ]);
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `encoder.layer.${layer}`;
    addNorm(shapes, `${prefix}.layernorm_before`, embedDim, true);
    for (const part of ['query', 'key', 'value']) {
      addLinear(shapes, `${prefix}.attention.attention.${part}`, embedDim, embedDim, attentionBias);
    }
    addLinear(shapes, `${prefix}.attention.output.dense`, embedDim, embedDim, true);
    addNorm(shapes, `${prefix}.layernorm_after`, embedDim, true);
    addLinear(shapes, `${prefix}.intermediate.dense`, hiddenDim, embedDim, true);
    addLinear(shapes, `${prefix}.output.dense`, embedDim, hiddenDim, true);
  }
  addNorm(shapes, 'layernorm', embedDim, true);
  return shapes;
}

/** The Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929), without its pooler. */
export class Vit extends Network<VitConfig> implements ImageEncoder {
  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<VitConfig>, 'config' | 'weights'>,
    options: Pick<ModelOptions, 'dtype'> = {},
  ) {
    const name = 'ViT';
    const { dtype } = checkModelOptions(name, { maxLength: 1 + patchesOf(checkpoint.config) }, options);
    checkOptions(name, options, ['dtype']);
    super(name, device, VIT, checkpoint, dtype, { joins: { qkv: ['query', 'key', 'value'] } });
  }

  forward(pixels: Tensor): FloatTensor {
    const call = `${this.name}.forward`;
    const { imageSize, numChannels } = this.config;
    checkFloat(call, 'pixels', pixels);
    checkSameDevice(call, 'the model', this.weight('layernorm'), 'pixels', pixels);
    const expected = [numChannels, imageSize, imageSize];
    if (pixels.rank !== 4 || formatShape(pixels.shape.slice(1)) !== formatShape(expected)) {
      throw new ArgumentError(
        `${call}: pixels must be [batch, ${expected.join(', ')}], got ${formatShape(pixels.shape)}`,
      );
    }
    if (pixels.dtype !== this.dtype) {
      throw new ArgumentError(`${call}: pixels must have the model's dtype ${this.dtype}, got ${pixels.dtype}`);
    }
    return noGrad(() => this.device.scope(() => this.#run(pixels)));
  }

  #run(pixels: Tensor): FloatTensor {
    const { embedDim, numLayers, normEps } = this.config;
    const tokens = concat(
      this.parameter('embeddings.cls_token')!.expand([pixels.shape[0], 1, embedDim]),
      this.#embedPatches(pixels),
      1,
    );
    let x = add(tokens, this.parameter('embeddings.position_embeddings')!); // [B, 1 + patches, E]
    for (let layer = 0; layer < numLayers; layer++) {
      const next = this.device.scope(() => this.#layer(x, `encoder.layer.${layer}`));
      x.dispose();
      x = next;
    }
    return this.layerNorm(x, 'layernorm', normEps);
  }

  /** A convolution whose stride is its kernel's size: a linear map of each patch. [B, C, S, S] → [B, patches, E]. */
  #embedPatches(pixels: Tensor): FloatTensor {
    const { embedDim, imageSize, patchSize, numChannels } = this.config;
    const side = imageSize / patchSize;
    const apart = pixels.reshape([pixels.shape[0], numChannels, side, patchSize, side, patchSize]);
    // [B, C, i, p, j, p] → [B, i, j, C, p, p]
    const turned = apart.transpose(1, 2).transpose(2, 4).transpose(3, 4);
    const patches = reshape(turned, [pixels.shape[0], side * side, numChannels * patchSize * patchSize]);
    const name = 'embeddings.patch_embeddings.projection';
    const weight = this.weight(name).reshape([embedDim, numChannels * patchSize * patchSize]);
    return linear(patches, weight, { bias: this.parameter(`${name}.bias`) });
  }

  #layer(x: Tensor, name: string): FloatTensor {
    const { embedDim, numHeads, normEps } = this.config;
    const joint = this.linear(
      this.layerNorm(x, `${name}.layernorm_before`, normEps),
      `${name}.attention.attention.qkv`,
    );
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, embedDim / numHeads));
    const attended = add(x, this.linear(joinHeads(flashAttention(q, k, v).output), `${name}.attention.output.dense`));
    const normed = this.layerNorm(attended, `${name}.layernorm_after`, normEps);
    return add(attended, this.linear(gelu(this.linear(normed, `${name}.intermediate.dense`)), `${name}.output.dense`));
  }
}
