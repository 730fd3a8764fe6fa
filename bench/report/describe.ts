/** How the report names cases and writes numbers, on the page as in the tables of docs/benchmarks.md. */
import type { CaseResult, DeviceRecord, OpName, Timing } from '../result.ts';

/** Ops that one colour stands for. */
export type Family = 'matmul' | 'softmax' | 'materialised' | 'flash' | 'cache' | 'local' | 'modules';

export const FAMILIES: readonly Family[] = ['matmul', 'softmax', 'materialised', 'flash', 'cache', 'local', 'modules'];

const FAMILY_OF: Readonly<Record<OpName, Family>> = {
  matmul: 'matmul',
  softmax: 'softmax',
  scaledDotProductAttention: 'materialised',
  flashAttention: 'flash',
  localAttention: 'local',
  mergeAttention: 'flash',
  'KeyValueCache.attend': 'cache',
  'KeyValueCache.append': 'cache',
  'PagedKeyValueCache.attend': 'cache',
  'PagedKeyValueCache.append': 'cache',
  'scaledDotProductAttention.train': 'materialised',
  'flashAttention.train': 'flash',
  'localAttention.train': 'local',
  SelfAttention: 'modules',
  MultiHeadAttention: 'modules',
  CrossAttention: 'modules',
  LocalAttention: 'modules',
};

export function familyOf({ op }: CaseResult): Family {
  return FAMILY_OF[op];
}

/** Shown in place of a missing number. */
export const NOTHING = '–';

/** `8×1024×64`, `1024³`: a leading length of 1 is left out. */
export function shortShape({ op, shape }: CaseResult): string {
  const lengths = shape.slice(shape[0] === 1 && shape.length > 2 ? 1 : 0);
  const isCube = op === 'matmul' && lengths.length === 3 && lengths.every((length) => length === lengths[0]);
  return isCube ? `${lengths[0]}³` : lengths.join('×');
}

/** `causal, ±64, key mask`; empty for the usual case. */
export function variant(result: CaseResult): string {
  const { causal, window, mask, keyLength, keyLengths, kvHeads, heads, softcap, alibi, sinks, via, parts } = result;
  return [
    causal && 'causal',
    window !== undefined && `±${window}`,
    mask && `${mask} mask`,
    softcap !== undefined && `softcap ${softcap}`,
    alibi && 'ALiBi',
    sinks && 'sinks',
    via && `by ${via}`,
    keyLength !== undefined && `${keyLength} keys`,
    keyLengths && `${Math.min(...keyLengths)} to ${Math.max(...keyLengths)} keys`,
    parts !== undefined && `${parts} parts`,
    kvHeads !== undefined && `${kvHeads} kv heads`,
    heads !== undefined && `${heads} heads`,
  ]
    .filter(Boolean)
    .join(', ');
}

/** The times by the GPU's clock if there is one. */
export function timing({ gpu, wall }: CaseResult): Timing {
  return gpu ?? wall;
}

export function isPositive(value: number): boolean {
  return Number.isFinite(value) && value > 0;
}

/** Three digits, such as `0.0321`, `4.80`, `1,234`. JSON writes infinities and NaN as null, which counts as missing. */
export function digits(value: number | undefined): string {
  if (!Number.isFinite(value)) return NOTHING;
  const size = Math.abs(value!);
  if (size === 0) return '0';
  if (size < 1e-3) return value!.toExponential(1);
  return size >= 999.5 ? Math.round(value!).toLocaleString('en') : value!.toPrecision(3);
}

/** `38 %`, `0.4 %`. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return NOTHING;
  const value = 100 * share;
  return `${value === 0 || value >= 0.95 ? Math.round(value) : Number(value.toPrecision(1))} %`;
}

/** `85.2 GFLOP/s`, `61.3 TFLOP/s`. */
export function rate(gflops: number): string {
  return gflops >= 10_000 ? `${digits(gflops / 1000)} TFLOP/s` : `${digits(gflops)} GFLOP/s`;
}

/** `4 May 2026`, in UTC, so that it reads the same everywhere. */
export function day(date: string): string {
  return new Date(date).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  });
}

/** `lavapipe, on the CPU`. */
export function driverName({ driver, isSoftware }: DeviceRecord): string {
  return isSoftware ? `${driver}, on the CPU` : driver;
}
