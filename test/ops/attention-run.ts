/** One attention problem on the host, through an op on the device and through the float64 reference. */
import { expect } from 'vitest';
import {
  type Device,
  flashAttention,
  localAttention,
  scaledDotProductAttention,
  type Tensor,
  type Window,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { attention } from '../reference/attention.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { type Tolerance, tolerances, widen } from '../reference/tolerances.ts';
import type { VisibilityOptions } from '../reference/visibility.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';

export type AttentionOp = 'flashAttention' | 'localAttention' | 'scaledDotProductAttention';

export interface Problem extends VisibilityOptions {
  q: HostArray;
  k: HostArray;
  v: HostArray;
  scale?: number;
  /** For localAttention, which gets an unbounded one where it is absent. */
  window?: Window;
  /** For flashAttention. */
  blockSize?: number;
  layouts?: Partial<Record<'q' | 'k' | 'v' | 'mask' | 'keyMask', Layout>>;
}

/** An op's results on the host. `weights` only of scaledDotProductAttention. */
export interface Results {
  output: Float32Array;
  logSumExp: Float32Array;
  weights?: Float32Array;
}

/** The op with everything that it can return; the caller owns the results. */
export function enqueueAttention(device: Device, op: AttentionOp, problem: Problem, dtype: Float) {
  return device.scope(() => {
    const tensor = (name: 'q' | 'k' | 'v' | 'mask' | 'keyMask') => {
      const array = problem[name];
      return array && upload(device, array, dtype, problem.layouts?.[name]);
    };
    const [q, k, v] = [tensor('q')!, tensor('k')!, tensor('v')!];
    const { isCausal, scale, window, blockSize } = problem;
    const options = { mask: tensor('mask'), keyMask: tensor('keyMask'), isCausal, scale, returnLogSumExp: true };
    switch (op) {
      case 'flashAttention':
        return flashAttention(q, k, v, { ...options, blockSize });
      case 'localAttention':
        return localAttention(q, k, v, { ...options, window: window ?? { left: -1, right: -1 } });
      case 'scaledDotProductAttention':
        return scaledDotProductAttention(q, k, v, { ...options, returnWeights: true });
    }
  });
}

export async function runAttention(op: AttentionOp, problem: Problem, dtype: Float): Promise<Results> {
  const results: { output: Tensor; logSumExp?: Tensor; weights?: Tensor } = enqueueAttention(
    await testDevice(),
    op,
    problem,
    dtype,
  );
  const { q, k, v } = problem;
  expect(results.output.shape).toEqual([...q.shape.slice(0, -1), v.shape.at(-1)]);
  expect(results.output.dtype).toBe(dtype);
  expect(results.logSumExp!.shape).toEqual(q.shape.slice(0, -1));
  expect(results.logSumExp!.dtype).toBe('float32');
  expect(results.weights?.shape).toEqual(
    op === 'scaledDotProductAttention' ? [...q.shape.slice(0, -1), k.shape.at(-2)] : undefined,
  );
  const [output, logSumExp, weights] = await Promise.all(
    [results.output, results.logSumExp!, results.weights].map(async (tensor) => {
      const data = await tensor?.data();
      tensor?.dispose();
      return data as Float32Array;
    }),
  );
  return { output, logSumExp, weights };
}

/** The reference on what the dtype stores of the operands. */
export function referenceAttention(problem: Problem, dtype: Float) {
  const [q, k, v] = [problem.q, problem.k, problem.v].map((array) => stored(array, dtype));
  return attention(q, k, v, { ...problem, mask: problem.mask && stored(problem.mask, dtype) });
}

/** Fails unless the op's output, log-sum-exp and weights are the reference's; `isFar` where scores are far from 1. */
export async function expectAttention(
  op: AttentionOp,
  problem: Problem,
  dtype: Float,
  { isFar = false } = {},
): Promise<Results> {
  const results = await runAttention(op, problem, dtype);
  const expected = referenceAttention(problem, dtype);
  const maxScore = isFar ? largest(expected.logSumExp.data) : undefined;
  const compare = (name: 'output' | 'logSumExp' | 'weights', tolerance: Tolerance) => {
    const actual = results[name];
    if (actual) expectClose(actual, expected[name].data, widen(tolerance, { maxScore }), `${op}, ${dtype}, ${name}`);
  };
  // weights stored in float16 are one more rounding, by at most 2⁻¹¹ of each
  const storesWeights = dtype === 'float16' && op === 'scaledDotProductAttention';
  const { atol, rtol } = tolerances[dtype].attention;
  compare('output', { atol: storesWeights ? atol + 2 ** -11 * largest(problem.v.data) : atol, rtol });
  compare('logSumExp', tolerances[dtype].logSumExp);
  compare('weights', tolerances[dtype].weights);
  return results;
}

/** Largest finite magnitude. */
export function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
}
