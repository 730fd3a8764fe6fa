import { describe, expect, test } from 'vitest';
import { describeConformance, type SeedCase } from '../conformance.ts';
import { Random } from '../random.ts';
import { attention } from './attention.ts';
import { attentionInFloat16 } from './attention-float16.ts';
import { expectClose, expectFloat16Close } from './compare.ts';
import { localOptions, sdpaOptions } from './golden-options.ts';
import { joinHeads, splitHeads } from './heads.ts';
import type { HostArray } from './host-array.ts';
import { matmul } from './matmul.ts';
import { softmax } from './softmax.ts';
import { evaluateMha, evaluateMhaGradients, expectedMha, goldenMhaGradients, stateNames } from './torch-mha.ts';

/** The stored results are float64 rounded to float32. */
const stored = { atol: 1e-7, rtol: 1e-6 };

const array = (shape: number[], data: number[]): HostArray => ({ shape, data });

await describeConformance('sdpa', (cases) => {
  test.each(cases)('$name', (c) => {
    const result = attention(c.tensor('q'), c.tensor('k'), c.tensor('v'), sdpaOptions(c));
    expect(result.output.shape).toEqual(c.tensor('out').shape);
    expectClose(result.output.data, c.tensor('out').data, stored, 'output');
    expectClose(result.logSumExp.data, c.tensor('lse').data, stored, 'logSumExp');
    if (c.has('weights')) expectClose(result.weights.data, c.tensor('weights').data, stored, 'weights');
  });
});

await describeConformance('local', (cases) => {
  test.each(cases)('$name', (c) => {
    const result = attention(c.tensor('q'), c.tensor('k'), c.tensor('v'), localOptions(c));
    expectClose(result.output.data, c.tensor('out').data, stored, 'output');
    expectClose(result.logSumExp.data, c.tensor('lse').data, stored, 'logSumExp');
  });
});

await describeConformance('mha', (cases) => {
  test.each(cases)('$name', (c) => {
    const { output, weights } = evaluateMha(c);
    const wanted = expectedMha(c);
    expectClose(output.data, wanted.output, stored, 'output');
    if (wanted.weights) expectClose(weights.data, wanted.weights, stored, 'weights');
  });

  test.each(cases)('gradients of $name', (c) => {
    const wanted = goldenMhaGradients(c);
    if (c.name.endsWith('_nan')) {
      expect(wanted).toEqual({});
      return;
    }
    const gradients = evaluateMhaGradients(c);
    expect(Object.keys(gradients).sort()).toEqual(Object.keys(wanted).sort());
    expect(Object.keys(gradients)).toEqual(expect.arrayContaining(stateNames(c).map((name) => `grad/${name}`)));
    for (const [name, { shape, data }] of Object.entries(wanted)) {
      expect(gradients[name].shape).toEqual(shape);
      expectClose(gradients[name].data, data, stored, name);
    }
  });
});

await describeConformance('seed', (cases) => {
  test.each(cases)('$name', (c) => {
    const { output, weights } = seedModule(c);
    expectClose(output.data, c.tensor('out').data, stored, 'output');
    if (!c.has('attn')) return;
    const { shape, data } = c.tensor('attn');
    if (!c.n_head) return void expectClose(weights.data, data, stored, 'weights');
    const map = shape[1] * shape[2];
    const batches = shape[0] / c.n_head;
    const headMajor = weights.data.map((_, at) => {
      const [head, batch] = [Math.floor(at / (map * batches)), Math.floor(at / map) % batches];
      return weights.data[(batch * c.n_head! + head) * map + (at % map)];
    });
    expectClose(headMajor, data, stored, 'weights');
  });
});

function seedModule(c: SeedCase): { output: HostArray; weights: { data: Float64Array } } {
  const blocked = c.has('mask') ? c.tensor('mask') : undefined;
  const mask = blocked && {
    shape: [blocked.shape[0], 1, ...blocked.shape.slice(1)],
    data: Uint8Array.from(blocked.data, (b) => 1 - b),
  };
  const linear = (x: HostArray, name: string) =>
    matmul(x, c.tensor(`state/${name}.weight`), {
      transposeB: true,
      bias: c.has(`state/${name}.bias`) ? c.tensor(`state/${name}.bias`) : undefined,
    });
  const byHeads = (q: HostArray, k: HostArray, v: HostArray, heads: number, names: string[], half?: number) => {
    const [Q, K, V] = [q, k, v].map((x, i) => splitHeads(linear(x, names[i]), heads));
    const window = half === undefined ? undefined : { left: half, right: half };
    const { output, weights } = attention(Q, K, V, { mask, window });
    return { output: linear(joinHeads(output), names[3]), weights };
  };
  const layers = (prefix: string) => ['q', 'k', 'v', 'o'].map((letter) => prefix + letter);
  const wholeMask = mask && { shape: blocked.shape, data: mask.data };

  switch (c.kind) {
    case 'seed.ScaledDotProductAttention':
      return attention(c.tensor('q'), c.tensor('k'), c.tensor('v'), { mask: wholeMask, scale: 1 / c.scale! });
    case 'seed.FlashAttention':
      return attention(c.tensor('q'), c.tensor('k'), c.tensor('v'), { mask: wholeMask });
    case 'seed.MultiHeadAttention':
      return byHeads(c.tensor('q'), c.tensor('k'), c.tensor('v'), c.n_head!, layers('fc_'));
    case 'seed.SelfAttention': {
      const [q, k, v] = ['wq', 'wk', 'wv'].map((name) => matmul(c.tensor('x'), c.tensor(`state/${name}`)));
      return byHeads(q, k, v, c.n_head!, layers('mha.fc_'));
    }
    case 'seed.CrossAttention':
      return byHeads(c.tensor('q'), c.tensor('kv'), c.tensor('kv'), c.n_heads!, layers('multihead_attn.W_'));
    case 'seed.LocalAttention':
      return byHeads(c.tensor('x'), c.tensor('x'), c.tensor('x'), c.n_heads!, layers('W_'), c.half);
    default:
      throw new Error(`unknown kind ${c.kind}`);
  }
}

describe('attention', () => {
  test('does not read a masked key, whatever it holds', () => {
    const q = array([1, 1, 2, 1], [1, 2]);
    const mask = { shape: [2, 3], data: Uint8Array.of(1, 0, 0, 1, 0, 1) };
    for (const poison of [NaN, Infinity, 1e300]) {
      const k = array([1, 1, 3, 1], [1, poison, 0]);
      const { output, weights } = attention(q, k, array([1, 1, 3, 1], [5, poison, 7]), { mask });
      expect(Array.from(weights.data.subarray(0, 3))).toEqual([1, 0, 0]);
      expect(output.data[0]).toBe(5);
      expect(output.data[1]).toBeCloseTo((5 * Math.exp(2) + 7) / (Math.exp(2) + 1), 12);
    }
  });

  test('a NaN query gives NaN only in its row', () => {
    const { output } = attention(array([1, 2, 1], [NaN, 1]), array([1, 1, 1], [1]), array([1, 1, 1], [3]));
    expect(Array.from(output.data)).toEqual([NaN, 3]);
  });

  test('a row without keys is zero, and its logSumExp −∞', () => {
    const result = attention(array([1, 2, 1], [1, 1]), array([1, 1, 1], [1]), array([1, 1, 1], [3]), {
      isCausal: 'bottom-right',
    });
    expect(Array.from(result.output.data)).toEqual([0, 3]);
    expect(Array.from(result.weights.data)).toEqual([0, 1]);
    expect(Array.from(result.logSumExp.data)).toEqual([-Infinity, 1]);
  });

  test('in float16 is near the reference, but not equal', () => {
    const random = new Random(1);
    const normals = (...shape: number[]) => ({ shape, data: random.normals(shape) });
    const [q, k, v] = [normals(1, 4, 9, 16), normals(1, 2, 13, 16), normals(1, 2, 13, 8)];
    const exact = attention(q, k, v, { isCausal: true });
    const rounded = attentionInFloat16(q, k, v, { isCausal: true });
    const error = expectClose(rounded.output.data, exact.output.data, { atol: 5e-3, rtol: 0 }, 'output');
    expect(error).toBeGreaterThan(1e-4);
    expectFloat16Close(rounded.output.data, rounded.output.data, exact.output.data, 0, 'output');
  });
});

describe('matmul', () => {
  const a = array([2, 3], [1, 2, 3, 4, 5, 6]);
  const b = array([3, 2], [1, 0, 0, 1, 1, 1]);
  const transposed = ({ shape: [m, n], data }: HostArray) =>
    array(
      [n, m],
      Array.from({ length: m * n }, (_, i) => data[(i % m) * n + Math.floor(i / m)]),
    );

  test('with either side transposed, and a bias', () => {
    expect(Array.from(matmul(a, b).data)).toEqual([4, 5, 10, 11]);
    expect(Array.from(matmul(transposed(a), b, { transposeA: true }).data)).toEqual([4, 5, 10, 11]);
    expect(Array.from(matmul(a, transposed(b), { transposeB: true, bias: array([2], [1, -1]) }).data)).toEqual([
      5, 4, 11, 10,
    ]);
  });

  test('broadcasts the leading axes', () => {
    const left = array([2, 1, 1, 2], [1, 2, 3, 4]);
    const right = array([3, 2, 1], [1, 0, 0, 1, 1, 1]);
    const product = matmul(left, right);
    expect(product.shape).toEqual([2, 3, 1, 1]);
    expect(Array.from(product.data)).toEqual([1, 2, 3, 3, 4, 7]);
  });
});

describe('softmax', () => {
  const row = [0, Math.log(2), Math.log(5)];
  const x = array([2, 1, 3], [...row, ...row.map((value) => value - 1e4)]);
  const expectRows = (result: HostArray, ...rows: number[][]) =>
    expectClose(result.data, rows.flat(), { atol: 1e-12, rtol: 0 }, 'softmax');

  test('of each row, far from zero too', () => {
    expectRows(softmax(x), [1 / 8, 2 / 8, 5 / 8], [1 / 8, 2 / 8, 5 / 8]);
    expectRows(softmax(x, { scale: 2 }), [1 / 30, 4 / 30, 25 / 30], [1 / 30, 4 / 30, 25 / 30]);
  });

  test('with masks of either kind, each row by its own', () => {
    const bools = { shape: [2, 1, 3], data: Uint8Array.of(1, 0, 1, 0, 0, 0) };
    expectRows(softmax(x, { mask: bools }), [1 / 6, 0, 5 / 6], [0, 0, 0]);
    const numbers = array([3], [Math.log(3), -Infinity, 0]);
    expectRows(softmax(x, { mask: numbers }), [3 / 8, 0, 5 / 8], [3 / 8, 0, 5 / 8]);
  });

  test('causal in both alignments', () => {
    const square = array([2, 3], [...row, ...row]);
    expectRows(softmax(square, { isCausal: true }), [1, 0, 0], [1 / 3, 2 / 3, 0]);
    expectRows(softmax(square, { isCausal: 'bottom-right' }), [1 / 3, 2 / 3, 0], [1 / 8, 2 / 8, 5 / 8]);
  });
});

describe('expectClose', () => {
  const tolerance = { atol: 0.1, rtol: 0.1 };

  test('returns the largest error and takes equal infinities', () => {
    expect(expectClose([1, 2.25, -Infinity], [1, 2, -Infinity], tolerance, 'x')).toBe(0.25);
  });

  test('names the element that is furthest outside', () => {
    expect(() => expectClose([1.5, 3, 9], [1, 1, 9], tolerance, 'x')).toThrow(
      'x: 2 of 3 elements are outside 0.1 + 0.1·|expected|; worst at 1: got 3, wanted 1, error 2.00',
    );
  });

  test.each<[string, number[], number[]]>([
    ['NaN', [NaN], [0]],
    ['an expected NaN', [0], [NaN]],
    ['two NaN', [NaN], [NaN]],
    ['an infinity', [Infinity], [1]],
    ['an infinity of the other sign', [Infinity], [-Infinity]],
    ['a number for an infinity', [1e30], [Infinity]],
    ['a missing element', [1], [1, 1]],
    ['an element too many', [1, 1], [1]],
  ])('refuses %s', (_name, actual, expected) => {
    expect(() => expectClose(actual, expected, tolerance, 'x')).toThrow(/^x: /);
  });
});

describe('Random', () => {
  test('repeats itself, and is normal', () => {
    const values = new Random(7).normals([10_000]);
    expect(new Random(7).normals([10_000])).toEqual(values);
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.05);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
  });
});
