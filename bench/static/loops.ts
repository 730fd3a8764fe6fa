/** Loops of a program, and how often each went round. */
import type { Block } from './isa.ts';

export interface Loop {
  /** The block that it comes back to. */
  readonly header: number;
  readonly blocks: ReadonlySet<number>;
  /** The blocks that go back, as often as there were rounds. */
  readonly latches: readonly number[];
}

/** Natural loops by their back edges, the outermost of a nest first. */
export function loopsOf(program: readonly Block[]): Loop[] {
  const latches = new Map<number, number[]>();
  const before: number[][] = program.map(() => []);
  program.forEach(({ next }, i) => {
    for (const to of next) {
      before[to].push(i);
      if (to <= i) latches.set(to, [...(latches.get(to) ?? []), i]);
    }
  });
  const loops = [...latches].map(([header, ends]): Loop => {
    const blocks = new Set([header, ...ends]);
    const open = ends.filter((end) => end !== header);
    for (let block = open.pop(); block !== undefined; block = open.pop()) {
      for (const from of before[block]) {
        if (blocks.has(from) || from < header) continue;
        blocks.add(from);
        open.push(from);
      }
    }
    return { header, blocks, latches: ends };
  });
  return loops.sort((a, b) => b.blocks.size - a.blocks.size);
}

/** Rounds, given how often each block ran. */
export function roundsOf({ latches }: Loop, visits: readonly number[]): number {
  return latches.reduce((sum, latch) => sum + visits[latch], 0);
}

/** Whether another of the loops lies inside. */
export function hasInner(loop: Loop, loops: readonly Loop[]): boolean {
  return loops.some((other) => other !== loop && loop.blocks.has(other.header) && other.blocks.size < loop.blocks.size);
}
