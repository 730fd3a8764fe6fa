import { planNormaliseGradient, planNormaliseWeightGradient } from '../../kernels/normalise.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { cast, contiguous } from '../copy.ts';
import { sum } from '../sum.ts';

/** What a normalisation was, besides its tensors. */
export interface NormalisationKind {
  readonly op: string;
  /** How many of the last axes were normalised together. */
  readonly axes: number;
  readonly epsilon: number;
  readonly isCentred: boolean;
}

/** The gradients of a normalisation's inputs that are needed, from the gradient of its output. */
export function normaliseGradient(
  { op, axes, epsilon, isCentred }: NormalisationKind,
  gradient: Tensor,
  inputs: { x: Tensor; weight: Tensor | undefined },
  needs: { readonly x: boolean; readonly weight: boolean; readonly bias: boolean },
): { x?: Tensor; weight?: Tensor; bias?: Tensor } {
  const { device, shape } = gradient;
  const dtype = gradient.dtype as FloatDType;
  const [x, dOutput] = [contiguous(inputs.x), contiguous(gradient)];
  const weight = inputs.weight && contiguous(inputs.weight);
  const places = { op, shape, axes, dtype, xOffset: x.offset, dOutputOffset: dOutput.offset };

  const dX = needs.x ? device.empty(shape, dtype, op) : undefined;
  const rows = shape.slice(0, -axes);
  const statistics = needs.weight
    ? device.empty([rows.reduce((product, length) => product * length, 1), 2], 'float32', op)
    : undefined;
  if (dX || statistics) {
    const launch = planNormaliseGradient(
      {
        ...places,
        weightOffset: weight?.offset,
        epsilon,
        isCentred,
        writesDX: needs.x,
        writesStatistics: needs.weight,
      },
      device.traits,
    );
    device.dispatch(op, launch, { x, d_output: dOutput, weight, output: dX, statistics });
  }
  if (!needs.weight && !needs.bias) return { x: dX };

  const { launch, chunks } = planNormaliseWeightGradient(
    { ...places, writesDWeight: needs.weight, writesDBias: needs.bias },
    device.traits,
  );
  const inner = shape.slice(-axes);
  const chunkSums = (isNeeded: boolean) =>
    isNeeded
      ? device.empty([chunks, inner.reduce((product, length) => product * length, 1)], 'float32', op)
      : undefined;
  const [dWeight, dBias] = [chunkSums(needs.weight), chunkSums(needs.bias)];
  device.dispatch(op, launch, { x, d_output: dOutput, statistics, d_weight: dWeight, d_bias: dBias });
  const total = (sums: Tensor | undefined) => sums && cast(sum(sums, { axes: 0 }).reshape(inner), dtype);
  return { x: dX, weight: total(dWeight), bias: total(dBias) };
}
