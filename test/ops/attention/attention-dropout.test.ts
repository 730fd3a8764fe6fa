/** Dropout of attention's weights: the same draws in every op and kernel, in both passes. */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type Device,
  flashAttention,
  localAttention,
  scaledDotProductAttention,
  type Tensor,
} from '../../../src/index.ts';
import { chooseAttention } from '../../../src/kernels/attention.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { expectGradients } from './attention-backward-run.ts';
import { expectAttention, expectEveryOp, type Problem } from './attention-run.ts';
import { floatMask, randomOperands } from './attention-suite.ts';
import { type Float } from '../upload.ts';

const isBroad = await triesEveryKernel();
const random = new Random(61);
const SEED = 2 ** 40 + 12345; // in both words of the key
/** With it these problems take the kernels that the random ones of attention-backward.property.test.ts compile too. */
const CAPPED = { softcap: 3 };

function gradientsFor({ q, v }: Problem) {
  const rows = q.shape.slice(0, -1);
  const normals = (shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
  return { output: normals([...rows, v.shape.at(-1)!]), logSumExp: normals(rows) };
}

test('flash, local and materialised attention drop what the reference drops', async () => {
  const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 35, keys: 41 });
  const dropout = { ...CAPPED, dropoutP: 0.3, dropoutSeed: SEED };
  await expectEveryOp({ ...operands, ...dropout }, 'float32');
  await expectEveryOp({ ...operands, ...dropout, mask: floatMask(random, [35, 41]), isCausal: true }, 'float32');
  // bands that begin at keys that are not multiples of four
  await expectEveryOp({ ...operands, ...dropout, window: { left: 5, right: 2 } }, 'float32');
});

test.runIf(isBroad)('of packed sequences, positions count from where each begins', async () => {
  const operands = randomOperands(random, { batch: 1, heads: 4, kvHeads: 2, queries: 30, keys: 42 });
  const packed = { ...operands, queryOffsets: [0, 9, 9, 30], keyOffsets: [0, 17, 19, 42] };
  await expectEveryOp({ ...packed, ...CAPPED, dropoutP: 0.5, dropoutSeed: 7 }, 'float32');
});

test.each(narrow<Float>(['float32'], ['float32', 'float16']))(
  '%s, sinks, and heads of a group packed in one tile',
  async (dtype) => {
    const operands = randomOperands(random, { heads: 6, kvHeads: 2, queries: 5, keys: 41 });
    const sinks = { shape: [6], data: random.normals([6]) };
    await expectAttention('flashAttention', { ...operands, sinks, dropoutP: 0.4, dropoutSeed: 3 }, dtype);
  },
);

test('few queries, whose keys are split', async () => {
  const operands = randomOperands(random, { batch: 1, heads: 2, kvHeads: 1, queries: 2, keys: 1100, dim: 8 });
  await expectAttention('flashAttention', { ...operands, dropoutP: 0.25, dropoutSeed: 11 }, 'float32');
});

describe.each(narrow([], ['tile-32x32', 'subgroup', 'stream']))('kernel %s', (name) => {
  const problem: Problem = {
    ...randomOperands(random, { heads: 4, kvHeads: 2, queries: 3, keys: 43, dim: 8 }),
    window: { left: 21, right: 1 },
    queryOffset: 33,
    dropoutP: 0.5,
    dropoutSeed: SEED,
  };

  test('drops what the reference drops', async () => {
    const { traits, kernels } = await testDevice();
    (kernels.pinned as Map<string, string>).set('flashAttention', name);
    try {
      const size = { kernelsOf: 'flashAttention', dtype: 'float32', headDim: 8, valueDim: 8, rows: 6 } as const;
      const { variant } = chooseAttention(size, traits, kernels);
      if (variant.name !== name) return; // the device does not have it
      await expectAttention('flashAttention', problem, 'float32');
      // the gradient's kernels too, also where they are not the default: with subgroups of four
      if (name === 'subgroup') await expectGradients('flashAttention', problem, gradientsFor(problem), 'float32');
    } finally {
      (kernels.pinned as Map<string, string>).delete('flashAttention');
    }
  });
});

describe('gradients', () => {
  test.each(narrow<'flashAttention' | 'localAttention'>(['flashAttention'], ['flashAttention', 'localAttention']))(
    '%s',
    async (op) => {
      const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 37, keys: 45 });
      const dropout = { ...CAPPED, dropoutP: 0.3, dropoutSeed: SEED };
      for (const options of [
        {},
        ...(isBroad ? [{ window: { left: 9, right: 2 } }] : []),
        { isCausal: true, mask: floatMask(random, [4, 37, 45]), sinks: { shape: [4], data: random.normals([4]) } },
      ]) {
        const problem = { ...operands, ...dropout, ...options, asTensors: true };
        await expectGradients(op, problem, gradientsFor(problem), 'float32');
      }
    },
  );

  test('everything dropped', async () => {
    const problem = { ...randomOperands(random, { queries: 5, keys: 6 }), dropoutP: 1, dropoutSeed: 1 };
    const device = await testDevice();
    const leaves = device.scope(() => {
      const [q, k, v] = [problem.q, problem.k, problem.v].map(({ shape, data }) =>
        device.tensor(Float32Array.from(data), shape, { requiresGrad: true }),
      );
      const { output } = flashAttention(q, k, v, { dropoutP: 1 });
      output.backward(q);
      return { output, q, k, v };
    });
    const isZero = async (tensor: Tensor) => (await tensor.data()).every((value) => value === 0);
    expect(await isZero(leaves.output)).toBe(true);
    for (const leaf of [leaves.q, leaves.k, leaves.v]) expect(await isZero(leaf.grad!)).toBe(true);
    for (const tensor of Object.values(leaves)) tensor.dispose();
  });
});

describe('the mask', () => {
  const [batch, heads, length] = [2, 3, 64];
  let device: Device;
  beforeAll(async () => {
    device = await testDevice();
  });

  /** Which weights are kept: with scores of 0 and the unit matrix as v, the output is weights of 1 / 64 and what is left of them. */
  async function kept(dropoutP: number, dropoutSeed?: number): Promise<boolean[]> {
    const output = device.scope(() => {
      const zeros = device.zeros([batch, heads, length, 4]);
      const unit = Float32Array.from({ length: length * length }, (_, i) => Number(i % (length + 1) === 0));
      const v = device.tensor(unit, [1, 1, length, length]).expand([batch, heads, length, length]);
      return flashAttention(zeros, zeros, v, { dropoutP, dropoutSeed }).output;
    });
    const data = await output.data();
    output.dispose();
    const weight = 1 / length / (1 - dropoutP);
    expect(Math.max(...data.map((value) => (value === 0 ? 0 : Math.abs(value / weight - 1))))).toBeLessThan(1e-5);
    return Array.from(data, (value) => value !== 0);
  }

  /** In standard deviations of so many independent draws. */
  const deviation = (count: number, draws: number, p: number) =>
    (count - draws * (1 - p)) / Math.sqrt(draws * p * (1 - p));
  const count = (values: readonly boolean[], where: (at: number) => boolean) =>
    values.reduce((sum, value, at) => sum + Number(value && where(at)), 0);

  test('drops with the probability, in every row and column alike', async () => {
    const p = 0.3;
    const mask = await kept(p, 5);
    const all = batch * heads * length * length;
    const whole = count(mask, () => true);
    expect(Math.abs(deviation(whole, all, p))).toBeLessThan(4);
    const [rows, columns] = [(at: number) => Math.floor(at / length) % length, (at: number) => at % length];
    const heads0 = (at: number) => Math.floor(at / length ** 2);
    for (const [place, groups] of [
      [rows, length],
      [columns, length],
      [heads0, batch * heads],
    ] as const) {
      const deviations = Array.from({ length: groups }, (_, group) =>
        deviation(
          count(mask, (at) => place(at) === group),
          all / groups,
          p,
        ),
      );
      expect(Math.max(...deviations.map(Math.abs))).toBeLessThan(4.5);
      // no more even than chance, either: the mean square of a standard normal number is 1
      const square = deviations.reduce((sum, value) => sum + value * value, 0) / groups;
      expect(square).toBeGreaterThan(groups > 10 ? 0.5 : 0.05);
      expect(square).toBeLessThan(groups > 10 ? 1.7 : 4);
    }
    // neighbours in a row, in a column and across heads are independent
    for (const step of [1, 4, length, length * length]) {
      const both = mask.filter((value, at) => value && mask[at + step]).length;
      expect(Math.abs(deviation(both, all - step, 1 - (1 - p) ** 2))).toBeLessThan(4.5);
    }
  });

  test('depends on the seed: the same seed repeats, another differs, and without one each call differs', async () => {
    const first = await kept(0.5, SEED);
    expect(await kept(0.5, SEED)).toEqual(first);
    for (const other of [
      await kept(0.5, SEED + 1),
      await kept(0.5, SEED + 2 ** 32),
      await kept(0.5),
      await kept(0.5),
    ]) {
      const same = other.filter((value, at) => value === first[at]).length;
      expect(Math.abs(deviation(same, first.length, 0.5))).toBeLessThan(4.5);
    }
    expect(await kept(0.5)).not.toEqual(await kept(0.5));
  });
});

test('a call that is refused draws no seed', async () => {
  const device = await testDevice();
  const q = device.zeros([1, 1, 2, 4]);
  const seed = device.nextSeed();
  expect(() => localAttention(q, q, q, { dropoutP: 0.5 } as never)).toThrow('localAttention: window');
  expect(() => flashAttention(q, q, q, { dropoutP: 0.5, softcap: -1 })).toThrow('flashAttention: softcap');
  expect(device.nextSeed()).toBe(seed + 1);
  q.dispose();
});

test('bad input', async () => {
  const device = await testDevice();
  const q = device.zeros([1, 1, 2, 4]);
  const options = (dropout: object) => ({ window: { left: 1, right: 1 }, ...dropout });
  for (const [name, op] of Object.entries({ flashAttention, localAttention, scaledDotProductAttention })) {
    for (const dropoutP of [-0.1, 1.1, NaN]) {
      expect(() => op(q, q, q, options({ dropoutP }))).toThrow(
        `${name}: dropoutP must be a number from 0 to 1, got ${String(dropoutP)}`,
      );
    }
    for (const dropoutSeed of [-1, 0.5, 2 ** 53]) {
      expect(() => op(q, q, q, options({ dropoutP: 0.5, dropoutSeed }))).toThrow(
        `${name}: dropoutSeed must be a whole number from 0 to 2^53 - 1, got ${dropoutSeed}`,
      );
    }
  }
  q.dispose();
});
