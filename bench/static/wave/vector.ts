/** What vector instructions do, lane by lane. Floats are rounded as JavaScript's Float32Array rounds them. */
import type { Instruction } from '../isa.ts';
import { fromHalf, toHalf } from './half.ts';
import { EXEC, floatOf, LANES, parseOperand, parseSource, VCC, type Operand, type Registers } from './registers.ts';
import { extract, multiplyHigh, readScalar } from './scalar.ts';

type Step = (registers: Registers) => void;
type Get = (registers: Registers, lane: number) => number;
/** u: 32 bits; f: a float; h: a half; m: a bit of a mask. */
type Kind = 'u' | 'f' | 'h' | 'm';

const bcnt = (value: number): number => {
  let ones = 0;
  for (let rest = value >>> 0; rest !== 0; rest &= rest - 1) ones++;
  return ones;
};
const middle = (a: number, b: number, c: number): number => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
const signed24 = (value: number): number => (value << 8) >> 8;

/** Kinds of the result and of the sources, and the work. */
const PLAIN: Readonly<Record<string, readonly [string, (a: number, b: number, c: number) => number]>> = {
  v_mov_b32: ['u:u', (a) => a],
  v_not_b32: ['u:u', (a) => ~a],
  v_and_b32: ['u:uu', (a, b) => a & b],
  v_or_b32: ['u:uu', (a, b) => a | b],
  v_xor_b32: ['u:uu', (a, b) => a ^ b],
  v_xnor_b32: ['u:uu', (a, b) => ~(a ^ b)],
  v_or3_b32: ['u:uuu', (a, b, c) => a | b | c],
  v_xor3_b32: ['u:uuu', (a, b, c) => a ^ b ^ c],
  v_and_or_b32: ['u:uuu', (a, b, c) => (a & b) | c],
  v_bfi_b32: ['u:uuu', (a, b, c) => (a & b) | (~a & c)],
  v_bfe_u32: ['u:uuu', (a, b, c) => extract(a, b & 31, c & 31, false)],
  v_bfe_i32: ['u:uuu', (a, b, c) => extract(a, b & 31, c & 31, true)],
  v_bfm_b32: ['u:uu', (a, b) => ((1 << (a & 31)) - 1) << (b & 31)],
  v_bfrev_b32: ['u:u', (a) => Number.parseInt((a >>> 0).toString(2).padStart(32, '0').split('').reverse().join(''), 2)],
  v_bcnt_u32_b32: ['u:uu', (a, b) => bcnt(a) + b],
  v_ffbh_u32: ['u:u', (a) => (a === 0 ? -1 : Math.clz32(a))],
  v_clz_i32_u32: ['u:u', (a) => (a === 0 ? -1 : Math.clz32(a))],
  v_ffbl_b32: ['u:u', (a) => (a === 0 ? -1 : 31 - Math.clz32(a & -a))],
  v_ctz_i32_b32: ['u:u', (a) => (a === 0 ? -1 : 31 - Math.clz32(a & -a))],
  v_alignbit_b32: ['u:uuu', (a, b, c) => Number((((BigInt(a) << 32n) | BigInt(b)) >> BigInt(c & 31)) & 0xffffffffn)],
  v_alignbyte_b32: [
    'u:uuu',
    (a, b, c) => Number((((BigInt(a) << 32n) | BigInt(b)) >> BigInt(8 * (c & 3))) & 0xffffffffn),
  ],
  v_perm_b32: ['u:uuu', permuted],
  v_lshlrev_b32: ['u:uu', (a, b) => b << (a & 31)],
  v_lshrrev_b32: ['u:uu', (a, b) => b >>> (a & 31)],
  v_ashrrev_i32: ['u:uu', (a, b) => b >> (a & 31)],
  v_lshlrev_b16: ['u:uu', (a, b) => (b << (a & 15)) & 0xffff],
  v_lshrrev_b16: ['u:uu', (a, b) => (b & 0xffff) >>> (a & 15)],
  v_lshl_or_b32: ['u:uuu', (a, b, c) => (a << (b & 31)) | c],
  v_lshl_add_u32: ['u:uuu', (a, b, c) => (a << (b & 31)) + c],
  v_add_lshl_u32: ['u:uuu', (a, b, c) => (a + b) << (c & 31)],
  v_xad_u32: ['u:uuu', (a, b, c) => (a ^ b) + c],
  v_add3_u32: ['u:uuu', (a, b, c) => a + b + c],
  v_add_nc_u32: ['u:uu', (a, b) => a + b],
  v_add_nc_i32: ['u:uu', (a, b) => a + b],
  v_sub_nc_u32: ['u:uu', (a, b) => a - b],
  v_sub_nc_i32: ['u:uu', (a, b) => a - b],
  v_subrev_nc_u32: ['u:uu', (a, b) => b - a],
  v_add_nc_u16: ['u:uu', (a, b) => (a + b) & 0xffff],
  v_sub_nc_u16: ['u:uu', (a, b) => (a - b) & 0xffff],
  v_mul_lo_u16: ['u:uu', (a, b) => Math.imul(a, b) & 0xffff],
  v_mul_lo_u32: ['u:uu', Math.imul],
  v_mul_hi_u32: ['u:uu', multiplyHigh],
  v_mul_hi_i32: ['u:uu', (a, b) => Number((BigInt(a | 0) * BigInt(b | 0)) >> 32n)],
  v_mul_u32_u24: ['u:uu', (a, b) => Math.imul(a & 0xffffff, b & 0xffffff)],
  v_mul_i32_i24: ['u:uu', (a, b) => Math.imul(signed24(a), signed24(b))],
  v_mad_u32_u24: ['u:uuu', (a, b, c) => Math.imul(a & 0xffffff, b & 0xffffff) + c],
  v_mad_i32_i24: ['u:uuu', (a, b, c) => Math.imul(signed24(a), signed24(b)) + c],
  v_mad_u32_u16: ['u:uuu', (a, b, c) => Math.imul(a & 0xffff, b & 0xffff) + c],
  v_min_u32: ['u:uu', (a, b) => Math.min(a, b)],
  v_max_u32: ['u:uu', (a, b) => Math.max(a, b)],
  v_min3_u32: ['u:uuu', (a, b, c) => Math.min(a, b, c)],
  v_max3_u32: ['u:uuu', (a, b, c) => Math.max(a, b, c)],
  v_med3_u32: ['u:uuu', middle],
  v_minmax_u32: ['u:uuu', (a, b, c) => Math.max(Math.min(a, b), c)],
  v_maxmin_u32: ['u:uuu', (a, b, c) => Math.min(Math.max(a, b), c)],
  v_min_i32: ['u:uu', (a, b) => Math.min(a | 0, b | 0)],
  v_max_i32: ['u:uu', (a, b) => Math.max(a | 0, b | 0)],
  v_min3_i32: ['u:uuu', (a, b, c) => Math.min(a | 0, b | 0, c | 0)],
  v_max3_i32: ['u:uuu', (a, b, c) => Math.max(a | 0, b | 0, c | 0)],
  v_med3_i32: ['u:uuu', (a, b, c) => middle(a | 0, b | 0, c | 0)],
  v_minmax_i32: ['u:uuu', (a, b, c) => Math.max(Math.min(a | 0, b | 0), c | 0)],
  v_maxmin_i32: ['u:uuu', (a, b, c) => Math.min(Math.max(a | 0, b | 0), c | 0)],
  v_cndmask_b32: ['u:uum', (a, b, c) => (c ? b : a)],
  v_pack_b32_f16: ['u:uu', (a, b) => (a & 0xffff) | (b << 16)],
  v_cvt_pk_rtz_f16_f32: ['u:ff', (a, b) => toHalf(a) | (toHalf(b) << 16)],
  v_cvt_f32_f16: ['f:h', (a) => a],
  v_cvt_f16_f32: ['h:f', (a) => a],
  v_cvt_f32_u32: ['f:u', (a) => a],
  v_cvt_f32_i32: ['f:u', (a) => a | 0],
  v_cvt_f32_ubyte0: ['f:u', (a) => a & 255],
  v_cvt_f32_ubyte1: ['f:u', (a) => (a >>> 8) & 255],
  v_cvt_f32_ubyte2: ['f:u', (a) => (a >>> 16) & 255],
  v_cvt_f32_ubyte3: ['f:u', (a) => a >>> 24],
  v_cvt_u32_f32: ['u:f', (a) => Math.max(0, Math.min(0xffffffff, Math.trunc(a)))],
  v_cvt_i32_f32: ['u:f', (a) => Math.max(-0x80000000, Math.min(0x7fffffff, Math.trunc(a)))],
  v_add_f32: ['f:ff', (a, b) => a + b],
  v_sub_f32: ['f:ff', (a, b) => a - b],
  v_subrev_f32: ['f:ff', (a, b) => b - a],
  v_mul_f32: ['f:ff', (a, b) => a * b],
  v_mul_legacy_f32: ['f:ff', (a, b) => (a === 0 || b === 0 ? 0 : a * b)],
  v_mul_dx9_zero_f32: ['f:ff', (a, b) => (a === 0 || b === 0 ? 0 : a * b)],
  v_min_f32: ['f:ff', (a, b) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b))],
  v_max_f32: ['f:ff', (a, b) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b))],
  v_min3_f32: ['f:fff', (a, b, c) => Math.min(a, b, c)],
  v_max3_f32: ['f:fff', (a, b, c) => Math.max(a, b, c)],
  v_med3_f32: ['f:fff', middle],
  v_minmax_f32: ['f:fff', (a, b, c) => Math.max(Math.min(a, b), c)],
  v_maxmin_f32: ['f:fff', (a, b, c) => Math.min(Math.max(a, b), c)],
  v_fma_f32: ['f:fff', (a, b, c) => a * b + c],
  v_fmaak_f32: ['f:fff', (a, b, c) => a * b + c],
  v_fmamk_f32: ['f:fff', (a, b, c) => a * b + c],
  v_exp_f32: ['f:f', (a) => 2 ** a],
  v_log_f32: ['f:f', Math.log2],
  v_rcp_f32: ['f:f', (a) => 1 / a],
  v_rcp_iflag_f32: ['f:f', (a) => 1 / a],
  v_rsq_f32: ['f:f', (a) => 1 / Math.sqrt(a)],
  v_sqrt_f32: ['f:f', Math.sqrt],
  v_sin_f32: ['f:f', (a) => Math.sin(2 * Math.PI * a)],
  v_cos_f32: ['f:f', (a) => Math.cos(2 * Math.PI * a)],
  v_floor_f32: ['f:f', Math.floor],
  v_ceil_f32: ['f:f', Math.ceil],
  v_trunc_f32: ['f:f', Math.trunc],
  v_rndne_f32: ['f:f', (a) => (Math.abs(a % 1) === 0.5 ? 2 * Math.round(a / 2) : Math.round(a))],
  v_fract_f32: ['f:f', (a) => a - Math.floor(a)],
  v_ldexp_f32: ['f:fu', (a, b) => a * 2 ** (b | 0)],
  v_frexp_mant_f32: ['f:f', (a) => (a === 0 ? 0 : a / 2 ** (Math.floor(Math.log2(Math.abs(a))) + 1))],
  v_frexp_exp_i32_f32: ['u:f', (a) => (a === 0 ? 0 : Math.floor(Math.log2(Math.abs(a))) + 1)],
  v_add_f16: ['h:hh', (a, b) => a + b],
  v_sub_f16: ['h:hh', (a, b) => a - b],
  v_mul_f16: ['h:hh', (a, b) => a * b],
  v_max_f16: ['h:hh', Math.max],
  v_min_f16: ['h:hh', Math.min],
  v_fma_f16: ['h:hhh', (a, b, c) => a * b + c],
};

const COMPARES: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  lt: (a, b) => a < b,
  eq: (a, b) => a === b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  lg: (a, b) => isOrdered(a, b) && a !== b,
  ne: (a, b) => a !== b,
  ge: (a, b) => a >= b,
  o: isOrdered,
  u: (a, b) => !isOrdered(a, b),
  nlt: (a, b) => !(a < b),
  neq: (a, b) => a !== b,
  nle: (a, b) => !(a <= b),
  ngt: (a, b) => !(a > b),
  nlg: (a, b) => !isOrdered(a, b) || a === b,
  nge: (a, b) => !(a >= b),
};

function isOrdered(a: number, b: number): boolean {
  return !Number.isNaN(a) && !Number.isNaN(b);
}

/** Undefined for an instruction that is not known. */
export function vectorStep(instruction: Instruction): Step | undefined {
  const { name, operands, modifiers } = instruction;
  if (name === 'v_nop') return () => {};
  const known = name.startsWith('v_cmp') ? undefined : PLAIN[name];
  if (known) {
    if (modifiers.has('row_shl') || modifiers.has('quad_perm')) return undefined; // lanes exchange values
    const [signature, work] = known;
    const kinds = Array.from(signature.slice(2)) as Kind[];
    const [a, b = zero, c = zero] = sourcesOf(instruction, operands.slice(1), kinds);
    return storing(instruction, signature[0] as Kind, (r, lane) => work(a(r, lane), b(r, lane), c(r, lane)));
  }
  return accumulatingStep(instruction) ?? comparingStep(instruction) ?? specialStep(instruction);
}

const zero: Get = () => 0;

function sourcesOf({ name, modifiers }: Instruction, texts: readonly string[], kinds: readonly Kind[]): Get[] {
  return kinds.map((kind, i) => {
    // the mask of v_cndmask_b32 is VCC where it is not named
    const text = texts[i] ?? (kind === 'm' ? 'vcc' : undefined);
    if (text === undefined) throw new Error(`${name} must have ${kinds.length} sources, got ${texts.length}`);
    return sourceOf(text, kind, modifiers.get(`src${i}_sel`));
  });
}

const SELECTED: Readonly<Record<string, (word: number) => number>> = {
  WORD_0: (word) => word & 0xffff,
  WORD_1: (word) => word >>> 16,
  BYTE_0: (word) => word & 255,
  BYTE_1: (word) => (word >>> 8) & 255,
  BYTE_2: (word) => (word >>> 16) & 255,
  BYTE_3: (word) => word >>> 24,
};

function sourceOf(text: string, kind: Kind, selection = 'DWORD'): Get {
  const { operand, negative, absolute } = parseSource(text);
  if (kind === 'm') return (r, lane) => (readScalar(r, operand, lane >> 5) >>> (lane & 31)) & 1;
  const word = wordOf(operand);
  const select = SELECTED[selection];
  const bits: Get = select ? (r, lane) => select(word(r, lane)) : word;
  if (kind === 'u') return negative && operand.kind !== 'constant' ? (r, lane) => -bits(r, lane) : bits;
  let value: Get;
  if (kind === 'h') {
    // a constant such as 1.0 stands for the number in the instruction's precision
    const constant = operand.kind === 'constant' && text.includes('.') ? floatOf(operand.bits) : undefined;
    value = constant === undefined ? (r, lane) => fromHalf(bits(r, lane)) : () => constant;
  } else if (operand.kind === 'vector' && !select) {
    const base = operand.at * LANES;
    value = (r, lane) => r.floats[base + lane];
  } else value = (r, lane) => floatOf(bits(r, lane));
  if (!negative && !absolute) return value;
  const sign = negative ? -1 : 1;
  return absolute ? (r, lane) => sign * Math.abs(value(r, lane)) : (r, lane) => -value(r, lane);
}

function wordOf(operand: Operand): Get {
  if (operand.kind === 'vector') {
    const base = operand.at * LANES;
    return (r, lane) => r.vectors[base + lane];
  }
  if (operand.kind === 'constant') return () => operand.bits;
  return (r) => readScalar(r, operand);
}

function registerOf(text: string): number {
  const operand = parseOperand(text);
  if (operand.kind !== 'vector' && operand.kind !== 'scalar')
    throw new Error(`a result must be a register, got '${text}'`);
  return operand.at;
}

/** Writes what `work` gives for each active lane. */
function storing({ operands, modifiers }: Instruction, kind: Kind, work: Get): Step {
  const base = registerOf(operands[0]) * LANES;
  const clamps = modifiers.has('clamp');
  const half = modifiers.get('dst_sel');
  if (kind === 'f') {
    return (r) => {
      for (const lane of r.active) {
        const value = work(r, lane);
        r.floats[base + lane] = clamps ? Math.min(1, Math.max(0, value)) : value;
      }
    };
  }
  return (r) => {
    for (const lane of r.active) {
      const value = kind === 'h' ? toHalf(work(r, lane)) : work(r, lane);
      r.vectors[base + lane] = half === 'WORD_1' ? value << 16 : half === 'WORD_0' ? value & 0xffff : value;
    }
  };
}

/** Instructions that add to their own result. */
function accumulatingStep(instruction: Instruction): Step | undefined {
  const { name, operands } = instruction;
  const kind = /^v_(fmac|dot2c?)_(f32|f16)/.exec(name);
  if (kind?.[1] === 'fmac') {
    const own: Kind = kind[2] === 'f32' ? 'f' : 'h';
    const [left, right] = operands.slice(1).map(plainVector);
    if (own === 'f' && left !== undefined && right !== undefined)
      return productOfVectors(registerOf(operands[0]), left, right);
    const [a, b, sum] = sourcesOf(instruction, [operands[1], operands[2], operands[0]], [own, own, own]);
    return storing(instruction, own, (r, lane) => a(r, lane) * b(r, lane) + sum(r, lane));
  }
  if (/^v_fma_mix(lo|hi)?_/.test(name)) return mixedStep(instruction);
  if (/^v_pk_(fma|mul|add|max|min)_f16$/.test(name)) return packedStep(instruction);
  return undefined;
}

/** The register of a source that is a vector as it stands. */
function plainVector(text: string): number | undefined {
  return /^v\d+$/.test(text) ? Number(text.slice(1)) : undefined;
}

/** The instruction that runs most, without a call for each source. */
function productOfVectors(to: number, left: number, right: number): Step {
  const [base, a, b] = [to * LANES, left * LANES, right * LANES];
  return ({ floats, active }) => {
    for (const lane of active) floats[base + lane] += floats[a + lane] * floats[b + lane];
  };
}

const flags = (text: string | undefined, fill: number): number[] =>
  text === undefined ? [fill, fill, fill] : text.slice(1, -1).split(',').map(Number);

/** Sources of f32, or a half of a register; a result of f32, or a half of a register. */
function mixedStep(instruction: Instruction): Step {
  const { name, operands, modifiers } = instruction;
  const isHalf = flags(modifiers.get('op_sel_hi'), 0);
  const high = flags(modifiers.get('op_sel'), 0);
  const [a, b, c] = operands
    .slice(1)
    .map((text, i) => (isHalf[i] ? sourceOf(text, 'h', high[i] ? 'WORD_1' : 'WORD_0') : sourceOf(text, 'f')));
  const work: Get = (r, lane) => a(r, lane) * b(r, lane) + c(r, lane);
  if (name === 'v_fma_mix_f32') return storing(instruction, 'f', work);
  const base = registerOf(operands[0]) * LANES;
  const shift = name.includes('mixhi') ? 16 : 0;
  return (r) => {
    for (const lane of r.active) {
      const kept = r.vectors[base + lane] & (shift ? 0xffff : 0xffff0000);
      r.vectors[base + lane] = kept | (toHalf(work(r, lane)) << shift);
    }
  };
}

function packedStep({ name, operands, modifiers }: Instruction): Step {
  const lows = flags(modifiers.get('op_sel'), 0);
  const highs = flags(modifiers.get('op_sel_hi'), 1);
  const half = (which: readonly number[]): Get[] =>
    operands.slice(1).map((text, i) => sourceOf(text, 'h', which[i] ? 'WORD_1' : 'WORD_0'));
  const halves = [half(lows), half(highs)];
  const base = registerOf(operands[0]) * LANES;
  const work = PLAIN[name.replace('_pk', '')][1];
  return (r) => {
    for (const lane of r.active) {
      const [low, high] = halves.map(([a, b, c = zero]) => toHalf(work(a(r, lane), b(r, lane), c(r, lane))));
      r.vectors[base + lane] = low | (high << 16);
    }
  };
}

function comparingStep(instruction: Instruction): Step | undefined {
  const { name, operands } = instruction;
  const parts = /^v_cmp(x?)_(\w+?)_([fiu])(16|32)$/.exec(name);
  if (!parts) return undefined;
  const [, x, relation, type, width] = parts;
  const sources = operands.slice(-2);
  const target = operands.length === 3 ? registerOf(operands[0]) : VCC;
  const kind: Kind = type !== 'f' ? 'u' : width === '16' ? 'h' : 'f';
  let test: (r: Registers, lane: number) => boolean;
  if (relation === 'class') {
    const [value, mask] = [sourceOf(sources[0], kind), sourceOf(sources[1], 'u')];
    test = (r, lane) => (classOf(value(r, lane)) & mask(r, lane)) !== 0;
  } else {
    const compare = COMPARES[relation];
    if (!compare) return undefined;
    const [a, b] = [sourceOf(sources[0], kind), sourceOf(sources[1], kind)];
    test =
      type === 'i'
        ? (r, lane) => compare(a(r, lane) | 0, b(r, lane) | 0)
        : (r, lane) => compare(a(r, lane), b(r, lane));
  }
  const writesExec = x === 'x';
  return (r) => {
    const mask = [0, 0];
    for (const lane of r.active) if (test(r, lane)) mask[lane >> 5] |= 1 << (lane & 31);
    for (let word = 0; word < r.size / 32; word++) {
      if (!writesExec || operands.length === 3) r.scalars[target + word] = mask[word];
      if (writesExec) r.scalars[EXEC + word] = mask[word];
    }
  };
}

/** The class of a number as a bit: NaN 2, −∞ 4, negative 8, −0 32, +0 64, positive 256, +∞ 512; denormals are normal here. */
function classOf(value: number): number {
  if (Number.isNaN(value)) return 2;
  if (value === Infinity) return 512;
  if (value === -Infinity) return 4;
  if (value === 0) return Object.is(value, -0) ? 32 : 64;
  return value < 0 ? 8 : 256;
}

function specialStep(instruction: Instruction): Step | undefined {
  const { name, operands } = instruction;
  const at = (i: number): number => registerOf(operands[i]) * LANES;
  switch (name) {
    case 'v_readfirstlane_b32':
    case 'v_readlane_b32': {
      const target = registerOf(operands[0]);
      const source = wordOf(parseOperand(operands[1]));
      const chosen = name === 'v_readlane_b32' ? wordOf(parseOperand(operands[2])) : undefined;
      return (r) => void (r.scalars[target] = source(r, chosen ? chosen(r, 0) % r.size : (r.active[0] ?? 0)));
    }
    case 'v_writelane_b32': {
      const [value, lane] = operands.slice(1).map((text) => wordOf(parseOperand(text)));
      const base = at(0);
      return (r) => void (r.vectors[base + (lane(r, 0) % r.size)] = value(r, 0));
    }
    case 'v_mbcnt_lo_u32_b32':
    case 'v_mbcnt_hi_u32_b32': {
      const [mask, sum] = operands.slice(1).map((text) => wordOf(parseOperand(text)));
      const from = name.includes('_hi_') ? 32 : 0;
      const below = (lane: number): number => (lane <= from ? 0 : lane - from >= 32 ? -1 : (1 << (lane - from)) - 1);
      return storing(instruction, 'u', (r, lane) => bcnt(mask(r, lane) & below(lane)) + sum(r, lane));
    }
    case 'v_swap_b32': {
      const [a, b] = [at(0), at(1)];
      return (r) => {
        for (const lane of r.active) {
          const kept = r.vectors[a + lane];
          r.vectors[a + lane] = r.vectors[b + lane];
          r.vectors[b + lane] = kept;
        }
      };
    }
    case 'v_lshlrev_b64':
    case 'v_lshrrev_b64': {
      const by = wordOf(parseOperand(operands[1]));
      const source = pairOf(operands[2]);
      const base = at(0);
      return (r) => {
        for (const lane of r.active) {
          const [value, shift] = [source(r, lane), BigInt(by(r, lane) & 63)];
          writePair(r, base, lane, name === 'v_lshlrev_b64' ? value << shift : value >> shift);
        }
      };
    }
    case 'v_mad_u64_u32': {
      const base = at(0);
      const [a, b] = [wordOf(parseOperand(operands[2])), wordOf(parseOperand(operands[3]))];
      const sum = pairOf(operands[4]);
      return (r) => {
        for (const lane of r.active) {
          writePair(r, base, lane, BigInt(a(r, lane)) * BigInt(b(r, lane)) + sum(r, lane));
        }
      };
    }
    default:
      return carryingStep(instruction);
  }
}

/** v_add_co_u32, v_sub_co_u32 and those that take a carry, under the names of all generations. */
function carryingStep({ name, operands }: Instruction): Step | undefined {
  const parts = /^v_(add|sub|subrev)(?:_co)?(_ci|c|b)?(?:_co)?_u32$/.exec(name);
  if (!parts || operands.length < 4) return undefined;
  const [base, mask] = [registerOf(operands[0]) * LANES, registerOf(operands[1])];
  const [a, b] = operands.slice(2, 4).map((text) => wordOf(parseOperand(text)));
  const carry = operands[4] === undefined ? zero : sourceOf(operands[4], 'm');
  return (r) => {
    const out = [0, 0];
    for (const lane of r.active) {
      const [left, right] = parts[1] === 'subrev' ? [b(r, lane), a(r, lane)] : [a(r, lane), b(r, lane)];
      const result = parts[1] === 'add' ? left + right + carry(r, lane) : left - right - carry(r, lane);
      r.vectors[base + lane] = result;
      if (result < 0 || result > 0xffffffff) out[lane >> 5] |= 1 << (lane & 31);
    }
    for (let word = 0; word < r.size / 32; word++) r.scalars[mask + word] = out[word];
  };
}

function pairOf(text: string): (r: Registers, lane: number) => bigint {
  const operand = parseOperand(text);
  if (operand.kind === 'constant') return () => BigInt(operand.bits);
  const base = operand.kind === 'vector' ? operand.at * LANES : 0;
  return (r, lane) => {
    const [low, high] =
      operand.kind === 'vector'
        ? [r.vectors[base + lane], r.vectors[base + LANES + lane]]
        : [readScalar(r, operand), readScalar(r, operand, 1)];
    return BigInt(low) | (BigInt(high) << 32n);
  };
}

function writePair(r: Registers, base: number, lane: number, value: bigint): void {
  r.vectors[base + lane] = Number(value & 0xffffffffn);
  r.vectors[base + LANES + lane] = Number((value >> 32n) & 0xffffffffn);
}

function permuted(a: number, b: number, select: number): number {
  let result = 0;
  for (let i = 0; i < 4; i++) {
    const which = (select >>> (8 * i)) & 255;
    const byte = which < 4 ? b >>> (8 * which) : which < 8 ? a >>> (8 * (which - 4)) : which === 12 ? 0 : 255;
    result |= (byte & 255) << (8 * i);
  }
  return result;
}
