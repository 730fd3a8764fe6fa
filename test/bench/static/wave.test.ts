import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseDispatch, type Capture } from '../../../bench/static/capture.ts';
import { CHIPS, residency } from '../../../bench/static/chips.ts';
import { countCode } from '../../../bench/static/counts.ts';
import { parseInstruction, parseProgram } from '../../../bench/static/isa.ts';
import { hasInner, loopsOf, roundsOf } from '../../../bench/static/loops.ts';
import { measureKernel } from '../../../bench/static/measure.ts';
import { entryOf } from '../../../bench/static/wave/entry.ts';
import { fromHalf, toHalf } from '../../../bench/static/wave/half.ts';
import { EXEC, LANES, Registers } from '../../../bench/static/wave/registers.ts';
import { runWorkgroup } from '../../../bench/static/wave/run.ts';
import { scalarStep } from '../../../bench/static/wave/scalar.ts';
import { vectorStep } from '../../../bench/static/wave/vector.ts';

const { navi31, navi21, vega10 } = CHIPS;
const kernel = parseProgram(readFileSync(new URL('fixtures/kernel.s', import.meta.url), 'utf8'));
/** Two uniforms, the number of workgroups and that of rounds, and a storage buffer. */
const dispatch = parseDispatch('groups 6 1 1\nbuffer 0 0 dynamic 8 0600000005\nbuffer 0 1 static 4096 ')!;

test('both halves of a pair read their sources before either writes', () => {
  // v1 and v2 change places; lanes with another number than their own then store nothing
  const text = (pair: string): string =>
    readFileSync(new URL('fixtures/kernel.s', import.meta.url), 'utf8').replace('BB0:', `BB0:\n\t${pair}`);
  const visitsOf = (pair: string) =>
    runWorkgroup({ program: parseProgram(text(pair)), dispatch, wave: 32, invocations: 64 }).stored;
  const swap = 'v_dual_mov_b32 v0, v30 :: v_dual_mov_b32 v30, v0';
  expect(visitsOf(`${swap}\n\t${swap}`)).toBe(visitsOf('s_nop 0'));
});

test('a dispatch has its workgroups and the contents of its buffers', () => {
  expect(dispatch.groups).toEqual([6, 1, 1]);
  expect(dispatch.buffers).toMatchObject([
    { set: 0, binding: 0, isDynamic: true, bytes: 8, words: Uint32Array.of(6, 5) },
    { set: 0, binding: 1, isDynamic: false, bytes: 4096, words: Uint32Array.of() },
  ]);
  expect(parseDispatch('')).toBeUndefined();
});

test('a kernel shows where it finds its pointers and its place', () => {
  expect(entryOf(kernel)).toEqual({ pointers: [2, 3], groups: 4, places: [7, 8] });
});

test.each([
  [64, 1],
  [32, 2],
] as const)('a workgroup of 64 in waves of %i runs each block as often as its uniforms say', (wave, waves) => {
  const visits = runWorkgroup({ program: kernel, dispatch, wave, invocations: 64 });
  const of = (name: string): number => visits.blocks[kernel.findIndex((block) => block.name === name)];
  expect(visits.waves).toBe(waves);
  expect([of('BB0'), of('BB2'), of('BB3'), of('BB3+')]).toEqual([1, 5, 20, 5].map((count) => count * waves));
  // only 32 invocations store, 4 bytes each
  expect(of('BB5')).toBe(1);
  expect([visits.loaded, visits.stored]).toEqual([5 * 64 * 16, 32 * 4]);
});

test('loops are found by their back edges, with their rounds', () => {
  const { blocks } = runWorkgroup({ program: kernel, dispatch, wave: 64, invocations: 64 });
  const loops = loopsOf(kernel);
  expect(
    loops.map((loop) => [kernel[loop.header].name, loop.blocks.size, roundsOf(loop, blocks), hasInner(loop, loops)]),
  ).toEqual([
    ['BB2', 3, 5, true],
    ['BB3', 1, 20, false],
  ]);
});

function capture(registers: number): Capture {
  const statistics: [string, number][] = [
    ['Subgroup size', 64],
    ['VGPRs', registers],
    ['Spilled VGPRs', 0],
    ['Spilled SGPRs', 0],
    ['Scratch size', 0],
    ['LDS size', 1024],
    ['Code size', 100],
    ['Workgroup', 64],
  ];
  return { statistics: new Map(statistics), program: kernel, dispatch };
}

test('a step has its useful multiply-adds and the two bounds', () => {
  // 5 rounds of 4 · 2 multiply-adds by 64 lanes of 6 workgroups
  const { step, loops, minima, moved } = measureKernel(capture(24), navi31, {
    multiplyAdds: 40 * 64 * 6,
    bytes: 6 * 5 * 64 * 16,
  });
  expect(step).toMatchObject({ rounds: 5, useful: 8, multiplyAdds: 8, otherVector: 4, minima: 4, barriers: 2 });
  expect(step).toMatchObject({
    clocks: 4 * (1 + 1 + 2),
    sharedBytes: 16 + 4 * 8,
    sharedWide: 1,
    sharedNarrow: 4,
    loadsWide: 1,
  });
  expect(step!.issue).toBe(8 / 16);
  expect(step!.memory).toBe(8 / 48);
  expect(minima).toBe(4);
  expect(moved).toBeCloseTo(1 + (32 * 4) / (5 * 64 * 16));
  expect(loops.map(({ rounds, multiplyAdds, issue }) => [rounds, multiplyAdds, issue])).toEqual([[20, 2, 0.5]]);
});

test.each([
  [40 / 1.09, undefined],
  [40.1, 'the path through the machine code does 40 multiply-adds a lane, the problem needs 40.1'],
  [40, undefined],
  [40 / 1.11, 'the path through the machine code does 40 multiply-adds a lane'],
])('a path that does 40 multiply-adds a lane where the problem needs %f: %s', (useful, error) => {
  const measured = () => measureKernel(capture(24), navi31, { multiplyAdds: useful * 64 * 6 });
  if (error === undefined) expect(measured().step).toBeDefined();
  else expect(measured).toThrow(error);
});

test('instructions cost what the generation takes', () => {
  const code = ['v_fmac_f32_e32 v1, v2, v3', 'v_add_nc_u32_e32 v1, v2, v3', 'v_exp_f32_e32 v1, v1'].map((line) =>
    parseInstruction(`\t${line}`),
  );
  const pair = [parseInstruction('\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mov_b32 v4, v5')];
  const clocks = (chip: typeof navi31, wave: 32 | 64) => countCode(code, chip, wave).clocks;
  expect([clocks(navi31, 64), clocks(navi31, 32)]).toEqual([5, 3]);
  expect([clocks(navi21, 64), clocks(navi21, 32), clocks(vega10, 64)]).toEqual([6, 3, 12]);
  expect(countCode(pair, navi31, 32)).toMatchObject({ clocks: 1, multiplyAdds: 1, otherVector: 1 });
});

test('waves fit by registers and by workgroup memory', () => {
  const of = (registers: number, shared: number, invocations: number, wave: 32 | 64 = 64) =>
    residency(navi31, { wave, registers, shared, invocations });
  expect(of(120, 0, 64)).toBe(6);
  expect(of(24, 0, 64)).toBe(16);
  expect(of(24, 14848, 64)).toBe(2);
  expect(of(24, 24 * 1024, 128)).toBe(2.5);
  expect(of(120, 0, 64, 32)).toBe(6);
});

function run(...lines: readonly string[]): Registers {
  const registers = new Registers(64);
  for (let lane = 0; lane < LANES; lane++) registers.vectors[lane] = lane;
  for (const line of lines) {
    const instruction = parseInstruction(`\t${line}`);
    (scalarStep(instruction, 64) ?? vectorStep(instruction))!(registers);
  }
  return registers;
}

const lane = (registers: Registers, register: number, of: number): number => registers.vectors[register * LANES + of];

test('integers wrap, shift and compare as a GPU has them', () => {
  expect(run('s_mov_b32 s0, -1', 's_add_u32 s1, s0, 2', 's_addc_u32 s2, 0, 0').scalars.slice(0, 3)).toEqual(
    Uint32Array.of(0xffffffff, 1, 1),
  );
  expect(
    run('s_mov_b32 s0, 0x80000000', 's_mul_hi_u32 s1, s0, 6', 's_ashr_i32 s2, s0, 31').scalars.slice(1, 3),
  ).toEqual(Uint32Array.of(3, 0xffffffff));
  expect(run('s_mov_b32 s0, -1', 's_cmp_lt_i32 s0, 0').condition).toBe(true);
  expect(run('s_mov_b32 s0, -1', 's_cmp_lt_u32 s0, 0').condition).toBe(false);
  expect(lane(run('v_lshl_add_u32 v1, v0, 4, -1'), 1, 5)).toBe(79);
  expect(lane(run('v_bfe_u32 v1, v0, 2, 3'), 1, 61)).toBe(7);
});

test('a comparison gives a mask, which disables lanes', () => {
  const registers = run('v_cmp_gt_u32_e32 vcc, 40, v0', 's_and_saveexec_b64 s[4:5], vcc', 'v_mov_b32_e32 v1, 9');
  expect([registers.scalars[EXEC], registers.scalars[EXEC + 1]]).toEqual([0xffffffff, 0xff]);
  expect([lane(registers, 1, 39), lane(registers, 1, 40)]).toEqual([9, 0]);
  expect(lane(run('v_cmp_eq_u32_e64 s[6:7], 3, v0', 'v_cndmask_b32_e64 v1, 5, 8, s[6:7]'), 1, 3)).toBe(8);
});

test('floats are added, negated and converted', () => {
  const registers = run('v_cvt_f32_u32_e32 v1, v0', 'v_fma_f32 v2, -v1, 2.0, |v1|', 'v_cvt_u32_f32_e32 v3, v1');
  expect(registers.floats[2 * LANES + 7]).toBe(-7);
  expect(lane(registers, 3, 7)).toBe(7);
  const halves = run('v_mov_b32_e32 v1, 0x3c004000', 'v_cvt_f32_f16_sdwa v2, v1 dst_sel:DWORD src0_sel:WORD_1');
  expect(halves.floats[2 * LANES]).toBe(1);
});

test.each([0, 1, -2, 0.5, 65504, 2 ** -24, Infinity])('%f is a half', (value) =>
  expect(fromHalf(toHalf(value))).toBe(value),
);

test('an instruction that is not known fails only where it runs', () => {
  const unknown = (target: string) =>
    parseProgram(`BB0:\n\ts_branch ${target}\nBB1:\n\tv_riddle_b32 v0, v0\nBB2:\n\ts_endpgm\n`);
  const start = (target: string) => runWorkgroup({ program: unknown(target), dispatch, wave: 64, invocations: 64 });
  expect(() => start('BB1')).toThrow('v_riddle_b32 v0, v0: is not known');
  expect(start('BB2').waves).toBe(1);
});
