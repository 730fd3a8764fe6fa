/** Scores near the ends of float32. Only hidden keys are hidden: a finite score never is, and the largest takes the weight. */
import { describe, expect, test } from 'vitest';
import { mergeAttention, scoreMod, softmax } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { referenceGradients, runGradients } from './attention-backward-run.ts';
import {
  ATTENTION_OPS,
  type AttentionOp,
  expectAttention,
  largest,
  type Problem,
  runAttention,
} from './attention-run.ts';
import { map, randomOperands } from './attention-suite.ts';
import { pinKernel, skipOnWideSubgroups } from './pinned.ts';

const LARGEST = 3.4028234663852886e38;
const KERNELS = ['tile-32x32', 'register-32x32-4x4', 'register-64x64-8x8', 'cache-32x32-4x4'];
const random = new Random(61);

/** Numbers that differ by far more than they are rounded by, in another order for each row. */
function shuffled(rows: number, columns: number, lowest: number, highest: number): HostArray {
  const data = Float32Array.from({ length: rows * columns }, (_, at) => {
    const place = (7 * (at % columns) + Math.floor(at / columns)) % columns;
    return lowest + (place / (columns - 1)) * (highest - lowest);
  });
  return { shape: [rows, columns], data };
}

/** q · k is −2.2e38 to −3.3e38. */
function lowProducts({ q, k, v }: Pick<Problem, 'q' | 'k' | 'v'>): Problem {
  const dim = q.shape.at(-1)!;
  const [keys] = k.shape.slice(-2);
  const first = (array: HostArray, value: (row: number) => number) =>
    map(array, (_, at) => (at % dim === 0 ? value(Math.floor(at / dim)) : 0));
  return {
    q: first(q, () => 1e19),
    k: first(k, (row) => -2.2e19 - (1.1e19 * ((7 * row) % keys)) / keys),
    v,
    scale: 1,
  };
}

function describeScores(op: AttentionOp, sizes: { queries?: number; keys?: number; dim?: number } = {}): void {
  const { queries = 9, keys = 13 } = sizes;
  const operands = randomOperands(random, { batch: 1, queries, keys, ...sizes });
  const dim = operands.v.shape[3];

  test('float masks below −1e38', async () => {
    const mask = shuffled(queries, keys, -LARGEST, -1.05e38);
    await expectAttention(op, { ...operands, mask }, 'float32');
    await expectAttention(op, { ...operands, mask, isCausal: true }, 'float32');
    // every second key is hidden, and some of the rest are near the lowest number
    await expectAttention(op, { ...operands, mask: map(mask, (x, at) => (at % 2 ? -Infinity : x)) }, 'float32');
  });

  test('products below −2e38', async () => {
    for (const options of [{}, { isCausal: true }, { window: { left: 3, right: 2 } }, { queryOffset: 4 }]) {
      await expectAttention(op, { ...lowProducts(operands), ...options }, 'float32');
    }
    const keyMask = { shape: [1, keys], data: Uint8Array.from({ length: keys }, (_, j) => Number(j % 3 > 0)) };
    await expectAttention(op, { ...lowProducts(operands), keyMask }, 'float32');
  });

  test('slopes of 1e38', async () => {
    const alibiSlopes = { shape: [2], data: Float32Array.of(1e38, 1e36) };
    await expectAttention(op, { ...operands, alibiSlopes, isCausal: true }, 'float32');
    // where all keys are so far that their scores overflow, all have the lowest score there is, and weigh the same
    const far = { ...operands, alibiSlopes, queryOffset: keys + 3 };
    const { output, logSumExp } = await runAttention(op, far, 'float32');
    const mean = (column: number) => {
      let sum = 0;
      for (let j = 0; j < keys; j++) sum += operands.v.data[j * dim + column];
      return sum / keys;
    };
    for (let at = 0; at < queries * dim; at++) expect(output[at]).toBeCloseTo(mean(at % dim), 5);
    expect(logSumExp.every(Number.isFinite)).toBe(true);
  });

  test('sinks near the lowest number', async () => {
    const mask = { shape: [1, keys], data: new Float32Array(keys).fill(-3.2e38) };
    for (const sinks of [
      [-3e38, -LARGEST],
      [-Infinity, -3.3e38],
    ]) {
      const problem = { ...operands, scale: 0, mask, sinks: { shape: [2], data: Float32Array.from(sinks) } };
      await expectAttention(op, problem, 'float32');
    }
  });

  test('sums and modified scores that overflow', async () => {
    const high = { shape: [1, keys], data: new Float32Array(keys).fill(LARGEST) };
    const { q, k, v } = lowProducts(operands);
    const up = await runAttention(op, { q, k: map(k, (x) => -x), v, scale: 1, mask: high }, 'float32');
    expect(up.output.every(Number.isFinite)).toBe(true);
    expect(up.logSumExp.every((x) => x === Math.fround(LARGEST))).toBe(true);
    const down = await runAttention(op, { ...lowProducts(operands), mask: map(high, (x) => -x) }, 'float32');
    expect(down.output.every((x) => Number.isFinite(x) && x !== 0)).toBe(true);
    const lower = `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
      return score - 2.0e38 - 0.2e38 * f32(key % 11u);
    }`;
    const modified = await runAttention(
      op,
      { ...operands, modifiers: () => ({ scoreMod: scoreMod(lower) }), isCausal: true },
      'float32',
    );
    // the first key has the largest score
    modified.output.forEach((x, at) => {
      const head = Math.floor(at / (queries * dim));
      if (queries <= 11) expect(x).toBe(operands.v.data[head * keys * dim + (at % dim)]);
    });
  });
}

function describeGradients(op: AttentionOp, sizes: { queries?: number; keys?: number; dim?: number } = {}): void {
  const { queries = 9, keys = 13 } = sizes;
  const operands = randomOperands(random, { batch: 1, queries, keys, ...sizes });

  test('gradients', async () => {
    const mask = shuffled(queries, keys, -LARGEST, -1.05e38);
    const gradients = { output: map(operands.q, () => random.uniform() - 0.5) };
    for (const problem of [
      { ...operands, mask },
      { ...lowProducts(operands), isCausal: true },
      { ...operands, alibiSlopes: { shape: [2], data: Float32Array.of(1e38, 1e37) }, isCausal: true },
    ]) {
      const expected = referenceGradients(problem, gradients, 'float32');
      const actual = await runGradients(op, problem, gradients, 'float32');
      // a weight of 1 leaves a rounding error of dP − D, which the keys' size multiplies
      const size = Math.max(largest(problem.k.data), largest(problem.q.data), 1);
      for (const [name, values] of Object.entries(actual)) {
        const atol = 1e-5 * (name === 'q' || name === 'k' ? size : 1);
        expectClose(values, expected[name as 'q']!.data, { atol, rtol: 1e-5 }, `gradient of ${name}`);
      }
    }
  });
}

describe.each(narrow<AttentionOp>(['flashAttention'], ATTENTION_OPS))('%s', (op) => {
  describeScores(op);
  describeGradients(op);
});

describe('a single query', () => {
  describeScores('flashAttention', { queries: 1, keys: 40 });
  describeGradients('flashAttention', { queries: 1, keys: 40 });
});

describe.each(narrow([], KERNELS))('%s', (name) => {
  skipOnWideSubgroups();
  pinKernel('flashAttention', name, 'float32', 32);
  describeScores('flashAttention', { dim: 32 });
});

describe.each(narrow([], ['tile-32x32', 'register-64x64-4x8']))('the gradient by %s', (name) => {
  skipOnWideSubgroups();
  pinKernel('attentionGradient', name, 'float32', 32);
  describeGradients('flashAttention', { dim: 32 });
});

test('softmax of the lowest numbers', async () => {
  const device = await testDevice();
  const run = async (values: readonly number[]) => {
    const output = device.scope(() => softmax(device.tensor(values, [1, values.length])));
    const result = [...(await output.data())];
    output.dispose();
    return result;
  };
  expect(await run([-LARGEST, -LARGEST])).toEqual([0.5, 0.5]);
  expect(await run([-LARGEST, -3e38, -LARGEST])).toEqual([0, 1, 0]);
  expect(await run([LARGEST, -LARGEST])).toEqual([1, 0]);
  expect(await run([-2.5e38])).toEqual([1]);
  const wide = Array.from({ length: 40 }, (_, i) => (i < 4 ? -LARGEST : -Infinity));
  expect(await run(wide)).toEqual(wide.map((x) => (x === -LARGEST ? 0.25 : 0)));
});

test('merged parts whose log-sum-exps are below −2e38', async () => {
  const device = await testDevice();
  const { output, logSumExp } = device.scope(() => {
    const part = (value: number, logarithm: number) => ({
      output: device.tensor([value], [1, 1, 1, 1]),
      logSumExp: device.tensor([logarithm], [1, 1, 1]),
    });
    return mergeAttention([part(3, -3e38), part(5, -2.5e38), part(7, -Infinity)]);
  });
  expect([...(await output.data()), ...(await logSumExp.data())]).toEqual([5, Math.fround(-2.5e38)]);
  output.dispose();
  logSumExp.dispose();
});
