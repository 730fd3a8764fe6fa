/** Small results for tests. */
import { FORMAT, type BenchResult, type CaseResult, type Timing } from '../../bench/result.ts';

/** A median with an interval of so much to either side. */
export function timing(median: number, noise = 0.01): Timing {
  const [low, high] = [1 - noise, 1 + noise].map((share) => Number((share * median).toPrecision(6)));
  return { median, min: low, max: high, low, high, runs: 9 };
}

export function caseOf(name: string, rest: Partial<CaseResult> = {}): CaseResult {
  return {
    name,
    op: 'matmul',
    shape: [1, 8, 8, 8],
    dtype: 'float32',
    causal: false,
    gpu: timing(10),
    wall: timing(12),
    error: 1e-6,
    tolerance: 1e-4,
    flops: 1024,
    bytes: 768,
    gflops: 1,
    gbs: 1,
    roofShare: 0.1,
    extraBytes: 0,
    ...rest,
  };
}

export function resultOf(cases: readonly CaseResult[], rest: Partial<BenchResult> = {}): BenchResult {
  return {
    format: FORMAT,
    date: '2026-01-02T03:04:05.678Z',
    versions: { package: '1.2.3', runtime: 'node 20.0.0', webgpu: 'webgpu 0.1.0' },
    device: {
      name: 'Some GPU',
      vendor: 'maker',
      architecture: 'chip',
      description: 'driver 1',
      driver: 'hardware',
      isSoftware: false,
    },
    host: { platform: 'linux-x64', cpu: 'Some CPU', cores: 2 },
    roof: { f32Gflops: 1000, copyGBs: 100, dispatchUs: 5, passUs: 5, submitUs: 50 },
    cases,
    ...rest,
  };
}
