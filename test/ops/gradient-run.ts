/** Gradients of an op against finite differences through its float64 reference. */
import { expect } from 'vitest';
import { clone, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import type { HostArray } from '../reference/host-array.ts';
import { type Tolerance, tolerances } from '../reference/tolerances.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';

export interface GradientProblem {
  readonly dtype: Float;
  /** What gradients are wanted of. */
  readonly inputs: readonly HostArray[];
  op(inputs: readonly Tensor[]): Tensor;
  reference(inputs: readonly HostArray[]): HostArray;
  /** Layout of each input; `gradientLayout` is that of the gradient given for the result. */
  readonly layouts?: readonly (Layout | undefined)[];
  readonly gradientLayout?: Layout;
  /** The gradient that is given repeats along these axes, with stride 0. */
  readonly repeats?: readonly number[];
  readonly tolerance?: Tolerance;
}

const random = new Random(73);

/**
 * Checks the gradients of all inputs together and of each alone, which must be the same bit for bit, as those of a second
 * run must; and that nothing stays in memory.
 */
export async function expectGradients(problem: GradientProblem): Promise<void> {
  const { dtype, inputs, tolerance = tolerances[dtype].opGradient } = problem;
  const device = await testDevice();
  const { live } = device.memory();
  const given = inputs.map((input) => stored(input, dtype));
  const { shape } = problem.reference(given);
  const dOutput = stored(drawGradient(shape, problem.repeats ?? []), dtype);

  const run = async (wanted: readonly number[]): Promise<(Float32Array | undefined)[]> => {
    const gradients = device.scope(() => {
      const leaves = inputs.map((input, i) => upload(device, input, dtype, problem.layouts?.[i]));
      for (const i of wanted) leaves[i].requiresGrad = true;
      const output = problem.op(leaves);
      expect(output.shape).toEqual(shape);
      output.backward(uploadGradient(dOutput, problem));
      return leaves.map(({ grad }) => {
        if (!grad) return undefined;
        expect(grad.isContiguous).toBe(true);
        return clone(grad);
      });
    });
    const values = [];
    for (const gradient of gradients) {
      values.push(gradient && ((await gradient.data()) as Float32Array));
      gradient?.dispose();
    }
    expect(device.memory().live).toBe(live);
    return values;
  };

  function uploadGradient(gradient: HostArray, { repeats = [], gradientLayout }: GradientProblem): Tensor {
    if (repeats.length === 0) return upload(device, gradient, dtype, gradientLayout);
    const short = gradient.shape.map((length, axis) => (repeats.includes(axis) ? 1 : length));
    const data = Float32Array.from({ length: short.reduce((a, b) => a * b, 1) }, (_, flat) => {
      let [rest, at, stride] = [flat, 0, 1];
      for (let axis = short.length - 1; axis >= 0; axis--) {
        at += (rest % short[axis]) * stride;
        rest = Math.floor(rest / short[axis]);
        stride *= gradient.shape[axis];
      }
      return gradient.data[at];
    });
    return device.tensor(data, short, { dtype }).expand(gradient.shape);
  }

  const all = inputs.map((_, i) => i);
  const together = await run(all);
  const expected = numericalGradients((...arrays) => problem.reference(arrays), given, dOutput);
  for (const i of all) {
    expectClose(together[i]!, expected[i].data, tolerance, `gradient of input ${i}`);
  }
  expect(await run(all)).toEqual(together);
  for (const i of inputs.length > 1 ? all : []) {
    expect(await run([i])).toEqual(together.map((values, j) => (i === j ? values : undefined)));
  }
}

/** Normal numbers, the same all along the axes that repeat. */
function drawGradient(shape: readonly number[], repeats: readonly number[]): HostArray {
  const data = random.normals(shape);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (repeats.includes(axis)) {
      for (let at = 0; at < data.length; at++) data[at] = data[at - (Math.floor(at / stride) % shape[axis]) * stride];
    }
    stride *= shape[axis];
  }
  return { shape, data };
}
