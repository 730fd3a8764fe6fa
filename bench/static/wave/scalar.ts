/** What scalar instructions do. */
import type { Instruction } from '../isa.ts';
import { EXEC, parseOperand, type Operand, type Registers } from './registers.ts';

type Step = (registers: Registers) => void;

export function readScalar(registers: Registers, operand: Operand, word = 0): number {
  switch (operand.kind) {
    case 'scalar':
      return registers.scalars[operand.at + word];
    case 'condition':
      return word === 0 && registers.condition ? 1 : 0;
    case 'constant':
      // a constant of 64 bits is a sign-extended one of 32
      return word === 0 ? operand.bits : (operand.bits >> 31) >>> 0;
    case 'vector':
      throw new Error('a scalar instruction must read scalars, got a vector register');
  }
}

const NO_OPERATION =
  /^s_(waitcnt|nop|delay_alu|clause|sendmsg|set_inst_prefetch|inst_prefetch|sleep|setprio|code_end|version|ttracedata|icache|dcache|getpc|setreg|round_mode|denorm_mode|wait_)/;

const count = (value: number): number => {
  let ones = 0;
  for (let rest = value >>> 0; rest !== 0; rest &= rest - 1) ones++;
  return ones;
};
const reversed = (value: number): number => {
  let result = 0;
  for (let bit = 0; bit < 32; bit++) if ((value >>> bit) & 1) result |= 1 << (31 - bit);
  return result;
};
export const multiplyHigh = (a: number, b: number): number => Number((BigInt(a >>> 0) * BigInt(b >>> 0)) >> 32n);
export const extract = (value: number, offset: number, width: number, isSigned: boolean): number => {
  if (width === 0) return 0;
  const top = value << Math.max(0, 32 - width - offset);
  const shift = Math.max(32 - width, offset);
  return isSigned ? top >> shift : top >>> shift;
};

/** Bitwise work on 32 bits. A result that is not 0 sets the condition code. */
const WORDS: Readonly<Record<string, (a: number, b: number) => number>> = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  nand: (a, b) => ~(a & b),
  nor: (a, b) => ~(a | b),
  xnor: (a, b) => ~(a ^ b),
  and_not1: (a, b) => a & ~b,
  or_not1: (a, b) => a | ~b,
  not: (a) => ~a,
};

const ARITHMETIC: Readonly<Record<string, (a: number, b: number) => number>> = {
  s_add_u32: (a, b) => a + b,
  s_add_i32: (a, b) => a + b,
  s_sub_u32: (a, b) => a - b,
  s_sub_i32: (a, b) => a - b,
  s_mul_i32: Math.imul,
  s_mul_hi_u32: multiplyHigh,
  s_lshl_b32: (a, b) => a << (b & 31),
  s_lshr_b32: (a, b) => a >>> (b & 31),
  s_ashr_i32: (a, b) => a >> (b & 31),
  s_lshl1_add_u32: (a, b) => (a << 1) + b,
  s_lshl2_add_u32: (a, b) => (a << 2) + b,
  s_lshl3_add_u32: (a, b) => (a << 3) + b,
  s_lshl4_add_u32: (a, b) => (a << 4) + b,
  s_min_u32: (a, b) => Math.min(a, b),
  s_max_u32: (a, b) => Math.max(a, b),
  s_min_i32: (a, b) => Math.min(a | 0, b | 0),
  s_max_i32: (a, b) => Math.max(a | 0, b | 0),
  s_bfm_b32: (a, b) => ((1 << (a & 31)) - 1) << (b & 31),
  s_bfe_u32: (a, b) => extract(a, b & 31, (b >>> 16) & 127, false),
  s_bfe_i32: (a, b) => extract(a, b & 31, (b >>> 16) & 127, true),
  s_pack_ll_b32_b16: (a, b) => (a & 0xffff) | (b << 16),
  s_pack_lh_b32_b16: (a, b) => (a & 0xffff) | (b & 0xffff0000),
  s_pack_hh_b32_b16: (a, b) => (a >>> 16) | (b & 0xffff0000),
  s_mov_b32: (a) => a,
  s_movk_i32: (a) => (a << 16) >> 16,
  s_brev_b32: reversed,
  s_abs_i32: (a) => Math.abs(a | 0),
  s_sext_i32_i16: (a) => (a << 16) >> 16,
  s_bcnt1_i32_b32: count,
  s_ff1_i32_b32: (a) => (a === 0 ? -1 : 31 - Math.clz32(a & -a)),
  s_ctz_i32_b32: (a) => (a === 0 ? -1 : 31 - Math.clz32(a & -a)),
  s_flbit_i32_b32: (a) => (a === 0 ? -1 : Math.clz32(a)),
  s_clz_i32_u32: (a) => (a === 0 ? -1 : Math.clz32(a)),
};
const SETS_CONDITION_IF_NOT_ZERO = /^s_(lshl_b32|lshr_b32|ashr|bfe|abs|bcnt1|lshl\d_add)/;

const COMPARES: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  lg: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
};

/** Undefined for an instruction that is not known. */
export function scalarStep({ name, operands }: Instruction, wave: 32 | 64): Step | undefined {
  if (NO_OPERATION.test(name)) return () => {};
  const places = operands.map((operand) => (/^[\w[\]:.-]+$/.test(operand) ? tryOperand(operand) : undefined));
  const [to, a, b] = places;
  const target = to?.kind === 'scalar' ? to.at : -1;

  const compare = /^s_cmp(k?)_(\w\w)_([iu])(32|64)$/.exec(name);
  if (compare && to && a) {
    const test = COMPARES[compare[2]];
    const isSigned = compare[3] === 'i';
    const isWide = compare[4] === '64';
    return (r) => {
      const [left, right] = [readScalar(r, to), readScalar(r, a)];
      if (isWide) {
        const same = left === right && readScalar(r, to, 1) === readScalar(r, a, 1);
        r.condition = compare[2] === 'eq' ? same : !same;
      } else r.condition = isSigned ? test(left | 0, right | 0) : test(left, right);
    };
  }
  const bit = /^s_bitcmp([01])_b32$/.exec(name);
  if (bit && to && a)
    return (r) => void (r.condition = ((readScalar(r, to) >>> (readScalar(r, a) & 31)) & 1) === Number(bit[1]));

  const saved = /^s_(\w+)_saveexec_b(32|64)$/.exec(name);
  if (saved && a) {
    const work = WORDS[saved[1]];
    return (r) => {
      let isAny = false;
      const masks = [readScalar(r, a), readScalar(r, a, 1)];
      for (let word = 0; word < wave / 32; word++) {
        const before = r.scalars[EXEC + word];
        r.scalars[target + word] = before;
        r.scalars[EXEC + word] = saved[1] === 'and_not1' ? masks[word] & ~before : work(masks[word], before);
        isAny ||= r.scalars[EXEC + word] !== 0;
      }
      r.condition = isAny;
    };
  }

  const bitwise = /^s_(\w+)_b(32|64)$/.exec(name);
  if (bitwise && bitwise[1] in WORDS && a) {
    const work = WORDS[bitwise[1]];
    return (r) => {
      let isAny = false;
      const results = [0, 1]
        .slice(0, Number(bitwise[2]) / 32)
        .map((word) => work(readScalar(r, a, word), b ? readScalar(r, b, word) : 0));
      results.forEach((result, word) => {
        r.scalars[target + word] = result;
        isAny ||= result !== 0;
      });
      r.condition = isAny;
    };
  }

  if (name in ARITHMETIC && a) {
    const work = ARITHMETIC[name];
    const carries = /^s_(add|sub)_u32$/.test(name) || /^s_lshl\d_add_u32$/.test(name);
    const compares = /^s_(min|max)_/.test(name);
    return (r) => {
      const [left, right] = [readScalar(r, a), b ? readScalar(r, b) : 0];
      const result = work(left, right);
      r.scalars[target] = result;
      if (carries) r.condition = result < 0 || result > 0xffffffff;
      else if (compares) r.condition = result >>> 0 === left;
      else if (SETS_CONDITION_IF_NOT_ZERO.test(name)) r.condition = result !== 0;
    };
  }
  switch (name) {
    case 's_mov_b64':
      return (
        a &&
        ((r) => {
          const [low, high] = [readScalar(r, a), readScalar(r, a, 1)];
          r.scalars[target] = low;
          r.scalars[target + 1] = high;
        })
      );
    case 's_cselect_b32':
    case 's_cselect_b64':
      return (
        a &&
        b &&
        ((r) => {
          const from = r.condition ? a : b;
          const values = [readScalar(r, from), readScalar(r, from, 1)];
          for (let word = 0; word < (name.endsWith('64') ? 2 : 1); word++) r.scalars[target + word] = values[word];
        })
      );
    case 's_cmov_b32':
      return a && ((r) => void (r.condition && (r.scalars[target] = readScalar(r, a))));
    case 's_addk_i32':
      return a && ((r) => void (r.scalars[target] += (readScalar(r, a) << 16) >> 16));
    case 's_mulk_i32':
      return a && ((r) => void (r.scalars[target] = Math.imul(r.scalars[target], (readScalar(r, a) << 16) >> 16)));
    case 's_addc_u32':
    case 's_subb_u32':
      return (
        a &&
        b &&
        ((r) => {
          const sign = name === 's_addc_u32' ? 1 : -1;
          const result = readScalar(r, a) + sign * (readScalar(r, b) + (r.condition ? 1 : 0));
          r.scalars[target] = result;
          r.condition = result < 0 || result > 0xffffffff;
        })
      );
    case 's_bfm_b64':
    case 's_lshl_b64':
    case 's_lshr_b64':
      return (
        a &&
        b &&
        ((r) => {
          const by = BigInt(readScalar(r, b) & 63);
          const value = BigInt(readScalar(r, a)) | (BigInt(readScalar(r, a, 1)) << 32n);
          const result =
            name === 's_bfm_b64'
              ? ((1n << (value & 63n)) - 1n) << by
              : name === 's_lshl_b64'
                ? value << by
                : value >> by;
          r.scalars[target] = Number(result & 0xffffffffn);
          r.scalars[target + 1] = Number((result >> 32n) & 0xffffffffn);
          if (name !== 's_bfm_b64') r.condition = result !== 0n;
        })
      );
    case 's_bitreplicate_b64_b32':
      return (
        a &&
        ((r) => {
          const value = readScalar(r, a);
          const half = (from: number): number => {
            let result = 0;
            for (let i = 0; i < 16; i++) if ((value >>> (from + i)) & 1) result |= 3 << (2 * i);
            return result;
          };
          r.scalars[target] = half(0);
          r.scalars[target + 1] = half(16);
        })
      );
    case 's_bcnt1_i32_b64':
      return (
        a &&
        ((r) => {
          r.scalars[target] = count(readScalar(r, a)) + count(readScalar(r, a, 1));
          r.condition = r.scalars[target] !== 0;
        })
      );
    case 's_bitset0_b32':
      return a && ((r) => void (r.scalars[target] &= ~(1 << (readScalar(r, a) & 31))));
    case 's_bitset1_b32':
      return a && ((r) => void (r.scalars[target] |= 1 << (readScalar(r, a) & 31)));
    default:
      return undefined;
  }
}

function tryOperand(text: string): Operand | undefined {
  try {
    return parseOperand(text);
  } catch {
    return undefined;
  }
}
