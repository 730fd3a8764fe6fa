/** The generations that the tool compiles for: how fast a SIMD issues, and what it has room for. */
import type { Instruction } from './isa.ts';

export interface Chip {
  /** Mesa's name, for RADV_FORCE_FAMILY. */
  readonly family: string;
  readonly generation: string;
  /** Sizes of a wave that it runs. */
  readonly waves: readonly (32 | 64)[];
  /** Multiply-adds of f32 that a SIMD does in a clock at most. */
  readonly multiplyAdds: number;
  /** Clocks for which a vector instruction of such a wave keeps a SIMD busy. */
  readonly clocks: (instruction: Instruction, wave: 32 | 64) => number;
  /** Bytes of workgroup memory that the lanes of a SIMD read or write in a clock. */
  readonly sharedBytes: number;
  /** Bytes of workgroup memory of a unit, the granule in which they are given out, and the unit's SIMDs. */
  readonly sharedSize: number;
  readonly sharedGranule: number;
  readonly simds: number;
  /** Vector registers that a SIMD has for waves of 64, and the granule in which a wave of 64 gets them. */
  readonly registers: number;
  readonly registerGranule: number;
  /** Waves that a SIMD keeps at most, whatever their size. */
  readonly mostWaves: number;
}

/** RDNA3 does the two halves of a wave64 in one clock for these. */
const TWO_HALVES = /^v_((fma|fmac|mul|add|sub|subrev|max|min|dot2)\w*_(f32|f16)|mov_b32|cndmask_b32)$/;
const MATRIX_CLOCKS = 16;

export const CHIPS: Readonly<Record<string, Chip>> = {
  navi31: {
    family: 'navi31',
    generation: 'RDNA3',
    waves: [64, 32],
    multiplyAdds: 64,
    clocks(instruction, wave) {
      if (instruction.name.startsWith('v_wmma')) return (MATRIX_CLOCKS * wave) / 32;
      return wave === 64 && !TWO_HALVES.test(instruction.name) ? 2 : 1;
    },
    sharedBytes: 64,
    sharedSize: 128 * 1024,
    sharedGranule: 1024,
    simds: 4,
    registers: 768,
    registerGranule: 12,
    mostWaves: 16,
  },
  navi21: {
    family: 'navi21',
    generation: 'RDNA2',
    waves: [64, 32],
    multiplyAdds: 32,
    clocks: (_, wave) => wave / 32,
    sharedBytes: 64,
    sharedSize: 128 * 1024,
    sharedGranule: 1024,
    simds: 4,
    registers: 512,
    registerGranule: 8,
    mostWaves: 16,
  },
  vega10: {
    family: 'vega10',
    generation: 'GCN 5',
    waves: [64],
    multiplyAdds: 16,
    clocks: (_, wave) => wave / 16,
    sharedBytes: 32,
    sharedSize: 64 * 1024,
    sharedGranule: 512,
    simds: 4,
    registers: 256,
    registerGranule: 4,
    mostWaves: 10,
  },
};

/**
 * Waves of 64 a SIMD that fit by registers and by workgroup memory, not rounded. A wave of 32 counts as half of one.
 */
export function residency(
  chip: Chip,
  kernel: { readonly wave: 32 | 64; readonly registers: number; readonly shared: number; readonly invocations: number },
): number {
  const { wave, registers, shared, invocations } = kernel;
  const roundUp = (value: number, granule: number): number => Math.max(1, Math.ceil(value / granule)) * granule;
  // a wave of 32 gets half of the file's width: twice the granule, of twice as many registers
  const scale = 64 / wave;
  const byRegisters = Math.floor((scale * chip.registers) / roundUp(registers, scale * chip.registerGranule));
  const waves = Math.ceil(invocations / wave);
  const byMemory =
    shared === 0 ? Infinity : (Math.floor(chip.sharedSize / roundUp(shared, chip.sharedGranule)) * waves) / chip.simds;
  return Math.min(byRegisters, chip.mostWaves, byMemory) / scale;
}
