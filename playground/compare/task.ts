/** Measures materialised, flash and local attention over lengths, with the benchmark's own workloads and checks. */
import { WebGPUAttentionError, type Device } from 'webgpu-attention';
import { largestTensor } from '../../bench/cost.ts';
import { kernelChoiceOf } from '../../bench/kernel.ts';
import { effortOn, measure } from '../../bench/measure.ts';
import type { BenchCase, Roof } from '../../bench/result.ts';
import type { CompareEvent, ComparedOp, Line, Tasks } from '../background/tasks.ts';

const OPS: readonly ComparedOp[] = ['scaledDotProductAttention', 'flashAttention', 'localAttention'];
const SHORTEST = 128;
const HEADS = 8;
const HEAD_DIM = 64;
const WINDOW = 64;
/** Shares of what the device can do are not shown, so it is not measured. */
const NO_ROOF: Roof = { f32Gflops: 1, copyGBs: 1, dispatchUs: 0, passUs: 0, submitUs: 0 };
const RUNS_IN_SOFTWARE = 3;

export async function compare(
  device: Device,
  { longest, isCausal }: Tasks['compare']['input'],
  { emit, signal }: Line<CompareEvent>,
): Promise<void> {
  const effort = effortOn(device, device.info.isSoftware ? RUNS_IN_SOFTWARE : undefined);
  for (let length = SHORTEST; length <= longest; length *= 2) {
    for (const op of OPS) {
      signal.throwIfAborted();
      const bench: BenchCase = {
        op,
        shape: [1, HEADS, length, HEAD_DIM],
        dtype: 'float32',
        causal: isCausal,
        ...(op === 'localAttention' && { window: WINDOW }),
      };
      emit({ op, length, ...(await figuresOf(device, bench, effort)) });
    }
  }
}

async function figuresOf(
  device: Device,
  bench: BenchCase,
  effort: Parameters<typeof measure>[3],
): Promise<Pick<CompareEvent, 'figures' | 'failure'>> {
  const most = device.info.limits['maxStorageBufferBindingSize'];
  if (largestTensor(bench) > most) {
    return { failure: `its scores need ${largestTensor(bench)} bytes in one buffer, and the device binds ${most}` };
  }
  try {
    const { gpu, wall, extraBytes, error } = await measure(device, bench, NO_ROOF, effort);
    const choice = kernelChoiceOf(device, bench);
    return {
      figures: {
        time: (gpu ?? wall).median,
        isGpuTime: gpu !== undefined,
        memory: extraBytes,
        error,
        kernel: choice?.variant.name ?? 'matmul, softmax, matmul',
        reason: choice?.reason ?? 'scores are written out between three kernels',
      },
    };
  } catch (error) {
    if (error instanceof WebGPUAttentionError) return { failure: error.message };
    throw error;
  }
}
