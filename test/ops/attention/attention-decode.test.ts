/** A few queries against many keys, as in decoding: kernels may split the keys over workgroups and merge the parts. */
import { describe, expect, test } from 'vitest';
import { attentionLaunch, chooseAttention, planMergeAttention } from '../../../src/kernels/attention.ts';
import { testDevice } from '../../device.ts';
import { attentionProblem } from '../../kernels/problems.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { tolerances } from '../../reference/tolerances.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { upload } from '../upload.ts';
import { ATTENTION_OPS, expectEveryOp, type Problem, referenceAttention, runAttention } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];

type Options = Omit<Problem, 'q' | 'k' | 'v'>;

function optionsFor(random: Random, heads: number, queries: number, keys: number): Options[] {
  const keyLengths = [Math.ceil(keys / 3), keys];
  return [
    {},
    { isCausal: 'bottom-right' },
    { keyLengths, isCausal: 'bottom-right' },
    { keyLengths: [0, 1] },
    { window: { left: 40, right: 0, align: 'bottom-right' } },
    { window: { left: 40, right: 0, align: 'bottom-right' }, keyLengths },
    { window: { left: 700, right: 0, align: 'bottom-right' } },
    { softcap: 2, sinks: { shape: [heads], data: random.normals([heads]) } },
    { queryOffset: [keys - 5, -1], isCausal: true },
    { mask: boolMask(random, [2, 1, queries, keys], 0.3) },
    { mask: floatMask(random, [heads, queries, keys]), isCausal: 'bottom-right', keyLengths },
    { alibiSlopes: { shape: [heads], data: random.normals([heads], 0.1) }, isCausal: 'bottom-right' },
  ];
}

describe.each(DTYPES)('%s', (dtype) => {
  // one bucket of head dims with all options; below, others without
  const sizes = [
    { heads: 8, kvHeads: 1, dim: 32, queries: 1, lengths: narrow([1, 300, 1100], [1, 7, 300, 1100]) },
    { heads: 8, kvHeads: 2, dim: 27, queries: 1, lengths: narrow([7], [1, 7, 300]) },
    { heads: 8, kvHeads: 1, dim: 32, queries: 3, lengths: narrow([7], [7, 300, 1100]) },
    { heads: 8, kvHeads: 2, dim: 32, queries: 3, lengths: narrow([300], [1, 300, 1100]) },
    { heads: 4, kvHeads: 4, dim: 8, queries: 1, lengths: narrow([7, 300], [7, 300, 1100]) },
    { heads: 4, kvHeads: 4, dim: 27, queries: 3, lengths: [1, 300] },
  ];
  test.each(narrow(dtype === 'float32' ? sizes : [{ ...sizes[0], lengths: [300] }], sizes))(
    '$queries queries, $heads heads over $kvHeads of $dim, keys $lengths',
    async (row) => {
      const { heads, queries, lengths } = row;
      for (const keys of lengths) {
        const random = new Random(keys);
        const operands = randomOperands(random, { ...row, keys });
        for (const options of optionsFor(random, heads, queries, keys)) {
          await expectEveryOp({ ...operands, ...options }, dtype, { isFar: true });
        }
      }
    },
  );

  test('value dims of their own', async () => {
    const large = [
      [64, 5],
      [16, 128],
    ];
    for (const [dim, valueDim] of [[1, 1], ...(dtype === 'float32' ? narrow([large[0]], large) : narrow([], large))]) {
      const operands = randomOperands(new Random(dim), {
        heads: 8,
        kvHeads: 2,
        queries: 1,
        keys: 300,
        dim,
        valueDim,
      });
      await expectEveryOp(operands, dtype);
    }
  });

  describe('hard keys', () => describeHardKeys(dtype));
});

function describeHardKeys(dtype: Float): void {
  const [heads, keys, dim] = [8, 1100, 8];
  const operands = randomOperands(new Random(1), { batch: 1, heads, kvHeads: 2, queries: 1, keys, dim });
  /** Keys in [from, to) with another value in every element. */
  const put = (x: HostArray, from: number, to: number, value: number) =>
    map(x, (kept, at) => {
      const key = Math.floor(at / dim) % keys;
      return key >= from && key < to ? value : kept;
    });
  const mask = (isSeen: (key: number) => boolean) => ({
    shape: [keys],
    data: Uint8Array.from({ length: keys }, (_, key) => Number(isSeen(key))),
  });

  test('most of them hidden', async () => {
    for (const isSeen of [
      (key: number) => key === 0,
      (key: number) => key === keys - 1,
      (key: number) => key % 512 === 300,
      (key: number) => key >= 64 && key < 128,
      () => false,
    ]) {
      await expectEveryOp({ ...operands, mask: mask(isSeen) }, dtype);
    }
  });

  test.each([NaN, Infinity, -Infinity, 1e30])('hidden ones that hold %f', async (value) => {
    for (const [from, to] of [
      [0, 1],
      [200, 900],
      [1024, 1100],
    ]) {
      const poisoned = { ...operands, k: put(operands.k, from, to, value), v: put(operands.v, from, to, value) };
      await expectEveryOp({ ...poisoned, mask: mask((key) => key < from || key >= to) }, dtype);
    }
    const behind = { ...operands, k: put(operands.k, 900, keys, value), v: put(operands.v, 900, keys, value) };
    await expectEveryOp({ ...behind, keyLengths: [900] }, dtype);
    await expectEveryOp({ ...behind, keyLengths: [900], isCausal: 'bottom-right' }, dtype);
  });

  test('one that outweighs all others, wherever it lies', async () => {
    const q = map(operands.q, () => 100);
    for (const at of [0, 63, 550, 1099]) {
      const k = put(put(operands.k, 0, keys, 0), at, at + 1, 12.5);
      await expectEveryOp({ ...operands, q, k, scale: 1 }, dtype);
    }
  });

  test.each(ATTENTION_OPS)('NaN in one that is seen reaches every row of %s', async (op) => {
    for (const at of [0, 550, 1099]) {
      for (const name of ['k', 'v'] as const) {
        const spoilt = { ...operands, [name]: put(operands[name], at, at + 1, NaN) };
        const { output } = await runAttention(op, spoilt, dtype);
        expect(output.every(Number.isNaN)).toBe(true);
      }
    }
  });

  test.each(ATTENTION_OPS)('of one NaN query give NaN in its row alone in %s', async (op) => {
    const spoilt = { ...operands, q: map(operands.q, (x, at) => (Math.floor(at / dim) === 5 ? NaN : x)) };
    const clean = await runAttention(op, operands, dtype);
    const { output, logSumExp } = await runAttention(op, spoilt, dtype);
    logSumExp.forEach((value, row) => expect(Number.isNaN(value)).toBe(row === 5));
    output.forEach((value, at) => {
      if (Math.floor(at / dim) === 5) expect(value).toBeNaN();
      else expect(Math.abs(value - clean.output[at])).toBeLessThan(1e-5);
    });
  });

  test.each(ATTENTION_OPS)('the same bits each time in %s', async (op) => {
    const first = await runAttention(op, operands, dtype);
    for (let i = 0; i < 3; i++) expect(await runAttention(op, operands, dtype)).toEqual(first);
  });
}

test('keys of many queries, divided as very many keys are', async () => {
  const device = await testDevice();
  const [heads, queryLength, keyLength, headDim, splits] = [2, 150, 200, 16, 3];
  const operands = randomOperands(new Random(11), {
    batch: 1,
    heads,
    queries: queryLength,
    keys: keyLength,
    dim: headDim,
  });
  const problem = attentionProblem({ heads, queryLength, keyLength, headDim, writesLogSumExp: true });
  const { variant } = chooseAttention(problem, device.traits, device.kernels);
  const rows = [1, heads, queryLength];
  const { output, logSumExp } = device.scope(() => {
    const [q, k, v] = [operands.q, operands.k, operands.v].map((array) => upload(device, array, 'float32'));
    const parts = {
      part_output: device.zeros([splits, ...rows, headDim]),
      part_log_sum_exp: device.zeros([splits, ...rows]),
    };
    const partial = { output: parts.part_output, log_sum_exp: parts.part_log_sum_exp };
    device.dispatch('test', attentionLaunch(problem, variant, splits, device.traits), { q, k, v, ...partial });
    const made = { output: device.zeros([...rows, headDim]), logSumExp: device.zeros(rows) };
    const merge = planMergeAttention({ ...problem, parts: splits, batch: 1 }, device.traits);
    device.dispatch('test', merge, { ...parts, output: made.output, log_sum_exp: made.logSumExp });
    return made;
  });
  const expected = referenceAttention({ ...operands, scale: 1 }, 'float32');
  expectClose(await output.data(), expected.output.data, tolerances.float32.attention, 'output');
  output.dispose();
  logSumExp.dispose();
});
