/** One problem on one device: every kernel checked against the default, then timed. */
import { DeviceLostError, WebGPUAttentionError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { TunedCandidate } from '../tensor/tuning.ts';
import type { TuningProblem } from './problems.ts';
import { race, winner, type Effort, type Sample } from './race.ts';

export interface ContestResult {
  readonly kernel: string;
  readonly candidates: readonly TunedCandidate[];
  /** Time of the default over that of the winner; undefined if time was up before there were two: the default stays. */
  readonly speedup: number | undefined;
}

export interface ContestOptions {
  readonly effort: Effort;
  /** Whether the time is up: no further kernel is tried. */
  readonly isOver: () => boolean;
  /** Called before each kernel is tried. */
  readonly onKernel: (kernel: string) => void;
  /** Ends the race after the present sample. */
  readonly signal?: AbortSignal;
}

export const NO_TIME = 'no time was left';

/** Whether the error comes from the GPU or a kernel's plan, rather than a lost device, a defect, or a callback. */
function isKernelFailure(error: unknown): error is WebGPUAttentionError {
  return error instanceof WebGPUAttentionError && !(error instanceof DeviceLostError);
}

/** @throws what the default kernel fails with; a failure of another excludes it */
export async function contest(
  device: Device,
  problem: TuningProblem,
  inputs: readonly Tensor[],
  { effort, isOver, onKernel, signal }: ContestOptions,
): Promise<ContestResult> {
  const [byDefault, ...others] = problem.kernels;
  const notes = new Map<string, string>();
  onKernel(byDefault);
  const expected = await firstResult(device, problem, byDefault, inputs);
  for (const kernel of others) {
    if (isOver()) {
      notes.set(kernel, NO_TIME);
      continue;
    }
    onKernel(kernel);
    const objection = await examine(device, problem, kernel, inputs, expected);
    if (objection) notes.set(kernel, objection);
  }
  const noted = (kernel: string) => ({ kernel, ...(notes.has(kernel) && { note: notes.get(kernel) }) });
  const runnable = problem.kernels.filter((kernel) => !notes.has(kernel));
  if (runnable.length === 1 && [...notes.values()].includes(NO_TIME)) {
    return { kernel: byDefault, candidates: problem.kernels.map(noted), speedup: undefined };
  }

  const sample = await sampler(device, problem, inputs);
  const times = await race(
    runnable,
    (...turn) => {
      signal?.throwIfAborted();
      return sample(...turn);
    },
    effort,
  );
  for (const [kernel, { isAbandoned }] of times) if (isAbandoned) notes.set(kernel, 'too slow to go on');
  const kernel = winner(times);
  return {
    kernel,
    candidates: problem.kernels.map((name) => ({ ...noted(name), milliseconds: times.get(name)?.milliseconds })),
    speedup: kernel === byDefault ? 1 : times.get(byDefault)!.milliseconds / times.get(kernel)!.milliseconds,
  };
}

/**
 * Largest accepted difference from the default's result, relative to its largest number. In float32, kernels differ only in the
 * order of sums, and a forgotten key weighs more than that. In float16, each kernel rounds its result, and a kernel on tensor
 * cores its weights too, by 5e-4 of themselves.
 */
const TOLERANCE = { float32: 1e-4, float16: 5e-3 } as const;

/** The data of each output. */
type Results = readonly ArrayLike<number>[];

/** Compiles a kernel and checks its result. Returns the reason to exclude the kernel, if there is one. */
async function examine(
  device: Device,
  problem: TuningProblem,
  kernel: string,
  inputs: readonly Tensor[],
  expected: Results,
): Promise<string | undefined> {
  let result: Results;
  try {
    result = await firstResult(device, problem, kernel, inputs);
  } catch (error) {
    if (!isKernelFailure(error)) throw error;
    return `failed: ${error.message}`;
  }
  const difference = Math.max(...result.map((values, i) => relativeDifference(values, expected[i])));
  // written so that NaN is one
  if (difference <= TOLERANCE[problem.dtype]) return undefined;
  return `wrong: off by ${difference.toExponential(1)} of the largest number`;
}

/** Largest difference over largest number; NaN if the result holds one. */
function relativeDifference(result: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(result[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference / largest;
}

async function firstResult(
  device: Device,
  problem: TuningProblem,
  kernel: string,
  inputs: readonly Tensor[],
): Promise<Results> {
  const outputs = run(device, problem, kernel, inputs);
  try {
    const results: ArrayLike<number>[] = [];
    for (const output of outputs) {
      results.push(await output.data());
      // clear it, because the next kernel may get this buffer, and must not pass with the result that it finds there
      device.runtime.clear(output.storage('device.tune'));
    }
    return results;
  } finally {
    for (const output of outputs) output.dispose();
  }
}

function run(device: Device, problem: TuningProblem, kernel: string, inputs: readonly Tensor[]): readonly Tensor[] {
  return withKernel(device, problem, kernel, () => device.scope(() => problem.run(inputs)));
}

/** Makes the op take this kernel. Ops only record, so nothing else runs before the choice is restored. */
function withKernel<T>(device: Device, { op }: TuningProblem, kernel: string, work: () => T): T {
  const { kernels } = device;
  device.kernels = { ...kernels, pinned: new Map([[op, kernel]]) };
  try {
    return work();
  } finally {
    device.kernels = kernels;
  }
}

/** Runs by which the GPU's clock is judged: browsers have it tick every 0.1 ms. */
const PROBE_RUNS = 4;

/** Times runs by the GPU's clock, or by the host's if the GPU has none or one that is too coarse. */
async function sampler(device: Device, problem: TuningProblem, inputs: readonly Tensor[]): Promise<Sample> {
  const work = (kernel: string, runs: number) => () => {
    for (let i = 0; i < runs; i++) for (const output of run(device, problem, kernel, inputs)) output.dispose();
  };
  const { gpuTime, dispatches } = await device.profile(work(problem.kernels[0], PROBE_RUNS));
  if (gpuTime !== undefined && dispatches.every((dispatch) => dispatch.gpuTime > 0)) {
    return async (kernel, runs) => {
      const profile = await device.profile(work(kernel, runs));
      return profile.gpuTime! / runs;
    };
  }
  return async (kernel, runs) => {
    await device.sync();
    const start = performance.now();
    work(kernel, runs)();
    await device.sync();
    return (performance.now() - start) / runs;
  };
}
