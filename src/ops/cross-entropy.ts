import { noGrad, record } from '../autograd/tape.ts';
import { ArgumentError } from '../gpu/errors.ts';
import {
  planCrossEntropy,
  planCrossEntropyGradient,
  planCrossEntropyTotal,
  type CrossEntropyProblem,
} from '../kernels/cross-entropy.ts';
import { operandOf } from '../kernels/launch.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { checkOptions } from '../tensor/options.ts';
import { formatShape } from '../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkFloat, checkIntegers, checkSameDevice, describe } from './internal/check.ts';
import { contiguous, reshape } from './copy.ts';

export interface CrossEntropyOptions {
  /** Rows with this target have no loss and no gradient, and do not count in the mean. Default −100. */
  ignoreIndex?: number;
  /** Returns the mean of the losses over the rows that are not ignored, their sum, or each row's loss. Default `'mean'`. */
  reduction?: 'mean' | 'sum' | 'none';
  /** From 0 to 1: how much of each target is spread evenly over all classes (Szegedy et al., 2016). Default 0. */
  labelSmoothing?: number;
}

/**
 * −log softmax(logits)[target] for each row, as torch.nn.functional.cross_entropy, except that the classes are the last axis.
 * The softmax is never written to memory, not even for the gradient, and logits may be large. Only the GPU sees the targets.
 * One that is not a class (negative or not below V, and not ignoreIndex) gives a loss and a gradient of NaN. A mean over no
 * rows gives a loss of NaN and a gradient of 0.
 *
 * @param logits [..., V]; float32 or float16; any strides, some of which take a copy
 * @param targets [...]; int32 or uint32
 * @returns float32 for either dtype, so that a scaled loss does not overflow: [1], or of targets' shape for `'none'`
 * @throws ArgumentError for shapes, dtypes or options that do not fit
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): FloatTensor {
  const op = 'crossEntropy';
  checkOptions(op, options, ['ignoreIndex', 'reduction', 'labelSmoothing']);
  const { reduction = 'mean', labelSmoothing: smoothing = 0 } = options;
  checkFloat(op, 'logits', logits);
  checkIntegers(op, 'targets', targets);
  checkSameDevice(op, 'logits', logits, 'targets', targets);
  if (logits.rank < 2) {
    throw new ArgumentError(
      `${op}: logits must be [..., classes] of two axes or more, got ${formatShape(logits.shape)}`,
    );
  }
  if (formatShape(targets.shape) !== formatShape(logits.shape.slice(0, -1))) {
    throw new ArgumentError(
      `${op}: targets must have logits' shape without the classes, ${formatShape(logits.shape.slice(0, -1))}, ` +
        `got ${formatShape(targets.shape)}`,
    );
  }
  const ignored = checkIgnored(op, targets, options.ignoreIndex);
  if (reduction !== 'mean' && reduction !== 'sum' && reduction !== 'none') {
    throw new ArgumentError(`${op}: reduction must be 'mean', 'sum' or 'none', got ${describe(reduction)}`);
  }
  if (typeof smoothing !== 'number' || !(smoothing >= 0 && smoothing <= 1)) {
    throw new ArgumentError(`${op}: labelSmoothing must be a number from 0 to 1, got ${describe(smoothing)}`);
  }
  const problemOf = (rows: Tensor, dense: Tensor): CrossEntropyProblem => ({
    op,
    rows: rows.shape[0],
    classes: rows.shape[1],
    dtype: rows.dtype as FloatDType,
    logits: operandOf(rows),
    targetsOffset: dense.offset,
    ...(ignored !== undefined && { ignored }),
    smoothing,
  });
  const { device, shape } = logits;
  const { loss, statistics, share } = noGrad(() =>
    device.scope(() => {
      const [rows, dense] = [rowsOf(logits), contiguous(targets)];
      const problem = problemOf(rows, dense);
      const losses = device.empty(targets.shape, 'float32', op);
      const statistics = device.empty([problem.rows, 2], 'float32', op);
      device.dispatch(op, planCrossEntropy(problem, device.traits), {
        logits: rows,
        targets: dense,
        losses,
        statistics,
      });
      if (reduction === 'none') return { loss: losses, statistics };
      const [total, share] = [device.empty([1], 'float32', op), device.empty([1], 'float32', op)];
      const launch = planCrossEntropyTotal(problem, reduction === 'mean');
      device.dispatch(op, launch, { losses, targets: dense, total, share });
      return { loss: total, statistics, share };
    }),
  );
  record({
    op,
    inputs: { logits },
    outputs: [loss],
    saved: { logits, targets, statistics, share },
    backward: ([gradient], saved) => {
      const [rows, dense, dLoss] = [rowsOf(saved.logits), contiguous(saved.targets), contiguous(gradient!)];
      const output = device.empty(shape, rows.dtype, op);
      const launch = planCrossEntropyGradient(
        problemOf(rows, dense),
        { offset: dLoss.offset, isByRow: reduction === 'none' },
        reduction !== 'none',
        device.traits,
      );
      const { statistics, share } = saved;
      device.dispatch(op, launch, { logits: rows, targets: dense, statistics, d_loss: dLoss, share, output });
      return { logits: output };
    },
  });
  statistics.dispose();
  share?.dispose();
  return loss;
}

/** [rows, classes] */
function rowsOf(logits: Tensor): Tensor {
  return reshape(logits, [-1, logits.shape.at(-1)!]);
}

/** The target to ignore as it is stored, or undefined if no target of this dtype can have that value. */
function checkIgnored(op: string, { dtype }: Tensor, index: number | undefined = -100): number | undefined {
  if (!Number.isInteger(index) || index < -(2 ** 31) || index >= 2 ** 32) {
    throw new ArgumentError(`${op}: ignoreIndex must be a whole number of 32 bits, got ${describe(index)}`);
  }
  const isStorable = dtype === 'int32' ? index < 2 ** 31 : index >= 0;
  return isStorable ? index >>> 0 : undefined;
}
