import { noGrad } from '../autograd/tape.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { add, gelu, multiply, relu, silu } from '../ops/elementwise.ts';
import { clone } from '../ops/copy.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/linear.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkIds, keyMaskOf, type EncodeOptions } from './encoder.ts';
import {
  EncodedText,
  type DecoderParts,
  type Encoded,
  type EncoderDecoder,
  type EncoderDecoderConfig,
} from './encoder-decoder.ts';
import type { Fields } from './fields.ts';
import type { LayerCache } from './model-cache.ts';
import { checkModelOptions, type Architecture, type Checkpoint, type ModelOptions } from './model.ts';
import { addLinear, addNorm, headsOf, joinHeads, Network } from './network.ts';
import { MAX_LAYERS } from './weights.ts';

export interface T5Config extends EncoderDecoderConfig {
  readonly normEps: number;
  /** The feed-forward block: `'relu'` has one projection, the others are gated. */
  readonly activation: 'relu' | 'geluTanh' | 'silu';
  /** Rows of the table of position biases. */
  readonly numBuckets: number;
  /** Distance from which on all have the last bucket. */
  readonly maxDistance: number;
  /** Whether the classifier is the embedding. */
  readonly tiesClassifier: boolean;
  /** Multiplies the last hidden state before the classifier. */
  readonly outputScale: number;
}

export const T5: Architecture<T5Config, EncoderDecoder> = {
  name: 'T5',
  readConfig,
  weightShapes,
  isSpare: (name, { tiesClassifier }) =>
    /^(encoder|decoder)\.embed_tokens\.weight$/.test(name) ||
    name.endsWith('EncDecAttention.relative_attention_bias.weight') ||
    (tiesClassifier && name === 'lm_head.weight'),
  create: (device, checkpoint, options) => new T5Model(device, checkpoint, options),
};

const ACTIVATIONS = { relu: 'relu', 'gated-gelu': 'geluTanh', 'gated-silu': 'silu' } as const;

/** A limit of our own: position biases of a text are computed whole. T5 has none. */
const MAX_LENGTH = 4096;

function readConfig(fields: Fields): T5Config {
  fields.refuseUnless('model_type', ['t5']);
  fields.refuseUnless('quantization_config', [null]);
  const feedForward = fields.text('feed_forward_proj', 'relu');
  fields.refuseUnless('feed_forward_proj', Object.keys(ACTIVATIONS));
  const [embedDim, numHeads] = [fields.size('d_model'), fields.size('num_heads')];
  const numEncoderLayers = fields.size('num_layers');
  const numLayers = fields.size('num_decoder_layers', numEncoderLayers);
  if (Math.max(numLayers, numEncoderLayers) > MAX_LAYERS) fields.fail('num_layers', `be at most ${MAX_LAYERS}`);
  const tiesClassifier = fields.flag('tie_word_embeddings', true);
  const [numBuckets, maxDistance] = [
    fields.size('relative_attention_num_buckets', 32),
    fields.size('relative_attention_max_distance', 128),
  ];
  if (numBuckets < 4 || numBuckets % 2 !== 0) fields.fail('relative_attention_num_buckets', 'be even and at least 4');
  if (maxDistance <= numBuckets / 2) fields.fail('relative_attention_max_distance', `be above ${numBuckets / 2}`);
  return {
    embedDim,
    numHeads,
    numKvHeads: numHeads,
    headDim: fields.size('d_kv'),
    hiddenDim: fields.size('d_ff'),
    numLayers,
    numEncoderLayers,
    vocabSize: fields.size('vocab_size'),
    maxLength: MAX_LENGTH,
    startToken: fields.value('decoder_start_token_id') === undefined ? 0 : fields.token('decoder_start_token_id'),
    normEps: fields.positive('layer_norm_epsilon', 1e-6),
    activation: ACTIVATIONS[feedForward as keyof typeof ACTIVATIONS],
    numBuckets,
    maxDistance,
    tiesClassifier,
    outputScale: fields.flag('scale_decoder_outputs', tiesClassifier) ? embedDim ** -0.5 : 1,
  };
}

function weightShapes(config: T5Config): Map<string, Shape> {
  const { embedDim, hiddenDim, numHeads, headDim, numLayers, numEncoderLayers, vocabSize, numBuckets } = config;
  const inner = numHeads * headDim;
  const shapes = new Map<string, Shape>([['shared.weight', [vocabSize, embedDim]]]);
  const attention = (name: string): void => {
    for (const part of ['q', 'k', 'v']) addLinear(shapes, `${name}.${part}`, inner, embedDim, false);
    addLinear(shapes, `${name}.o`, embedDim, inner, false);
  };
  for (const [stack, layers] of [
    ['encoder', numEncoderLayers],
    ['decoder', numLayers],
  ] as const) {
    shapes.set(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`, [numBuckets, numHeads]);
    for (let layer = 0; layer < layers; layer++) {
      const prefix = `${stack}.block.${layer}.layer`;
      attention(`${prefix}.0.SelfAttention`);
      addNorm(shapes, `${prefix}.0.layer_norm`, embedDim);
      if (stack === 'decoder') {
        attention(`${prefix}.1.EncDecAttention`);
        addNorm(shapes, `${prefix}.1.layer_norm`, embedDim);
      }
      const feedForward = `${prefix}.${stack === 'decoder' ? 2 : 1}`;
      const projections = config.activation === 'relu' ? ['wi'] : ['wi_0', 'wi_1'];
      for (const wi of projections) {
        addLinear(shapes, `${feedForward}.DenseReluDense.${wi}`, hiddenDim, embedDim, false);
      }
      addLinear(shapes, `${feedForward}.DenseReluDense.wo`, embedDim, hiddenDim, false);
      addNorm(shapes, `${feedForward}.layer_norm`, embedDim);
    }
    addNorm(shapes, `${stack}.final_layer_norm`, embedDim);
  }
  if (!config.tiesClassifier) shapes.set('lm_head.weight', [vocabSize, embedDim]);
  return shapes;
}

/**
 * The row of the table of position biases for a key at `distance` from its query (key − query): one for each small distance,
 * then logarithmically fewer. In both directions, half of the rows are for keys after the query. In float32, as the models
 * were trained.
 */
export function positionBucket(
  distance: number,
  isBidirectional: boolean,
  { numBuckets, maxDistance }: Pick<T5Config, 'numBuckets' | 'maxDistance'>,
): number {
  const count = isBidirectional ? numBuckets / 2 : numBuckets;
  const first = isBidirectional && distance > 0 ? count : 0;
  const away = isBidirectional ? Math.abs(distance) : Math.max(-distance, 0);
  const exact = Math.floor(count / 2);
  if (away < exact) return first + away;
  const ratio = Math.fround(Math.fround(Math.log(Math.fround(away / exact))) / Math.log(maxDistance / exact));
  return first + Math.min(exact + Math.floor(Math.fround(ratio * (count - exact))), count - 1);
}

/**
 * T5 and its 1.1 (Raffel et al. 2019, arXiv:1910.10683): pre-normalised layers without biases, whose scores are not scaled and
 * have learned biases of relative positions.
 */
export class T5Model extends Network<T5Config> implements EncoderDecoder {
  readonly maxLength: number;
  readonly startToken: number;
  #outputScale!: Tensor;

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<T5Config>, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'T5';
    const { config } = checkpoint;
    const { dtype, maxLength } = checkModelOptions(name, config, options);
    super(name, device, T5, checkpoint, dtype, { joins: { qkv: ['q', 'k', 'v'], wi: ['wi_0', 'wi_1'] } });
    this.maxLength = maxLength;
    this.startToken = config.startToken;
    this.complete(() => {
      const scale = device.tensor([config.outputScale], [1], { dtype });
      this.#outputScale = this.registerBuffer('outputScale', scale, { persistent: false });
    });
  }

  encode(ids: Tensor, options: EncodeOptions = {}): EncodedText {
    const call = `${this.name}.encode`;
    checkOptions(call, options, ['attentionMask']);
    checkIds(call, 'ids', ids, this.maxLength);
    return noGrad(() => this.device.scope(() => new EncodedText(this.#decoder(), this.#encode(call, ids, options))));
  }

  #encode(call: string, ids: Tensor, options: EncodeOptions): Encoded {
    const { numLayers, numEncoderLayers, normEps, numHeads, headDim } = this.config;
    const given = keyMaskOf(call, options, ids);
    const keyMask = given && clone(given); // the caller's may be disposed before the last step
    const length = ids.shape[1];
    const bias = this.#bias('encoder', 0, length, length);
    let x: Tensor = embedding(ids, this.weight('shared'));
    for (let layer = 0; layer < numEncoderLayers; layer++) {
      const next = this.device.scope(() => this.#encoderLayer(x, `encoder.block.${layer}.layer`, bias, keyMask));
      x.dispose();
      x = next;
    }
    const memory = this.rmsNorm(x, 'encoder.final_layer_norm', normEps);
    const inner = numHeads * headDim;
    const contexts = Array.from({ length: numLayers }, (_, layer) => {
      const weight = this.weight(`decoder.block.${layer}.layer.1.EncDecAttention.qkv`).slice(0, inner, 3 * inner);
      const joint = linear(memory, weight);
      return { k: headsOf(joint, 0, numHeads, headDim), v: headsOf(joint, numHeads, numHeads, headDim) };
    });
    return { contexts, keyMask };
  }

  #encoderLayer(x: Tensor, name: string, mask: Tensor, keyMask: Tensor | undefined): FloatTensor {
    const { q, k, v } = this.#project(x, `${name}.0`);
    const { output } = flashAttention(q, k, v, { mask, keyMask, scale: 1 });
    const attended = add(x, this.linear(joinHeads(output), `${name}.0.SelfAttention.o`));
    return this.#feedForward(attended, `${name}.1`);
  }

  #decoder(): DecoderParts {
    const { name, device, config, dtype, maxLength } = this;
    return {
      name,
      device,
      config,
      dtype,
      maxLength,
      embed: (ids) => embedding(ids, this.weight('shared')),
      shared: (position, added) => this.#bias('decoder', position, added, position + added),
      layer: (x, index, cache, encoded, bias) => this.#decoderLayer(x, index, cache, encoded, bias!),
      classify: (x) => {
        const normed = this.rmsNorm(x, 'decoder.final_layer_norm', config.normEps);
        const classifier = this.parameter('lm_head.weight') ?? this.weight('shared');
        return linear(multiply(normed, this.#outputScale), classifier);
      },
    };
  }

  #decoderLayer(
    x: Tensor,
    index: number,
    cache: LayerCache,
    { contexts, keyMask }: Encoded,
    mask: Tensor,
  ): FloatTensor {
    const { numHeads, headDim, normEps } = this.config;
    const name = `decoder.block.${index}.layer`;
    const { q, k, v } = this.#project(x, `${name}.0`);
    cache.append(k, v);
    const own = cache.attend(q, { mask, scale: 1 }).output;
    const attended = add(x, this.linear(joinHeads(own), `${name}.0.SelfAttention.o`));
    const weight = this.weight(`${name}.1.EncDecAttention.qkv`).slice(0, 0, numHeads * headDim);
    const queries = linear(this.rmsNorm(attended, `${name}.1.layer_norm`, normEps), weight);
    const context = contexts[index];
    const { output } = flashAttention(headsOf(queries, 0, numHeads, headDim), context.k, context.v, {
      keyMask,
      scale: 1,
    });
    const informed = add(attended, this.linear(joinHeads(output), `${name}.1.EncDecAttention.o`));
    return this.#feedForward(informed, `${name}.2`);
  }

  #project(x: Tensor, name: string): { q: Tensor; k: Tensor; v: Tensor } {
    const { numHeads, headDim, normEps } = this.config;
    const joint = this.linear(this.rmsNorm(x, `${name}.layer_norm`, normEps), `${name}.SelfAttention.qkv`);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, headDim));
    return { q, k, v };
  }

  #feedForward(x: Tensor, name: string): FloatTensor {
    const { activation, hiddenDim, normEps } = this.config;
    const inner = this.linear(this.rmsNorm(x, `${name}.layer_norm`, normEps), `${name}.DenseReluDense.wi`);
    const gate = (): Tensor => inner.slice(2, 0, hiddenDim);
    const up = (): Tensor => inner.slice(2, hiddenDim, 2 * hiddenDim);
    const hidden =
      activation === 'relu'
        ? relu(inner)
        : multiply(activation === 'silu' ? silu(gate()) : gelu(gate(), { approximate: 'tanh' }), up());
    return add(x, this.linear(hidden, `${name}.DenseReluDense.wo`));
  }

  /** The biases [1, H, Nq, Nk] of queries at `position` and on. */
  #bias(stack: 'encoder' | 'decoder', position: number, queries: number, keys: number): Tensor {
    // one bucket for each distance, from the last query's first key on
    const least = 1 - queries - position;
    const buckets = Uint32Array.from({ length: queries + keys - 1 }, (_, at) =>
      positionBucket(least + at, stack === 'encoder', this.config),
    );
    const rows = new Uint32Array(queries * keys);
    for (let query = 0; query < queries; query++) {
      rows.set(buckets.subarray(queries - 1 - query, queries - 1 - query + keys), query * keys);
    }
    const table = this.weight(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias`);
    return this.device.scope(() => {
      const biases = embedding(this.device.tensor(rows, [queries, keys]), table); // [Nq, Nk, H]
      return biases.transpose(0, 2).transpose(1, 2).reshape([1, this.config.numHeads, queries, keys]);
    });
  }
}
