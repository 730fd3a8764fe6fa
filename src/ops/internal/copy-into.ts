import { planCopy } from '../../kernels/elementwise.ts';
import { operandOf } from '../../kernels/launch.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { clone } from '../copy.ts';

/** What is copied where. */
export type Copy = readonly [x: Tensor, target: Tensor];

/**
 * target ← x in place for each pair, as if all at once, converted to the target's float dtype. x has the target's shape and
 * device. The target is row-major from the start of its storage, as parameters and the state of optimisers are.
 */
export function copyInto(op: string, copies: readonly Copy[]): void {
  if (copies.length === 0) return;
  const targets = new Set(copies.map(([, target]) => target.storage(op)));
  const { device } = copies[0][1];
  device.scope(() => {
    // copy first what another pair will overwrite
    const apart = copies.map(([x, target]) => [targets.has(x.storage(op)) ? clone(x) : x, target] as const);
    for (const [x, target] of apart) {
      const { shape, dtype } = target;
      const launch = planCopy(
        { op, shape, outputShape: shape, inDType: x.dtype, outDType: dtype, x: operandOf(x) },
        device.traits,
      );
      device.dispatch(op, launch, { x, output: target });
      target.changed();
    }
  });
}
