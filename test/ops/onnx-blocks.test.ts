/**
 * ONNX's backend node tests of the operators that a transformer block is made of, through a thin adapter: axes are
 * transposed and shapes reshaped around our ops, scalars become tensors, float64 becomes float32. ONNX's bar is
 * |actual − expected| ≤ 1e-7 + 1e-3 · |expected|.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  add,
  type Device,
  flashAttention,
  gelu,
  layerNorm,
  matmul,
  multiply,
  reshape,
  rmsNorm,
  rotaryEmbedding,
  softmax,
  swiglu,
  type Tensor,
} from '../../src/index.ts';
import { describeConformance, type OnnxCase } from '../conformance.ts';
import { testDevice } from '../device.ts';
import { expectClose } from '../reference/compare.ts';

const BAR = { atol: 1e-7, rtol: 1e-3 };

/** Operators of the set that no case is run of, and why; and results that ours do not have. */
const NOT_COVERED: Readonly<Record<string, string>> = {
  TensorScatter: 'writes into a cache in place: what KeyValueCache.append does, which owns its memory',
};
const NOT_RETURNED: Readonly<Record<string, readonly string[]>> = {
  LayerNormalization: ['Mean', 'InvStdDev'],
};

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

type Input = (name: string) => Tensor;
type Attributes = Record<string, number | string | undefined>;

/** Each operator by our ops; called in a scope. */
const OPERATORS: Readonly<Record<string, (input: Input, attrs: Attributes, onnx: OnnxCase) => Tensor>> = {
  Softmax: (input, { axis = -1 }) => alongAxis(input('input'), Number(axis), softmax),

  LogSoftmax: (input, { axis = -1 }) => alongAxis(input('input'), Number(axis), logSoftmax),

  MatMul: (input, _, onnx) => {
    const [a, b] = [input('A'), input('B')];
    const left = a.rank === 1 ? a.reshape([1, a.size]) : a;
    const right = b.rank === 1 ? b.reshape([b.size, 1]) : b;
    const { shape } = onnx.tensor('Y');
    return reshape(matmul(left, right), shape.length === 0 ? [1] : shape);
  },

  Gemm: (input, { alpha = 1, beta = 1, transA = 0, transB = 0 }, onnx) => {
    const product = matmul(input('A'), input('B'), { transposeA: transA === 1, transposeB: transB === 1 });
    const scaled = multiply(product, device.tensor([Number(alpha)], [1]));
    return onnx.has('C') ? add(scaled, multiply(input('C'), device.tensor([Number(beta)], [1]))) : scaled;
  },

  Einsum: (input, { equation }) => {
    expect(equation).toBe('bij, bjk -> bik');
    return matmul(input('x'), input('y'));
  },

  LayerNormalization: (input, { axis = -1, epsilon = 1e-5 }) => {
    const x = input('X');
    const eps = Number(epsilon);
    return layerNorm(x, x.shape.slice(Number(axis)), { weight: input('Scale'), bias: input('B'), eps });
  },

  RMSNormalization: (input, { axis = -1, epsilon = 1e-5 }) => {
    const x = input('X');
    return rmsNorm(x, x.shape.slice(Number(axis)), { weight: input('scale'), eps: Number(epsilon) });
  },

  Gelu: (input, { approximate = 'none' }) => gelu(input('x'), { approximate: approximate as 'none' | 'tanh' }),

  // a σ(alpha a) b, which is silu(alpha a) b / alpha
  SwiGLU: (input, { alpha = 1 }) => {
    if (alpha === 1) return swiglu(input('a'), input('b'));
    const factor = (value: number) => device.tensor([value], [1]);
    return multiply(swiglu(multiply(input('a'), factor(Number(alpha))), input('b')), factor(1 / Number(alpha)));
  },

  RotaryEmbedding: (input, { interleaved = 0, num_heads: numHeads }, onnx) => {
    const x = input('X');
    const [cos, sin] = [input('cos_cache'), input('sin_cache')];
    // without position_ids the caches hold a row for each batch entry and position
    const [batch, length] = cos.shape;
    const hasIds = onnx.has('position_ids');
    const ids = hasIds
      ? { shape: onnx.tensor('position_ids').shape, data: onnx.tensor('position_ids').data }
      : { shape: [batch, length], data: Array.from({ length: batch * length }, (_, i) => i) };
    const flat = (cache: Tensor) => (hasIds ? cache : cache.reshape([batch * length, cache.shape[2]]));
    const options = { positions: device.tensor(Int32Array.from(ids.data), ids.shape), interleaved: interleaved === 1 };
    if (x.rank === 4) return rotaryEmbedding(x, flat(cos), flat(sin), options);
    const [b, n, width] = x.shape;
    const heads = x.reshape([b, n, Number(numHeads), width / Number(numHeads)]).transpose(1, 2);
    return rotaryEmbedding(heads, flat(cos), flat(sin), options).transpose(1, 2).reshape(x.shape);
  },
};

/** Applies an op of the last axis to another one. */
function alongAxis(x: Tensor, axis: number, apply: (x: Tensor) => Tensor): Tensor {
  return apply(x.transpose(axis, -1)).transpose(axis, -1);
}

/**
 * x − log Σ exp(x) by our ops: rows are queries, and the keys the identity, so that x itself are the scores whose
 * log-sum-exp flash attention returns. Twice, because the first is rounded in proportion to x.
 */
function logSoftmax(x: Tensor): Tensor {
  const columns = x.shape.at(-1)!;
  const rows = x.size / columns;
  const identity = Float32Array.from({ length: columns * columns }, (_, at) => (at % (columns + 1) === 0 ? 1 : 0));
  const keys = device.tensor(identity, [1, columns, columns]);
  const minusLogSumExp = (scores: Tensor) => {
    const { logSumExp } = flashAttention(scores, keys, keys, { scale: 1, returnLogSumExp: true });
    return multiply(logSumExp!.reshape([1, rows, 1]), device.tensor([-1], [1]));
  };
  const scores = reshape(x, [1, rows, columns]);
  const shifted = add(scores, minusLogSumExp(scores));
  return add(shifted, minusLogSumExp(shifted)).reshape(x.shape);
}

/** A tensor of the case; one without axes has one here. */
function upload(onnx: OnnxCase, name: string): Tensor {
  const { dtype, shape, data } = onnx.tensor(name);
  if (dtype !== 'float32' && dtype !== 'float64' && dtype !== 'float16') throw new Error(`${name} is ${dtype}`);
  return device.tensor(Float32Array.from(data), shape.length === 0 ? [1] : shape, {
    dtype: dtype === 'float16' ? 'float16' : 'float32',
  });
}

await describeConformance('onnx_blocks', (cases) => {
  test('every case is run or listed as not covered', () => {
    const kinds = [...new Set(cases.map(({ kind }) => kind))];
    expect(kinds.filter((kind) => !(kind in OPERATORS) && !(kind in NOT_COVERED))).toEqual([]);
    // and the lists hold nothing that is not there, or is covered after all
    expect(Object.keys(NOT_COVERED).filter((kind) => kind in OPERATORS || !kinds.includes(kind))).toEqual([]);
    expect(Object.keys(OPERATORS).filter((kind) => !kinds.includes(kind))).toEqual([]);
  });

  const run = cases.filter(({ kind }) => kind in OPERATORS);
  describe.each([...new Set(run.map(({ kind }) => kind))])('%s', (kind) => {
    test.each(run.filter((onnx) => onnx.kind === kind))('$name', async (onnx) => {
      const returned = onnx.outputs.filter((name) => !NOT_RETURNED[kind]?.includes(name));
      expect(returned).toHaveLength(1);
      const wanted = onnx.tensor(returned[0]);
      const result = device.scope(() => OPERATORS[kind]((name) => upload(onnx, name), onnx.attrs as Attributes, onnx));
      expect(result.shape).toEqual(wanted.shape.length === 0 ? [1] : wanted.shape);
      const values = await result.data();
      result.dispose();
      expectClose(values, wanted.data, BAR, onnx.name);
    });
  });
});
