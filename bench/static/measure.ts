/**
 * What a kernel costs by its machine code: the whole step of its outermost loop, and its hot loops.
 *
 * A bound is the share of a SIMD's multiply-adds that could be useful ones if nothing ever waited: by issue, where scalar and
 * memory instructions issue beside vector ones, and by workgroup memory, where the bytes of all lanes count. No latency, no
 * caches, no bank conflicts: it is a bound from above, and predicts no time.
 */
import type { Capture } from './capture.ts';
import { residency, type Chip } from './chips.ts';
import { countCode, NOTHING, plus, type Counts } from './counts.ts';
import { hasInner, loopsOf, roundsOf, type Loop } from './loops.ts';
import { runWorkgroup, type Visits } from './wave/run.ts';

/** What a problem needs at least: its operation count, and the bytes that must move. */
export interface Work {
  readonly multiplyAdds?: number;
  readonly bytes?: number;
  /** Multiply-adds that may be executed for each of `multiplyAdds`. Default 1.1: softmax and addresses take a few. */
  readonly most?: number;
  /** The machine code is not run, because the interpreter does not know its instructions: only the resources are measured. */
  readonly isNotRun?: boolean;
}

/** Costs of one round of a loop for one wave. */
export interface LoopCost extends Counts {
  /** Rounds of a wave. */
  readonly rounds: number;
  /** Useful multiply-adds of a wave's lane in a round; for a part of a step, those that are executed. */
  readonly useful: number;
  readonly issue: number;
  /** Infinity without workgroup memory. */
  readonly memory: number;
}

export interface KernelCost {
  readonly wave: 32 | 64;
  readonly registers: number;
  readonly spills: number;
  readonly scratch: number;
  /** Bytes of workgroup memory. */
  readonly shared: number;
  readonly invocations: number;
  readonly codeSize: number;
  /** Waves of 64 a SIMD. */
  readonly residency: number;
  /** The outermost loop with the multiply-adds, if they are what the kernel is about. */
  readonly step?: LoopCost;
  /** Innermost loops that do much of the work. */
  readonly loops: readonly LoopCost[];
  /** Multiply-adds that the whole dispatch executes, if its workgroups are alike. */
  readonly multiplyAdds: number;
  /** v_min_u32 that a wave executes in loops, once a round of the step if there is one. */
  readonly minima: number;
  /** Bytes moved over those that must move. */
  readonly moved?: number;
}

/** The share of a kernel's multiply-adds that its step has. */
const MOST = 0.9;
/** A loop is hot if it has this share of the kernel's clocks. */
const HOT = 0.05;

/** @throws Error if the path that the kernel takes does not do the problem's work */
export function measureKernel(capture: Capture, chip: Chip, work: Work): KernelCost {
  const { statistics, program, dispatch } = capture;
  const statistic = (name: string): number => {
    const value = statistics.get(name);
    if (value === undefined)
      throw new Error(`Mesa's statistics must have '${name}', got ${[...statistics.keys()].join(', ')}`);
    return value;
  };
  const wave = statistic('Subgroup size') === 32 ? 32 : 64;
  const invocations = statistic('Workgroup');
  const [registers, shared] = [statistic('VGPRs'), statistic('LDS size')];
  const resources = {
    wave,
    registers,
    spills: statistic('Spilled VGPRs') + statistic('Spilled SGPRs'),
    scratch: statistic('Scratch size'),
    shared,
    invocations,
    codeSize: statistic('Code size'),
    residency: residency(chip, { wave, registers, shared, invocations }),
  } as const;
  if (work.isNotRun) return { ...resources, loops: [], multiplyAdds: 0, minima: 0 };
  if (!dispatch) throw new Error('the kernel must be dispatched');
  const visits = runWorkgroup({ program, dispatch, wave, invocations });
  const costs = program.map(({ code }) => countCode(code, chip, wave));
  const groups = dispatch.groups.reduce((product, count) => product * count, 1);
  const usefulOfLane = (work.multiplyAdds ?? 0) / groups / (visits.waves * wave);
  const total = sum(costs, visits);
  checkWork(total, visits.waves, usefulOfLane, work.most);
  const loops = loopsOf(program);
  const step = work.multiplyAdds === undefined ? undefined : outermost(loops, costs, visits);
  const moved = work.bytes === undefined ? undefined : ((visits.loaded + visits.stored) * groups) / work.bytes;
  const hot = loops.filter((loop) => !hasInner(loop, loops) && sum(costs, visits, loop).clocks > HOT * total.clocks);
  const inLoops = visits.blocks.map((count, i) => (loops.some(({ blocks }) => blocks.has(i)) ? count : 0));
  const rounds = step ? roundsOf(step, visits.blocks) : visits.waves;
  return {
    ...resources,
    ...(step && { step: loopCost(step, costs, visits, chip, wave, usefulOfLane) }),
    loops: hot.map((loop) => loopCost(loop, costs, visits, chip, wave)),
    multiplyAdds: total.multiplyAdds * wave * groups,
    minima: sum(costs, { ...visits, blocks: inLoops }).minima / rounds,
    ...(moved !== undefined && { moved }),
  };
}

function checkWork(total: Counts, waves: number, useful: number, most = 1.1): void {
  const executed = total.multiplyAdds / waves;
  // a compiler may leave some as a product and a sum
  const apart = Math.min(total.products, total.sums) / waves;
  if (useful === 0 || (executed + apart >= useful && executed <= most * useful)) return;
  throw new Error(
    `the path through the machine code does ${executed} multiply-adds a lane, the problem needs ${useful}: ` +
      'the wrong path was followed, or the operation count is wrong',
  );
}

function sum(costs: readonly Counts[], { blocks }: Visits, loop?: Loop): Counts {
  return blocks.reduce(
    (known, count, i) => (count > 0 && (!loop || loop.blocks.has(i)) ? plus(known, costs[i], count) : known),
    NOTHING,
  );
}

/** The outermost loop that does nearly all multiply-adds, in more than one round. */
function outermost(loops: readonly Loop[], costs: readonly Counts[], visits: Visits): Loop | undefined {
  const all = sum(costs, visits).multiplyAdds;
  return loops.find(
    (loop) => sum(costs, visits, loop).multiplyAdds > MOST * all && roundsOf(loop, visits.blocks) > visits.waves,
  );
}

/** `useful`: multiply-adds of a lane in all rounds; by default those that are executed. */
function loopCost(
  loop: Loop,
  costs: readonly Counts[],
  visits: Visits,
  chip: Chip,
  wave: 32 | 64,
  useful?: number,
): LoopCost {
  const rounds = roundsOf(loop, visits.blocks);
  const round = plus(NOTHING, sum(costs, visits, loop), 1 / rounds);
  const ofWave = rounds / visits.waves;
  const own = useful === undefined ? round.multiplyAdds : useful / ofWave;
  return {
    ...round,
    rounds: ofWave,
    useful: own,
    issue: (own * wave) / (chip.multiplyAdds * round.clocks),
    memory: (own * chip.sharedBytes) / (round.sharedBytes * chip.multiplyAdds),
  };
}
