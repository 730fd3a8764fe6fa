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

/** A pointer of 32 bits gets its high word from `s_movk_i32 …, 0x8000`, in a copy or in place. */
function isPointer(register: number, code: readonly Instruction[]): boolean {
  const isCompleted = (low: number): boolean =>
    code.some(
      ({ name, operands }) => name === 's_movk_i32' && operands[0] === `s${low + 1}` && operands[1] === '0x8000',
    ) && isBase(low, code);
  const use = code.find(({ operands }) => operands.slice(1).some((text) => scalarsOf(text).includes(register)));
  if (use?.name === 's_mov_b32') {
    const copy = parseOperand(use.operands[0]);
    return copy.kind === 'scalar' && isCompleted(copy.at);
  }
  return use?.name.startsWith('s_load') === true && isCompleted(register);
}

/** Whether the first use of this register and the next is as a pointer of 64 bits. */
function isPair(register: number, code: readonly Instruction[]): boolean {
  const use = code.find(({ operands }) => operands.slice(1).some((text) => scalarsOf(text).includes(register)));
  return use?.name.startsWith('s_load_') === true && use.operands[1] === `s[${register}:${register + 1}]`;
}

/** Whether memory is read through a pointer in this register and the next. */
function isBase(register: number, code: readonly Instruction[]): boolean {
  return code.some(
    ({ name, operands }) => name.startsWith('s_load_') && operands[1] === `s[${register}:${register + 1}]`,
  );
}

function isWaveNumber(register: number, code: readonly Instruction[]): boolean {
  const use = code.find(({ operands }) => operands.slice(1).includes(`s${register}`));
  return use?.name === 's_and_b32' && use.operands.includes('0xfc0');
}
