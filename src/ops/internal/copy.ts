/** Copies of checked tensors, to new ones and in place, that are no steps of the tape. */
import { planAccumulate, planCopy, type CopyProblem } from '../../kernels/elementwise.ts';
import { operandOf } from '../../kernels/launch.ts';
import { BYTES, type DType, type FloatDType } from '../../tensor/dtype.ts';
import { storageSize } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** A new tensor with x's elements, which the tape does not know of. */
export function copied<D extends DType>(
  op: string,
  problem: Pick<CopyProblem, 'shape' | 'outputShape' | 'joined' | 'invert'>,
  x: Tensor,
  dtype: D,
  y?: Tensor,
): Tensor<D> {
  const { device } = x;
  const output = device.empty(problem.outputShape, dtype, op);
  const launch = planCopy({ op, ...problem, inDType: x.dtype, outDType: dtype, x: operandOf(x) }, device.traits);
  device.dispatch(op, launch, { x, y, output });
  return output;
}

/** The logical not of a bool tensor, under the name of the op that needs it. */
export function invert(op: string, x: Tensor): Tensor<'bool'> {
  return copied(op, { shape: x.shape, outputShape: x.shape, invert: true }, x, 'bool');
}

/** What is copied where. */
type Copy = readonly [x: Tensor, target: Tensor];

/**
 * target ← x in place for each pair, as if all at once, converted to the target's float dtype. x has the target's shape and
 * device. The target is row-major from the start of its storage, as parameters and the state of optimisers are.
 */
export function copyInto(op: string, copies: readonly Copy[]): void {
  if (copies.length === 0) return;
  const targets = new Set(copies.map(([, target]) => target.place));
  const { device } = copies[0][1];
  device.scope(() => {
    // copy first what another pair will overwrite
    const apart = copies.map(([x, target]): Copy => {
      const { shape, dtype } = x;
      return [targets.has(x.place) ? copied(op, { shape, outputShape: shape }, x, dtype) : x, target];
    });
    for (const [x, target] of apart) {
      const { shape, dtype } = target;
      const launch = planCopy(
        { op, shape, outputShape: shape, inDType: x.dtype, outDType: dtype, x: operandOf(x) },
        device.traits,
      );
      target.overwrite(() => device.dispatch(op, launch, { x, output: target }));
      target.changed();
    }
  });
}

/** target += x in place, for the tape. Same shape, dtype and device. target is contiguous, or a slice of such a tensor. */
export function accumulate(target: Tensor, x: Tensor): void {
  const op = 'accumulate';
  const { device, shape } = target;
  const dtype = target.dtype as FloatDType;
  const launch = planAccumulate({ op, shape, dtype, target: operandOf(target), x: operandOf(x) }, device.traits);
  device.dispatch(op, launch, { x, target_words: target });
  target.changed();
}

/** Writes x's elements in row-major order to `target` from word `firstWord` on. f16 and bools are copied in whole words. */
export function copyWords(op: string, x: Tensor, target: Tensor, firstWord: number): void {
  const bytes = BYTES[x.dtype];
  // smaller elements are copied as whole words: x must be contiguous and begin at a word
  const words = bytes === 4 ? x.shape : [wordsOf(x)];
  const from = bytes === 4 ? operandOf(x) : { strides: [1], offset: (x.offset * bytes) / 4 };
  const launch = planCopy(
    { op, shape: words, outputShape: words, inDType: 'uint32', outDType: 'uint32', x: from, firstWord },
    x.device.traits,
  );
  x.device.dispatch(op, launch, { x, output: target });
}

/** Words of 32 bits that a row-major copy of x takes. */
export function wordsOf({ shape, dtype }: Tensor): number {
  return Math.ceil((storageSize(shape, dtype) * BYTES[dtype]) / 4);
}
