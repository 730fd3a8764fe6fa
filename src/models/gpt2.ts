import { noGrad } from '../autograd/tape.ts';
import { add, gelu } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/linear.ts';
import type { Device } from '../tensor/device.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { Fields } from './fields.ts';
import {
  checkForwardOptions,
  checkStep,
  ModelCache,
  type ForwardOptions,
  type LayerCache,
  type ModelCacheOptions,
} from './model-cache.ts';
import {
  checkModelOptions,
  type Architecture,
  type Checkpoint,
  type LanguageModel,
  type LanguageModelConfig,
  type ModelOptions,
} from './model.ts';
import { addNorm, headsOf, joinHeads, Network } from './network.ts';
import { MAX_LAYERS } from './weights.ts';

export interface Gpt2Config extends LanguageModelConfig {
  readonly hiddenDim: number;
  readonly normEps: number;
}

export const GPT2: Architecture<Gpt2Config> = {
  name: 'GPT-2',
  readConfig,
  weightShapes,
  stem: 'transformer.',
  // masks that old files hold, and the classifier, which is the embedding
  isSpare: (name) => name === 'lm_head.weight' || /\.attn\.(bias|masked_bias)$/.test(name),
  create: (device, checkpoint, options) => new Gpt2(device, checkpoint, options),
};

function readConfig(fields: Fields): Gpt2Config {
  fields.refuseUnless('model_type', ['gpt2']);
  fields.refuseUnless('activation_function', ['gelu_new', 'gelu_pytorch_tanh']);
  fields.refuseUnless('scale_attn_weights', [true]);
  fields.refuseUnless('scale_attn_by_inverse_layer_idx', [false]);
  fields.refuseUnless('add_cross_attention', [false]);
  fields.refuseUnless('tie_word_embeddings', [true]);
  fields.refuseUnless('quantization_config', [null]);
  const embedDim = fields.size('n_embd');
  const numHeads = fields.size('n_head');
  const numLayers = fields.size('n_layer');
  if (numLayers > MAX_LAYERS) fields.fail('n_layer', `be at most ${MAX_LAYERS}`);
  if (embedDim % numHeads !== 0) fields.fail('n_head', `divide the ${embedDim} columns`);
  return {
    embedDim,
    numHeads,
    numKvHeads: numHeads,
    numLayers,
    vocabSize: fields.size('vocab_size'),
    maxLength: fields.size('n_positions', 1024),
    hiddenDim: fields.size('n_inner', 4 * embedDim),
    normEps: fields.positive('layer_norm_epsilon', 1e-5),
  };
}

/** Hugging Face's names. Maps are stored as [in, out]. */
function weightShapes({ embedDim, hiddenDim, numLayers, vocabSize, maxLength }: Gpt2Config): Map<string, Shape> {
  const shapes = new Map<string, Shape>([
    ['transformer.wte.weight', [vocabSize, embedDim]],
    ['transformer.wpe.weight', [maxLength, embedDim]],
  ]);
  const map = (name: string, into: number, out: number): void => {
    shapes.set(`${name}.weight`, [into, out]);
    shapes.set(`${name}.bias`, [out]);
  };
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `transformer.h.${layer}`;
    addNorm(shapes, `${prefix}.ln_1`, embedDim, true);
    map(`${prefix}.attn.c_attn`, embedDim, 3 * embedDim);
    map(`${prefix}.attn.c_proj`, embedDim, embedDim);
    addNorm(shapes, `${prefix}.ln_2`, embedDim, true);
    map(`${prefix}.mlp.c_fc`, embedDim, hiddenDim);
    map(`${prefix}.mlp.c_proj`, hiddenDim, embedDim);
  }
  addNorm(shapes, 'transformer.ln_f', embedDim, true);
  return shapes;
}

/**
 * GPT-2 (Radford et al. 2019): pre-normalised layers with learned positions, whose classifier is the embedding. Its state dict
 * has Hugging Face's names, and weights of maps are [out, in].
 */
export class Gpt2 extends Network<Gpt2Config> implements LanguageModel {
  readonly maxLength: number;

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<Gpt2Config>, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'GPT-2';
    const { dtype, maxLength } = checkModelOptions(name, checkpoint.config, options);
    super(name, device, GPT2, checkpoint, dtype, {
      changeOf: (weight) => (/\.c_\w+\.weight$/.test(weight) ? 'transpose' : undefined),
    });
    this.maxLength = maxLength;
  }

  /** Makes room for the keys and values of a batch of sequences. The caller disposes it. */
  createCache(options: ModelCacheOptions = {}): ModelCache {
    const { embedDim, numHeads } = this.config;
    const sizes = { ...this.config, headDim: embedDim / numHeads, maxLength: this.maxLength, dtype: this.dtype };
    return new ModelCache(`${this.name}.createCache`, this.device, sizes, options);
  }

  /** As `LanguageModel.forward`. */
  forward(ids: Tensor, cache: ModelCache, options: ForwardOptions = {}): FloatTensor {
    const call = `${this.name}.forward`;
    checkStep(call, ids, cache, this.config.numLayers);
    const takesAll = checkForwardOptions(call, options);
    return noGrad(() => this.device.scope(() => this.#run(ids, cache, takesAll)));
  }

  #run(ids: Tensor, cache: ModelCache, takesAll: boolean): FloatTensor {
    const { embedDim, normEps } = this.config;
    const { batch, layers, length } = cache;
    const added = ids.shape[1];
    const positions = this.weight('transformer.wpe').slice(0, length, length + added);
    let x = add(embedding(ids, this.weight('transformer.wte')), positions); // [B, N, E]
    for (const [index, layer] of layers.entries()) {
      const next = this.device.scope(() => this.#layer(x, `transformer.h.${index}`, layer));
      x.dispose();
      x = next;
    }
    cache.advance(added);
    const rows = takesAll ? x : x.slice(1, added - 1, added).reshape([batch, embedDim]);
    return linear(this.layerNorm(rows, 'transformer.ln_f', normEps), this.weight('transformer.wte'));
  }

  #layer(x: Tensor, name: string, cache: LayerCache): FloatTensor {
    const { embedDim, numHeads, normEps } = this.config;
    const headDim = embedDim / numHeads;
    const joint = this.linear(this.layerNorm(x, `${name}.ln_1`, normEps), `${name}.attn.c_attn`);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, headDim));
    cache.append(k, v);
    const attended = add(x, this.linear(joinHeads(cache.attend(q).output), `${name}.attn.c_proj`));
    const hidden = this.linear(this.layerNorm(attended, `${name}.ln_2`, normEps), `${name}.mlp.c_fc`);
    return add(attended, this.linear(gelu(hidden, { approximate: 'tanh' }), `${name}.mlp.c_proj`));
  }
}
