/** The most that the device can do: multiply-adds a second, and bytes a second. */
import type { Bindings, Launch } from '../src/gpu/runtime.ts';
import type { Shader } from '../src/gpu/shader.ts';
import { WebGPUAttentionError } from '../src/index.ts';
import type { Device, Tensor } from '../src/index.ts';
import { measureOverheads } from './overhead.ts';
import type { Roof } from './result.ts';
import copyRate from './shaders/copy-rate.wgsl';
import fmaF16 from './shaders/fma-f16.wgsl';
import fmaF32 from './shaders/fma-f32.wgsl';

/** Runs of each form of a loop. The fastest counts, because a busy machine only ever slows a run down. */
const RUNS = 8;

export async function measureRoof(device: Device): Promise<Roof> {
  const f32Gflops = await fmaRate(device, fmaF32);
  const f16Gflops = device.info.features.includes('shader-f16') ? await fmaRate(device, fmaF16) : undefined;
  const copyGBs = await copyBandwidth(device);
  return { f32Gflops, ...(f16Gflops && { f16Gflops }), copyGBs, ...(await measureOverheads(device.gpu)) };
}

// Twins of parts/fma.wgsl.
const FMA_WORKGROUP = 64;
const FLOPS_A_CHAIN_AND_ROUND = 2 * 4 * 8;
const CHAINS = [2, 4, 8];
/** After this many rounds every recurrence has reached its fixed point. */
const LEAST_ROUNDS = 8;
const MOST_ROUNDS = 2 ** 20;

/** Long enough that the start hardly counts, short enough that a desktop stays responsive. */
const LEAST_MS = 20;

/** GFLOP/s with the number of independent chains that suits the device best. */
async function fmaRate(device: Device, shader: Shader): Promise<number> {
  // enough invocations to fill the largest GPU; a CPU has a few threads
  const workgroups = device.info.isSoftware ? 256 : 16384;
  using output = device.zeros([workgroups * FMA_WORKGROUP]);
  let best = 0;
  for (const chains of CHAINS) {
    const run = (rounds: number) =>
      timeOf(
        device,
        {
          shader,
          constants: { CHAINS: chains },
          params: { rounds, factor: 0.5, addend: 0.5 },
          workgroups: [workgroups, 1, 1],
        },
        { output: output.storage('bench') },
      );
    device.runtime.clear(output.storage('bench'));
    await run(LEAST_ROUNDS);
    if ((await output.data()).some((sum) => sum !== 4 * chains)) throw new WrongRoofError(shader.name);
    let rounds = LEAST_ROUNDS;
    while (rounds < MOST_ROUNDS && (await run(rounds)) < LEAST_MS) rounds *= 2;
    const flops = FLOPS_A_CHAIN_AND_ROUND * chains * rounds * workgroups * FMA_WORKGROUP;
    best = Math.max(best, flops / (await fastest(() => run(rounds))) / 1e6);
  }
  return best;
}

const MIB = 2 ** 20;
// Twins of copy-rate.wgsl.
const copyRate_WORKGROUP = 256;
const VECTOR_BYTES = 16;
const VECTORS = [2, 4, 8];
/** Elements of the copy that are checked at the beginning, the middle and the end. */
const SAMPLE = 4096;

/** GB/s, read plus written, between buffers that are too large for any cache. */
async function copyBandwidth(device: Device): Promise<number> {
  const { maxBufferSize, maxStorageBufferBindingSize } = device.runtime.limits;
  const wanted = (device.info.isSoftware ? 64 : 256) * MIB;
  const bytes = Math.floor(Math.min(wanted, maxBufferSize, maxStorageBufferBindingSize) / MIB) * MIB;
  const pattern = Uint32Array.from({ length: bytes / 4 }, (_, i) => Math.imul(i, 0x9e3779b1));
  using x = device.tensor(pattern, [pattern.length]);
  using output = device.zeros([pattern.length], { dtype: 'uint32' });
  let best = 0;
  for (const vectors of VECTORS) {
    const run = () =>
      timeOf(
        device,
        {
          shader: copyRate,
          constants: { VECTORS: vectors },
          params: {},
          workgroups: [bytes / (VECTOR_BYTES * copyRate_WORKGROUP * vectors), 1, 1],
        },
        { x: x.storage('bench'), output: output.storage('bench') },
      );
    device.runtime.clear(output.storage('bench'));
    await run();
    for (const start of [0, (pattern.length - SAMPLE) / 2, pattern.length - SAMPLE]) {
      if (!(await isCopied(output, pattern, start))) throw new WrongRoofError(copyRate.name);
    }
    best = Math.max(best, (2 * bytes) / (await fastest(run)) / 1e6);
  }
  return best;
}

async function isCopied(output: Tensor, pattern: Uint32Array, start: number): Promise<boolean> {
  using sample = output.slice(0, start, start + SAMPLE);
  const copied = await sample.data();
  return copied.every((value, i) => value === pattern[start + i]);
}

/** Milliseconds by the GPU's clock, or by the host's if there is none. */
async function timeOf(device: Device, launch: Launch, bindings: Bindings): Promise<number> {
  const start = performance.now();
  const { gpuTime } = await device.profile(() => device.runtime.dispatch(launch, bindings));
  return gpuTime ?? performance.now() - start;
}

async function fastest(run: () => Promise<number>): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < RUNS; i++) least = Math.min(least, await run());
  return least;
}

/** The rate of a device that miscalculates would mean nothing. */
class WrongRoofError extends WebGPUAttentionError {
  override name = 'WrongRoofError';

  constructor(shader: string) {
    super(`bench: ${shader} must give the right numbers before it is timed, got others: the device miscalculates`);
  }
}
