import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { differences, formatRecord, type KernelRecord, type StaticRecord } from '../../../bench/static/record.ts';
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
  [{ step: undefined }, 'the bound by issue must be at least 0.9, got none'],
])('%j: %s', (change, line) => {
  const [found] = differences(record(), record(change));
  expect(found).toBe(line && `matmul, wave64: ${line}`);
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
});
