import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { add, gelu } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape, type Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkIds, keyMaskOf, type EncodeOptions, type TextEncoder, type TextEncoderConfig } from './encoder.ts';
import type { Fields } from './fields.ts';
import { readEncoderSizes } from './hugging-face-config.ts';
import { checkModelOptions, type Architecture, type Checkpoint, type ModelOptions } from './model.ts';
import { addLinear, addNorm, headsOf, joinHeads, Network } from './network.ts';

export interface BertConfig extends TextEncoderConfig {
  readonly hiddenDim: number;
  readonly normEps: number;
  readonly typeVocabSize: number;
}

export const BERT: Architecture<BertConfig, TextEncoder> = {
  name: 'BERT',
  readConfig,
  weightShapes,
  // the pooler, heads of other classes, and numbers that old files hold
  isSpare: (name) => !/^(embeddings|encoder)\./.test(name) || name === 'embeddings.position_ids',
  stem: 'bert.',
  create: (device, checkpoint, options) => new Bert(device, checkpoint, options),
};

function readConfig(fields: Fields): BertConfig {
  fields.refuseUnless('model_type', ['bert']);
  fields.refuseUnless('hidden_act', ['gelu']);
  fields.refuseUnless('position_embedding_type', ['absolute']);
  fields.refuseUnless('is_decoder', [false]);
  return {
    ...readEncoderSizes(fields),
    vocabSize: fields.size('vocab_size'),
    maxLength: fields.size('max_position_embeddings', 512),
    normEps: fields.positive('layer_norm_eps', 1e-12),
    typeVocabSize: fields.size('type_vocab_size', 2),
  };
}

function weightShapes(config: BertConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, vocabSize, maxLength, typeVocabSize } = config;
  const shapes = new Map<string, Shape>([
    ['embeddings.word_embeddings.weight', [vocabSize, embedDim]],
    ['embeddings.position_embeddings.weight', [maxLength, embedDim]],
    ['embeddings.token_type_embeddings.weight', [typeVocabSize, embedDim]],
  ]);
  addNorm(shapes, 'embeddings.LayerNorm', embedDim, true);
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `encoder.layer.${layer}`;
    for (const part of ['query', 'key', 'value']) {
      addLinear(shapes, `${prefix}.attention.self.${part}`, embedDim, embedDim, true);
    }
    addLinear(shapes, `${prefix}.attention.output.dense`, embedDim, embedDim, true);
    addNorm(shapes, `${prefix}.attention.output.LayerNorm`, embedDim, true);
    addLinear(shapes, `${prefix}.intermediate.dense`, hiddenDim, embedDim, true);
    addLinear(shapes, `${prefix}.output.dense`, embedDim, hiddenDim, true);
    addNorm(shapes, `${prefix}.output.LayerNorm`, embedDim, true);
  }
  return shapes;
}

/** BERT (Devlin et al. 2018, arXiv:1810.04805), without its pooler: post-normalised layers with learned positions. */
export class Bert extends Network<BertConfig> implements TextEncoder {
  readonly maxLength: number;

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<BertConfig>, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'BERT';
    const { dtype, maxLength } = checkModelOptions(name, checkpoint.config, options);
    super(name, device, BERT, checkpoint, dtype, { joins: { qkv: ['query', 'key', 'value'] } });
    this.maxLength = maxLength;
  }

  /** As `TextEncoder.forward`; `tokenTypes` [B, N] of integers, default all 0, tells the second text of a pair. */
  forward(ids: Tensor, options: EncodeOptions & { tokenTypes?: Tensor } = {}): FloatTensor {
    const call = `${this.name}.forward`;
    checkOptions(call, options, ['attentionMask', 'tokenTypes']);
    checkIds(call, 'ids', ids, this.maxLength);
    const { tokenTypes } = options;
    if (tokenTypes !== undefined) {
      checkIds(call, 'tokenTypes', tokenTypes, this.maxLength);
      if (formatShape(tokenTypes.shape) !== formatShape(ids.shape)) {
        throw new ArgumentError(
          `${call}: tokenTypes must have ids' shape ${formatShape(ids.shape)}, got ${formatShape(tokenTypes.shape)}`,
        );
      }
    }
    return noGrad(() => this.device.scope(() => this.#run(ids, tokenTypes, keyMaskOf(call, options, ids))));
  }

  #run(ids: Tensor, tokenTypes: Tensor | undefined, keyMask: Tensor | undefined): FloatTensor {
    const table = (name: string): Tensor => this.weight(`embeddings.${name}_embeddings`);
    const types = tokenTypes ? embedding(tokenTypes, table('token_type')) : table('token_type').slice(0, 0, 1);
    const positions = table('position').slice(0, 0, ids.shape[1]);
    const embedded = add(add(embedding(ids, table('word')), types), positions);
    let x = this.layerNorm(embedded, 'embeddings.LayerNorm', this.config.normEps); // [B, N, E]
    for (let layer = 0; layer < this.config.numLayers; layer++) {
      const next = this.device.scope(() => this.#layer(x, `encoder.layer.${layer}`, keyMask));
      x.dispose();
      x = next;
    }
    return x;
  }

  #layer(x: Tensor, name: string, keyMask: Tensor | undefined): FloatTensor {
    const { embedDim, numHeads, normEps } = this.config;
    const joint = this.linear(x, `${name}.attention.self.qkv`);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, embedDim / numHeads));
    const { output } = flashAttention(q, k, v, { keyMask });
    const attended = add(x, this.linear(joinHeads(output), `${name}.attention.output.dense`));
    const normed = this.layerNorm(attended, `${name}.attention.output.LayerNorm`, normEps);
    const hidden = gelu(this.linear(normed, `${name}.intermediate.dense`));
    return this.layerNorm(
      add(normed, this.linear(hidden, `${name}.output.dense`)),
      `${name}.output.LayerNorm`,
      normEps,
    );
  }
}
