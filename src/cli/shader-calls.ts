/** The calls whose kernels the command `shader` prints: each op on tensors of zeros, since no kernel runs. */
import * as library from '../index.ts';
import type { AttentionOptions, AttentionResult, Device, DType, FloatDType, Shape, Tensor } from '../index.ts';

/** What an op is to compute. */
export interface Problem {
  /** As the op's `axes` say. */
  readonly shape: readonly number[];
  readonly dtype: FloatDType;
  readonly causal?: boolean;
  /** Keys to the left and right of a query, both inclusive; −1 is unbounded. */
  readonly window?: { readonly left: number; readonly right: number };
  /** Number of keys, where it differs from that of queries. */
  readonly keys?: number;
  /** Heads of keys and values, where several heads of the query share one. */
  readonly kvHeads?: number;
  /** Probability. */
  readonly dropout?: number;
  readonly softcap?: number;
  readonly mask?: 'bool' | 'float';
  /** The gradient's kernels are wanted in place of the op's own. */
  readonly backward?: boolean;
}

export type OptionName = Exclude<keyof Problem, 'shape' | 'dtype'>;

export interface Call {
  /** The lengths of `--shape`; `any` for a shape of any rank. */
  readonly axes: string;
  readonly example: string;
  readonly takes: readonly OptionName[];
  /** Makes the arguments, and returns the call. */
  readonly prepare: (zeros: Zeros, problem: Problem) => () => Tensor | void;
}

/** Makes arguments. Floats have the problem's dtype unless told otherwise, and require gradients where it asks for them. */
export interface Zeros {
  readonly device: Device;
  readonly floats: (shape: Shape, dtype?: FloatDType) => Tensor;
  readonly others: (shape: Shape, dtype: DType) => Tensor;
}

const HEADS = { axes: 'BxHxNxD', example: '1x8x1024x64' } as const;
const CACHED = { axes: 'BxHxNxD', example: '1x8x1x64' } as const;
const ANY = { axes: 'any', example: '1024x1024' } as const;
const CLASSES = { axes: 'BxV', example: '8x32000' } as const;

const BAND = { left: 64, right: 64 };
const PAGE_SIZE = 32;

export const CALLS: Readonly<Record<string, Call>> = {
  flashAttention: attention((q, k, v, options) => library.flashAttention(q, k, v, options)),
  localAttention: attention((q, k, v, { window = BAND, ...options }) =>
    library.localAttention(q, k, v, { ...options, window }),
  ),
  scaledDotProductAttention: attention((q, k, v, options) => library.scaledDotProductAttention(q, k, v, options)),
  mergeAttention: {
    ...HEADS,
    takes: ['backward'],
    prepare({ floats }, { shape }) {
      const parts = [1, 2].map(() => ({ output: floats(shape), logSumExp: floats(shape.slice(0, -1), 'float32') }));
      return () => library.mergeAttention(parts).output;
    },
  },
  createBlockMask: {
    axes: 'NqxNk',
    example: '1024x1024',
    takes: [],
    prepare:
      ({ device }, { shape: [queryLength, keyLength] }) =>
      () =>
        library.createBlockMask(device, library.causalMask(), { queryLength, keyLength }).dispose(),
  },
  'KeyValueCache.append': appending(contiguousCache),
  'KeyValueCache.attend': attending(contiguousCache),
  'PagedKeyValueCache.append': appending(pagedCache),
  'PagedKeyValueCache.attend': attending(pagedCache),
  rotaryEmbedding: {
    ...HEADS,
    takes: ['backward'],
    prepare({ floats, others }, { shape }) {
      const [length, dim] = shape.slice(-2);
      const [cos, sin] = [1, 2].map(() => others([length, Math.floor(dim / 2)], 'float32'));
      const x = floats(shape);
      return () => library.rotaryEmbedding(x, cos, sin);
    },
  },
  matmul: {
    axes: 'BxMxNxK',
    example: '1x1024x1024x1024',
    takes: ['backward'],
    prepare({ floats }, { shape: [batch, rows, columns, depth] }) {
      const [a, b] = [floats([batch, rows, depth]), floats([batch, depth, columns])];
      return () => library.matmul(a, b);
    },
  },
  linear: {
    axes: 'NxInxOut',
    example: '1024x512x512',
    takes: ['backward'],
    prepare({ floats }, { shape: [rows, columns, out] }) {
      const [x, weight, bias] = [floats([rows, columns]), floats([out, columns]), floats([out])];
      return () => library.linear(x, weight, { bias });
    },
  },
  embedding: {
    axes: 'NxVxE',
    example: '1024x32000x512',
    takes: ['backward'],
    prepare({ floats, others }, { shape: [count, rows, columns] }) {
      const [ids, weight] = [others([count], 'int32'), floats([rows, columns])];
      return () => library.embedding(ids, weight);
    },
  },
  softmax: {
    ...ANY,
    takes: ['causal', 'mask', 'backward'],
    prepare({ floats, others }, { shape, causal, mask }) {
      const x = floats(shape);
      const options = {
        ...(causal && { isCausal: true }),
        ...(mask && { mask: mask === 'bool' ? others(shape, 'bool') : floats(shape) }),
      };
      return () => library.softmax(x, options);
    },
  },
  layerNorm: {
    ...ANY,
    takes: ['backward'],
    prepare({ floats }, { shape }) {
      const width = shape.at(-1)!;
      const [x, weight, bias] = [floats(shape), floats([width]), floats([width])];
      return () => library.layerNorm(x, width, { weight, bias });
    },
  },
  rmsNorm: {
    ...ANY,
    takes: ['backward'],
    prepare({ floats }, { shape }) {
      const width = shape.at(-1)!;
      const [x, weight] = [floats(shape), floats([width])];
      return () => library.rmsNorm(x, width, { weight });
    },
  },
  crossEntropy: {
    ...CLASSES,
    takes: ['backward'],
    prepare({ floats, others }, { shape: [rows, classes] }) {
      const [logits, targets] = [floats([rows, classes]), others([rows], 'int32')];
      return () => library.crossEntropy(logits, targets);
    },
  },
  dropout: {
    ...ANY,
    takes: ['dropout', 'backward'],
    prepare({ floats }, { shape, dropout: p }) {
      const x = floats(shape);
      return () => library.dropout(x, { ...(p !== undefined && { p }) });
    },
  },
  add: binary(library.add),
  multiply: binary(library.multiply),
  subtract: binary(library.subtract),
  divide: binary(library.divide),
  power: binary(library.power),
  maximum: binary(library.maximum),
  minimum: binary(library.minimum),
  exp: unary(library.exp),
  log: unary(library.log),
  sqrt: unary(library.sqrt),
  sigmoid: unary(library.sigmoid),
  abs: unary(library.abs),
  mseLoss: binary((x, target) => library.mseLoss(x, target)),
  bceWithLogits: binary((logits, target) => library.bceWithLogits(logits, target)),
  swiglu: binary(library.swiglu),
  gelu: unary((x) => library.gelu(x)),
  silu: unary(library.silu),
  relu: unary(library.relu),
  tanh: unary(library.tanh),
  sum: unary((x) => library.sum(x, { axes: -1 })),
  mean: unary((x) => library.mean(x, { axes: -1 })),
  cast: unary((x) => library.cast(x, x.dtype === 'float16' ? 'float32' : 'float16')),
  clone: unary(library.clone),
  concat: binary((x, y) => library.concat(x, y, -1)),
  sample: {
    ...CLASSES,
    takes: [],
    prepare({ floats }, { shape }) {
      const logits = floats(shape);
      return () => library.sample(logits);
    },
  },
  SGD: update((parameter) => {
    const optimiser = new library.SGD([parameter], { lr: 0.1, momentum: 0.9 });
    return () => optimiser.step();
  }),
  Adam: update((parameter) => {
    const optimiser = new library.Adam([parameter]);
    return () => optimiser.step();
  }),
  AdamW: update((parameter) => {
    const optimiser = new library.AdamW([parameter]);
    return () => optimiser.step();
  }),
  clipGradNorm: update((parameter) => () => library.clipGradNorm([parameter], 1)),
};

function attention(op: (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) => AttentionResult): Call {
  return {
    ...HEADS,
    takes: ['causal', 'window', 'keys', 'kvHeads', 'dropout', 'softcap', 'mask', 'backward'],
    prepare(zeros, problem) {
      const { q, k, v } = operands(zeros, problem);
      const { shape, causal, window, keys, dropout: dropoutP, softcap, mask } = problem;
      const ofScores = [shape[2], keys ?? shape[2]];
      const options = {
        ...(causal && { isCausal: true }),
        ...(window && { window }),
        ...(dropoutP !== undefined && { dropoutP }),
        ...(softcap !== undefined && { softcap }),
        ...(mask && { mask: mask === 'bool' ? zeros.others(ofScores, 'bool') : zeros.floats(ofScores) }),
      };
      return () => op(q, k, v, options).output;
    },
  };
}

/** @returns q [B, H, N, D], and k and v [B, kvHeads, keys, D] */
function operands({ floats }: Zeros, { shape, keys, kvHeads }: Problem): Record<'q' | 'k' | 'v', Tensor> {
  const [batch, heads, length, dim] = shape;
  const ofKeys = [batch, kvHeads ?? heads, keys ?? length, dim];
  return { q: floats(shape), k: floats(ofKeys), v: floats(ofKeys) };
}

/** What can be done with a cache: appending all keys, and attending to them. */
interface CacheCalls {
  readonly append: () => void;
  readonly attend: () => Tensor;
}

type MakeCache = (zeros: Zeros, problem: Problem) => CacheCalls;

function appending(make: MakeCache): Call {
  return { ...CACHED, takes: [], prepare: (zeros, problem) => make(zeros, problem).append };
}

function attending(make: MakeCache): Call {
  return {
    ...CACHED,
    takes: ['keys', 'kvHeads', 'softcap'],
    prepare(zeros, problem) {
      const { append, attend } = make(zeros, problem);
      append();
      return attend;
    },
  };
}

function contiguousCache(zeros: Zeros, problem: Problem): CacheCalls {
  const { q, k, v } = operands(zeros, problem);
  const [batch, numKvHeads, capacity, headDim] = k.shape;
  const { dtype, softcap } = problem;
  const cache = new library.KeyValueCache(zeros.device, { batch, numKvHeads, headDim, capacity, dtype });
  return { append: () => cache.append(k, v), attend: () => cache.attend(q, { softcap }).output };
}

function pagedCache(zeros: Zeros, problem: Problem): CacheCalls {
  const { q, k, v } = operands(zeros, problem);
  const [batch, numKvHeads, length, headDim] = k.shape;
  const { dtype, softcap } = problem;
  const numPages = batch * Math.ceil(length / PAGE_SIZE);
  const pages = { numPages, pageSize: PAGE_SIZE, numKvHeads, headDim, dtype };
  const cache = new library.PagedKeyValueCache(zeros.device, pages);
  const ids = Array.from({ length: batch }, () => cache.add());
  return { append: () => cache.append(ids, k, v), attend: () => cache.attend(ids, q, { softcap }).output };
}

function unary(op: (x: Tensor) => Tensor): Call {
  return {
    ...ANY,
    takes: ['backward'],
    prepare({ floats }, { shape }) {
      const x = floats(shape);
      return () => op(x);
    },
  };
}

function binary(op: (x: Tensor, y: Tensor) => Tensor): Call {
  return {
    ...ANY,
    takes: ['backward'],
    prepare({ floats }, { shape }) {
      const [x, y] = [floats(shape), floats(shape)];
      return () => op(x, y);
    },
  };
}

/** A call that works on a parameter with a gradient. */
function update(prepare: (parameter: Tensor) => () => Tensor | void): Call {
  return {
    ...ANY,
    takes: [],
    prepare({ device, floats }, { shape, dtype }) {
      const parameter = device.zeros(shape, { dtype, requiresGrad: true });
      parameter.grad = floats(shape);
      return prepare(parameter);
    },
  };
}
