/** A whole run: it measures what the device can do, then the cases. */
import { DeviceLostError, WebGPUAttentionError } from '../src/index.ts';
import type { Device } from '../src/index.ts';
import { checkWait } from '../src/tensor/options.ts';
import { caseName } from './cases.ts';
import { describeEnvironment } from './environment.ts';
import { effortOn, measure } from './measure.ts';
import { FORMAT, type BenchCase, type BenchResult, type CaseResult, type Failure } from './result.ts';
import { measureRoof } from './roof.ts';

export interface RunOptions {
  readonly cases: readonly BenchCase[];
  /** Timed runs of each case; by default as many as fit in about a second. */
  readonly runs?: number;
  /** Receives what is measured now, and how many cases are done. */
  readonly progress?: (name: string, done: number) => void;
  /** Ends the run after the present case, which rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Notes a case that gives a wrong result or cannot run in `failures`, and goes on with the others. */
export async function runBench(device: Device, { cases, runs, progress, signal }: RunOptions): Promise<BenchResult> {
  checkWait('runBench', { signal });
  const date = new Date().toISOString();
  progress?.('the device itself', 0);
  const roof = await measureRoof(device);
  const effort = effortOn(device, runs);
  const results: CaseResult[] = [];
  const failures: Failure[] = [];
  for (const [done, bench] of cases.entries()) {
    signal?.throwIfAborted();
    const name = caseName(bench);
    progress?.(name, done);
    try {
      results.push(await measure(device, bench, roof, effort));
    } catch (error) {
      if (!(error instanceof WebGPUAttentionError) || error instanceof DeviceLostError) throw error;
      failures.push({ name, reason: error.message });
    }
  }
  return {
    format: FORMAT,
    date,
    ...describeEnvironment(device.info),
    roof,
    cases: results,
    ...(failures.length > 0 && { failures }),
  };
}
