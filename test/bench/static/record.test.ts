import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { differences, formatRecord, type KernelRecord, type StaticRecord } from '../../../bench/static/record.ts';
import { PROBLEMS } from '../../../bench/static/problems.mjs';
import { kernelTable } from '../../../bench/static/table.ts';

const step = {
  rounds: 32,
  multiplyAdds: 2048,
  otherVector: 100,
  sharedBytes: 2048,
  sharedWide: 128,
  sharedNarrow: 0,
  loadsWide: 8,
  loadsNarrow: 0,
  scratch: 0,
  barriers: 1,
  issue: 0.9,
  memory: 1,
};
const kernel: KernelRecord = {
  registers: 120,
  spills: 0,
  scratch: 0,
  shared: 8192,
  codeSize: 1000,
  residency: 4,
  clamps: 0,
  moved: 1,
  step,
};
const record = (change: Partial<KernelRecord> = {}, name = 'matmul'): StaticRecord => ({
  chip: 'navi31',
  generation: 'RDNA3',
  mesa: 'Mesa 1',
  webgpu: '1.0.0',
  kernels: { [name]: { wave64: { ...kernel, ...change } } },
});

test.each([
  [{ registers: 132, codeSize: 1100, clamps: 0 }, undefined],
  [{ step: { ...step, issue: 0.95 } }, undefined],
  [{ spills: 1 }, 'spilled registers must be at most 0, got 1'],
  [{ scratch: 256 }, 'bytes of scratch must be at most 0, got 256'],
  [{ clamps: 1 }, 'clamps of indices in loops must be at most 0, got 1'],
  [{ registers: 133 }, 'registers must be at most 132, got 133'],
  [{ codeSize: 1101 }, 'bytes of code must be at most 1100, got 1101'],
  [{ moved: 1.5 }, 'bytes moved over those that must must be at most 1.005, got 1.5'],
  [{ step: { ...step, issue: 0.89 } }, 'the bound by issue must be at least 0.9, got 0.89'],
  [{ step: { ...step, memory: 0.9 } }, 'the bound by workgroup memory must be at least 1, got 0.9'],
  [{ registers: NaN }, 'registers must be at most 132, got NaN'],
])('%j: %s', (change, line) => {
  expect(differences(record(), record(change))).toEqual(line === undefined ? [] : [`matmul, wave64: ${line}`]);
});

test('a kernel without its step has neither bound', () => {
  expect(differences(record(), record({ step: undefined }))).toEqual([
    'matmul, wave64: the bound by issue must be at least 0.9, got none',
    'matmul, wave64: the bound by workgroup memory must be at least 1, got none',
  ]);
});

test('a kernel that is new or gone is named', () => {
  expect(differences(record({}, 'flash'), record())).toEqual([
    'flash: it is recorded, and was not compiled',
    'matmul: it is not recorded',
  ]);
});

test('the table has a row for each kernel, and for each of its hot loops', () => {
  const lines = kernelTable(record({ loops: [step] }), { loops: true }).split('\n');
  expect(lines).toHaveLength(4);
  expect(lines[2]).toMatch(/^matmul, wave64 +120 .* 90 % +100 % +1$/);
  expect(lines[3]).toMatch(/^ {2}a hot loop/);
  expect(kernelTable(record({ loops: [step] }), { loops: false }).split('\n')).toHaveLength(3);
});

test('the committed result is as --save writes it', () => {
  const text = readFileSync(new URL('../../../bench/static/navi31.json', import.meta.url), 'utf8');
  const committed = JSON.parse(text) as StaticRecord;
  expect(formatRecord(committed)).toBe(text);
  expect(committed.chip).toBe('navi31');
  // a kernel is named after its problem, and after its shader too if the problem has several
  const problems: readonly { name: string; shaders: object }[] = PROBLEMS;
  const names = problems.flatMap(({ name, shaders }) => {
    const all = Object.keys(shaders);
    return all.length > 1 ? all.map((shader) => `${name}: ${shader}`) : [name];
  });
  expect(Object.keys(committed.kernels).sort()).toEqual(names.sort());
  for (const waves of Object.values(committed.kernels)) expect(Object.keys(waves)).toEqual(['wave64', 'wave32']);
});
