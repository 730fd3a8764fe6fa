/** Gradients by central differences in float64: slow, and right whatever the formula. */
import { type Float64HostArray, type HostArray, zeros } from './host-array.ts';

/** A pure function of arrays of numbers; it may return what it was given, but not change it. */
type Differentiable = (...inputs: HostArray[]) => HostArray | readonly HostArray[];

/**
 * The gradient of Σ dOutput · f(inputs), over all of f's outputs, with respect to every element of every input:
 *
 *     gradient[n] = Σ dOutput · (f(x + step · e_n) − f(x − step · e_n)) / (2 · step)        step in units of max(1, |x_n|)
 *
 * Truncated by some step², rounded by some 1e-16 / step: about 1e-9 of values near 1 with the default step. f is called twice
 * per element. Outputs that an element does not change, infinite ones among them, contribute nothing; an infinite element, as
 * of a mask, gets 0.
 *
 * @param inputs all of f's arguments; bind those that need no gradient, as integers and bools, in f itself
 * @param dOutput as f returns: one array, or one per output
 * @returns one array per input, of its shape
 */
export function numericalGradients(
  f: Differentiable,
  inputs: readonly HostArray[],
  dOutput: HostArray | readonly HostArray[],
  { step = 1e-5 } = {},
): Float64HostArray[] {
  const dOutputs = listed(dOutput);
  const values = inputs.map(({ shape, data }) => ({ shape, data: Float64Array.from(data) }));
  // copied, as f may return views of its inputs
  const outputs = () => listed(f(...values)).map(({ shape, data }) => ({ shape, data: Float64Array.from(data) }));
  checkShapes(outputs(), dOutputs);

  return values.map(({ shape, data }) => {
    const gradient = zeros(shape);
    for (let n = 0; n < data.length; n++) {
      const x = data[n];
      if (Math.abs(x) === Infinity) continue;
      const [below, above] = [x - step * Math.max(1, Math.abs(x)), x + step * Math.max(1, Math.abs(x))];
      data[n] = below;
      const before = outputs();
      data[n] = above;
      const after = outputs();
      data[n] = x;
      gradient.data[n] = weightedChange(before, after, dOutputs) / (above - below);
    }
    return gradient;
  });
}

function weightedChange(
  before: readonly HostArray[],
  after: readonly HostArray[],
  dOutputs: readonly HostArray[],
): number {
  let change = 0;
  for (const [at, { data }] of dOutputs.entries()) {
    for (let n = 0; n < data.length; n++) {
      const [y0, y1] = [before[at].data[n], after[at].data[n]];
      if (y0 !== y1) change += data[n] * (y1 - y0);
    }
  }
  return change;
}

function listed(arrays: HostArray | readonly HostArray[]): readonly HostArray[] {
  return 'data' in arrays ? [arrays] : arrays;
}

function checkShapes(outputs: readonly HostArray[], dOutputs: readonly HostArray[]): void {
  const shapes = (arrays: readonly HostArray[]) => arrays.map(({ shape }) => `[${shape.join(', ')}]`).join(' ');
  if (shapes(outputs) !== shapes(dOutputs)) {
    throw new Error(`f must return arrays shaped as dOutput, ${shapes(dOutputs)}, got ${shapes(outputs)}`);
  }
}
