/** The softmax of checked scores and its gradient. The ops softmax and materialised attention are made of them. */
import type { OptionFields } from '../../../kernels/attention.ts';
import { planSoftmax, planSoftmaxGradient, type ScoresStage } from '../../../kernels/softmax.ts';
import { operandOf } from '../../../kernels/launch.ts';
import type { FloatDType } from '../../../tensor/dtype.ts';
import type { FloatTensor, Tensor } from '../../../tensor/tensor.ts';
import { cast, clone } from '../../copy.ts';
import { sum, sumTo } from '../../sum.ts';

/** What happens to scores x before and after the softmax, except for what tensors determine. */
export interface Weighing {
  /** [B, H, Nq, Nk]. */
  readonly shape: readonly [number, number, number, number];
  readonly options: OptionFields;
}

/** x [B, H, Nq, Nk]. */
export interface WeighingTensors {
  readonly x: Tensor;
  readonly mask?: Tensor;
  readonly key_mask?: Tensor;
  readonly table?: Tensor;
}

/** The weights of checked scores, with the rows' log-sum-exp if asked for. */
export function weigh(
  op: string,
  { x, mask, key_mask, table }: WeighingTensors,
  { shape, options }: Weighing,
  results: {
    readonly dtype?: FloatDType;
    readonly logSumExp?: boolean;
    /** Also write the scores after this stage. */
    readonly stage?: ScoresStage;
  } = {},
): { weights: FloatTensor; logSumExp?: FloatTensor; scores?: FloatTensor } {
  const { dtype = x.dtype as FloatDType, stage } = results;
  const { device } = x;
  return device.scope(() => {
    const weights = device.empty(x.shape, dtype, op);
    const logSumExp = results.logSumExp ? device.empty(x.shape.slice(0, 3), 'float32', op) : undefined;
    const staged = stage && device.empty(x.shape, dtype, op);
    const launch = planSoftmax(
      {
        op,
        shape,
        xDType: x.dtype as FloatDType,
        dtype,
        x: operandOf(x),
        options,
        writesLogSumExp: logSumExp !== undefined,
        writesScores: stage,
      },
      device.traits,
    );
    device.dispatch(op, launch, { x, mask, key_mask, table, output: weights, log_sum_exp: logSumExp, scores: staged });
    return { weights, ...(logSumExp && { logSumExp }), ...(staged && { scores: staged }) };
  });
}

/** Gradients of x (in the weights' dtype), a float mask and [H] sinks, from those of the weights and of the log-sum-exp. */
export function weighGradient(
  op: string,
  { x, mask, key_mask, table }: WeighingTensors,
  { shape, options }: Weighing,
  gradients: { readonly weights: Tensor; readonly logSumExp?: Tensor },
  needs: { readonly mask?: boolean; readonly sinks?: boolean },
): { x: Tensor; mask?: Tensor; sinks?: Tensor } {
  const { device } = x;
  const { weights, logSumExp } = gradients;
  const dtype = weights.dtype as FloatDType;
  const output = device.empty(x.shape, dtype, op);
  // the gradient of the log-sum-exps is overwritten, so it must not be shared
  const rowShape = x.shape.slice(0, -1);
  const rowValues = logSumExp ? clone(logSumExp) : needs.sinks ? device.empty(rowShape, 'float32', op) : undefined;
  const dScores = needs.mask ? device.empty(x.shape, 'float32', op) : undefined;
  const launch = planSoftmaxGradient(
    {
      op,
      shape,
      xDType: x.dtype as FloatDType,
      dtype,
      x: operandOf(x),
      dWeights: operandOf(weights),
      options,
      hasDLogSumExp: logSumExp !== undefined,
      writesDSinks: needs.sinks ?? false,
      writesDScores: needs.mask ?? false,
    },
    device.traits,
  );
  const operands = { x, mask, key_mask, table, d_weights: weights };
  device.dispatch(op, launch, { ...operands, row_values: rowValues, output, d_scores: dScores });
  return {
    x: output,
    ...(dScores && { mask: cast(sumTo(dScores, mask!.shape), mask!.dtype as FloatDType) }),
    ...(needs.sinks && { sinks: sum(rowValues!, { axes: [0, 2] }) }),
  };
}
