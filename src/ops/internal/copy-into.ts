import { planCopy } from '../../kernels/elementwise.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { clone } from '../copy.ts';
import { enqueue, operandOf } from './enqueue.ts';

/** What is copied where. */
export type Copy = readonly [x: Tensor, target: Tensor];

/**
 * target ← x in place for each pair, as if at once, converted to the target's float dtype: x of its shape and device, the
 * target row-major from its storage's start, as parameters and the state of optimisers are.
 */
export function copyInto(op: string, copies: readonly Copy[]): void {
  if (copies.length === 0) return;
  const targets = new Set(copies.map(([, target]) => target.storage(op)));
  const { device } = copies[0][1];
  device.scope(() => {
    // what is to be overwritten is read first
    const apart = copies.map(([x, target]) => [targets.has(x.storage(op)) ? clone(x) : x, target] as const);
    for (const [x, target] of apart) {
      const { shape, dtype } = target;
      const launch = planCopy(
        { op, shape, outputShape: shape, inDType: x.dtype, outDType: dtype, x: operandOf(x) },
        device.traits,
      );
      enqueue(op, launch, { x, output: target });
      target.changed();
    }
  });
}
