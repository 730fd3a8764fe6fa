/** What a problem costs at least, whatever kernel solves it: floating-point operations, and bytes to and from memory. */
import type { BenchCase, Roof, TrainingOpName } from './result.ts';

/** The attention at the heart of a case, be it an op or a module. */
export interface AttentionSizes {
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
}

/** Of any case of attention, a cache's too. */
export function attentionSizes({ shape, heads, kvHeads, keyLength }: BenchCase): AttentionSizes {
  if (heads !== undefined) {
    const [batch, queryLength, width] = shape;
    return { batch, heads, kvHeads: heads, queryLength, keyLength: keyLength ?? queryLength, headDim: width / heads };
  }
  const [batch, queryHeads, queryLength, headDim] = shape;
  return {
    batch,
    heads: queryHeads,
    kvHeads: kvHeads ?? queryHeads,
    queryLength,
    keyLength: keyLength ?? queryLength,
    headDim,
  };
}

/**
 * Pairs of a query and a key that it may attend to, in one head. Masks hide nothing here: what they hold is known only
 * when the kernel reads it.
 */
export function visiblePairs(
  { queryLength, keyLength }: { queryLength: number; keyLength: number },
  { causal, window = Infinity }: { causal: boolean; window?: number },
): number {
  let pairs = 0;
  for (let query = 0; query < queryLength; query++) {
    const first = Math.max(0, query - window);
    const last = Math.min(keyLength - 1, query + (causal ? 0 : window));
    pairs += Math.max(0, last - first + 1);
  }
  return pairs;
}

/** Those of a head of each batch entry, together. */
function pairsOf(bench: BenchCase): number {
  const { batch, queryLength, keyLength } = attentionSizes(bench);
  const pairs = (keys: number) => visiblePairs({ queryLength, keyLength: keys }, bench);
  return bench.keyLengths?.reduce((sum, keys) => sum + pairs(keys), 0) ?? batch * pairs(keyLength);
}

/** Subtracting the maximum, the exponential, its sum, the division, and finding the maximum: one each. */
const SOFTMAX_FLOPS = 5;

/** Products in the backward pass, of which the forward pass has two: scores again, dP = dO · Vᵀ, and dQ, dK, dV. */
const BACKWARD_PRODUCTS = 5;

/**
 * A multiply-add counts two. Attention is its two products, 4 · headDim for each visible pair, as papers count it: the
 * exponentials are left out, and what options do to single scores. Training adds the five of the backward pass, also where
 * the scores are stored and so not computed again (Dao et al., "FlashAttention-2", 2023, section 4.1).
 */
export function flopsOf(bench: BenchCase): number {
  const { op, shape } = bench;
  if (op === 'matmul') return 2 * product(shape);
  if (op === 'softmax') return SOFTMAX_FLOPS * visibleElements(bench);
  if (op === 'mergeAttention') return 2 * bench.parts! * product(shape);
  if (isAppend(op)) return 0;
  const { batch, heads, headDim, queryLength, keyLength } = attentionSizes(bench);
  const attention = 4 * heads * headDim * pairsOf(bench);
  if (isTraining(op)) return (attention * (2 + BACKWARD_PRODUCTS)) / 2;
  if (bench.heads === undefined) return attention;
  const width = heads * headDim;
  // projections of the query and of the output, then of key and value
  return attention + 2 * batch * (2 * queryLength + 2 * keyLength) * width * width;
}

export function isAppend(op: BenchCase['op']): boolean {
  return op === 'KeyValueCache.append' || op === 'PagedKeyValueCache.append';
}

export function isTraining(op: BenchCase['op']): op is TrainingOpName {
  return op.endsWith('.train');
}

/** Of a softmax, whose hidden elements need not be read. */
function visibleElements(bench: BenchCase): number {
  const [batch, heads, queryLength, keyLength] = bench.shape;
  return batch * heads * visiblePairs({ queryLength, keyLength }, bench);
}

/** Every input that matters read once, every output written once; a module's parameters are inputs. */
export function bytesOf(bench: BenchCase): number {
  const { op, shape, dtype, mask } = bench;
  const element = dtype === 'float16' ? 2 : 4;
  if (op === 'matmul') {
    const [batch, rows, columns, depth] = shape;
    return element * batch * (rows * depth + depth * columns + rows * columns);
  }
  if (op === 'softmax') return element * (visibleElements(bench) + product(shape));
  // log-sum-exps are float32 whatever the outputs are
  if (op === 'mergeAttention') return (bench.parts! + 1) * (element + 4 / shape.at(-1)!) * product(shape);
  // keys and values, read and written
  if (isAppend(op)) return 4 * element * product(shape);
  const { batch, heads, kvHeads, headDim, queryLength, keyLength } = attentionSizes(bench);
  const maskElements = !mask ? 0 : mask === 'key' ? batch * keyLength : queryLength * keyLength;
  const maskBytes = maskElements * (mask === 'float' ? element : 1);
  if (bench.heads === undefined) {
    const queries = batch * heads * queryLength;
    const keys = bench.keyLengths?.reduce((sum, length) => sum + length, 0) ?? batch * keyLength;
    const operands = 2 * element * headDim * (queries + kvHeads * keys);
    // training also reads the output's gradient, and writes those of the operands
    return (isTraining(op) ? 2 : 1) * operands + maskBytes;
  }
  const width = heads * headDim;
  const inputs = op === 'MultiHeadAttention' ? 2 * keyLength : op === 'CrossAttention' ? keyLength : 0;
  const parameters = 4 * width * (width + 1);
  return element * (batch * width * (2 * queryLength + inputs) + parameters) + maskBytes;
}

/** Of the largest tensor on the way, in bytes: where it does not fit a binding, the case cannot run. */
export function largestTensor(bench: BenchCase): number {
  const { op, shape, dtype } = bench;
  const element = dtype === 'float16' ? 2 : 4;
  if (op === 'matmul') {
    const [batch, rows, columns, depth] = shape;
    return element * batch * Math.max(rows * depth, depth * columns, rows * columns);
  }
  if (op === 'softmax') return element * product(shape);
  // the parts are laid beside each other, in float32
  if (op === 'mergeAttention') return 4 * bench.parts! * product(shape);
  const { batch, heads, kvHeads, headDim, queryLength, keyLength } = attentionSizes(bench);
  // the scores are float32 whatever the operands are
  if (op === 'scaledDotProductAttention' || op === 'scaledDotProductAttention.train')
    return 4 * batch * heads * queryLength * keyLength;
  const width = heads * headDim;
  if (bench.heads !== undefined) {
    return element * Math.max(3 * batch * width * Math.max(queryLength, keyLength), 3 * width * width);
  }
  return element * batch * headDim * Math.max(heads * queryLength, kvHeads * keyLength);
}

/**
 * The roofline: GFLOP/s that the device allows a problem of so many operations a byte. float16 operands may also be
 * computed with in float32, so that their roof is the higher of the two.
 */
export function roofOf(roof: Roof, dtype: BenchCase['dtype'], intensity: number): number {
  const arithmetic = dtype === 'float16' ? Math.max(roof.f32Gflops, roof.f16Gflops ?? 0) : roof.f32Gflops;
  return Math.min(arithmetic, roof.copyGBs * intensity);
}

function product(lengths: readonly number[]): number {
  return lengths.reduce((a, b) => a * b, 1);
}
