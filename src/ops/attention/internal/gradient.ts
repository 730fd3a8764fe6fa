/** The gradient of the fused attention ops: its kernels one after the other. All tensors have four axes. */
import {
  hasValuesApart,
  planKeyGradient,
  planMaskGradient,
  planQueryGradient,
  planRowStatistics,
  planSinksGradient,
  statsRows,
} from '../../../kernels/attention-gradient.ts';
import { storedBatch, type AttentionProblem } from '../../../kernels/attention.ts';
import { operandOf } from '../../../kernels/launch.ts';
import type { FloatDType } from '../../../tensor/dtype.ts';
import { rowPitch } from '../../../tensor/shape.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { copyWords, wordsOf } from '../../internal/copy.ts';
import { axesLike, HEADS_IN_ROWS, hasHeadsInRows } from '../../internal/heads.ts';
import type { AttentionTensors } from './call.ts';

/** What a call saved: its operands, its results, and the small inputs joined; nothing that grows with length². */
interface SavedAttention extends AttentionTensors {
  readonly mask?: Tensor;
  readonly key_mask?: Tensor;
  readonly table?: Tensor;
  readonly output?: Tensor;
  readonly logSumExp?: Tensor;
}

/** Gradients of the inputs that are needed: q, k, v, mask, sinks. */
export function attentionGradient(
  problem: AttentionProblem,
  { q, k, v, mask, key_mask, table: small, output, logSumExp }: SavedAttention,
  { dOutput, dLogSumExp }: { readonly dOutput?: Tensor; readonly dLogSumExp?: Tensor },
  needs: Readonly<Record<string, boolean>>,
): Record<string, Tensor | undefined> {
  const { device } = q;
  const { traits, kernels } = device;
  const { op, dtype, heads, queryRows: length, valueDim, options } = problem;
  const batch = storedBatch(problem);
  // the small inputs, and after them the statistics of each row
  const statsAt = small ? wordsOf(small) : 0;
  const table = device.empty([statsAt + 2 * statsRows(problem)], 'uint32', op);
  if (small) copyWords(op, small, table, 0);
  const rows = { op, batch, heads, length, valueDim, dtype, statsAt };
  const statistics = planRowStatistics(
    {
      ...rows,
      output: operandOf(output!),
      ...(dOutput && { dOutput: operandOf(dOutput) }),
      ...(dLogSumExp && { dLogSumExp: operandOf(dLogSumExp) }),
    },
    traits,
  );
  device.dispatch(op, statistics, {
    o: output,
    d_output: dOutput,
    log_sum_exp: logSumExp,
    d_log_sum_exp: dLogSumExp,
    table,
  });

  const results: Record<string, Tensor | undefined> = {};
  if (needs['sinks']) {
    results['sinks'] = device.empty([heads], 'float32', op);
    const launch = planSinksGradient({ ...rows, sinksAt: options.fields['sinks']['at'] as number }, traits);
    device.dispatch(op, launch, { table, output: results['sinks'] });
  }
  const needsKeys = needs['k'] || needs['v'];
  if (!needs['q'] && !needsKeys && !needs['mask']) return results;

  const gradient = dOutput ?? device.zeros([1], { dtype }).expand(output!.shape);
  const backward = { ...problem, dOutput: operandOf(gradient), statsAt };
  const operands = { q, k, v, mask, key_mask, table, d_output: gradient };
  if (needs['q']) {
    const dQuery = device.empty(q.shape, dtype, op, axesLike(q));
    for (const launch of planQueryGradient(backward, operandOf(dQuery), traits, kernels)) {
      device.dispatch(op, launch, { ...operands, output: dQuery });
    }
    results['q'] = dQuery;
  }
  if (needsKeys) {
    const { outputs, dKey, dValue } = hasValuesApart(traits) ? apart(op, k, v) : joined(op, k, v);
    const places = { dKey: operandOf(dKey), dValue: operandOf(dValue) };
    for (const launch of planKeyGradient(backward, places, traits, kernels)) {
      device.dispatch(op, launch, { ...operands, ...outputs });
    }
    results['k'] = dKey;
    results['v'] = dValue;
  }
  if (needs['mask']) {
    const dMask = device.empty(mask!.shape, dtype, op);
    const missing = Array.from({ length: 4 - dMask.rank }, () => 1);
    const place = {
      lengths: [...missing, ...dMask.shape],
      strides: [...missing.map(() => 0), ...dMask.strides],
    };
    device.dispatch(op, planMaskGradient(backward, place, traits), { ...operands, output: dMask });
    results['mask'] = dMask;
  }
  return results;
}

/** Tensors of k's and v's shapes and orders of axes, and the kernel's bindings for them. */
interface KeyGradients {
  readonly dKey: Tensor;
  readonly dValue: Tensor;
  readonly outputs: Readonly<Record<string, Tensor>>;
}

function apart(op: string, k: Tensor, v: Tensor): KeyGradients {
  const [dKey, dValue] = [k, v].map((tensor) => tensor.device.empty(tensor.shape, tensor.dtype, op, axesLike(tensor)));
  return { dKey, dValue, outputs: { output: dKey, value_output: dValue } };
}

/** One behind the other in a buffer. */
function joined(op: string, k: Tensor, v: Tensor): KeyGradients {
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
  return { dKey: part(k, 0, sizes[0]), dValue: part(v, sizes[0], sizes[1]), outputs: { output: both } };
}
