/**
 * The decoders that descend from Llama: layers of rotary attention with grouped key heads and a gated feed-forward block, all
 * with Hugging Face's names for weights. An architecture is a config that says how it differs.
 */
import { noGrad } from '../autograd/tape.ts';
import { RotaryEmbedding, type RotaryScaling } from '../modules/rotary-embedding.ts';
import { add, gelu, multiply, swiglu, tanh } from '../ops/elementwise.ts';
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
import { addLinear, addNorm, headsOf, joinHeads, Network } from './network.ts';

/** How queries and keys of a layer are rotated. */
export interface Rope {
  readonly base: number;
  readonly scaling?: RotaryScaling;
}

/** What a layer has of its own. */
export interface DecoderLayer {
  /** The rotation by `ropeBase` and `ropeScaling` unless it says otherwise; null for none. */
  readonly rope?: Rope | null;
  /** How many keys a query sees, its own included; all without it. */
  readonly window?: number;
}

/** The sizes and constants of a decoder; names as in modules. What is left out is as in Llama. */
export interface DecoderConfig extends LanguageModelConfig {
  /** Width of the hidden layer of the feed-forward block. */
  readonly hiddenDim: number;
  /** D. It is even, because the whole head is rotated. */
  readonly headDim: number;
  readonly normEps: number;
  readonly ropeBase: number;
  readonly ropeScaling?: RotaryScaling;
  /** Whether rotated pairs are neighbouring columns (llama2.c) rather than columns half a head apart (Hugging Face). */
  readonly interleaved: boolean;
  /** Whether the classifier is the embedding, so that there is no `lm_head.weight`. */
  readonly tiesClassifier: boolean;
  /** Biases on the four projections around attention. Default false. */
  readonly attentionBias?: boolean;
  /** Biases on the projections of queries, keys and values alone. Default that of `attentionBias`. */
  readonly queryKeyValueBias?: boolean;
  /** Biases in the feed-forward block. Default false. */
  readonly feedForwardBias?: boolean;
  /** Where norms are: before each block (the default), after it, or both. */
  readonly norms?: 'before' | 'after' | 'both';
  /** Whether a norm multiplies by 1 + weight. Default false. */
  readonly addsOneToNorms?: boolean;
  /** Norms of queries and keys before they are rotated: of each head, or of the whole projection. Default none. */
  readonly queryKeyNorm?: 'head' | 'projection';
  /** The gate of the feed-forward block. Default `'silu'`. */
  readonly activation?: 'silu' | 'geluTanh';
  /** Layers that differ, one for each; default none do. */
  readonly layers?: readonly DecoderLayer[];
  /** Multiplies scores; default 1/√headDim. */
  readonly scale?: number;
  /** Bounds attention's scores. */
  readonly softcap?: number;
  /** Bounds logits. */
  readonly logitSoftcap?: number;
  /** Multiplies embeddings. Default 1. */
  readonly embeddingScale?: number;
  /** Whether files hold the joined projections `qkv_proj` and `gate_up_proj`. Default false. */
  readonly holdsJoined?: boolean;
}

/** A decoder on the host, as its files hold it. */
export type DecoderCheckpoint = Checkpoint<DecoderConfig>;

/** An architecture of this family, by what its config.json says. */
export function decoderArchitecture(
  name: string,
  readConfig: (fields: Fields) => DecoderConfig,
): Architecture<DecoderConfig> {
  const architecture: Architecture<DecoderConfig> = {
    name,
    readConfig,
    weightShapes: decoderWeights,
    isSpare: isSpareOfDecoder,
    create: (device, checkpoint, options) => new Decoder(name, device, architecture, checkpoint, options),
  };
  return architecture;
}

/** Rotary tables that old files hold and everyone recomputes, and the classifier where it is the embedding. */
export function isSpareOfDecoder(name: string, { tiesClassifier }: DecoderConfig): boolean {
  return (tiesClassifier && name === 'lm_head.weight') || name.endsWith('.rotary_emb.inv_freq');
}

/** Weights that are multiplied by the same input are in one tensor. */
const JOINS: Readonly<Record<string, readonly string[]>> = {
  qkv_proj: ['q_proj', 'k_proj', 'v_proj'],
  gate_up_proj: ['gate_proj', 'up_proj'],
};

/** The norms of a layer and the width of each. */
function normNames({ norms = 'before' }: DecoderConfig): readonly string[] {
  switch (norms) {
    case 'before':
      return ['input_layernorm', 'post_attention_layernorm'];
    case 'after':
      return ['post_attention_layernorm', 'post_feedforward_layernorm'];
    case 'both':
      return ['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'];
  }
}

/** Hugging Face's names; the weight of a linear map is [out, in]. */
export function decoderWeights(config: DecoderConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize, tiesClassifier } = config;
  const { attentionBias = false, queryKeyValueBias = attentionBias, feedForwardBias = false } = config;
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [vocabSize, embedDim]]]);
  const [queryDim, keyDim] = [numHeads * headDim, numKvHeads * headDim];
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    for (const norm of normNames(config)) addNorm(shapes, `${prefix}.${norm}`, embedDim);
    const attention = `${prefix}.self_attn`;
    if (config.holdsJoined) {
      addLinear(shapes, `${attention}.qkv_proj`, queryDim + 2 * keyDim, embedDim, queryKeyValueBias);
      addLinear(shapes, `${prefix}.mlp.gate_up_proj`, 2 * hiddenDim, embedDim, feedForwardBias);
    } else {
      addLinear(shapes, `${attention}.q_proj`, queryDim, embedDim, queryKeyValueBias);
      addLinear(shapes, `${attention}.k_proj`, keyDim, embedDim, queryKeyValueBias);
      addLinear(shapes, `${attention}.v_proj`, keyDim, embedDim, queryKeyValueBias);
      addLinear(shapes, `${prefix}.mlp.gate_proj`, hiddenDim, embedDim, feedForwardBias);
      addLinear(shapes, `${prefix}.mlp.up_proj`, hiddenDim, embedDim, feedForwardBias);
    }
    addLinear(shapes, `${attention}.o_proj`, embedDim, queryDim, attentionBias);
    addLinear(shapes, `${prefix}.mlp.down_proj`, embedDim, hiddenDim, feedForwardBias);
    if (config.queryKeyNorm) {
      const isOfHead = config.queryKeyNorm === 'head';
      addNorm(shapes, `${attention}.q_norm`, isOfHead ? headDim : queryDim);
      addNorm(shapes, `${attention}.k_norm`, isOfHead ? headDim : keyDim);
    }
  }
  addNorm(shapes, 'model.norm', embedDim);
  if (!tiesClassifier) shapes.set('lm_head.weight', [vocabSize, embedDim]);
  return shapes;
}

/**
 * A language model of this family. It is for inference and records nothing for gradients.
 *
 * Its state dict has Hugging Face's names, except that `q_proj`, `k_proj` and `v_proj` are joined to `qkv_proj`, and
 * `gate_proj` and `up_proj` to `gate_up_proj`.
 */
export class Decoder extends Network<DecoderConfig> implements LanguageModel {
  readonly maxLength: number;
  /** One for each rotation that layers have, by its text. */
  readonly #rotaries = new Map<string, RotaryEmbedding>();
  #embeddingScale?: Tensor;
  #logitSoftcap?: readonly [inverse: Tensor, softcap: Tensor];

  /**
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    name: string,
    device: Device,
    architecture: Architecture<DecoderConfig>,
    checkpoint: Pick<DecoderCheckpoint, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const { config } = checkpoint;
    const { dtype, maxLength } = checkModelOptions(name, config, options);
    super(name, device, architecture, checkpoint, dtype, {
      joins: JOINS,
      changeOf: (weight) => (config.addsOneToNorms && weight.endsWith('norm.weight') ? 'plus-one' : undefined),
    });
    this.maxLength = maxLength;
    const number = (key: string, value: number): Tensor =>
      this.registerBuffer(key, device.tensor([value], [1], { dtype }), { persistent: false });
    this.complete(() => {
      const { embeddingScale, logitSoftcap } = config;
      if (embeddingScale !== undefined) this.#embeddingScale = number('embeddingScale', embeddingScale);
      if (logitSoftcap !== undefined) {
        this.#logitSoftcap = [number('inverseSoftcap', 1 / logitSoftcap), number('logitSoftcap', logitSoftcap)];
      }
      for (let layer = 0; layer < config.numLayers; layer++) this.#rotaryOf(layer); // made now, to fail now
    });
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize } = this.config;
    const { maxLength, dtype } = this;
    return { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize, maxLength, dtype };
  }

  /**
   * Makes room for the keys and values of a batch of sequences. The caller disposes it.
   *
   * @throws ArgumentError for options that do not fit, or storage that the device cannot hold
   */
  createCache(options: ModelCacheOptions = {}): ModelCache {
    const sizes = { ...this.config, maxLength: this.maxLength, dtype: this.dtype };
    return new ModelCache(`${this.name}.createCache`, this.device, sizes, options);
  }

  /**
   * Appends tokens to every sequence of a cache, and scores the tokens that may follow the last, or with `logits: 'all'` each
   * of them. Only the GPU sees the ids. One that is not a token gives NaN.
   *
   * @param ids [B, N]; int32 or uint32
   * @param cache made by this model's `createCache`
   * @returns logits [B, vocabSize], or of all positions [B, N, vocabSize], of the model's dtype
   * @throws ArgumentError for ids, a cache or options that do not fit, or a full cache; the cache is then as before
   */
  forward(ids: Tensor, cache: ModelCache, options: ForwardOptions = {}): FloatTensor {
    const call = `${this.name}.forward`;
    checkStep(call, ids, cache, this.config.numLayers);
    const takesAll = checkForwardOptions(call, options);
    return noGrad(() => this.device.scope(() => this.#run(ids, cache, takesAll)));
  }

  override dispose(): void {
    for (const rotary of this.#rotaries.values()) rotary.dispose();
    super.dispose();
  }

  #run(ids: Tensor, cache: ModelCache, takesAll: boolean): FloatTensor {
    const { embedDim, vocabSize, normEps } = this.config;
    const { batch, layers } = cache;
    const added = ids.shape[1];
    let x = embedding(ids, this.weight('model.embed_tokens')); // [B, N, E]
    if (this.#embeddingScale) x = multiply(x, this.#embeddingScale);
    for (const [index, layer] of layers.entries()) {
      const next = this.device.scope(() => this.#layer(x, index, layer));
      x.dispose();
      x = next;
    }
    cache.advance(added);
    const rows = takesAll ? x : x.slice(1, added - 1, added).reshape([batch, embedDim]);
    const classifier = this.parameter('lm_head.weight') ?? this.weight('model.embed_tokens');
    const logits = linear(this.rmsNorm(rows, 'model.norm', normEps), classifier);
    const shaped = takesAll ? logits : logits.reshape([batch, vocabSize]);
    if (!this.#logitSoftcap) return shaped;
    const [inverse, softcap] = this.#logitSoftcap;
    return multiply(tanh(multiply(shaped, inverse)), softcap);
  }

  /** x [B, N, E] → [B, N, E]. */
  #layer(x: Tensor, index: number, cache: LayerCache): FloatTensor {
    const { normEps, norms = 'before' } = this.config;
    const name = `model.layers.${index}`;
    const norm = (y: Tensor, which: string): Tensor => this.rmsNorm(y, `${name}.${which}`, normEps);
    const attention = (y: Tensor): Tensor => this.#attention(y, `${name}.self_attn`, index, cache);
    const feedForward = (y: Tensor): Tensor => this.#feedForward(y, `${name}.mlp`);
    switch (norms) {
      case 'before': {
        const attended = add(x, attention(norm(x, 'input_layernorm')));
        return add(attended, feedForward(norm(attended, 'post_attention_layernorm')));
      }
      case 'after': {
        const attended = add(x, norm(attention(x), 'post_attention_layernorm'));
        return add(attended, norm(feedForward(attended), 'post_feedforward_layernorm'));
      }
      case 'both': {
        const attended = add(x, norm(attention(norm(x, 'input_layernorm')), 'post_attention_layernorm'));
        const mixed = feedForward(norm(attended, 'pre_feedforward_layernorm'));
        return add(attended, norm(mixed, 'post_feedforward_layernorm'));
      }
    }
  }

  #attention(x: Tensor, name: string, layer: number, cache: LayerCache): Tensor {
    const { numHeads, numKvHeads, headDim, queryKeyNorm, normEps, scale, softcap } = this.config;
    const window = this.config.layers?.[layer]?.window;
    const joint = this.linear(x, `${name}.qkv_proj`);
    const heads = (first: number, count: number, norm?: string): Tensor => {
      if (norm && queryKeyNorm === 'projection') {
        const whole = joint.slice(2, first * headDim, (first + count) * headDim);
        return headsOf(this.rmsNorm(whole, `${name}.${norm}`, normEps), 0, count, headDim);
      }
      const split = headsOf(joint, first, count, headDim);
      return norm && queryKeyNorm === 'head' ? this.rmsNorm(split, `${name}.${norm}`, normEps) : split;
    };
    const rotary = this.#rotaryOf(layer);
    cache.append(heads(numHeads, numKvHeads, 'k_norm'), heads(numHeads + numKvHeads, numKvHeads), { rotary });
    const { output } = cache.attend(heads(0, numHeads, 'q_norm'), {
      rotary,
      scale,
      softcap,
      ...(window !== undefined && { window: { left: window - 1, right: 0, align: 'bottom-right' } }),
    });
    return this.linear(joinHeads(output), `${name}.o_proj`);
  }

  #feedForward(x: Tensor, name: string): Tensor {
    const { hiddenDim, activation = 'silu' } = this.config;
    const joint = this.linear(x, `${name}.gate_up_proj`);
    const [gate, up] = [joint.slice(2, 0, hiddenDim), joint.slice(2, hiddenDim, 2 * hiddenDim)];
    const inner = activation === 'silu' ? swiglu(gate, up) : multiply(gelu(gate, { approximate: 'tanh' }), up);
    return this.linear(inner, `${name}.down_proj`);
  }

  /** The rotation of a layer, which layers that rotate alike share. */
  #rotaryOf(layer: number): RotaryEmbedding | undefined {
    const { headDim, ropeBase, ropeScaling, interleaved, layers } = this.config;
    const { rope = { base: ropeBase, scaling: ropeScaling } } = layers?.[layer] ?? {};
    if (rope === null) return undefined;
    const key = JSON.stringify(rope);
    let rotary = this.#rotaries.get(key);
    if (!rotary) {
      const { base, scaling } = rope;
      const { device, maxLength } = this;
      rotary = new RotaryEmbedding(device, { dim: headDim, base, maxLength, interleaved, scaling });
      this.#rotaries.set(key, rotary);
    }
    return rotary;
  }
}
