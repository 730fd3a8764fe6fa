import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseInstruction, parseProgram } from '../../../bench/static/isa.ts';

const read = (name: string): string => readFileSync(new URL(`fixtures/${name}.s`, import.meta.url), 'utf8');

test('an instruction has a name without its encoding, operands and modifiers', () => {
  const { name, operands, modifiers } = parseInstruction(
    '\tbuffer_load_b128 v[4:7], v22, s[64:67], 0 offen offset:16 ; e05c',
  );
  expect([name, operands]).toEqual(['buffer_load_b128', ['v[4:7]', 'v22', 's[64:67]', '0']]);
  expect([...modifiers]).toEqual([
    ['offen', ''],
    ['offset', '16'],
  ]);
  expect(parseInstruction('\tv_cmp_class_f16_e64 s[64:65], 0x7c01, v25').name).toBe('v_cmp_class_f16');
  expect(parseInstruction('\tv_fma_mix_f32 v1, v2, 1.0, neg(0) op_sel:[1,0,0] op_sel_hi:[1,0,0]').operands).toEqual([
    'v1',
    'v2',
    '1.0',
    'neg(0)',
  ]);
});

test('a pair is one instruction of two', () => {
  const { name, pair } = parseInstruction('\tv_dual_fmac_f32 v18, v38, v22 :: v_dual_mul_f32 v17, s11, v27');
  expect([name, pair?.name, pair?.operands]).toEqual(['v_fmac_f32', 'v_mul_f32', ['v17', 's11', 'v27']]);
});

test.each([
  ['ds_read2st64_b32', 'ds_load_2addr_stride64_b32'],
  ['ds_write_b128', 'ds_store_b128'],
  ['buffer_load_dwordx4', 'buffer_load_b128'],
  ['buffer_load_dword', 'buffer_load_b32'],
  ['buffer_load_ushort', 'buffer_load_u16'],
  ['buffer_store_short', 'buffer_store_b16'],
  ['s_buffer_load_dwordx16', 's_buffer_load_b512'],
  ['s_andn2_b64', 's_and_not1_b64'],
  ['v_add_u32_e32', 'v_add_nc_u32'],
  ['v_mac_f32_e32', 'v_fmac_f32'],
  ['v_cvt_f32_f16_sdwa', 'v_cvt_f32_f16'],
])("%s is RDNA3's %s", (old, now) => expect(parseInstruction(`\t${old} v0, v1`).name).toBe(now));

test('a program is blocks with successors', () => {
  const blocks = parseProgram(read('loop'));
  expect(blocks.map(({ name, code, next }) => [name, code.length, next])).toEqual([
    ['BB0', 3, [1]],
    ['BB1', 5, [3, 2]],
    ['BB1+', 1, [1]],
    ['BB2', 3, []],
  ]);
});

test('a repeated line counts as often as it stands there', () => {
  const [{ code }] = parseProgram('BB0:\n\ts_nop 0\n\t(then repeated 3 times)\n\ts_endpgm\n');
  expect(code.map(({ name }) => name)).toEqual(['s_nop', 's_nop', 's_nop', 's_nop', 's_endpgm']);
});
