/**
 * What the demo runs where PyTorch's file is not installed: weights and inputs drawn from a seed, and results computed here in
 * float64 from the modules' formulas, which share no code with the kernels.
 */
import type { SafetensorsEntry, SafetensorsFile } from '../io/safetensors.ts';
import { decodeFloat16, encodeFloat16 } from '../tensor/float16.ts';
import { normal } from '../tensor/random.ts';
import { sizeOf, type Shape } from '../tensor/shape.ts';
import { SIX_RUNS, type ResultName, type Run } from './six-runs.ts';

/** An array on the host. */
interface Values {
  readonly shape: Shape;
  readonly data: ArrayLike<number>;
}

export type ReadValues = (name: string) => Values;

const EMBED_DIM = 512;
const WEIGHTS = 'projections/';
const SHAPES: Readonly<Record<string, Shape>> = {
  [`${WEIGHTS}in_proj_weight`]: [3 * EMBED_DIM, EMBED_DIM],
  [`${WEIGHTS}in_proj_bias`]: [3 * EMBED_DIM],
  [`${WEIGHTS}out_proj.weight`]: [EMBED_DIM, EMBED_DIM],
  [`${WEIGHTS}out_proj.bias`]: [EMBED_DIM],
  'ScaledDotProductAttention/q': [2, 3, 128],
  'ScaledDotProductAttention/k': [2, 4, 128],
  'ScaledDotProductAttention/v': [2, 4, 64],
  'SelfAttention/x': [2, 10, EMBED_DIM],
  'MultiHeadAttention/query': [2, 5, EMBED_DIM],
  'MultiHeadAttention/key': [2, 7, EMBED_DIM],
  'MultiHeadAttention/value': [2, 7, EMBED_DIM],
  'CrossAttention/x': [2, 5, EMBED_DIM],
  'CrossAttention/context': [2, 10, EMBED_DIM],
  'FlashAttention/q': [2, 1024, 64],
  'FlashAttention/k': [2, 1024, 64],
  'FlashAttention/v': [2, 1024, 64],
  'LocalAttention/x': [2, 100, EMBED_DIM],
};

/** The example for these runs, as PyTorch's file would have it: float16 weights and inputs, float32 results. */
export function seededExample(runs: readonly Run[]): SafetensorsFile {
  const tensors: Record<string, SafetensorsEntry> = {};
  for (const [index, [name, shape]] of Object.entries(SHAPES).entries()) {
    const scale = name.startsWith(WEIGHTS) ? 1 / Math.sqrt(EMBED_DIM) : 1;
    const draw = normal(index);
    const halves = encodeFloat16(Float64Array.from({ length: sizeOf(shape) }, () => scale * draw()));
    tensors[name] = { dtype: 'F16', shape: [...shape], data: new Uint8Array(halves.buffer) };
  }
  const read: ReadValues = (name) => {
    const { shape, data } = tensors[name];
    return { shape, data: decodeFloat16(new Uint16Array(data.slice().buffer)) };
  };
  for (const run of runs) {
    for (const [name, { shape, data }] of Object.entries(resultsOf(run, read))) {
      tensors[`${run.name}/${name}`] = {
        dtype: 'F32',
        shape: [...shape],
        data: new Uint8Array(Float32Array.from(data).buffer),
      };
    }
  }
  return { metadata: { runs: JSON.stringify(SIX_RUNS.map(labelsOf)) }, tensors };
}

/** The axes of a run's maps: numbers here, where PyTorch's file has words. */
function labelsOf({ name, inputs }: Run): { name: string; queryLabels: string[][]; keyLabels: string[][] } {
  const numbers = (input: string) => {
    const [batch, length] = SHAPES[`${name}/${input}`];
    return Array.from({ length: batch }, () => Array.from({ length }, (_, i) => String(i)));
  };
  return { name, queryLabels: numbers(inputs[0]), keyLabels: numbers(inputs.at(-1)!) };
}

/** A run's results in float64, from its inputs and the projections. */
export function resultsOf(
  { name, inputs, results, options = {} }: Run,
  read: ReadValues,
): Partial<Record<ResultName, Values>> {
  const values = inputs.map((input) => read(`${name}/${input}`));
  const { numHeads = 1, windowSize } = options;
  const reach = windowSize === undefined ? Infinity : Math.floor(windowSize / 2);
  const isProjected = options['embedDim'] !== undefined;
  const [query, key, value] = isProjected ? [values[0], values[1] ?? values[0], values.at(-1)!] : values;
  const projected = [query, key, value].map((x, part) =>
    isProjected ? linear(x, read(`${WEIGHTS}in_proj_weight`), read(`${WEIGHTS}in_proj_bias`), part * EMBED_DIM) : x,
  ) as [Values, Values, Values];
  const { output, weights } = attention(projected, numHeads, reach);
  const joined = isProjected
    ? linear(output, read(`${WEIGHTS}out_proj.weight`), read(`${WEIGHTS}out_proj.bias`))
    : output;
  if (!results.includes('weights')) return { output: joined };
  // without heads the weights are [B, Nq, Nk]
  const shape = isProjected ? weights.shape : weights.shape.toSpliced(1, 1);
  return { output: joined, weights: { shape, data: weights.data } };
}

/** x [B, N, E] · weightᵀ + bias, with E rows of weight and bias from `first` on. */
function linear({ shape, data }: Values, weight: Values, bias: Values, first = 0): Values {
  const [batch, length] = shape;
  const result = new Float64Array(batch * length * EMBED_DIM);
  for (let row = 0; row < batch * length; row++) {
    for (let column = 0; column < EMBED_DIM; column++) {
      let sum = bias.data[first + column];
      for (let i = 0; i < EMBED_DIM; i++) {
        sum += data[row * EMBED_DIM + i] * weight.data[(first + column) * EMBED_DIM + i];
      }
      result[row * EMBED_DIM + column] = sum;
    }
  }
  return { shape: [batch, length, EMBED_DIM], data: result };
}

/** softmax(q kᵀ / √D) v of [B, N, H · D] in H heads, over the keys at most `reach` places away; weights are [B, H, Nq, Nk]. */
function attention(
  [q, k, v]: readonly [Values, Values, Values],
  heads: number,
  reach: number,
): Record<ResultName, Values> {
  const [batch, queries, width] = q.shape;
  const [, keys, valueWidth] = v.shape;
  const [dim, valueDim] = [width / heads, valueWidth / heads];
  const output = new Float64Array(batch * queries * valueWidth);
  const weights = new Float64Array(batch * heads * queries * keys);
  const scores = new Float64Array(keys);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        for (let j = 0; j < keys; j++) {
          let dot = 0;
          for (let d = 0; d < dim; d++) {
            dot += q.data[(b * queries + i) * width + h * dim + d] * k.data[(b * keys + j) * width + h * dim + d];
          }
          scores[j] = Math.abs(i - j) <= reach ? dot / Math.sqrt(dim) : -Infinity;
        }
        const highest = scores.reduce((a, c) => Math.max(a, c));
        const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
        for (let j = 0; j < keys; j++) {
          const weight = Math.exp(scores[j] - highest) / total;
          weights[((b * heads + h) * queries + i) * keys + j] = weight;
          for (let d = 0; d < valueDim; d++) {
            output[(b * queries + i) * valueWidth + h * valueDim + d] +=
              weight * v.data[(b * keys + j) * valueWidth + h * valueDim + d];
          }
        }
      }
    }
  }
  return {
    output: { shape: [batch, queries, valueWidth], data: output },
    weights: { shape: [batch, heads, queries, keys], data: weights },
  };
}
