/** The least that a problem costs with any kernel: floating-point operations, and bytes to and from memory. */
import type { BenchCase, Roof, TrainingOpName } from './result.ts';

/** The attention at the heart of a case, whether an op or a module. */
export interface AttentionSizes {
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim: number;
}

/** The sizes of any case of attention, including those of caches. */
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
 * Pairs of a query and a key that it may attend to, in one head. Masks hide nothing here, because only the kernel reads
 * their contents.
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

/** The pairs of one head, summed over the batch. */
function pairsOf(bench: BenchCase): number {
  const { batch, queryLength, keyLength } = attentionSizes(bench);
  const pairs = (keys: number) => visiblePairs({ queryLength, keyLength: keys }, bench);
  return bench.keyLengths?.reduce((sum, keys) => sum + pairs(keys), 0) ?? batch * pairs(keyLength);
}

/** One each for finding the maximum, subtracting it, the exponential, the sum and the division. */
const SOFTMAX_FLOPS = 5;

/** Products in the backward pass: the scores again, dP = dO · Vᵀ, dQ, dK and dV. The forward pass has two. */
const BACKWARD_PRODUCTS = 5;

/**
 * A multiply-add counts as two. Attention counts as its two products, 4 · headDim for each visible pair, as in papers: the
 * exponentials and the work on single scores are left out. Training adds the five products of the backward pass, even if
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
  // projections of the query and the output, then of the key and the value
  return attention + 2 * batch * (2 * queryLength + 2 * keyLength) * width * width;
}

export function isAppend(op: BenchCase['op']): boolean {
  return op === 'KeyValueCache.append' || op === 'PagedKeyValueCache.append';
}

export function isTraining(op: BenchCase['op']): op is TrainingOpName {
  return op.endsWith('.train');
}

/** The elements of a softmax that must be read: hidden ones need not be. */
function visibleElements(bench: BenchCase): number {
  const [batch, heads, queryLength, keyLength] = bench.shape;
  return batch * heads * visiblePairs({ queryLength, keyLength }, bench);
}

/** Reads every input that matters once and writes every output once; a module's parameters are inputs. */
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

/** Bytes of the largest tensor that the case needs: if it does not fit a binding, the case cannot run. */
export function largestTensor(bench: BenchCase): number {
  const { op, shape, dtype } = bench;
  const element = dtype === 'float16' ? 2 : 4;
  if (op === 'matmul') {
    const [batch, rows, columns, depth] = shape;
    return element * batch * Math.max(rows * depth, depth * columns, rows * columns);
  }
  if (op === 'softmax') return element * product(shape);
  // the parts lie side by side, in float32
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
 * The roofline: the GFLOP/s that the device allows at this many operations per byte. A kernel may also compute on float16
 * operands in float32, so their roof is the higher of the two.
 */
export function roofOf(roof: Roof, dtype: BenchCase['dtype'], intensity: number): number {
  const arithmetic = dtype === 'float16' ? Math.max(roof.f32Gflops, roof.f16Gflops ?? 0) : roof.f32Gflops;
  return Math.min(arithmetic, roof.copyGBs * intensity);
}

function product(lengths: readonly number[]): number {
  return lengths.reduce((a, b) => a * b, 1);
}
