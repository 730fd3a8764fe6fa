import { noGrad } from '../autograd/tape.ts';
import { Module } from '../modules/module.ts';
import { RotaryEmbedding, type RotaryScaling } from '../modules/rotary-embedding.ts';
import { reshape } from '../ops/copy.ts';
import { add, swiglu } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/linear.ts';
import { rmsNorm } from '../ops/normalise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import type { Fields } from './fields.ts';
import { readRotary, readSizes } from './hugging-face-config.ts';
import { checkStep, ModelCache, type LayerCache, type ModelCacheOptions } from './model-cache.ts';
import {
  checkModelOptions,
  type Architecture,
  type Checkpoint,
  type LanguageModel,
  type LanguageModelConfig,
  type ModelOptions,
} from './model.ts';
import { checkWeights, joinedShape, joinNames, uploadWeights } from './weights.ts';

/** The sizes and constants of a model; names as in modules. */
export interface LlamaConfig extends LanguageModelConfig {
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
  /** Biases in the feed-forward block. Default false. */
  readonly feedForwardBias?: boolean;
}

/** A Llama on the host, as its files hold it. */
export type LlamaCheckpoint = Checkpoint<LlamaConfig>;

export const LLAMA: Architecture<LlamaConfig> = {
  name: 'Llama',
  readConfig,
  weightShapes,
  // rotary tables that old files hold and everyone recomputes
  isSpare: (name, { tiesClassifier }) =>
    (tiesClassifier && name === 'lm_head.weight') || name.endsWith('.rotary_emb.inv_freq'),
  create: (device, checkpoint, options) => new Llama(device, checkpoint, options),
};

function readConfig(fields: Fields): LlamaConfig {
  fields.refuseUnless('model_type', ['llama']);
  fields.refuseUnless('hidden_act', ['silu', 'swish']);
  fields.refuseUnless('quantization_config', [null]);
  fields.refuseUnless('partial_rotary_factor', [1]);
  return {
    ...readSizes(fields),
    hiddenDim: fields.size('intermediate_size'),
    normEps: fields.positive('rms_norm_eps', 1e-6),
    ...readRotary(fields),
    interleaved: false,
    tiesClassifier: fields.flag('tie_word_embeddings'),
    attentionBias: fields.flag('attention_bias'),
    feedForwardBias: fields.flag('mlp_bias'),
  };
}

/** Hugging Face's names; the weight of a linear map is [out, in]. */
function weightShapes(config: LlamaConfig): Map<string, Shape> {
  const { embedDim, hiddenDim, numLayers, numHeads, numKvHeads, headDim, vocabSize } = config;
  const { tiesClassifier, attentionBias = false, feedForwardBias = false } = config;
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [vocabSize, embedDim]]]);
  const linear = (name: string, out: number, into: number, bias: boolean): void => {
    shapes.set(`${name}.weight`, [out, into]);
    if (bias) shapes.set(`${name}.bias`, [out]);
  };
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [embedDim]);
    linear(`${prefix}.self_attn.q_proj`, numHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.k_proj`, numKvHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.v_proj`, numKvHeads * headDim, embedDim, attentionBias);
    linear(`${prefix}.self_attn.o_proj`, embedDim, numHeads * headDim, attentionBias);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [embedDim]);
    linear(`${prefix}.mlp.gate_proj`, hiddenDim, embedDim, feedForwardBias);
    linear(`${prefix}.mlp.up_proj`, hiddenDim, embedDim, feedForwardBias);
    linear(`${prefix}.mlp.down_proj`, embedDim, hiddenDim, feedForwardBias);
  }
  shapes.set('model.norm.weight', [embedDim]);
  if (!tiesClassifier) shapes.set('lm_head.weight', [vocabSize, embedDim]);
  return shapes;
}

/** Weights that are multiplied by the same input are in one tensor, so that one product serves all of them. */
const JOINED: Readonly<Record<string, readonly string[]>> = {
  qkv_proj: ['q_proj', 'k_proj', 'v_proj'],
  gate_up_proj: ['gate_proj', 'up_proj'],
};

/**
 * A language model of the Llama architecture (Touvron et al. 2023, arXiv:2302.13971): pre-normalised layers of rotary
 * attention with grouped key heads and a SwiGLU feed-forward block, without dropout. It is for inference and records nothing
 * for gradients.
 *
 * Its state dict has Hugging Face's names, except that `q_proj`, `k_proj` and `v_proj` are joined to `qkv_proj`, and
 * `gate_proj` and `up_proj` to `gate_up_proj`.
 */
export class Llama extends Module implements LanguageModel {
  readonly config: LlamaConfig;
  readonly dtype: FloatDType;
  readonly maxLength: number;
  readonly device: Device;
  readonly #rotary: RotaryEmbedding;

  /**
   * @param checkpoint as `readLlama2c` or `readHuggingFaceLlama` returns it; not needed afterwards
   * @throws LoadError for weights that do not fit the config
   * @throws ArgumentError for options that do not fit, or a model that the device cannot hold
   */
  constructor(
    device: Device,
    { config, weights }: Pick<LlamaCheckpoint, 'config' | 'weights'>,
    options: ModelOptions = {},
  ) {
    const name = 'Llama';
    super(name);
    const { dtype, maxLength } = checkModelOptions(name, config, options);
    checkWeights(name, LLAMA, { config, weights });
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    this.maxLength = maxLength;
    const joins = [...joinNames(weightShapes(config).keys(), JOINED)].map(
      ([joined, names]) => [joined, names.map((part) => weights[part])] as const,
    );
    device.checkRoom(
      name,
      joins.map(([, parts]) => joinedShape(parts)),
      dtype,
    );
    const { headDim, ropeBase, ropeScaling, interleaved } = config;
    this.#rotary = new RotaryEmbedding(device, {
      dim: headDim,
      base: ropeBase,
      maxLength,
      interleaved,
      scaling: ropeScaling,
    });
    try {
      for (const [joined, parts] of joins) this.register(joined, uploadWeights(device, parts, dtype));
    } catch (error) {
      this.dispose(); // tensors made before memory ran out have no other owner
      throw error;
    }
    this.requiresGrad(false);
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
    return new ModelCache('Llama.createCache', this.device, sizes, options);
  }

  /**
   * Appends tokens to every sequence of a cache, and scores the tokens that may follow the last. Only the GPU sees the ids. One
   * that is not a token gives NaN.
   *
   * @param ids [B, N]; int32 or uint32
   * @param cache made by this model's `createCache`
   * @returns logits [B, vocabSize] after the last token, of the model's dtype
   * @throws ArgumentError for ids or a cache that do not fit, or a full cache; the cache is then as before
   */
  forward(ids: Tensor, cache: ModelCache): FloatTensor {
    checkStep('Llama.forward', ids, cache, this.config.numLayers);
    return noGrad(() => this.device.scope(() => this.#run(ids, cache)));
  }

  override dispose(): void {
    this.#rotary.dispose();
    super.dispose();
  }

  /** Computes the logits [B, V] after the last of checked ids [B, N]. */
  #run(ids: Tensor, cache: ModelCache): FloatTensor {
    const { embedDim, vocabSize } = this.config;
    const { batch, layers } = cache;
    const added = ids.shape[1];
    let x = embedding(ids, this.#weight('model.embed_tokens')); // [B, N, E]
    for (const [index, layer] of layers.entries()) {
      const next = this.device.scope(() => this.#layer(x, `model.layers.${index}`, layer));
      x.dispose();
      x = next;
    }
    cache.advance(added);
    const last = this.#norm(x.slice(1, added - 1, added), 'model.norm'); // [B, 1, E]
    const classifier = this.parameter('lm_head.weight') ?? this.#weight('model.embed_tokens');
    return linear(last.reshape([batch, embedDim]), classifier).reshape([batch, vocabSize]);
  }

  /** x [B, N, E] → [B, N, E]. */
  #layer(x: Tensor, name: string, cache: LayerCache): FloatTensor {
    const attended = add(x, this.#attention(this.#norm(x, `${name}.input_layernorm`), `${name}.self_attn`, cache));
    return add(attended, this.#feedForward(this.#norm(attended, `${name}.post_attention_layernorm`), `${name}.mlp`));
  }

  #attention(x: Tensor, name: string, cache: LayerCache): Tensor {
    const { numHeads, numKvHeads, headDim } = this.config;
    const [batch, length] = x.shape;
    const joint = this.#linear(x, `${name}.qkv_proj`);
    // [B, heads, N, D], views of the joint projection
    const heads = (first: number, count: number): Tensor =>
      joint
        .slice(2, first * headDim, (first + count) * headDim)
        .reshape([batch, length, count, headDim])
        .transpose(1, 2);
    const rotary = this.#rotary;
    cache.append(heads(numHeads, numKvHeads), heads(numHeads + numKvHeads, numKvHeads), { rotary });
    const { output } = cache.attend(heads(0, numHeads), { rotary });
    return this.#linear(reshape(output.transpose(1, 2), [batch, length, numHeads * headDim]), `${name}.o_proj`);
  }

  #feedForward(x: Tensor, name: string): Tensor {
    const { hiddenDim } = this.config;
    const joint = this.#linear(x, `${name}.gate_up_proj`);
    const inner = swiglu(joint.slice(2, 0, hiddenDim), joint.slice(2, hiddenDim, 2 * hiddenDim));
    return this.#linear(inner, `${name}.down_proj`);
  }

  #norm(x: Tensor, name: string): FloatTensor {
    return rmsNorm(x, this.config.embedDim, { weight: this.#weight(name), eps: this.config.normEps });
  }

  #linear(x: Tensor, name: string): FloatTensor {
    return linear(x, this.#weight(name), { bias: this.parameter(`${name}.bias`) });
  }

  #weight(name: string): Tensor {
    return this.parameter(`${name}.weight`)!;
  }
}
