/** One attention problem on the host, through an op on the device and through the float64 reference. */
import { expect } from 'vitest';
import {
  type AttentionOptions,
  type Device,
  flashAttention,
  localAttention,
  scaledDotProductAttention,
  type Tensor,
  type Window,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import {
  attention,
  type AttentionOptions as ReferenceOptions,
  type AttentionResult,
} from '../../reference/attention.ts';
import { expectClose } from '../../reference/compare.ts';
import { attentionDropout } from '../../reference/dropout.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { packedAttention } from '../../reference/packed-attention.ts';
import { type Tolerance, tolerances, widen } from '../../reference/tolerances.ts';
import { type Float, type Layout, stored, upload } from '../upload.ts';

export const ATTENTION_OPS = ['flashAttention', 'localAttention', 'scaledDotProductAttention'] as const;
export type AttentionOp = (typeof ATTENTION_OPS)[number];

/** Options are the reference's; `returnScores` is for scaledDotProductAttention. */
export interface Problem extends Omit<ReferenceOptions, 'dropout'> {
  q: HostArray;
  k: HostArray;
  v: HostArray;
  /** localAttention gets an unbounded one where it is absent. */
  window?: Window;
  /** For flashAttention. */
  blockSize?: number;
  dropoutP?: number;
  dropoutSeed?: number;
  /** Where the sequences of a packed problem begin, and where the last one ends. */
  queryOffsets?: readonly number[];
  keyOffsets?: readonly number[];
  /** alibiSlopes, sinks, queryOffset and keyLengths go as tensors, not as numbers. */
  asTensors?: boolean;
  /** The twins of scoreMod and maskMod, which the op cannot take: further options for it, made in the op's scope. */
  modifiers?: (device: Device) => AttentionOptions;
  layouts?: Partial<Record<'q' | 'k' | 'v' | 'mask' | 'keyMask', Layout>>;
}

/** An op's results on the host. `weights` and `scores` only of scaledDotProductAttention. */
export interface Results {
  output: Float32Array;
  logSumExp: Float32Array;
  weights?: Float32Array;
  scores?: Float32Array;
}

/** The op with everything that it can return; the caller owns the results. */
export function enqueueAttention(device: Device, op: AttentionOp, problem: Problem, dtype: Float) {
  return device.scope(() => attend(op, problem, uploadProblem(device, problem, dtype)));
}

export type Uploaded = ReturnType<typeof uploadProblem>;

/** A problem's tensors, and the options that all ops have. Call it in a scope. */
export function uploadProblem(device: Device, problem: Problem, dtype: Float) {
  const tensor = (name: 'q' | 'k' | 'v' | 'mask' | 'keyMask') => {
    const array = problem[name];
    return array && upload(device, array, dtype, problem.layouts?.[name]);
  };
  const { isCausal, scale, softcap, queryOffsets, keyOffsets, dropoutP, dropoutSeed } = problem;
  return {
    q: tensor('q')!,
    k: tensor('k')!,
    v: tensor('v')!,
    ...given({
      mask: tensor('mask'),
      keyMask: tensor('keyMask'),
      isCausal,
      scale,
      softcap,
      queryOffsets,
      keyOffsets,
      dropoutP,
      dropoutSeed,
    }),
    ...numericOptions(device, problem),
    ...problem.modifiers?.(device),
  };
}

/** The op on them with everything that it can return. */
export function attend(op: AttentionOp, problem: Problem, { q, k, v, ...shared }: Uploaded) {
  const { window, blockSize, returnScores } = problem;
  const options = { ...shared, returnLogSumExp: true };
  switch (op) {
    case 'flashAttention':
      return flashAttention(q, k, v, { ...options, ...given({ window, blockSize }) });
    case 'localAttention':
      return localAttention(q, k, v, { ...options, window: window ?? { left: -1, right: -1 } });
    case 'scaledDotProductAttention':
      return scaledDotProductAttention(q, k, v, {
        ...options,
        ...given({ window, returnScores }),
        returnWeights: true,
      });
  }
}

/** The options that may be numbers or tensors. */
function numericOptions(device: Device, problem: Problem) {
  const { alibiSlopes, sinks, queryOffset, keyLengths, asTensors = false } = problem;
  const floats = (array: HostArray | undefined) =>
    array && (asTensors || array.shape.length > 1)
      ? device.tensor(Float32Array.from(array.data), array.shape)
      : array && Array.from(array.data);
  const integers = <T extends number | readonly number[]>(values: T | undefined) =>
    asTensors && typeof values === 'object'
      ? device.tensor(Int32Array.from(values), [values.length], { dtype: 'int32' })
      : values;
  return given({
    alibiSlopes: floats(alibiSlopes),
    sinks: floats(sinks),
    queryOffset: integers(queryOffset),
    keyLengths: integers(keyLengths),
  });
}

function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

export async function runAttention(op: AttentionOp, problem: Problem, dtype: Float): Promise<Results> {
  const results: { output: Tensor; logSumExp?: Tensor; weights?: Tensor; scores?: Tensor } = enqueueAttention(
    await testDevice(),
    op,
    problem,
    dtype,
  );
  const { q, k, v } = problem;
  const [rows, scores] = [q.shape.slice(0, -1), [...q.shape.slice(0, -1), k.shape.at(-2)]];
  const isMaterialised = op === 'scaledDotProductAttention';
  expect(results.output.shape).toEqual([...rows, v.shape.at(-1)]);
  expect(results.output.dtype).toBe(dtype);
  expect(results.logSumExp!.shape).toEqual(rows);
  expect(results.logSumExp!.dtype).toBe('float32');
  expect(results.weights?.shape).toEqual(isMaterialised ? scores : undefined);
  expect(results.scores?.shape).toEqual(isMaterialised && problem.returnScores ? scores : undefined);
  expect(results.scores?.dtype ?? dtype).toBe(dtype);
  const [output, logSumExp, weights, ofScores] = await Promise.all(
    [results.output, results.logSumExp!, results.weights, results.scores].map(async (tensor) => {
      const data = await tensor?.data();
      tensor?.dispose();
      return data as Float32Array;
    }),
  );
  return { output, logSumExp, weights, scores: ofScores };
}

/** The reference on what the dtype stores of the operands. */
export function referenceAttention(problem: Problem, dtype: Float) {
  const [q, k, v] = [problem.q, problem.k, problem.v].map((array) => storedOnce(array, dtype));
  const options = referenceOptions(problem, dtype);
  const { queryOffsets, keyOffsets } = problem;
  if (queryOffsets && keyOffsets) return packedAttention(q, k, v, { ...options, queryOffsets, keyOffsets });
  return attention(q, k, v, options);
}

/** A problem's options as the reference has them. */
export function referenceOptions(problem: Problem, dtype: Float): ReferenceOptions {
  const { q, mask, dropoutP, dropoutSeed } = problem;
  const heads = q.shape.length === 3 ? 1 : q.shape[1];
  return {
    ...problem,
    mask: mask && stored(mask, dtype),
    ...(dropoutP && { dropout: attentionDropout(dropoutP, dropoutSeed!, heads) }),
  };
}

const inFloat16 = new WeakMap<HostArray, HostArray>();

/** Tests try many options on the same operands, and rounding thousands of numbers to float16 takes a while. */
export function storedOnce(array: HostArray, dtype: Float): HostArray {
  if (dtype === 'float32') return array;
  let rounded = inFloat16.get(array);
  if (!rounded) inFloat16.set(array, (rounded = stored(array, dtype)));
  return rounded;
}

/** How far from 1 a problem's numbers are, for `widen`. */
export interface Magnitudes {
  /** Scores are far from 1: the largest log-sum-exp counts. */
  isFar?: boolean;
  /** What is added to that, where products cancel or are capped on their way to a score. */
  maxProduct?: number;
  maxValue?: number;
}

/** Fails unless all that the op returns is the reference's. */
export async function expectAttention(
  op: AttentionOp,
  problem: Problem,
  dtype: Float,
  magnitudes: Magnitudes = {},
): Promise<Results> {
  return expectResults(op, problem, dtype, referenceAttention(problem, dtype), magnitudes);
}

/** The same for each op, by one evaluation of the reference. */
export async function expectEveryOp(
  problem: Problem,
  dtype: Float,
  magnitudes: Magnitudes = {},
): Promise<Record<AttentionOp, Results>> {
  const expected = referenceAttention(problem, dtype);
  const results: Partial<Record<AttentionOp, Results>> = {};
  const failures: string[] = [];
  for (const op of ATTENTION_OPS) {
    try {
      results[op] = await expectResults(op, problem, dtype, expected, magnitudes);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return results as Record<AttentionOp, Results>;
}

async function expectResults(
  op: AttentionOp,
  problem: Problem,
  dtype: Float,
  expected: AttentionResult,
  { isFar = false, maxProduct = 0, maxValue }: Magnitudes,
): Promise<Results> {
  const results = await runAttention(op, problem, dtype);
  const maxScore = isFar ? largest(expected.logSumExp.data) + maxProduct : undefined;
  const compare = (name: keyof Results, tolerance: Tolerance) => {
    const actual = results[name];
    if (actual)
      expectClose(actual, expected[name]!.data, widen(tolerance, { maxScore, maxValue }), `${op}, ${dtype}, ${name}`);
  };
  // weights stored in float16 are one more rounding, by at most 2⁻¹¹ of each
  const storesWeights = dtype === 'float16' && op === 'scaledDotProductAttention';
  const { atol, rtol } = tolerances[dtype].attention;
  compare('output', { atol: storesWeights ? atol + 2 ** -11 * largest(problem.v.data) : atol, rtol });
  compare('logSumExp', tolerances[dtype].logSumExp);
  compare('weights', tolerances[dtype].weights);
  compare('scores', tolerances[dtype].scores);
  return results;
}

/** Largest finite magnitude. */
export function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
}
