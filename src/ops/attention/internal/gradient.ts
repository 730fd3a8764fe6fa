/** The gradient of the fused attention ops: what is kept for it, and its kernels one after the other. */
import { record } from '../../../autograd/tape.ts';
import type { AttentionGradientProblem } from '../../../kernels/attention-gradient.ts';
import { statsRows } from '../../../kernels/attention-gradient.ts';
import { planAttentionGradientMask, type GradientMaskProblem } from '../../../kernels/attention-gradient-mask.ts';
import { planAttentionGradientRows } from '../../../kernels/attention-gradient-rows.ts';
import { planAttentionGradientSinks } from '../../../kernels/attention-gradient-sinks.ts';
import type { AttentionProblem } from '../../../kernels/attention-operands.ts';
import { planFusedAttentionGradient } from '../../../kernels/fused-attention-gradient.ts';
import type { Operand } from '../../../kernels/launch.ts';
import type { FloatDType } from '../../../tensor/dtype.ts';
import { rowPitch } from '../../../tensor/shape.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { attentionOperand, hasHeadsInRows, HEADS_IN_ROWS } from './attention.ts';
import { copyWords, wordsOf } from '../../copy.ts';
import { enqueue } from '../../internal/enqueue.ts';
import { scoreRefusal, type CheckedScores } from './score-options.ts';

interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly mask?: Tensor;
  readonly keyMask?: Tensor;
}

/** Notes a call on the tape. Saved are its operands, its results, and the small inputs joined: nothing that grows with length². */
export function recordAttention(
  checked: CheckedScores,
  problem: AttentionProblem,
  { q, k, v, mask, keyMask }: Inputs,
  results: { output: Tensor; logSumExp?: Tensor; saved: { logSumExp?: Tensor; table?: Tensor } },
  refusal: string | undefined,
): void {
  const { op } = problem;
  const { output } = results;
  const tensorOf = (segment: CheckedScores['sinks']) => (segment && 'tensor' in segment ? segment.tensor : undefined);
  const captures = checked.modifiers?.captures ?? [];
  const others = Object.fromEntries([tensorOf(checked.slopes), ...captures].map((tensor, i) => [`other${i}`, tensor]));
  record<string, string>({
    op,
    inputs: { q, k, v, mask, sinks: tensorOf(checked.sinks), ...others },
    outputs: [output, ...(results.logSumExp ? [results.logSumExp] : [])],
    saved: refusal === undefined ? { q, k, v, mask, keyMask, output, ...results.saved } : {},
    refusal,
    backward: ([dOutput, dLogSumExp], saved, needs) =>
      attentionGradient(problem, saved as unknown as Saved, { dOutput, dLogSumExp }, needs),
  });
}

type Saved = Inputs & { readonly output: Tensor; readonly logSumExp: Tensor; readonly table?: Tensor };

/** Why a call has no gradient, or undefined where it has one. */
export function gradientRefusal(
  { op, kernelsOf }: Pick<AttentionProblem, 'op' | 'kernelsOf'>,
  checked: CheckedScores,
): string | undefined {
  if (kernelsOf === undefined) return scoreRefusal(op, checked);
  return `${op}: keys and values must be tensors of the call where a gradient is wanted, got those of a cache`;
}

/** Gradients of the inputs that are needed. */
function attentionGradient(
  problem: AttentionProblem,
  { q, k, v, mask, keyMask, output, logSumExp, table: small }: Saved,
  gradients: { dOutput?: Tensor; dLogSumExp?: Tensor },
  needs: Readonly<Record<string, boolean>>,
): Record<string, Tensor | undefined> {
  const { device } = q;
  const { traits } = device;
  const { op, dtype, heads, queryRows, valueDim, scores } = problem;
  // the small inputs, and behind them what the kernels want to know of each row
  const rows = statsRows(problem);
  const statsAt = small ? wordsOf(small) : 0;
  const table = device.empty([statsAt + 2 * rows], 'uint32', op);
  if (small) copyWords(op, small, table, 0);
  const { dLogSumExp } = gradients;
  const statistics = planAttentionGradientRows(
    {
      op,
      batch: scores.sequences ? 1 : problem.batch,
      heads,
      length: queryRows,
      valueDim,
      dtype,
      output: attentionOperand(output),
      ...(gradients.dOutput && { dOutput: attentionOperand(gradients.dOutput) }),
      ...(dLogSumExp && { dLogSumExp: rowOperand(dLogSumExp) }),
      statsAt,
    },
    traits,
  );
  enqueue(op, statistics, {
    o: output,
    d_output: gradients.dOutput,
    log_sum_exp: logSumExp,
    d_log_sum_exp: dLogSumExp,
    table,
  });

  const results: Record<string, Tensor | undefined> = {};
  if (needs['sinks']) {
    results['sinks'] = device.empty([heads], 'float32', op);
    const launch = planAttentionGradientSinks(
      { op, batch: rows / (heads * queryRows), heads, length: queryRows, statsAt, sinksAt: scores.sinksAt! },
      traits,
    );
    enqueue(op, launch, { table, output: results['sinks'] });
  }
  const needsKeys = needs['k'] || needs['v'];
  if (!needs['q'] && !needsKeys && !needs['mask']) return results;

  const dOutput = gradients.dOutput ?? device.zeros([1], { dtype }).expand(output.shape);
  const dQuery = needs['q'] ? device.empty(q.shape, dtype, op, axesOf(q)) : undefined;
  const keys = needsKeys ? emptyLike(op, k, v) : undefined;
  const nowhere: Operand = { strides: [0, 0, 0, 0], offset: 0 };
  const backward: AttentionGradientProblem = {
    ...problem,
    dOutput: attentionOperand(dOutput),
    statsAt,
    dQuery: dQuery ? attentionOperand(dQuery) : nowhere,
    dKey: keys ? attentionOperand(keys.dKey) : nowhere,
    dValue: keys ? attentionOperand(keys.dValue) : nowhere,
  };
  const operands = { q, k, v, mask, key_mask: keyMask, table, d_output: dOutput };
  const plan = planFusedAttentionGradient(backward, traits, device.kernels);
  if (dQuery) for (const launch of plan.query) enqueue(op, launch, { ...operands, output: dQuery });
  if (keys) for (const launch of plan.key) enqueue(op, launch, { ...operands, output: keys.both });
  if (needs['mask']) {
    const dMask = device.empty(mask!.shape, dtype, op);
    const launch = planAttentionGradientMask({ ...backward, dMask: maskPlace(dMask, q.rank === 3) }, traits);
    enqueue(op, launch, { ...operands, output: dMask });
    results['mask'] = dMask;
  }
  return { ...results, q: dQuery, k: keys?.dKey, v: keys?.dValue };
}

function axesOf(tensor: Tensor): number[] | undefined {
  return hasHeadsInRows(tensor) ? HEADS_IN_ROWS : undefined;
}

/** Strides of batch, head, row of [B, H, N] or [B, N]. */
function rowOperand({ strides, offset }: Tensor): Operand {
  return { strides: strides.length === 2 ? [strides[0], 0, strides[1]] : strides, offset };
}

/** Tensors of k's and v's shapes and orders of axes, one behind the other in a buffer. */
function emptyLike(op: string, k: Tensor, v: Tensor): { both: Tensor; dKey: Tensor; dValue: Tensor } {
  const dtype = k.dtype as FloatDType;
  const sizes = [k, v].map((tensor) => {
    const columns = tensor.shape.at(-1)!;
    return (tensor.size / columns) * rowPitch(columns, dtype);
  });
  const both = k.device.empty([sizes[0] + sizes[1]], dtype, op);
  const part = (tensor: Tensor, start: number, size: number) => {
    const inRows = hasHeadsInRows(tensor);
    const columns = tensor.shape.at(-1)!;
    const shape = tensor.shape.with(-1, rowPitch(columns, dtype));
    const stored = inRows ? HEADS_IN_ROWS.map((axis) => shape[axis]) : shape;
    const padded = both.slice(0, start, start + size).reshape(stored);
    return (inRows ? padded.transpose(1, 2) : padded).slice(-1, 0, columns);
  };
  return { both, dKey: part(k, 0, sizes[0]), dValue: part(v, sizes[0], sizes[1]) };
}

/** Lengths and strides of batch, head, query, key; that of 3-D attention has no heads. */
function maskPlace({ shape, strides }: Tensor, isHeadless: boolean): GradientMaskProblem['dMask'] {
  const padded = (values: readonly number[], fill: number) => {
    const all = isHeadless && values.length === 3 ? values.toSpliced(1, 0, fill) : values;
    return [...Array.from({ length: 4 - all.length }, () => fill), ...all];
  };
  return { lengths: padded(shape, 1), strides: padded(strides, 0) };
}
