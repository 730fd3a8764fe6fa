/** What a kernel finds in its scalar registers: RADV's calling convention, read off the kernel's first uses. */
import type { Block, Instruction } from '../isa.ts';
import { parseOperand } from './registers.ts';

export interface Entry {
  /** Registers that hold pointers, in order: those of descriptor sets, then that of dynamic descriptors. */
  readonly pointers: readonly number[];
  /** The pair that points at the number of workgroups, or the first of three registers that hold it. */
  readonly groupsPointer?: number;
  readonly groups?: number;
  /** The registers of the workgroup's place in x, y and z, where the kernel reads it. */
  readonly places: readonly number[];
  /** The register whose bits 6 to 11 are the wave's number in its workgroup. */
  readonly waveNumber?: number;
}

/** The first user register; those before it hold what compute kernels do not need. */
const FIRST = 2;
const LAST = 15;

export function entryOf(program: readonly Block[]): Entry {
  const code = program.flatMap(({ code: own }) => own);
  const inputs = inputsOf(code);
  const pointers = inputs.filter((register) => isPointer(register, code));
  const groupsPointer = inputs.find(
    (register) => inputs.includes(register + 1) && !pointers.includes(register) && isPair(register, code),
  );
  const after = groupsPointer === undefined ? (pointers.at(-1) ?? FIRST - 1) + 1 : groupsPointer + 2;
  const waveNumber = inputs.find((register) => isWaveNumber(register, code));
  const rest = inputs.filter((register) => register >= after && register !== waveNumber);
  // three registers of the number of workgroups come first where there are more than three of its places
  const holdsGroups = groupsPointer === undefined && (rest.at(-1) ?? 0) >= after + 3;
  const first = holdsGroups ? after + 3 : after;
  return {
    pointers,
    groupsPointer,
    ...(holdsGroups && { groups: after }),
    places: [first, first + 1, first + 2].filter((register) => rest.includes(register)),
    waveNumber,
  };
}

/** The registers that are read before anything is written to them. */
function inputsOf(code: readonly Instruction[]): number[] {
  const written = new Set<number>();
  const inputs = new Set<number>();
  for (const { name, operands } of code) {
    const writes = !/^(s_cmp|s_bitcmp|s_cbranch|s_waitcnt|buffer_store|ds_store|s_branch)/.test(name);
    operands.forEach((operand, i) => {
      if (i === 0 && writes && !/^s_(add|mul)k_i32$/.test(name)) return;
      for (const register of scalarsOf(operand)) {
        if (register >= FIRST && register <= LAST && !written.has(register)) inputs.add(register);
      }
    });
    if (writes) for (const register of scalarsOf(operands[0] ?? '')) written.add(register);
    // a comparison's mask
    if (writes && /^v_(add|sub)\w*_co/.test(name)) for (const register of scalarsOf(operands[1])) written.add(register);
  }
  return [...inputs].sort((a, b) => a - b);
}

function scalarsOf(operand: string): number[] {
  const range = /^-?\|?s(?:(\d+)|\[(\d+):(\d+)\])\|?$/.exec(operand);
  if (!range) return [];
  const first = Number(range[1] ?? range[2]);
  const last = Number(range[1] ?? range[3]);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** Instructions between a pointer's low word and its high word. */
const NEAR = 16;

/** A pointer of 32 bits gets its high word from `s_movk_i32 …, 0x8000` nearby, in a copy or in place before its first use. */
function isPointer(register: number, code: readonly Instruction[]): boolean {
  const isRead = ({ operands }: Instruction): boolean =>
    operands.slice(1).some((text) => scalarsOf(text).includes(register));
  const at = code.findIndex(isRead);
  const completes = (low: number, { name, operands: [target, value] }: Instruction): boolean =>
    name === 's_movk_i32' && target === `s${low + 1}` && value === '0x8000';
  const { name, operands } = code[at];
  if (name.startsWith('s_load'))
    return code.slice(Math.max(0, at - NEAR), at).some((step) => completes(register, step));
  if (name !== 's_mov_b32') return false;
  const copy = parseOperand(operands[0]);
  return copy.kind === 'scalar' && code.slice(at, at + NEAR).some((step) => completes(copy.at, step));
}

/** Whether the first use of this register and the next is as a pointer of 64 bits. */
function isPair(register: number, code: readonly Instruction[]): boolean {
  const use = code.find(({ operands }) => operands.slice(1).some((text) => scalarsOf(text).includes(register)));
  return use?.name.startsWith('s_load_') === true && use.operands[1] === `s[${register}:${register + 1}]`;
}

function isWaveNumber(register: number, code: readonly Instruction[]): boolean {
  const use = code.find(({ operands }) => operands.slice(1).includes(`s${register}`));
  return use?.name === 's_and_b32' && use.operands.includes('0xfc0');
}
