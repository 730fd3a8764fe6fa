/** The committed result of a chip, and what has become worse since. */
import type { Chip } from './chips.ts';
import type { KernelCost, LoopCost } from './measure.ts';

/** A loop's figures, a round. */
export interface LoopRecord {
  /** Rounds of a wave. */
  readonly rounds: number;
  readonly multiplyAdds: number;
  readonly otherVector: number;
  readonly sharedBytes: number;
  readonly sharedWide: number;
  readonly sharedNarrow: number;
  readonly loadsWide: number;
  readonly loadsNarrow: number;
  /** Accesses of scratch. */
  readonly scratch: number;
  readonly barriers: number;
  /** Shares of the peak, by issue and by workgroup memory, which some loops do not touch. */
  readonly issue: number;
  readonly memory?: number;
}

export interface KernelRecord {
  readonly registers: number;
  readonly spills: number;
  readonly scratch: number;
  readonly shared: number;
  readonly codeSize: number;
  readonly residency: number;
  /** Dawn's clamps of indices in loops: once a round of the step, or once a wave. */
  readonly clamps: number;
  readonly moved?: number;
  readonly step?: LoopRecord;
  /** Hot loops; not in the committed file. */
  readonly loops?: readonly LoopRecord[];
}

export interface StaticRecord {
  readonly chip: string;
  readonly generation: string;
  /** Mesa's version, as its driver states it, and that of the npm package with Dawn. */
  readonly mesa: string;
  readonly webgpu: string;
  /** By kernel, then by size of wave: `wave64`. */
  readonly kernels: Readonly<Record<string, Readonly<Record<string, KernelRecord>>>>;
}

type Costs = Readonly<Record<string, KernelCost>>;

export interface Compiled {
  readonly chip: Chip;
  readonly mesa: string;
  readonly webgpu: string;
  /** By wave, `wave64`, then by kernel; `unclamped` is without Dawn's clamps. */
  readonly costs: Readonly<Record<string, Costs>>;
}

export function recordOf({ chip, mesa, webgpu, costs }: Compiled): StaticRecord {
  const { unclamped = {}, ...waves } = costs;
  const kernels: Record<string, Record<string, KernelRecord>> = {};
  for (const [wave, byKernel] of Object.entries(waves)) {
    for (const [name, cost] of Object.entries(byKernel)) {
      (kernels[name] ??= {})[wave] = kernelRecord(cost, unclamped[name]);
    }
  }
  return { chip: chip.family, generation: chip.generation, mesa, webgpu, kernels };
}

function kernelRecord(cost: KernelCost, unclamped: KernelCost | undefined): KernelRecord {
  const { registers, spills, scratch, shared, codeSize, step, loops, moved } = cost;
  return {
    registers,
    spills,
    scratch,
    shared,
    codeSize,
    residency: rounded(cost.residency),
    clamps: rounded(Math.max(0, cost.minima - (unclamped?.minima ?? 0))),
    ...(moved !== undefined && { moved: rounded(moved) }),
    ...(step && { step: loopRecord(step) }),
    loops: loops.map(loopRecord),
  };
}

function loopRecord(loop: LoopCost): LoopRecord {
  const { rounds, useful, multiplyAdds, otherVector, sharedBytes, sharedWide, sharedNarrow, issue, memory } = loop;
  const { loadsWide, loadsNarrow, scratch, barriers } = loop;
  const figures = {
    rounds,
    multiplyAdds: useful,
    // what is no useful multiply-add is other work
    otherVector: otherVector + multiplyAdds - useful,
    sharedBytes,
    sharedWide,
    sharedNarrow,
    loadsWide,
    loadsNarrow,
    scratch,
    barriers,
    issue,
    ...(sharedBytes > 0 && { memory }),
  };
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, rounded(value)]),
  ) as unknown as LoopRecord;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

export function formatRecord(record: StaticRecord): string {
  return `${JSON.stringify(record, (key, value: unknown) => (key === 'loops' ? undefined : value), 2)}\n`;
}

/** The lower of the two bounds; undefined for a kernel that is not about multiply-adds. */
export function boundOf({ step }: KernelRecord): number | undefined {
  return step && Math.min(step.issue, step.memory ?? 1, 1);
}

/** Registers by which a kernel may grow, and shares of its code and of its bounds that are noise. */
const MORE_REGISTERS = 12;
const MORE_CODE = 1.1;
const NOISE = 0.005;

/** A line for each figure that is worse than recorded. Kernels that are new, or gone, are named too. */
export function differences(recorded: StaticRecord, now: StaticRecord): string[] {
  const names = [...new Set([...Object.keys(recorded.kernels), ...Object.keys(now.kernels)])];
  return names.flatMap((name) => {
    const [before, after] = [recorded.kernels[name], now.kernels[name]];
    if (!before) return [`${name}: it is not recorded`];
    if (!after) return [`${name}: it is recorded, and was not compiled`];
    return Object.entries(before).flatMap(([wave, old]) =>
      after[wave] === undefined
        ? [`${name}, ${wave}: it was not compiled`]
        : worse(old, after[wave]).map((what) => `${name}, ${wave}: ${what}`),
    );
  });
}

function worse(before: KernelRecord, after: KernelRecord): string[] {
  const lines: string[] = [];
  const atMost = (what: string, value: number, limit: number): void => {
    if (!(value <= limit)) lines.push(`${what} must be at most ${rounded(limit)}, got ${value}`);
  };
  const atLeast = (what: string, value: number | undefined, limit: number | undefined): void => {
    if (limit !== undefined && !((value ?? 0) >= limit - NOISE)) {
      lines.push(`${what} must be at least ${limit}, got ${value ?? 'none'}`);
    }
  };
  atMost('spilled registers', after.spills, before.spills);
  atMost('bytes of scratch', after.scratch, before.scratch);
  atMost('clamps of indices in loops', after.clamps, before.clamps);
  atMost('registers', after.registers, before.registers + MORE_REGISTERS);
  atMost('bytes of code', after.codeSize, before.codeSize * MORE_CODE);
  if (before.moved !== undefined)
    atMost('bytes moved over those that must', after.moved ?? Infinity, before.moved * (1 + NOISE));
  atLeast('the bound by issue', after.step?.issue, before.step?.issue);
  atLeast('the bound by workgroup memory', after.step && (after.step.memory ?? 1), before.step?.memory);
  return lines;
}
