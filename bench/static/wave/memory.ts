/** Memory as a workgroup sees it, and the instructions that read and write it. Stores to buffers are counted and forgotten. */
import type { BoundBuffer, Dispatch } from '../capture.ts';
import type { Instruction } from '../isa.ts';
import { LANES, parseOperand, registerOf, type Operand, type Registers } from './registers.ts';
import { readScalar } from './scalar.ts';

type Step = (registers: Registers) => void;

/** Where the descriptors of a set, the dynamic descriptors and the number of workgroups are said to lie. */
const POINTERS = 0x10000000;
const BUFFERS = 0x20000000;
const REGION = 0x10000;
const DESCRIPTOR_WORDS = 4;

export type Region =
  | { readonly kind: 'set'; readonly set: number }
  | { readonly kind: 'dynamic' }
  | { readonly kind: 'groups' };

export class Memory {
  readonly shared = new Uint8Array(REGION);
  readonly sharedView = new DataView(this.shared.buffer);
  readonly #dispatch: Dispatch;
  readonly #regions: Region[] = [];
  /** Bytes that lanes read from buffers, and wrote. */
  loaded = 0;
  stored = 0;

  constructor(dispatch: Dispatch) {
    this.#dispatch = dispatch;
  }

  /** The address of a region, as a pointer's low word. */
  addressOf(region: Region): number {
    return POINTERS + REGION * (this.#regions.push(region) - 1);
  }

  readPointer(address: number): number {
    const region = this.#regions[Math.floor((address - POINTERS) / REGION)];
    if (!region) throw new Error(`a scalar load must read descriptors, got address ${address.toString(16)}`);
    const word = (address % REGION) >> 2;
    if (region.kind === 'groups') return this.#dispatch.groups[word] ?? 0;
    const isIn = (buffer: BoundBuffer): boolean =>
      region.kind === 'dynamic' ? buffer.isDynamic : !buffer.isDynamic && buffer.set === region.set;
    const inside = this.#dispatch.buffers.filter(isIn).sort((a, b) => a.set - b.set || a.binding - b.binding);
    const buffer = inside[Math.floor(word / DESCRIPTOR_WORDS)];
    if (!buffer) throw new Error(`there is no descriptor at byte ${4 * word}`);
    const index = this.#dispatch.buffers.indexOf(buffer);
    return [BUFFERS + index, 0, buffer.bytes, 0][word % DESCRIPTOR_WORDS];
  }

  buffer(descriptor: number): BoundBuffer {
    const buffer = this.#dispatch.buffers[descriptor - BUFFERS];
    if (!buffer) throw new Error(`a buffer's descriptor must come from a set, got ${descriptor.toString(16)}`);
    return buffer;
  }
}

const WIDTH = /_(?:[bui]|d16_b|d16_u|d16_hi_b|d16_hi_u)(\d+)$/;

/** Undefined for an instruction that is not known. */
export function memoryStep(instruction: Instruction, memory: Memory): Step | undefined {
  const { name } = instruction;
  if (/^s_(buffer_)?load_b\d+$/.test(name)) return scalarLoad(instruction, memory);
  if (/^buffer_(load|store)_/.test(name)) return bufferAccess(instruction, memory);
  if (/^buffer_(atomic|gl\d_inv|inv|wbinv)/.test(name)) return () => {};
  if (/^scratch_(load|store)_b\d+$/.test(name)) return scratchAccess(instruction);
  if (/^ds_(load|store)_/.test(name)) return sharedAccess(instruction, memory);
  if (/^ds_\w+/.test(name)) return sharedAtomic(instruction, memory);
  return undefined;
}

function offsetOf(text: string | undefined): Operand {
  return parseOperand(text === undefined || text === 'null' ? '0' : text);
}

function scalarLoad({ name, operands, modifiers }: Instruction, memory: Memory): Step {
  const [target, base, offset] = [parseOperand(operands[0]), parseOperand(operands[1]), offsetOf(operands[2])];
  const words = Number(/\d+$/.exec(name)![0]) / 32;
  const extra = Number(modifiers.get('offset') ?? 0);
  if (target.kind !== 'scalar') throw new Error(`${name} must write scalars`);
  const isBuffer = name.startsWith('s_buffer');
  return (r) => {
    const start = readScalar(r, base);
    const from = readScalar(r, offset) + extra;
    const values = Array.from({ length: words }, (_, i) =>
      isBuffer ? (memory.buffer(start).words[(from >>> 2) + i] ?? 0) : memory.readPointer(start + from + 4 * i),
    );
    values.forEach((value, i) => (r.scalars[target.at + i] = value));
  };
}

function bufferAccess({ name, operands, modifiers }: Instruction, memory: Memory): Step {
  const isLoad = name.includes('load');
  const bits = Number(WIDTH.exec(name)?.[1] ?? NaN);
  if (Number.isNaN(bits)) throw new Error(`${name}: its width must be known`);
  const data = parseOperand(operands[0]);
  const isAddressed = modifiers.has('offen') || modifiers.has('idxen');
  // `off` stands for an address that is not there
  const [address, descriptor, scalar] = isAddressed
    ? [parseOperand(operands[1]), parseOperand(operands[2]), offsetOf(operands[3])]
    : [undefined, parseOperand(operands[1]), offsetOf(operands[2])];
  const extra = Number(modifiers.get('offset') ?? 0);
  const words = Math.ceil(bits / 32);
  if (data.kind !== 'vector') throw new Error(`${name} must read or write vectors`);
  return (r) => {
    const buffer = memory.buffer(readScalar(r, descriptor));
    const start = readScalar(r, scalar) + extra;
    for (const lane of r.active) {
      const from = start + (address?.kind === 'vector' ? r.vectors[address.at * LANES + lane] : 0);
      const isInside = from + bits / 8 <= buffer.bytes;
      if (!isLoad) {
        if (isInside) memory.stored += bits / 8;
        continue;
      }
      if (isInside) memory.loaded += bits / 8;
      for (let word = 0; word < words; word++) {
        const value = isInside ? (buffer.words[(from >>> 2) + word] ?? 0) : 0;
        r.vectors[(data.at + word) * LANES + lane] = bits < 32 ? (value >>> (8 * (from & 3))) & (2 ** bits - 1) : value;
      }
    }
  };
}

/** Memory of a lane's own: `scratch_load_b128 v[0:3], address or off, scalar or off`, and stores with the address first. */
function scratchAccess({ name, operands, modifiers }: Instruction): Step {
  const isLoad = name.startsWith('scratch_load');
  const words = Math.ceil(Number(WIDTH.exec(name)![1]) / 32);
  const places = operands.map(parseOperand);
  const vectors = places.filter(({ kind }) => kind === 'vector') as { at: number }[];
  const scalar = places.find(({ kind }) => kind === 'scalar');
  const [data, address] = isLoad ? vectors : vectors.toReversed();
  const extra = Number(modifiers.get('offset') ?? 0);
  return (r) => {
    const start = extra + (scalar ? readScalar(r, scalar) : 0);
    for (const lane of r.active) {
      const from = start + (address ? r.vectors[address.at * LANES + lane] : 0);
      for (let word = 0; word < words; word++) {
        const at = ((from >>> 2) + word) * LANES + lane;
        const register = (data.at + word) * LANES + lane;
        if (isLoad) r.vectors[register] = r.scratch.get(at) ?? 0;
        else r.scratch.set(at, r.vectors[register]);
      }
    }
  };
}

function sharedAccess({ name, operands, modifiers }: Instruction, { sharedView, shared }: Memory): Step {
  const isLoad = name.startsWith('ds_load');
  const isPair = name.includes('_2addr');
  const bits = Number(WIDTH.exec(name)?.[1] ?? NaN);
  if (Number.isNaN(bits)) throw new Error(`${name}: its width must be known`);
  const addressAt = registerOf(operands[isLoad ? 1 : 0]);
  const unit = (bits / 8) * (name.includes('stride64') ? 64 : 1);
  const offsets = isPair
    ? [unit * Number(modifiers.get('offset0') ?? 0), unit * Number(modifiers.get('offset1') ?? 0)]
    : [Number(modifiers.get('offset') ?? 0)];
  const words = Math.max(1, bits / 32);
  const data = isLoad
    ? offsets.map((_, i) => registerOf(operands[0]) + words * i)
    : offsets.map((_, i) => registerOf(operands[1 + i]));
  const move = (r: Registers, at: number, from: number): void => {
    if (from + bits / 8 > shared.length) return;
    if (bits === 8) {
      if (isLoad) r.vectors[at] = shared[from];
      else shared[from] = r.vectors[at];
    } else if (bits === 16) {
      if (isLoad) r.vectors[at] = sharedView.getUint16(from, true);
      else sharedView.setUint16(from, r.vectors[at], true);
    } else if (isLoad) r.vectors[at] = sharedView.getUint32(from, true);
    else sharedView.setUint32(from, r.vectors[at], true);
  };
  return (r) => {
    for (const lane of r.active) {
      const base = r.vectors[addressAt * LANES + lane];
      for (let i = 0; i < offsets.length; i++) {
        for (let word = 0; word < words; word++) {
          move(r, (data[i] + word) * LANES + lane, base + offsets[i] + 4 * word);
        }
      }
    }
  };
}

const ATOMICS: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  or: (a, b) => a | b,
  and: (a, b) => a & b,
  xor: (a, b) => a ^ b,
  min: Math.min,
  max: Math.max,
  storexchg: (_, b) => b,
  wrxchg: (_, b) => b,
};

function sharedAtomic({ name, operands, modifiers }: Instruction, { sharedView }: Memory): Step | undefined {
  const parts = /^ds_([a-z]+)(_rtn)?_[biu]32$/.exec(name);
  if (parts?.[1] === 'bpermute') {
    const [target, address, source] = operands.map(registerOf);
    return (r) => {
      const values = Uint32Array.from({ length: r.size }, (_, lane) => r.vectors[source * LANES + lane]);
      for (const lane of r.active) {
        r.vectors[target * LANES + lane] = values[(r.vectors[address * LANES + lane] >>> 2) % r.size];
      }
    };
  }
  const work = parts && ATOMICS[parts[1]];
  if (!work) return undefined;
  const returns = parts[2] !== undefined;
  const places = operands.map(registerOf);
  const [address, value] = returns ? places.slice(1) : places;
  const offset = Number(modifiers.get('offset') ?? 0);
  return (r) => {
    for (const lane of r.active) {
      const at = r.vectors[address * LANES + lane] + offset;
      const before = sharedView.getUint32(at, true);
      sharedView.setUint32(at, work(before, r.vectors[value * LANES + lane]), true);
      if (returns) r.vectors[places[0] * LANES + lane] = before;
    }
  };
}
