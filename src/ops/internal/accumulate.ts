import { planAccumulate } from '../../kernels/elementwise.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** target += x in place, for the tape. Same shape, dtype and device. target is contiguous, or a slice of such a tensor. */
export function accumulate(target: Tensor, x: Tensor): void {
  const op = 'accumulate';
  const { device, shape } = target;
  const dtype = target.dtype as FloatDType;
  const launch = planAccumulate({ op, shape, dtype, target: operandOf(target), x: operandOf(x) }, device.traits);
  device.dispatch(op, launch, { x, target_words: target });
  target.changed();
}
