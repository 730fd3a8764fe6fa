import { noGrad } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import { elementsOf } from '../io/safetensors.ts';
import { Module } from '../modules/module.ts';
import { RotaryEmbedding } from '../modules/rotary-embedding.ts';
import { describe } from '../ops/internal/check.ts';
import { reshape } from '../ops/copy.ts';
import { add, swiglu } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/linear.ts';
import { rmsNorm } from '../ops/normalise.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { decodeFloat16 } from '../tensor/float16.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { LlamaCache, type LayerCache, type LlamaCacheOptions } from './llama-cache.ts';
import {
  checkWeights,
  weightShapes,
  type HostWeight,
  type LlamaCheckpoint,
  type LlamaConfig,
} from './llama-checkpoint.ts';

export interface LlamaOptions {
  /** Of weights, activations and logits; default `'float32'`. Weights of a file are converted. */
  dtype?: FloatDType;
  /** Positions that the rotary tables are made for; default all that the model has. */
  maxLength?: number;
}

/** Weights that are multiplied by the same input lie in one tensor, so that one product does for all; by the last part of their names. */
const JOINED: Readonly<Record<string, readonly string[]>> = {
  qkv_proj: ['q_proj', 'k_proj', 'v_proj'],
  gate_up_proj: ['gate_proj', 'up_proj'],
};

/**
 * A language model of the Llama architecture (Touvron et al. 2023, arXiv:2302.13971): pre-normalised layers of rotary
 * attention with grouped key heads and a SwiGLU feed-forward, without dropout. For inference: nothing of it is recorded for
 * gradients.
 *
 * Its state dict has Hugging Face's names, but that `q_proj`, `k_proj`, `v_proj` are joined to `qkv_proj`, and `gate_proj`
 * and `up_proj` to `gate_up_proj`.
 */
export class Llama extends Module {
  readonly config: LlamaConfig;
  readonly dtype: FloatDType;
  readonly maxLength: number;
  readonly device: Device;
  readonly #rotary: RotaryEmbedding;

  /**
   * @param checkpoint as `readLlama2c` or `readHuggingFaceLlama` returns it; not needed afterwards
   * @throws LoadError for weights that do not fit the config, ArgumentError for options, or for what the device cannot hold
   */
  constructor(
    device: Device,
    { config, weights }: Pick<LlamaCheckpoint, 'config' | 'weights'>,
    options: LlamaOptions = {},
  ) {
    const name = 'Llama';
    super(name);
    checkOptions(name, options, ['dtype', 'maxLength']);
    const { dtype = 'float32', maxLength = config.maxLength } = options;
    if (dtype !== 'float32' && dtype !== 'float16') {
      throw new ArgumentError(`${name}: dtype must be float32 or float16, got ${describe(dtype)}`);
    }
    if (!Number.isSafeInteger(maxLength) || maxLength < 1 || maxLength > config.maxLength) {
      throw new ArgumentError(
        `${name}: maxLength must be an integer from 1 to the model's ${config.maxLength} positions, got ${describe(maxLength)}`,
      );
    }
    checkWeights(name, { config, weights });
    this.device = device;
    this.config = config;
    this.dtype = dtype;
    this.maxLength = maxLength;
    const { headDim, ropeBase, ropeScaling, interleaved } = config;
    this.#rotary = new RotaryEmbedding(device, {
      dim: headDim,
      base: ropeBase,
      maxLength,
      interleaved,
      scaling: ropeScaling,
    });
    try {
      for (const [joined, parts] of joinedNames(config)) {
        this.register(
          joined,
          upload(
            device,
            parts.map((part) => weights[part]),
            dtype,
          ),
        );
      }
    } catch (error) {
      this.dispose(); // what was made before memory ran out has no other owner
      throw error;
    }
    this.requiresGrad(false);
  }

  /**
   * Room for the keys and values of a batch of sequences; the caller disposes it.
   *
   * @throws ArgumentError for options that do not fit, or storage that the device cannot hold
   */
  createCache(options: LlamaCacheOptions = {}): LlamaCache {
    const defaults = {
      batch: 1,
      capacity: this.maxLength,
      dtype: this.dtype,
      kind: 'contiguous',
      pageSize: 32,
    } as const;
    return new LlamaCache(this.device, this.config, this.#rotary, { ...defaults, ...options });
  }

  /**
   * Appends tokens to every sequence of a cache, and tells what may follow the last. An id that is no token, which only the
   * GPU sees, gives NaN.
   *
   * @param ids [B, N]; int32 or uint32
   * @param cache made by this model's `createCache`
   * @returns logits [B, vocabSize] after the last token, of the model's dtype
   * @throws ArgumentError, with the cache as it was, for ids or a cache that do not fit, or for want of room
   */
  forward(ids: Tensor, cache: LlamaCache): Tensor {
    const call = 'Llama.forward';
    if (!(ids instanceof Tensor) || (ids.dtype !== 'int32' && ids.dtype !== 'uint32')) {
      throw new ArgumentError(`${call}: ids must be an int32 or uint32 tensor, got ${describe(ids)}`);
    }
    const { numLayers } = this.config;
    const { batch, capacity, length, layers } = cache;
    if (ids.rank !== 2 || ids.shape[0] !== batch) {
      throw new ArgumentError(`${call}: ids must be [${batch}, length] for the cache, got ${formatShape(ids.shape)}`);
    }
    if (layers.length !== numLayers) {
      throw new ArgumentError(`${call}: cache must have the model's ${numLayers} layers, got ${layers.length}`);
    }
    const added = ids.shape[1];
    if (length + added > capacity) {
      throw new ArgumentError(
        `${call}: ids must fit the cache's ${capacity} positions, of which ${length} are taken, got ${added} more`,
      );
    }
    return noGrad(() => this.device.scope(() => this.#run(ids, cache)));
  }

  override dispose(): void {
    this.#rotary.dispose();
    super.dispose();
  }

  /** Checked ids [B, N] → logits [B, V] after the last. */
  #run(ids: Tensor, cache: LlamaCache): Tensor {
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
  #layer(x: Tensor, name: string, cache: LayerCache): Tensor {
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
    cache.append(heads(numHeads, numKvHeads), heads(numHeads + numKvHeads, numKvHeads));
    const output = cache.attend(heads(0, numHeads));
    return this.#linear(reshape(output.transpose(1, 2), [batch, length, numHeads * headDim]), `${name}.o_proj`);
  }

  #feedForward(x: Tensor, name: string): Tensor {
    const { hiddenDim } = this.config;
    const joint = this.#linear(x, `${name}.gate_up_proj`);
    const inner = swiglu(joint.slice(2, 0, hiddenDim), joint.slice(2, hiddenDim, 2 * hiddenDim));
    return this.#linear(inner, `${name}.down_proj`);
  }

  #norm(x: Tensor, name: string): Tensor {
    return rmsNorm(x, this.config.embedDim, { weight: this.#weight(name), eps: this.config.normEps });
  }

  #linear(x: Tensor, name: string): Tensor {
    return linear(x, this.#weight(name), { bias: this.parameter(`${name}.bias`) });
  }

  #weight(name: string): Tensor {
    return this.parameter(`${name}.weight`)!;
  }
}

/** Each of the module's tensors, and the weights of the file that it is joined from. */
function joinedNames(config: LlamaConfig): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const name of weightShapes(config).keys()) {
    const path = name.split('.');
    const joined = Object.keys(JOINED).find((key) => JOINED[key].includes(path.at(-2)!));
    const target = joined ? path.with(-2, joined).join('.') : name;
    names.set(target, [...(names.get(target) ?? []), name]);
  }
  return names;
}

/** Weights of equally long rows, one below the other. */
function upload(device: Device, weights: readonly HostWeight[], dtype: FloatDType): Tensor {
  const rows = weights.reduce((sum, { shape }) => sum + shape[0], 0);
  const shape = [rows, ...weights[0].shape.slice(1)];
  const areHalves = dtype === 'float16' && weights.every((weight) => weight.dtype === 'F16');
  if (areHalves) {
    return device.tensor(joined(Uint16Array, weights.map(halvesOf)), shape, { dtype });
  }
  return device.tensor(joined(Float32Array, weights.map(floatsOf)), shape, { dtype });
}

function halvesOf({ dtype, data }: HostWeight): Uint16Array {
  return elementsOf(dtype, data) as Uint16Array;
}

function floatsOf({ dtype, data }: HostWeight): Float32Array {
  const values = elementsOf(dtype, data);
  return values instanceof Uint16Array ? decodeFloat16(values) : (values as Float32Array);
}

function joined<T extends Float32Array | Uint16Array>(Kind: new (length: number) => T, parts: readonly T[]): T {
  if (parts.length === 1) return parts[0];
  const whole = new Kind(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
