/**
 * Runs one workgroup of a kernel, instruction by instruction, on the uniforms of its dispatch and zeros everywhere else. What
 * comes out is how often each block runs: paths and trip counts are those of the kernel's own code.
 */
import type { Dispatch } from '../capture.ts';
import type { Block, Instruction } from '../isa.ts';
import { entryOf, type Entry } from './entry.ts';
import { Memory, memoryStep } from './memory.ts';
import { EXEC, LANES, registerOf, Registers, VCC } from './registers.ts';
import { scalarStep } from './scalar.ts';
import { vectorStep } from './vector.ts';

export interface Visits {
  readonly waves: number;
  /** How often the waves of the workgroup run each block. */
  readonly blocks: readonly number[];
  /** Bytes that the workgroup's lanes read from buffers, and write. */
  readonly loaded: number;
  readonly stored: number;
}

export interface Workgroup {
  readonly program: readonly Block[];
  readonly dispatch: Dispatch;
  /** Lanes of a wave. */
  readonly wave: 32 | 64;
  readonly invocations: number;
}

/** Blocks that a workgroup may run; a kernel that runs more was misread. */
const MOST_VISITS = 20_000_000;

/** @throws Error for an instruction that is not known */
export function runWorkgroup({ program, dispatch, wave, invocations }: Workgroup): Visits {
  const memory = new Memory(dispatch);
  const entry = entryOf(program);
  const pointers = pointersOf(entry, dispatch, memory);
  const blocks = program.map(({ code }) => compile(code, wave, memory));
  const visits = program.map(() => 0);
  const count = Math.ceil(invocations / wave);
  const waves = Array.from({ length: count }, (_, number) => {
    const registers = new Registers(wave);
    enter(registers, entry, pointers, dispatch, number * wave, invocations);
    return { registers, block: 0, at: 0, isDone: false };
  });
  let total = 0;
  // each wave runs to the next barrier, then the next one does
  while (waves.some(({ isDone }) => !isDone)) {
    for (const state of waves) {
      let isWaiting = false;
      while (!state.isDone && !isWaiting) {
        const block = blocks[state.block];
        if (state.at === 0) {
          visits[state.block]++;
          if (++total > MOST_VISITS) throw new Error('the kernel must end, and ran on');
        }
        while (state.at < block.length && !isWaiting) {
          const step = block[state.at++];
          if (step === 'barrier') isWaiting = true;
          else step(state.registers);
        }
        if (state.at < block.length) continue;
        const next = successor(program, state.block, state.registers);
        if (next === undefined) state.isDone = true;
        else [state.block, state.at] = [next, 0];
      }
    }
  }
  return { waves: count, blocks: visits, loaded: memory.loaded, stored: memory.stored };
}

type Run = (registers: Registers) => void;
type Step = Run | 'barrier';

function compile(code: readonly Instruction[], wave: 32 | 64, memory: Memory): Step[] {
  const steps: Step[] = [];
  for (const instruction of code) {
    const { name, pair } = instruction;
    if (/^s_(branch|cbranch\w*|endpgm)$/.test(name)) continue;
    if (name === 's_barrier') steps.push('barrier');
    else if (pair) steps.push(pairStep(instruction, stepOf(instruction, wave, memory), stepOf(pair, wave, memory)));
    else steps.push(stepOf(instruction, wave, memory));
  }
  return steps;
}

/** Both halves of a pair read their sources before either writes its result. */
function pairStep({ operands }: Instruction, first: Run, second: Run): Run {
  const target = registerOf(operands[0]) * LANES;
  return (registers) => {
    const place = registers.vectors.subarray(target, target + LANES);
    const before = place.slice();
    first(registers);
    const result = place.slice();
    place.set(before);
    second(registers);
    place.set(result);
  };
}

function stepOf(instruction: Instruction, wave: 32 | 64, memory: Memory): Run {
  let step;
  let reason = 'is not known';
  try {
    step = memoryStep(instruction, memory) ?? scalarStep(instruction, wave) ?? vectorStep(instruction);
  } catch (error) {
    reason = (error as Error).message;
  }
  const { name, operands } = instruction;
  const text = `${name} ${operands.join(', ')}`;
  // it may lie on a path that is not taken
  return (
    step ??
    (() => {
      throw new Error(`${text}: ${reason}`);
    })
  );
}

/** Undefined at the end. */
function successor(program: readonly Block[], at: number, { condition, scalars, size }: Registers): number | undefined {
  const { code, next } = program[at];
  const last = code.at(-1)?.name ?? '';
  if (last === 's_endpgm') return undefined;
  if (!last.startsWith('s_cbranch_')) return next[0];
  const isZero = (register: number): boolean => scalars[register] === 0 && (size === 32 || scalars[register + 1] === 0);
  const taken: Record<string, () => boolean> = {
    scc0: () => !condition,
    scc1: () => condition,
    execz: () => isZero(EXEC),
    execnz: () => !isZero(EXEC),
    vccz: () => isZero(VCC),
    vccnz: () => !isZero(VCC),
  };
  const test = taken[last.slice('s_cbranch_'.length)];
  if (!test) throw new Error(`${last} is not known`);
  return test() ? next[0] : next[1];
}

function pointersOf({ pointers, groupsPointer }: Entry, { buffers }: Dispatch, memory: Memory): Map<number, number> {
  const sets = [...new Set(buffers.filter(({ isDynamic }) => !isDynamic).map(({ set }) => set))].sort((a, b) => a - b);
  const hasDynamic = buffers.some(({ isDynamic }) => isDynamic);
  const addresses = new Map<number, number>();
  pointers.forEach((register, i) => {
    const isDynamic = hasDynamic && i === pointers.length - 1;
    addresses.set(register, memory.addressOf(isDynamic ? { kind: 'dynamic' } : { kind: 'set', set: sets[i] ?? 0 }));
  });
  if (groupsPointer !== undefined) addresses.set(groupsPointer, memory.addressOf({ kind: 'groups' }));
  return addresses;
}

/** Fills the registers of the wave that begins at invocation `first` of the workgroup in the middle of the dispatch. */
function enter(
  { scalars, vectors, size }: Registers,
  { groups, places, waveNumber }: Entry,
  pointers: ReadonlyMap<number, number>,
  dispatch: Dispatch,
  first: number,
  invocations: number,
): void {
  for (const [register, address] of pointers) scalars[register] = address;
  if (groups !== undefined) dispatch.groups.forEach((count, axis) => (scalars[groups + axis] = count));
  places.forEach((register, axis) => (scalars[register] = Math.floor(dispatch.groups[axis] / 2)));
  if (waveNumber !== undefined) scalars[waveNumber] = ((first / size) << 6) | Math.ceil(invocations / size);
  for (let lane = 0; lane < size; lane++) vectors[lane] = first + lane;
  for (let lane = invocations - first; lane < size; lane++) scalars[EXEC + (lane >> 5)] &= ~(1 << (lane & 31));
}
