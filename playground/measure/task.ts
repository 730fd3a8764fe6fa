/** The benchmark runner's cases in the page. */
import type { Device } from 'webgpu-attention';
import { caseName, fullSet, QUICK } from '../../bench/cases.ts';
import type { BenchResult } from '../../bench/result.ts';
import { runBench } from '../../bench/run.ts';
import type { BenchSet, Line, Tasks } from '../background/tasks.ts';

/** Enough to see that all works, in some seconds. */
const LOOK = [
  'matmul 1x16x2048x2048 float32',
  'softmax 1x8x1024x1024 float32',
  'flashAttention 1x8x1x64 keys=4096 float32',
];

export async function measure(
  device: Device,
  { set }: Tasks['measure']['input'],
  { emit, signal }: Line<Tasks['measure']['event']>,
): Promise<BenchResult> {
  const { isSoftware, limits } = device.info;
  const sets: Readonly<Record<BenchSet, () => typeof QUICK>> = {
    look: () => QUICK.filter((bench) => LOOK.includes(caseName(bench))),
    standard: () => QUICK,
    everything: () => {
      return fullSet({ isSoftware, maxStorageBufferBindingSize: limits['maxStorageBufferBindingSize'] });
    },
  };
  const cases = sets[set]();
  return runBench(device, { cases, signal, progress: (name, done) => emit({ name, done, total: cases.length }) });
}
