import type { FloatDType } from '../../../tensor/dtype.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { axesLike, hasHeadsInRows } from '../../internal/heads.ts';
import { cast, reshape } from '../../copy.ts';
import { accumulate } from '../../internal/copy.ts';
import { product } from '../../internal/product.ts';
import { weigh, weighGradient, type Weighing, type WeighingTensors } from './weigh.ts';

/** What a call was, besides its tensors. */
export interface MaterialisedAttention {
  readonly op: string;
  readonly kvHeads: number;
  /** Query heads of each key head. */
  readonly group: number;
  readonly weighing: Weighing;
}

/** x is q kᵀ in float32, before the scale. */
export type SavedScores = WeighingTensors & { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor };

/** [B, H, N, D] as [B, Hkv, size, N, D]. `size` is 1 for k and v, which then broadcast to the group. */
export function groupHeads({ kvHeads }: MaterialisedAttention, tensor: Tensor, size: number): Tensor {
  const [batch, , rows, columns] = tensor.shape;
  return tensor.reshape([batch, kvHeads, size, rows, columns]);
}

/**
 * The gradients that are needed. As in the forward pass, the weights are made from the saved scores x and not kept:
 *
 *     dW = dO Vᵀ + d weights      dx: weighGradient      dQ = dx K      dK = dxᵀ Q      dV = Wᵀ dO
 *
 * with dK and dV summed over the rows of all heads of a group. A hidden key has weight and gradient 0. These zeros must not
 * be multiplied with NaN or infinities in its key and value, or in rows without keys.
 */
export function scaledDotProductAttentionGradient(
  call: MaterialisedAttention,
  saved: SavedScores,
  gradients: { readonly output?: Tensor; readonly weights?: Tensor; readonly logSumExp?: Tensor },
  needs: Readonly<Record<string, boolean>>,
): Record<string, Tensor> {
  const { op, kvHeads, group, weighing } = call;
  const { q, k, v, x } = saved;
  const { output: dOutput, logSumExp } = gradients;
  const { device } = q;
  const dtype = q.dtype as FloatDType;
  const mergeGroup = (tensor: Tensor) =>
    reshape(tensor, [tensor.shape[0], kvHeads, group * tensor.shape[2], tensor.shape[3]]);
  const likeKeys = (tensor: Tensor) => ({
    outDType: dtype,
    outAxes: axesLike(tensor),
    zeroAnnihilates: true,
  });
  const results: Record<string, Tensor> = {};

  if (needs['v']) {
    if (dOutput) {
      const { weights } = weigh(op, saved, weighing, { dtype });
      results['v'] = product(op, mergeGroup(weights).transpose(), mergeGroup(dOutput), likeKeys(v)).reshape(v.shape);
      weights.dispose();
    } else {
      results['v'] = device.zeros([1], { dtype }).expand(v.shape);
    }
  }
  if (!needs['q'] && !needs['k'] && !needs['mask'] && !needs['sinks']) return results;

  const weights = weightsGradient(call, x, v, gradients);
  const { x: dX, ...others } = weighGradient(op, saved, weighing, { weights, logSumExp }, needs);
  if (needs['q']) {
    const outAxes = hasHeadsInRows(q) ? [0, 3, 1, 2, 4] : undefined;
    const options = { outDType: dtype, outAxes, zeroAnnihilates: true };
    results['q'] = product(op, groupHeads(call, dX, group), groupHeads(call, k, 1), options).reshape(q.shape);
  }
  if (needs['k']) results['k'] = product(op, mergeGroup(dX).transpose(), mergeGroup(q), likeKeys(k)).reshape(k.shape);
  return { ...results, ...others };
}

/** float32, of x's shape. */
function weightsGradient(
  call: MaterialisedAttention,
  x: Tensor,
  v: Tensor,
  { output, weights }: { readonly output?: Tensor; readonly weights?: Tensor },
): Tensor {
  const given = weights && cast(weights, 'float32');
  if (!output) return given ?? x.device.zeros([1]).expand(x.shape);
  const values = groupHeads(call, v, 1).transpose();
  const ofOutput = product(call.op, groupHeads(call, output, call.group), values, { outDType: 'float32' });
  const sum = ofOutput.reshape(x.shape);
  if (given) accumulate(sum, given);
  return sum;
}
