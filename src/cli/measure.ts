/** One run of the demo: the example's numbers in, results, errors and time out. */
import { cast, type Device, type PrepareOptions, type Shape, type StateDict, type Tensor } from '../index.ts';
import type { SafetensorsFile } from '../io/safetensors.ts';
import { TOLERANCE, type ResultName, type Run } from './six-runs.ts';

export interface Result {
  readonly name: ResultName;
  readonly shape: Shape;
  readonly data: Float32Array;
  /** Largest absolute difference from the example's result; NaN if either side holds one. */
  readonly error: number;
}

export interface Outcome {
  readonly run: Run;
  readonly inputShapes: readonly Shape[];
  readonly results: readonly Result[];
  /** Milliseconds; undefined if the device cannot tell. */
  readonly gpuTime: number | undefined;
}

/**
 * Runs a module in float32 on the example's float16 inputs and weights, which loses nothing.
 *
 * @param tensors the example on the device
 * @param example the same, which also holds the expected results
 * @param onProgress hears of the kernels that are compiled first
 */
export async function measure(
  device: Device,
  run: Run,
  tensors: Readonly<Record<string, Tensor>>,
  example: SafetensorsFile,
  onProgress?: PrepareOptions['onProgress'],
): Promise<Outcome> {
  const inputs = device.scope(() => run.inputs.map((name) => cast(tensors[`${run.name}/${name}`], 'float32')));
  const module = run.build(device, projectionsOf(tensors));
  try {
    await device.prepare(() => module.forward(inputs), { onProgress });
    const returned = module.forward(inputs);
    const results: Result[] = [];
    for (const name of run.results) {
      const tensor = returned[name]!;
      const data = (await tensor.data()) as Float32Array;
      const expected = new Float32Array(example.tensors[`${run.name}/${name}`].data.slice().buffer);
      results.push({ name, shape: tensor.shape, data, error: largestError(data, expected) });
      tensor.dispose();
    }
    // the first call was the warm-up
    const gpuTime = await medianTime(device, () => module.forward(inputs));
    return { run, inputShapes: inputs.map(({ shape }) => shape), results, gpuTime };
  } finally {
    module.dispose();
    for (const input of inputs) input.dispose();
  }
}

/** False for NaN. */
export function isMatch({ name, error }: Result): boolean {
  return error <= TOLERANCE[name];
}

/** NaN if either side holds one, or if the lengths differ. */
export function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return NaN;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(actual[i] - expected[i]));
  return largest;
}

/** An odd number, so that there is a middle one; few on a CPU, where runs are slow and steady. */
export function timedRuns({ info }: Device): number {
  return info.isSoftware ? 3 : 15;
}

async function medianTime(device: Device, work: () => unknown): Promise<number | undefined> {
  const times: number[] = [];
  for (let i = 0; i < timedRuns(device); i++) {
    const { gpuTime } = await device.profile(() => device.scope(() => void work()));
    if (gpuTime === undefined) return undefined;
    times.push(gpuTime);
  }
  return times.sort((a, b) => a - b)[(times.length - 1) / 2];
}

function projectionsOf(tensors: Readonly<Record<string, Tensor>>): StateDict {
  const prefix = 'projections/';
  const entries = Object.entries(tensors).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(entries.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}
