/** The registers of one wave, and the memory that its workgroup shares. */

export const EXEC = 126;
export const VCC = 106;
const M0 = 125;
const NULL = 124;
const SCALARS = 128;
/** Lanes that a vector register has room for. */
export const LANES = 64;

const NAMED: Readonly<Record<string, number>> = {
  vcc: VCC,
  vcc_lo: VCC,
  vcc_hi: VCC + 1,
  exec: EXEC,
  exec_lo: EXEC,
  exec_hi: EXEC + 1,
  m0: M0,
  null: NULL,
};

export class Registers {
  readonly size: 32 | 64;
  readonly scalars = new Uint32Array(SCALARS);
  readonly vectors = new Uint32Array(256 * LANES);
  readonly floats = new Float32Array(this.vectors.buffer);
  /** What lanes keep in memory of their own, by lane and word. */
  readonly scratch = new Map<number, number>();
  /** The scalar condition code. */
  condition = false;
  #active: number[] = [];
  #activeOf = [0, 0];

  constructor(size: 32 | 64) {
    this.size = size;
    this.scalars[EXEC] = 0xffffffff;
    this.scalars[EXEC + 1] = size === 64 ? 0xffffffff : 0;
  }

  /** The lanes that `exec` enables. */
  get active(): readonly number[] {
    const { scalars, size } = this;
    const [low, high] = [scalars[EXEC], size === 64 ? scalars[EXEC + 1] : 0];
    if (low !== this.#activeOf[0] || high !== this.#activeOf[1]) {
      this.#activeOf = [low, high];
      this.#active = [];
      for (let lane = 0; lane < size; lane++) {
        if (((lane < 32 ? low : high) >>> (lane & 31)) & 1) this.#active.push(lane);
      }
    }
    return this.#active;
  }
}

/** An operand's place: the first of its registers, or a constant's bits. */
export type Operand =
  | { readonly kind: 'vector'; readonly at: number }
  | { readonly kind: 'scalar'; readonly at: number }
  | { readonly kind: 'condition' }
  | { readonly kind: 'constant'; readonly bits: number };

export interface Source {
  readonly operand: Operand;
  readonly negative: boolean;
  readonly absolute: boolean;
}

const bits = new DataView(new ArrayBuffer(4));

export function bitsOf(value: number): number {
  bits.setFloat32(0, value);
  return bits.getUint32(0);
}

export function floatOf(value: number): number {
  bits.setUint32(0, value);
  return bits.getFloat32(0);
}

export function parseSource(text: string): Source {
  const inner = /^neg\((.*)\)$/.exec(text);
  let rest = inner ? inner[1] : text;
  const isMinus = /^-(?![\d.])/.test(rest);
  if (isMinus) rest = rest.slice(1);
  const absolute = /^\|.*\|$/.test(rest);
  if (absolute) rest = rest.slice(1, -1);
  return { operand: parseOperand(rest), negative: isMinus || inner !== null, absolute };
}

/** @throws Error for what is none */
export function parseOperand(text: string): Operand {
  const register = /^([vs])(?:(\d+)|\[(\d+)(?::\d+)?\])$/.exec(text);
  if (register) return { kind: register[1] === 'v' ? 'vector' : 'scalar', at: Number(register[2] ?? register[3]) };
  if (text === 'src_scc' || text === 'scc') return { kind: 'condition' };
  if (text in NAMED) return { kind: 'scalar', at: NAMED[text] };
  if (/^-?\d+\.\d+$/.test(text)) return { kind: 'constant', bits: bitsOf(Number(text)) };
  if (/^-?(0x[\da-f]+|\d+)$/.test(text)) {
    const value = Number(text.replace('-', ''));
    return { kind: 'constant', bits: (text.startsWith('-') ? -value : value) >>> 0 };
  }
  throw new Error(`an operand must be a register or a constant, got '${text}'`);
}

/** The number of a vector register. */
export function registerOf(text: string): number {
  const operand = parseOperand(text);
  if (operand.kind !== 'vector') throw new Error(`a lane's value must lie in a vector register, got '${text}'`);
  return operand.at;
}
