/** The gradients of one attention problem on the host: through an op on the device and by the float64 reference. */
import { type Device, Tensor } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { attentionGradient, type OutputGradients } from '../../reference/attention-gradient.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { packedAttentionGradient } from '../../reference/packed-attention.ts';
import { gradientTolerance } from '../../reference/tolerances.ts';
import {
  ATTENTION_OPS,
  attend,
  type AttentionOp,
  largest,
  type Magnitudes,
  type Problem,
  referenceAttention,
  referenceOptions,
  storedOnce,
  uploadProblem,
} from './attention-run.ts';
import { readGradients, walkBack } from '../walk-back.ts';
import { type Float, stored, upload } from '../upload.ts';

export const LEAVES = ['q', 'k', 'v', 'mask', 'sinks'] as const;
export type Leaf = (typeof LEAVES)[number];

/** Gradients of the operands, of a mask of numbers, and of sinks that are a tensor. */
export type Gradients<T> = Partial<Record<Leaf, T>>;

/** The leaves of one call, with their gradients enqueued; the caller owns them. Only scaledDotProductAttention has weights. */
export function enqueueGradients(
  device: Device,
  op: AttentionOp,
  problem: Problem,
  gradients: OutputGradients,
  dtype: Float,
): Gradients<Tensor> {
  return device.scope(() => {
    const uploaded = uploadProblem(device, problem, dtype);
    const leaves: Gradients<Tensor> = {};
    for (const name of LEAVES) {
      const tensor = uploaded[name];
      if (!(tensor instanceof Tensor) || tensor.dtype === 'bool') continue;
      tensor.requiresGrad = true;
      leaves[name] = tensor;
    }
    const results: Readonly<Record<string, Tensor | undefined>> = { ...attend(op, problem, uploaded) };
    const given = Object.entries(gradients).flatMap(([name, gradient]: [string, HostArray | undefined]) =>
      gradient ? [[results[name]!, upload(device, gradient, name === 'logSumExp' ? 'float32' : dtype)] as const] : [],
    );
    walkBack(given);
    return leaves;
  });
}

export async function runGradients(
  op: AttentionOp,
  problem: Problem,
  gradients: OutputGradients,
  dtype: Float,
): Promise<Gradients<Float32Array>> {
  return readGradients(enqueueGradients(await testDevice(), op, problem, gradients, dtype));
}

/** The reference on what the dtype stores of the operands and of the results' gradients. */
export function referenceGradients(problem: Problem, gradients: OutputGradients, dtype: Float): Gradients<HostArray> {
  const [q, k, v] = [problem.q, problem.k, problem.v].map((array) => storedOnce(array, dtype));
  const { output, weights, logSumExp } = gradients;
  const ofResults = { output: output && stored(output, dtype), weights: weights && stored(weights, dtype), logSumExp };
  const options = referenceOptions(problem, dtype);
  const { queryOffsets, keyOffsets } = problem;
  if (queryOffsets && keyOffsets) {
    return packedAttentionGradient(q, k, v, ofResults, { ...options, queryOffsets, keyOffsets });
  }
  return attentionGradient(q, k, v, ofResults, options);
}

/** Fails unless all gradients are the reference's. `magnitudes` are those of `expectAttention`. */
export async function expectGradients(
  op: AttentionOp,
  problem: Problem,
  gradients: OutputGradients,
  dtype: Float,
  expected = referenceGradients(problem, gradients, dtype),
  { maxProduct = 0, maxValue = 1 }: Magnitudes = {},
): Promise<Gradients<Float32Array>> {
  const actual = await runGradients(op, problem, gradients, dtype);
  // scores count by their size where they decide, which the logarithms of the sums tell
  const maxScore = largest(referenceAttention(problem, dtype).logSumExp.data) + maxProduct;
  const magnitude = maxValue * gradientMagnitude(problem, gradients);
  for (const name of LEAVES) {
    const got = actual[name];
    if (!got) continue;
    const wanted = expected[name]!.data;
    const factor = dtype === 'float16' ? scoreFactor(problem, name) : 1;
    const tolerance = gradientTolerance(dtype, { maxScore, magnitude: Math.max(factor * magnitude, largest(wanted)) });
    expectClose(got, wanted, tolerance, `${op}, ${dtype}, gradient of ${name}`);
  }
  return actual;
}

/**
 * By how much an error of a score's gradient grows in that of a query or a key: 1 at least. In float16 all scores of a row share the
 * error of the stored output, which a large scale or key multiplies.
 */
function scoreFactor({ q, k, scale = 1 / Math.sqrt(q.shape.at(-1)!) }: Problem, name: string): number {
  const other = { q: k, k: q }[name];
  return other ? Math.max(1, Math.abs(scale) * largest(other.data)) : 1;
}

/** The same for each op, by one evaluation of the reference. */
export async function expectGradientsOfEveryOp(
  problem: Problem,
  gradients: OutputGradients,
  dtype: Float,
): Promise<Record<AttentionOp, Gradients<Float32Array>>> {
  const expected = referenceGradients(problem, gradients, dtype);
  const results: Partial<Record<AttentionOp, Gradients<Float32Array>>> = {};
  const failures: string[] = [];
  for (const op of ATTENTION_OPS) {
    try {
      results[op] = await expectGradients(op, problem, gradients, dtype, expected);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return results as Record<AttentionOp, Gradients<Float32Array>>;
}

/** How large the gradient of a weight can be, which those of scores are differences of. */
export function gradientMagnitude({ v }: Problem, { output, weights }: OutputGradients): number {
  return Math.max(1, output ? largest(output.data) * largest(v.data) : 0, weights ? largest(weights.data) : 0);
}
