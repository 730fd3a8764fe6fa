/** Small random models of the Llama architecture, as the files that hold them and as the reference takes them. */
import { f16round, setFloat16 } from '@petamoriken/float16';
import { Random } from '../random.ts';
import { llama3Frequencies, rotaryFrequencies, type ReferenceModel } from '../reference/llama.ts';

export interface TinySizes {
  dim: number;
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  maxLength: number;
  tied: boolean;
  bias?: boolean;
}

export const TINY: TinySizes = {
  dim: 24,
  hidden: 40,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  vocab: 50,
  maxLength: 32,
  tied: false,
};

export interface TinyWeight {
  shape: number[];
  /** Multiples of 2⁻⁷ below 2 in magnitude, which every float format of a file holds exactly. */
  data: Float32Array;
}

export type TinyWeights = Record<string, TinyWeight>;

/** By Hugging Face's names. */
export function tinyWeights(sizes: TinySizes, seed: number): TinyWeights {
  const { dim, hidden, layers, heads, kvHeads, headDim, vocab, tied, bias = false } = sizes;
  const random = new Random(seed);
  const weights: TinyWeights = {};
  const put = (name: string, shape: number[], around: number, deviation: number): void => {
    const data = random.normals(shape, deviation).map((x) => {
      const value = Math.round((around + x) * 128) / 128;
      return Math.min(255 / 128, Math.max(-255 / 128, value));
    });
    weights[name] = { shape, data };
  };
  const linear = (name: string, out: number, into: number, hasBias = false): void => {
    put(`${name}.weight`, [out, into], 0, 0.3);
    if (hasBias) put(`${name}.bias`, [out], 0, 0.3);
  };
  linear('model.embed_tokens', vocab, dim);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    put(`${prefix}.input_layernorm.weight`, [dim], 1, 0.2);
    put(`${prefix}.post_attention_layernorm.weight`, [dim], 1, 0.2);
    linear(`${prefix}.self_attn.q_proj`, heads * headDim, dim, bias);
    linear(`${prefix}.self_attn.k_proj`, kvHeads * headDim, dim, bias);
    linear(`${prefix}.self_attn.v_proj`, kvHeads * headDim, dim, bias);
    linear(`${prefix}.self_attn.o_proj`, dim, heads * headDim, bias);
    linear(`${prefix}.mlp.gate_proj`, hidden, dim, bias);
    linear(`${prefix}.mlp.up_proj`, hidden, dim, bias);
    linear(`${prefix}.mlp.down_proj`, dim, hidden, bias);
  }
  put('model.norm.weight', [dim], 1, 0.2);
  if (!tied) linear('lm_head', vocab, dim);
  return weights;
}

export interface TinyRotary {
  base?: number;
  interleaved?: boolean;
  normEps?: number;
  llama3?: { factor: number; low: number; high: number; original: number };
}

/** The reference's view of the weights. */
export function tinyReference(sizes: TinySizes, weights: TinyWeights, rotary: TinyRotary = {}): ReferenceModel {
  const { dim, hidden, layers, heads, kvHeads, headDim, vocab } = sizes;
  const { base = 10000, interleaved = false, normEps = 1e-5, llama3 } = rotary;
  const frequencies = rotaryFrequencies(headDim, base);
  const names = {
    wq: 'self_attn.q_proj',
    wk: 'self_attn.k_proj',
    wv: 'self_attn.v_proj',
    wo: 'self_attn.o_proj',
    w1: 'mlp.gate_proj',
    w2: 'mlp.down_proj',
    w3: 'mlp.up_proj',
  } as const;
  const embedding = weights['model.embed_tokens.weight'].data;
  return {
    dim,
    hiddenDim: hidden,
    heads,
    kvHeads,
    headDim,
    vocab,
    normEps,
    interleaved,
    frequencies: llama3 ? llama3Frequencies(frequencies, llama3) : frequencies,
    embedding,
    finalNorm: weights['model.norm.weight'].data,
    classifier: weights['lm_head.weight']?.data ?? embedding,
    layers: Array.from({ length: layers }, (_, layer) => {
      const get = (name: string) => weights[`model.layers.${layer}.${name}`]?.data;
      const linears = Object.entries(names);
      return {
        attentionNorm: get('input_layernorm.weight'),
        feedForwardNorm: get('post_attention_layernorm.weight'),
        ...(Object.fromEntries(linears.map(([key, name]) => [key, get(`${name}.weight`)])) as Record<
          keyof typeof names,
          Float32Array
        >),
        biases: Object.fromEntries(linears.map(([key, name]) => [key, get(`${name}.bias`)])),
      };
    }),
  };
}

/** config.json. */
export function tinyConfig(sizes: TinySizes, more: object = {}): string {
  const { dim, hidden, layers, heads, kvHeads, headDim, vocab, maxLength, tied, bias = false } = sizes;
  return JSON.stringify({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: dim,
    intermediate_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    vocab_size: vocab,
    max_position_embeddings: maxLength,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: tied,
    attention_bias: bias,
    mlp_bias: bias,
    bos_token_id: 1,
    eos_token_id: 2,
    ...more,
  });
}

type FloatFormat = 'F32' | 'F16' | 'BF16';

/** A safetensors file of these weights. */
export function safetensorsFile(
  weights: TinyWeights,
  format: FloatFormat | ((name: string) => FloatFormat),
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(weights)) {
    const dtype = typeof format === 'string' ? format : format(name);
    const bytes = encode(data, dtype);
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.length)] };
    parts.push(bytes);
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return joinBytes([length, text, ...parts]);
}

function encode(data: Float32Array, format: FloatFormat): Uint8Array {
  const view = new DataView(new ArrayBuffer(data.length * (format === 'F32' ? 4 : 2)));
  for (const [i, value] of data.entries()) {
    if (format === 'F32') view.setFloat32(4 * i, value, true);
    else if (format === 'F16') setFloat16(view, 2 * i, f16round(value), true);
    else {
      const wide = new DataView(new ArrayBuffer(4));
      wide.setFloat32(0, value);
      view.setUint16(2 * i, wide.getUint16(0), true);
    }
  }
  return new Uint8Array(view.buffer);
}

/** llama2.c's file of these weights, whose rotated columns are taken to be neighbours; dim must be heads × headDim. */
export function llama2cFile(sizes: TinySizes, weights: TinyWeights): Uint8Array {
  const { dim, hidden, layers, heads, kvHeads, headDim, vocab, maxLength, tied } = sizes;
  const header = Int32Array.of(dim, hidden, layers, heads, kvHeads, tied ? vocab : -vocab, maxLength);
  const ofLayers = (name: string): Float32Array[] =>
    Array.from({ length: layers }, (_, layer) => weights[`model.layers.${layer}.${name}.weight`].data);
  const tables = new Float32Array(maxLength * headDim).fill(NaN); // nobody reads them
  const arrays = [
    weights['model.embed_tokens.weight'].data,
    ...ofLayers('input_layernorm'),
    ...['q_proj', 'k_proj', 'v_proj', 'o_proj'].flatMap((name) => ofLayers(`self_attn.${name}`)),
    ...ofLayers('post_attention_layernorm'),
    ...['gate_proj', 'down_proj', 'up_proj'].flatMap((name) => ofLayers(`mlp.${name}`)),
    weights['model.norm.weight'].data,
    tables,
    ...(tied ? [] : [weights['lm_head.weight'].data]),
  ];
  return joinBytes(
    [header, ...arrays].map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)),
  );
}

/** Rows of q and k projections moved so that pair i of a head, columns i and i + D/2, becomes columns 2i and 2i + 1. */
export function interleavePairs({ headDim }: TinySizes, weights: TinyWeights): TinyWeights {
  return Object.fromEntries(
    Object.entries(weights).map(([name, weight]) => {
      if (!/\.[qk]_proj\.weight$/.test(name)) return [name, weight];
      const [rows, columns] = weight.shape;
      const data = new Float32Array(weight.data.length);
      for (let row = 0; row < rows; row++) {
        const column = row % headDim;
        const from = row - column + (column >> 1) + (column % 2) * (headDim / 2);
        data.set(weight.data.subarray(from * columns, (from + 1) * columns), row * columns);
      }
      return [name, { ...weight, data }];
    }),
  );
}

export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
