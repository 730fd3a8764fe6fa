/** What a wave's instructions are and cost. */
import type { Chip } from './chips.ts';
import type { Instruction } from './isa.ts';

export interface Counts {
  /** Vector instructions that multiply and add; one on pairs of halves counts two. */
  multiplyAdds: number;
  /** All other vector instructions; the halves of a pair count one each. */
  otherVector: number;
  /** Products and sums of floats, two of which may stand for a multiply-add. */
  products: number;
  sums: number;
  /** v_min_u32: Dawn's clamps of indices, and the source's own minima. */
  minima: number;
  /** Clocks in which the SIMD issues nothing else to its lanes. */
  clocks: number;
  /** Bytes of workgroup memory that each lane reads or writes. */
  sharedBytes: number;
  /** Accesses of workgroup memory of 16 bytes a lane, and of fewer. */
  sharedWide: number;
  sharedNarrow: number;
  /** Loads from buffers of 16 bytes a lane, and of fewer. */
  loadsWide: number;
  loadsNarrow: number;
  /** Loads and stores of memory of a lane's own: arrays and spilled registers that found no register. */
  scratch: number;
  barriers: number;
}

export const NOTHING: Counts = {
  multiplyAdds: 0,
  otherVector: 0,
  products: 0,
  sums: 0,
  minima: 0,
  clocks: 0,
  sharedBytes: 0,
  sharedWide: 0,
  sharedNarrow: 0,
  loadsWide: 0,
  loadsNarrow: 0,
  scratch: 0,
  barriers: 0,
};

/** a + times · b. */
export function plus(a: Counts, b: Counts, times = 1): Counts {
  const keys = Object.keys(NOTHING) as (keyof Counts)[];
  return Object.fromEntries(keys.map((key) => [key, a[key] + times * b[key]])) as unknown as Counts;
}

const MULTIPLY_ADD = /^v_(fma|fmac|fmaak|fmamk)_(f32|f16)$|^v_fma_mix/;
const TWO_MULTIPLY_ADDS = /^v_(pk_fma_f16|dot2)/;

export function countCode(code: readonly Instruction[], chip: Chip, wave: 32 | 64): Counts {
  const counts = { ...NOTHING };
  for (const instruction of code) countInstruction(counts, instruction, chip, wave);
  return counts;
}

function countInstruction(counts: Counts, instruction: Instruction, chip: Chip, wave: 32 | 64): void {
  const { name } = instruction;
  if (name.startsWith('v_')) {
    counts.clocks += chip.clocks(instruction, wave);
    for (const half of instruction.pair ? [instruction, instruction.pair] : [instruction]) {
      if (MULTIPLY_ADD.test(half.name)) counts.multiplyAdds++;
      else if (TWO_MULTIPLY_ADDS.test(half.name)) counts.multiplyAdds += 2;
      else counts.otherVector++;
      if (half.name === 'v_mul_f32') counts.products++;
      if (/^v_(add|sub|subrev)_f32$/.test(half.name)) counts.sums++;
      if (half.name === 'v_min_u32') counts.minima++;
    }
  } else if (name.startsWith('ds_')) {
    const bytes = sharedWidth(name);
    counts.sharedBytes += bytes;
    if (bytes === 16 && !name.includes('_2addr')) counts.sharedWide++;
    else counts.sharedNarrow++;
  } else if (name.startsWith('scratch_')) counts.scratch++;
  else if (/^(buffer|global|flat)_load/.test(name)) {
    if (name.endsWith('_b128')) counts.loadsWide++;
    else counts.loadsNarrow++;
  } else if (name === 's_barrier') counts.barriers++;
}

/** Bytes a lane. */
function sharedWidth(name: string): number {
  const bits = Number(/_[bui](\d+)$/.exec(name)?.[1] ?? 32);
  return ((name.includes('_2addr') ? 2 : 1) * bits) / 8;
}
