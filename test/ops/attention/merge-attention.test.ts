/** Attention over parts of the keys, merged by log-sum-exp: over host arrays, and over what the attention ops return. */
import { describe, expect, test } from 'vitest';
import {
  type AttentionOptions,
  type Device,
  flashAttention,
  localAttention,
  mergeAttention,
  scaledDotProductAttention,
  type Tensor,
  type Window,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { mergeAttention as reference } from '../../reference/merge-attention.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { type AttentionOp, largest, type Problem, referenceAttention } from './attention-run.ts';
import { map, randomOperands } from './attention-suite.ts';
import { type Float, type Layout, stored, upload } from '../upload.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];

interface Part {
  output: HostArray;
  logSumExp: HostArray;
}

function randomParts(random: Random, count: number, rows: number[], valueDim: number): Part[] {
  return Array.from({ length: count }, () => ({
    output: { shape: [...rows, valueDim], data: random.normals([...rows, valueDim]) },
    logSumExp: { shape: rows, data: random.normals(rows, 4) },
  }));
}

/** Every n-th row without keys. */
function emptied(part: Part, every: number, output = 0): Part {
  const valueDim = part.output.shape.at(-1)!;
  const isEmpty = (row: number) => row % every === 0;
  return {
    output: map(part.output, (x, at) => (isEmpty(Math.floor(at / valueDim)) ? output : x)),
    logSumExp: map(part.logSumExp, (x, row) => (isEmpty(row) ? -Infinity : x)),
  };
}

type Layouts = { output?: Layout; logSumExp?: Layout };

function uploaded(device: Device, { output, logSumExp }: Part, dtype: Float, layouts: Layouts = {}) {
  return {
    output: upload(device, output, dtype, layouts.output),
    logSumExp: upload(device, logSumExp, 'float32', layouts.logSumExp),
  };
}

async function expectMerged(parts: readonly Part[], dtype: Float, layouts: Layouts = {}) {
  const device = await testDevice();
  const { live } = device.memory();
  const merged = device.scope(() => mergeAttention(parts.map((part) => uploaded(device, part, dtype, layouts))));
  const [first] = parts;
  expect(merged.output.shape).toEqual(first.output.shape);
  expect(merged.output.dtype).toBe(dtype);
  expect(merged.logSumExp.shape).toEqual(first.logSumExp.shape);
  expect(merged.logSumExp.dtype).toBe('float32');
  const expected = reference(parts.map((part) => ({ ...part, output: stored(part.output, dtype) })));
  const [output, logSumExp] = [await merged.output.data(), await merged.logSumExp.data()];
  expectClose(output, expected.output.data, tolerances[dtype].attention, 'output');
  expectClose(logSumExp, expected.logSumExp.data, tolerances[dtype].logSumExp, 'logSumExp');
  merged.output.dispose();
  merged.logSumExp.dispose();
  expect(device.memory().live).toBe(live);
}

describe.each(DTYPES)('mergeAttention in %s', (dtype) => {
  test.each([1, 2, 3, 5])('of %i parts', async (count) => {
    for (const [rows, valueDim] of [
      [[2, 3, 7], 8],
      [[1, 1, 1], 1],
      [[2, 4, 35], 33],
      [[1, 2, 130], 64],
      [[2, 9], 5],
    ] satisfies [number[], number][]) {
      const parts = randomParts(new Random(count), count, rows, valueDim);
      await expectMerged(parts, dtype);
      await expectMerged(
        parts.map((part, p) => emptied(part, p + 1)),
        dtype,
      );
    }
  });

  test('of which some rows saw no key in any', async () => {
    const parts = randomParts(new Random(1), 3, [2, 2, 9], 7).map((part) => emptied(part, 3));
    await expectMerged(parts, dtype);
    await expectMerged(
      parts.map((part) => emptied(part, 1)),
      dtype,
    );
  });

  test('reads no output of a row without keys', async () => {
    const parts = randomParts(new Random(2), 3, [2, 2, 9], 8);
    for (const value of [NaN, Infinity]) {
      await expectMerged([emptied(parts[0], 2, value), emptied(parts[1], 3, value), parts[2]], dtype);
    }
  });

  test('of log-sum-exps far from 0 and from each other', async () => {
    const parts = randomParts(new Random(3), 3, [1, 2, 9], 8);
    for (const shift of [1e4, -1e4, 3e37]) {
      const shifted = parts.map((part, p) => ({
        ...part,
        logSumExp: map(part.logSumExp, (x) => x + (p === 1 ? shift : 0)),
      }));
      await expectMerged(shifted, dtype);
    }
    const all = parts.map((part) => ({ ...part, logSumExp: map(part.logSumExp, (x) => Math.round(x) - 4096) }));
    await expectMerged(all, dtype);
  });

  test('keeps a NaN in its row', async () => {
    const device = await testDevice();
    const parts = randomParts(new Random(6), 3, [1, 2, 9], 8);
    const spoilt = (x: HostArray, isSpoilt: (at: number) => boolean) =>
      map(x, (kept, at) => (isSpoilt(at) ? NaN : kept));
    for (const name of ['output', 'logSumExp'] as const) {
      const given = [
        parts[0],
        { ...parts[1], [name]: spoilt(parts[1][name], (at) => (name === 'output' ? Math.floor(at / 8) : at) === 4) },
        parts[2],
      ];
      const merged = device.scope(() => mergeAttention(given.map((part) => uploaded(device, part, dtype))));
      const output = await merged.output.data();
      const expected = reference(parts).output.data;
      output.forEach((value, at) => {
        if (Math.floor(at / 8) === 4) expect(value).toBeNaN();
        else expect(Math.abs(value - expected[at])).toBeLessThan(5e-3);
      });
      merged.output.dispose();
      merged.logSumExp.dispose();
    }
  });

  test('of views', async () => {
    const parts = randomParts(new Random(4), 2, [2, 3, 5], 7);
    for (const output of [
      { axes: [0, 2, 1, 3] },
      { before: [0, 0, 1, 1], after: [1, 0, 0, 2] },
      { axes: [3, 0, 1, 2] },
    ]) {
      for (const logSumExp of [{}, { axes: [0, 2, 1] }, { before: [1, 0, 1], after: [0, 1, 0] }]) {
        await expectMerged(parts, dtype, { output, logSumExp });
      }
    }
  });

  describe.each(['flashAttention', 'localAttention', 'scaledDotProductAttention'] as const)('of %s', (op) => {
    test.each(narrow([[[0, 1, 2, 41]]], [[[0, 41]], [[0, 20, 41]], [[0, 1, 2, 41]], [[0, 8, 16, 30, 33, 41]]]))(
      'over keys cut at %j',
      async (cuts) => {
        const random = new Random(5);
        const [heads, keys] = [4, 41];
        const operands = randomOperands(random, { heads, kvHeads: 2, queries: 35, keys, valueDim: 12 });
        const sinks = Array.from(random.normals([heads]));
        for (const options of [
          {},
          { isCausal: true },
          { isCausal: true, softcap: 2, window: { left: 12, right: 0 } },
        ]) {
          await expectWhole(op, operands, options, sinks, cuts, dtype);
        }
      },
    );
  });
});

/** Merges the op's results on parts of the keys, the first with the sinks. This must equal the op on all keys at once. */
async function expectWhole(
  op: AttentionOp,
  { q, k, v }: Pick<Problem, 'q' | 'k' | 'v'>,
  options: Pick<Problem, 'isCausal' | 'softcap' | 'window'>,
  sinks: number[],
  cuts: readonly number[],
  dtype: Float,
): Promise<void> {
  const device = await testDevice();
  const merged = device.scope(() => {
    const [Q, K, V] = [q, k, v].map((x) => upload(device, x, dtype));
    const parts = cuts.slice(1).map((end, p) => {
      const [keys, values] = [K, V].map((x) => x.slice(2, cuts[p], end));
      const ofPart = { ...options, queryOffset: -cuts[p], ...(p === 0 && { sinks }), returnLogSumExp: true };
      const { output, logSumExp } = call(op, Q, keys, values, ofPart);
      return { output, logSumExp: logSumExp! };
    });
    return mergeAttention(parts);
  });
  const whole = { q, k, v, ...options, sinks: { shape: [sinks.length], data: sinks } };
  const expected = referenceAttention(whole, dtype);
  // a part's output in float16 is one more rounding
  const { atol, rtol } = tolerances[dtype].attention;
  const stores = dtype === 'float16' ? 2 ** -11 * largest(v.data) : 0;
  expectClose(await merged.output.data(), expected.output.data, { atol: atol + stores, rtol }, 'output');
  expectClose(await merged.logSumExp.data(), expected.logSumExp.data, tolerances[dtype].logSumExp, 'logSumExp');
  merged.output.dispose();
  merged.logSumExp.dispose();
}

/** Options that are there for all ops; localAttention's window is unbounded by default. */
function call(op: AttentionOp, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions & { window?: Window }) {
  switch (op) {
    case 'flashAttention':
      return flashAttention(q, k, v, options);
    case 'localAttention':
      return localAttention(q, k, v, { window: { left: -1, right: -1 }, ...options });
    case 'scaledDotProductAttention':
      return scaledDotProductAttention(q, k, v, options);
  }
}
