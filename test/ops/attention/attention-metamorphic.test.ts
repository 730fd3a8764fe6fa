/**
 * What must hold between runs of the attention ops, whatever they compute. That parts of the keys merge to the whole is in
 * merge-attention.test.ts, and what holds for gradients in attention-backward.property.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { describeInMatrix, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { type HostArray, slice } from '../../reference/host-array.ts';
import { type Tolerance, tolerances } from '../../reference/tolerances.ts';
import type { Float } from '../upload.ts';
import { runGradients } from './attention-backward-run.ts';
import { type AttentionOp, ATTENTION_OPS, type Problem, type Results, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import { kernelsOf, pinKernel, skipOnWideSubgroups } from './pinned.ts';

const DTYPES = narrow<Float>(['float32'], ['float32', 'float16']);
const [BATCH, HEADS, QUERIES, KEYS] = [2, 4, 37, 45];
const SIZES = { batch: BATCH, heads: HEADS, kvHeads: 2, queries: QUERIES, keys: KEYS, dim: 8, valueDim: 7 };

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** Two runs may each be as far from the exact result as the tolerance says. */
function expectAlike(actual: Results, expected: Results, dtype: Float, what: string): void {
  const twice = ({ atol, rtol }: Tolerance) => ({ atol: 2 * atol, rtol: 2 * rtol });
  const { attention, logSumExp } = tolerances[dtype];
  expectClose(actual.output, expected.output, twice(attention), `${what}, output`);
  expectClose(actual.logSumExp, expected.logSumExp, twice(logSumExp), `${what}, log-sum-exp`);
}

/** Row `order[i]` of an axis becomes row i. */
function reordered({ shape, data }: HostArray, axis: number, order: readonly number[]): HostArray {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const length = shape[axis];
  const from = (at: number) => {
    const row = Math.floor(at / inner);
    return (row - (row % length) + order[row % length]) * inner + (at % inner);
  };
  return { shape, data: Array.from(data).map((_, at) => data[from(at)]) };
}

/** The mask of a rule on places. */
function maskOf(sees: (query: number, key: number) => boolean, [queries, keys] = [QUERIES, KEYS]): HostArray {
  const cell = (_: unknown, at: number) => Number(sees(Math.floor(at / keys), at % keys));
  return { shape: [queries, keys], data: Uint8Array.from({ length: queries * keys }, cell) };
}

/** The same with −∞ for false. */
function additive({ shape, data }: HostArray): HostArray {
  return { shape, data: Float32Array.from(data, (sees) => (sees ? 0 : -Infinity)) };
}

describe.each(narrow<AttentionOp>(['flashAttention'], ATTENTION_OPS))('%s', (op) => {
  const run = (problem: Problem, dtype: Float = 'float32') => runAttention(op, problem, dtype);

  describe.each(DTYPES)('%s', (dtype) => {
    test('does not depend on the order of the keys', async () => {
      const random = new Random(1);
      const operands = randomOperands(random, SIZES);
      const keyMask = boolMask(random, [BATCH, KEYS], 0.8);
      const mask = floatMask(random, [QUERIES, KEYS]);
      const order = Array.from({ length: KEYS }, (_, i) => (7 * i + 3) % KEYS); // 7 and 45 share no factor
      const { q, k, v } = operands;
      const turned = {
        q,
        k: reordered(k, 2, order),
        v: reordered(v, 2, order),
        keyMask: { ...keyMask, data: Uint8Array.from(reordered(keyMask, 1, order).data) },
        mask: { ...mask, data: Float32Array.from(reordered(mask, 1, order).data) },
      };
      expectAlike(await run(turned, dtype), await run({ ...operands, keyMask, mask }, dtype), dtype, 'reordered');
    });

    test('gives a batch entry the bits that it gives it alone', async () => {
      const operands = randomOperands(new Random(2), SIZES);
      const keyLengths = [KEYS, 21];
      const whole = await run({ ...operands, keyLengths, isCausal: 'bottom-right' }, dtype);
      for (let b = 0; b < BATCH; b++) {
        const [q, k, v] = [operands.q, operands.k, operands.v].map((x) => slice(x, 0, b, b + 1));
        const alone = await run({ q, k, v, keyLengths: [keyLengths[b]], isCausal: 'bottom-right' }, dtype);
        const part = (x: Float32Array) => x.subarray((b * x.length) / BATCH, ((b + 1) * x.length) / BATCH);
        expect(part(whole.output)).toEqual(alone.output);
        expect(part(whole.logSumExp)).toEqual(alone.logSumExp);
      }
    });
  });

  test.each<[string, Problem['isCausal'], (query: number, key: number) => boolean]>([
    ['top-left', 'top-left', (i, j) => j <= i],
    ['bottom-right', 'bottom-right', (i, j) => j <= i + KEYS - QUERIES],
  ])('causal, %s, is a mask', async (_name, isCausal, sees) => {
    const operands = randomOperands(new Random(3), SIZES);
    const causal = await run({ ...operands, isCausal });
    const mask = maskOf(sees);
    expectAlike(await run({ ...operands, mask }), causal, 'float32', 'bool mask');
    expectAlike(await run({ ...operands, mask: additive(mask) }), causal, 'float32', 'float mask');
  });

  test.each([
    [5, 2],
    [0, 0],
    [-1, 3],
    [11, -1],
  ])('a window of %i keys to the left and %i to the right is a mask', async (left, right) => {
    const operands = randomOperands(new Random(4), SIZES);
    const mask = maskOf((i, j) => (left < 0 || j >= i - left) && (right < 0 || j <= i + right));
    const windowed = await run({ ...operands, window: { left, right } });
    expectAlike(await run({ ...operands, mask }), windowed, 'float32', 'mask');
  });

  test('key lengths are a key mask, and fewer keys', async () => {
    const operands = randomOperands(new Random(5), SIZES);
    const keyLengths = [30, 30];
    const short = await run({ ...operands, keyLengths });
    const data = Uint8Array.from({ length: BATCH * KEYS }, (_, at) => Number(at % KEYS < 30));
    expectAlike(await run({ ...operands, keyMask: { shape: [BATCH, KEYS], data } }), short, 'float32', 'key mask');
    const [k, v] = [operands.k, operands.v].map((x) => slice(x, 2, 0, 30));
    expectAlike(await run({ q: operands.q, k, v }), short, 'float32', 'fewer keys');
  });

  test('a query offset is a later part of more queries', async () => {
    const operands = randomOperands(new Random(6), SIZES);
    const whole = await run({ ...operands, isCausal: 'top-left' });
    const late = await run({ ...operands, q: slice(operands.q, 2, 20, QUERIES), isCausal: true, queryOffset: 20 });
    const part = (data: Float32Array, width: number) => ({
      data: Float32Array.from(slice({ shape: [BATCH, HEADS, QUERIES, width], data }, 2, 20, QUERIES).data),
    });
    const wanted = { output: part(whole.output, 7).data, logSumExp: part(whole.logSumExp, 1).data };
    expectAlike(late, wanted, 'float32', 'offset');
  });

  test('a number added to all scores moves the log-sum-exp alone', async () => {
    const operands = randomOperands(new Random(7), SIZES);
    const plain = await run(operands);
    const shifted = await run({ ...operands, mask: { shape: [1], data: Float32Array.of(3) } });
    const moved = { output: plain.output, logSumExp: plain.logSumExp.map((x) => x + 3) };
    expectAlike(shifted, moved, 'float32', 'shifted');
  });

  test('repeated keys with their values change no output, and the log-sum-exp by ln 2', async () => {
    const { q, k, v } = randomOperands(new Random(8), SIZES);
    const twice = (x: HostArray): HostArray => {
      const [batch, heads, keys, dim] = x.shape;
      const shape = [batch, heads, 2 * keys, dim];
      const from = (at: number) => {
        const row = Math.floor(at / dim);
        const matrix = Math.floor(row / (2 * keys));
        return (matrix * keys + Math.floor((row % (2 * keys)) / 2)) * dim + (at % dim);
      };
      const size = shape.reduce((a, b) => a * b);
      return { shape, data: Float32Array.from({ length: size }, (_, at) => x.data[from(at)]) };
    };
    const once = await run({ q, k, v });
    const doubled = await run({ q, k: twice(k), v: twice(v) });
    const wanted = { output: once.output, logSumExp: once.logSumExp.map((x) => x + Math.LN2) };
    expectAlike(doubled, wanted, 'float32', 'repeated');
  });

  test('is linear in the values, and equal values come back', async () => {
    const operands = randomOperands(new Random(9), SIZES);
    const [first, second] = [operands.v, map(operands.v, (x) => Math.sin(3 * x))];
    const [one, other] = [await run(operands), await run({ ...operands, v: second })];
    const both = map(first, (x, at) => 2 * x - second.data[at]);
    const sum = await run({ ...operands, v: both });
    const wanted = { output: one.output.map((x, at) => 2 * x - other.output[at]), logSumExp: one.logSumExp };
    expectAlike(sum, wanted, 'float32', 'combined');
    const { output } = await run({ ...operands, v: map(first, () => 0.75) });
    output.forEach((x) => expect(Math.abs(x - 0.75)).toBeLessThan(1e-6));
  });
});

describe.each(narrow<AttentionOp>(['flashAttention'], ['flashAttention', 'scaledDotProductAttention']))(
  '50 runs of %s give the same bits',
  (op) => {
    test.each(DTYPES)('%s', async (dtype) => {
      const random = new Random(10);
      const operands = randomOperands(random, SIZES);
      const problem = { ...operands, mask: floatMask(random, [QUERIES, KEYS]), isCausal: 'bottom-right' as const };
      const first = await runAttention(op, problem, dtype);
      for (let i = 1; i < 50; i++) expect(await runAttention(op, problem, dtype)).toEqual(first);
    });

    test('few queries, whose keys are split', async () => {
      const problem = randomOperands(new Random(11), { ...SIZES, queries: 2, keys: 900 });
      const first = await runAttention(op, problem, 'float32');
      for (let i = 1; i < 50; i++) expect(await runAttention(op, problem, 'float32')).toEqual(first);
    });

    test('gradients', async () => {
      const random = new Random(12);
      const [queries, keys] = [9, 33];
      const operands = randomOperands(random, { ...SIZES, queries, keys });
      const problem = { ...operands, mask: floatMask(random, [queries, keys]) };
      const shape = [BATCH, HEADS, queries, SIZES.valueDim];
      const output = { shape, data: random.normals(shape) };
      const first = await runGradients(op, problem, { output }, 'float32');
      for (let i = 1; i < 50; i++) expect(await runGradients(op, problem, { output }, 'float32')).toEqual(first);
    });
  },
);

const opened = await testDevice();

describeInMatrix('every kernel gives what the device’s own choice gives', () => {
  describe.each(['flashAttention', 'localAttention'] as const)('%s', (op) => {
    const problems: Record<string, Problem> = {
      'many queries': { ...randomOperands(new Random(13), SIZES), isCausal: 'bottom-right' },
      'few queries': { ...randomOperands(new Random(14), { ...SIZES, queries: 2, keys: 700 }), keyLengths: [700, 333] },
    };
    const own = new Map<string, Results>();
    beforeAll(async () => {
      for (const [name, problem] of Object.entries(problems)) own.set(name, await runAttention(op, problem, 'float32'));
    });

    describe.each(kernelsOf(op, opened))('%s', (kernel) => {
      pinKernel(op, kernel);
      if (/^(?:tile|register|cache)/.test(kernel)) skipOnWideSubgroups();
      test.each(Object.keys(problems))('%s', async (name) => {
        expectAlike(await runAttention(op, problems[name], 'float32'), own.get(name)!, 'float32', kernel);
      });
    });
  });
});
