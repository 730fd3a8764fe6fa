import { noGrad } from '../autograd/tape.ts';
import { flashAttention } from '../ops/attention/fused-attention.ts';
import { add, gelu, multiply } from '../ops/elementwise.ts';
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

export interface BartConfig extends EncoderDecoderConfig {
  readonly numEncoderHeads: number;
  readonly encoderHiddenDim: number;
  /** Multiplies embeddings. */
  readonly embeddingScale: number;
}

export const BART: Architecture<BartConfig, EncoderDecoder> = {
  name: 'BART',
  readConfig,
  weightShapes,
  isSpare: (name) => /^model\.(encoder|decoder)\.embed_tokens\.weight$/.test(name) || name === 'lm_head.weight',
  create: (device, checkpoint, options) => new Bart(device, checkpoint, options),
};

/** BART's positions begin at row 2 of their tables. */
const FIRST_POSITION = 2;
const NORM_EPS = 1e-5;

function readConfig(fields: Fields): BartConfig {
  fields.refuseUnless('model_type', ['bart']);
  fields.refuseUnless('activation_function', ['gelu']);
  fields.refuseUnless('tie_word_embeddings', [true]);
  fields.refuseUnless('quantization_config', [null]);
  const embedDim = fields.size('d_model');
  const [numHeads, numEncoderHeads] = [fields.size('decoder_attention_heads'), fields.size('encoder_attention_heads')];
  if (embedDim % numHeads !== 0) fields.fail('decoder_attention_heads', `divide the ${embedDim} columns`);
  if (embedDim % numEncoderHeads !== 0) fields.fail('encoder_attention_heads', `divide the ${embedDim} columns`);
  const [numLayers, numEncoderLayers] = [fields.size('decoder_layers'), fields.size('encoder_layers')];
  if (numLayers > MAX_LAYERS) fields.fail('decoder_layers', `be at most ${MAX_LAYERS}`);
  if (numEncoderLayers > MAX_LAYERS) fields.fail('encoder_layers', `be at most ${MAX_LAYERS}`);
  return {
    embedDim,
    numHeads,
    numKvHeads: numHeads,
    numEncoderHeads,
    headDim: embedDim / numHeads,
    hiddenDim: fields.size('decoder_ffn_dim'),
    encoderHiddenDim: fields.size('encoder_ffn_dim'),
    numLayers,
    numEncoderLayers,
    vocabSize: fields.size('vocab_size'),
    maxLength: fields.size('max_position_embeddings', 1024),
    startToken: fields.value('decoder_start_token_id') === undefined ? 2 : fields.token('decoder_start_token_id'),
    embeddingScale: fields.flag('scale_embedding') ? Math.sqrt(embedDim) : 1,
  };
}

function weightShapes(config: BartConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, encoderHiddenDim, numLayers, numEncoderLayers, vocabSize, maxLength } = config;
  const shapes = new Map<string, Shape>([
    ['model.shared.weight', [vocabSize, embedDim]],
    ['final_logits_bias', [1, vocabSize]],
  ]);
  const attention = (name: string): void => {
    for (const part of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) {
      addLinear(shapes, `${name}.${part}`, embedDim, embedDim, true);
    }
    addNorm(shapes, `${name}_layer_norm`, embedDim, true);
  };
  for (const [stack, layers, width] of [
    ['encoder', numEncoderLayers, encoderHiddenDim],
    ['decoder', numLayers, hiddenDim],
  ] as const) {
    shapes.set(`model.${stack}.embed_positions.weight`, [FIRST_POSITION + maxLength, embedDim]);
    addNorm(shapes, `model.${stack}.layernorm_embedding`, embedDim, true);
    for (let layer = 0; layer < layers; layer++) {
      const prefix = `model.${stack}.layers.${layer}`;
      attention(`${prefix}.self_attn`);
      if (stack === 'decoder') attention(`${prefix}.encoder_attn`);
      addLinear(shapes, `${prefix}.fc1`, width, embedDim, true);
      addLinear(shapes, `${prefix}.fc2`, embedDim, width, true);
      addNorm(shapes, `${prefix}.final_layer_norm`, embedDim, true);
    }
  }
  return shapes;
}

/** BART (Lewis et al. 2019, arXiv:1910.13461): post-normalised layers with learned positions. */
export class Bart extends Network<BartConfig> implements EncoderDecoder {
  readonly maxLength: number;
  readonly startToken: number;
  #embeddingScale?: Tensor;

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    checkpoint: Pick<Checkpoint<BartConfig>, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'BART';
    const { config } = checkpoint;
    const { dtype, maxLength } = checkModelOptions(name, config, options);
    super(name, device, BART, checkpoint, dtype, { joins: { qkv_proj: ['q_proj', 'k_proj', 'v_proj'] } });
    this.maxLength = maxLength;
    this.startToken = config.startToken;
    this.complete(() => {
      if (config.embeddingScale === 1) return;
      const scale = device.tensor([config.embeddingScale], [1], { dtype });
      this.#embeddingScale = this.registerBuffer('embeddingScale', scale, { persistent: false });
    });
  }

  encode(ids: Tensor, options: EncodeOptions = {}): EncodedText {
    const call = `${this.name}.encode`;
    checkOptions(call, options, ['attentionMask']);
    checkIds(call, 'ids', ids, this.maxLength);
    return noGrad(() => this.device.scope(() => new EncodedText(this.#decoder(), this.#encode(call, ids, options))));
  }

  #encode(call: string, ids: Tensor, options: EncodeOptions): Encoded {
    const { embedDim, numLayers, numEncoderLayers, numEncoderHeads, numHeads, headDim } = this.config;
    const given = keyMaskOf(call, options, ids);
    const keyMask = given && clone(given); // the caller's may be disposed before the last step
    let x = this.#embed(ids, 'model.encoder', 0);
    for (let layer = 0; layer < numEncoderLayers; layer++) {
      const name = `model.encoder.layers.${layer}`;
      const next = this.device.scope(() => {
        const joint = this.linear(x, `${name}.self_attn.qkv_proj`);
        const [q, k, v] = [0, 1, 2].map((part) =>
          headsOf(joint, part * numEncoderHeads, numEncoderHeads, embedDim / numEncoderHeads),
        );
        const attended = this.#joined(x, flashAttention(q, k, v, { keyMask }).output, `${name}.self_attn`);
        return this.#feedForward(attended, name);
      });
      x.dispose();
      x = next;
    }
    const contexts = Array.from({ length: numLayers }, (_, layer) => {
      const joint = this.#crossLinear(x, layer, embedDim, 3 * embedDim);
      return { k: headsOf(joint, 0, numHeads, headDim), v: headsOf(joint, numHeads, numHeads, headDim) };
    });
    return { contexts, keyMask };
  }

  #decoder(): DecoderParts {
    const { name, device, config, dtype, maxLength } = this;
    return {
      name,
      device,
      config,
      dtype,
      maxLength,
      embed: (ids, position) => this.#embed(ids, 'model.decoder', position),
      layer: (x, index, cache, encoded) => this.#decoderLayer(x, index, cache, encoded),
      classify: (x) => {
        const bias = this.parameter('final_logits_bias')!.reshape([config.vocabSize]);
        return linear(x, this.weight('model.shared'), { bias });
      },
    };
  }

  #decoderLayer(x: Tensor, index: number, cache: LayerCache, { contexts, keyMask }: Encoded): FloatTensor {
    const { embedDim, numHeads, headDim } = this.config;
    const name = `model.decoder.layers.${index}`;
    const joint = this.linear(x, `${name}.self_attn.qkv_proj`);
    const [q, k, v] = [0, 1, 2].map((part) => headsOf(joint, part * numHeads, numHeads, headDim));
    cache.append(k, v);
    const attended = this.#joined(x, cache.attend(q).output, `${name}.self_attn`);
    const queries = headsOf(this.#crossLinear(attended, index, 0, embedDim), 0, numHeads, headDim);
    const context = contexts[index];
    const { output } = flashAttention(queries, context.k, context.v, { keyMask });
    return this.#feedForward(this.#joined(attended, output, `${name}.encoder_attn`), name);
  }

  /** Rows [first, end) of the joined map of a layer's attention to the encoded text. */
  #crossLinear(x: Tensor, layer: number, first: number, end: number): FloatTensor {
    const name = `model.decoder.layers.${layer}.encoder_attn.qkv_proj`;
    return linear(x, this.weight(name).slice(0, first, end), {
      bias: this.parameter(`${name}.bias`)!.slice(0, first, end),
    });
  }

  /** norm(x + projected heads). */
  #joined(x: Tensor, heads: Tensor, name: string): FloatTensor {
    const sum = add(x, this.linear(joinHeads(heads), `${name}.out_proj`));
    return this.layerNorm(sum, `${name}_layer_norm`, NORM_EPS);
  }

  #feedForward(x: Tensor, name: string): FloatTensor {
    const hidden = gelu(this.linear(x, `${name}.fc1`));
    return this.layerNorm(add(x, this.linear(hidden, `${name}.fc2`)), `${name}.final_layer_norm`, NORM_EPS);
  }

  #embed(ids: Tensor, stack: string, position: number): FloatTensor {
    const first = FIRST_POSITION + position;
    const positions = this.weight(`${stack}.embed_positions`).slice(0, first, first + ids.shape[1]);
    const tokens = embedding(ids, this.weight('model.shared'));
    const scaled = this.#embeddingScale ? multiply(tokens, this.#embeddingScale) : tokens;
    return this.layerNorm(add(scaled, positions), `${stack}.layernorm_embedding`, NORM_EPS);
  }
}
