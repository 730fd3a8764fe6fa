/** Checks one case, warms it up and times it. */
import { WebGPUAttentionError } from '../src/index.ts';
import type { Device, Tensor } from '../src/index.ts';
import { sizeClass } from '../src/gpu/buffers.ts';
import { BYTES } from '../src/tensor/dtype.ts';
import { rowPitch } from '../src/tensor/shape.ts';
import { caseName } from './cases.ts';
import { bytesOf, flopsOf, roofOf } from './cost.ts';
import { kernelOf } from './kernel.ts';
import type { BenchCase, CaseResult, Roof } from './result.ts';
import { prepare } from './prepare.ts';
import { medianOf, summarise } from './statistics.ts';
import type { Workload } from './workload.ts';

/** A result differs from that of float64. */
export class WrongResultError extends WebGPUAttentionError {
  override name = 'WrongResultError';
}

/** How often a case is timed: `most` times, or fewer, but at least `least`, once `milliseconds` have passed. */
export interface Effort {
  readonly least: number;
  readonly most: number;
  readonly milliseconds: number;
}

/** Runs on a CPU are slow, but an interval needs five; on a GPU, whose clock varies, more runs cost little. */
export function effortOn({ info }: Device, runs?: number): Effort {
  if (runs !== undefined) return { least: runs, most: runs, milliseconds: 0 };
  return info.isSoftware ? { least: 5, most: 9, milliseconds: 1500 } : { least: 7, most: 31, milliseconds: 1000 };
}

/** @throws WrongResultError before anything is timed */
export async function measure(device: Device, bench: BenchCase, roof: Roof, effort: Effort): Promise<CaseResult> {
  const workload = await prepare(device, bench);
  try {
    const { extraBytes, error, tolerance } = await check(device, bench, workload);
    const { gpu, wall } = await time(device, workload, effort);
    const [flops, bytes] = [flopsOf(bench), bytesOf(bench)];
    const { median } = gpu ?? wall;
    const [gflops, gbs] = [flops, bytes].map((amount) => amount / median / 1e6);
    return {
      name: caseName(bench),
      ...bench,
      kernel: kernelOf(device, bench),
      gpu,
      wall,
      error,
      tolerance,
      flops,
      bytes,
      gflops,
      gbs,
      roofShare: flops > 0 ? gflops / roofOf(roof, bench.dtype, flops / bytes) : gbs / roof.copyGBs,
      extraBytes,
    };
  } finally {
    workload.dispose();
  }
}

/**
 * The largest difference allowed, relative to the largest number of the row. It is relative to the row because under a
 * causal mask the first rows are a hundred times larger than the last, whose errors must not hide behind them. float32: one
 * rounding is 6e-8, and a product of thousands of terms and an exponential (up to some 20 roundings in WGSL) add up to
 * about 1e-6; a key that is forgotten or seen twice weighs more. float16: each rounding of the output is 5e-4, and in
 * modules so is that of each projection.
 */
const TOLERANCE = { float32: 2e-5, float16: 4e-3 } as const;

/** Rows compared with the reference: the first, the last, and some between. */
const SAMPLED_ROWS = 16;

/** Runs once, which compiles everything. */
export async function check(
  device: Device,
  bench: BenchCase,
  workload: Workload,
): Promise<{ error: number; tolerance: number; extraBytes: number }> {
  const outputs: Tensor[] = [];
  const { live } = device.memory();
  const peak = device.runtime.peakDuring(() => outputs.push(...workload.run()));
  // outputs may share memory with others, or hold more memory than their shapes need
  const needed = Math.min(device.memory().live, live + outputs.reduce((sum, output) => sum + storedBytes(output), 0));
  const extraBytes = Math.max(0, peak - needed);
  const results = await Promise.all(
    outputs.map(async (output) => ({ values: await output.data(), width: output.shape.at(-1)! })),
  );
  for (const output of outputs) output.dispose();
  let [error, tolerance] = [0, 0];
  for (const [number, { values, width }] of results.entries()) {
    const rows = values.length / width;
    for (const row of workload.sampled?.(rows, number) ?? sampledRows(rows)) {
      const { row: expected, size = 0 } = workload.expected(row, number);
      let [difference, largest] = [0, size];
      for (const [column, value] of expected.entries()) {
        difference = Math.max(difference, Math.abs(values[row * width + column] - value));
        largest = Math.max(largest, Math.abs(value));
      }
      const allowed = TOLERANCE[bench.dtype] * largest;
      // written so that NaN fails
      if (!(difference <= allowed)) {
        const [most, got] = [allowed, difference].map((value) => value.toExponential(1));
        const which = outputs.length > 1 ? ` of output ${number}` : '';
        throw new WrongResultError(
          `${caseName(bench)}: the result must be within ${most} of float64, got ${got} off in row ${row}${which}`,
        );
      }
      if (difference >= error) [error, tolerance] = [difference, allowed];
    }
  }
  return { error, tolerance, extraBytes };
}

/** Bytes of the buffer that the tensor would have if it shared none. */
function storedBytes({ shape, dtype, size }: Tensor): number {
  const width = shape.at(-1)!;
  return sizeClass((size / width) * rowPitch(width, dtype) * BYTES[dtype]);
}

/** Rows spread evenly from the first to the last. */
export function sampledRows(rows: number): number[] {
  const samples = Math.min(rows, SAMPLED_ROWS);
  if (samples === 1) return [0];
  return Array.from({ length: samples }, (_, i) => Math.floor((i * (rows - 1)) / (samples - 1)));
}

/**
 * Short runs are timed together on the GPU, so that it does not go to sleep in between. A disturbance of one affects all, so
 * together they give one sample, their median.
 */
const TOGETHER_MS = 5;
const MOST_TOGETHER = 8;
/** From this time on, one run gives both times: reading the GPU's clock adds less than a millisecond to the host's. */
const SLOW_MS = 100;

/** Takes GPU and wall time in turns, so that a disturbance of the machine affects both. The check was the warm-up. */
async function time(device: Device, workload: Workload, effort: Effort): Promise<Pick<CaseResult, 'gpu' | 'wall'>> {
  const { least, most, milliseconds } = effort;
  const start = performance.now();
  const first = await profile(device, workload, 1);
  const together = least < most && first.gpu ? Math.min(MOST_TOGETHER, Math.ceil(TOGETHER_MS / first.gpu)) : 1;
  // several runs at once do not show the wall time of one
  const isSlow = together === 1 && first.wall >= SLOW_MS;
  const samples = isSlow ? [first] : [];
  while (samples.length < least || (samples.length < most && performance.now() - start < milliseconds)) {
    const { gpu, wall } = await profile(device, workload, together);
    samples.push({ gpu, wall: isSlow ? wall : await wallTime(device, workload) });
  }
  const gpu = samples.flatMap((sample) => sample.gpu ?? []);
  // a clock that is too coarse for the kernel reads 0, which is not a time
  const isTimed = gpu.length > 0 && gpu.every((value) => value > 0);
  return { gpu: isTimed ? summarise(gpu) : undefined, wall: summarise(samples.map(({ wall }) => wall)) };
}

/** Milliseconds: the median of the runs on the GPU, absent if it has no clock, and all runs together on the host. */
async function profile(device: Device, workload: Workload, runs: number): Promise<{ gpu?: number; wall: number }> {
  const start = performance.now();
  const { dispatches } = await device.profile(() => {
    for (let i = 0; i < runs; i++) for (const output of workload.run()) output.dispose();
  });
  const wall = performance.now() - start;
  const perRun = dispatches.length / runs;
  if (perRun === 0) return { wall };
  const gpu = Array.from({ length: runs }, (_, run) =>
    dispatches.slice(run * perRun, (run + 1) * perRun).reduce((sum, { gpuTime }) => sum + gpuTime, 0),
  );
  return { gpu: medianOf(gpu.sort((a, b) => a - b)), wall };
}

async function wallTime(device: Device, workload: Workload): Promise<number> {
  const start = performance.now();
  const outputs = workload.run();
  await device.sync();
  const elapsed = performance.now() - start;
  for (const output of outputs) output.dispose();
  return elapsed;
}
