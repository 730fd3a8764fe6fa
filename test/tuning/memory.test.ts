import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { TunedKernel } from '../../src/tensor/traits.ts';
import { fileName, formatTuned, ownerOf, parseTuned, recall, remember, type Owner } from '../../src/tuning/memory.ts';
import { compilerName } from '../../src/platform/cache-node.ts';
import { version } from '../../package.json';
import { CPU_DRIVER } from '../kernels/problems.ts';

const { subgroupMatrix: _, ...traits } = CPU_DRIVER;
const OWNER: Owner = {
  version,
  compiler: 'webgpu 0.4.0',
  vendor: 'nvidia',
  architecture: 'hopper',
  device: 'NVIDIA H100 80GB HBM3',
  description: 'NVIDIA: 550.54.14 550.54.14.0',
  ...traits,
};
const FLASH: readonly [string, TunedKernel] = [
  'flashAttention/float32/64',
  { kernel: 'tile-64x32', date: '2026-03-01' },
];
const MATMUL: readonly [string, TunedKernel] = ['matmul/float16/many', { kernel: 'tile-128x128', date: '2026-03-02' }];

const OTHERS: readonly Owner[] = [
  { ...OWNER, version: '0.0.1' },
  { ...OWNER, compiler: 'webgpu 0.3.0' },
  { ...OWNER, description: 'NVIDIA: 560.1' },
  { ...OWNER, device: 'NVIDIA H200' },
  { ...OWNER, vendor: 'amd' },
  { ...OWNER, architecture: 'ampere' },
  { ...OWNER, subgroupSize: 0 },
];

test('the owner is the adapter, its driver, the shader compiler, what kernels are planned for, and this version', () => {
  const info = {
    ...OWNER,
    reason: 'any',
    driver: 'given',
    features: [],
    limits: {},
    subgroupMinSize: 0,
    subgroupMaxSize: 0,
  };
  expect(ownerOf(info, CPU_DRIVER)).toEqual({ ...OWNER, compiler: compilerName() });
});

describe('the file', () => {
  test('is recognised by its name', () => {
    expect(fileName(OWNER)).toMatch(/^tuning-nvidia-nvidia-h100-80gb-hbm3-[0-9a-f]{8}\.json$/);
    expect(fileName({ ...OWNER, vendor: '', architecture: '', device: '', description: '' })).toMatch(
      /^tuning-unnamed-/,
    );
    expect(fileName({ ...OWNER, device: `../../${'x'.repeat(500)}` })).toMatch(
      /^tuning-nvidia-x{53}-[0-9a-f]{8}\.json$/,
    );
    expect(new Set([OWNER, ...OTHERS].map(fileName)).size).toBe(1 + OTHERS.length);
  });

  test('tells what was written', () => {
    const tuned = new Map([FLASH, MATMUL]);
    expect(parseTuned(OWNER, formatTuned(OWNER, tuned))).toEqual(tuned);
  });

  test('is nothing to another owner', () => {
    const text = formatTuned(OWNER, new Map([FLASH]));
    for (const other of OTHERS) expect(parseTuned(other, text)).toEqual(new Map());
  });

  test.each([
    ['empty', ''],
    ['cut short', formatTuned(OWNER, new Map([FLASH])).slice(0, -9)],
    ['of something else', '{"name": "x"}'],
    ['no object', 'null'],
    ['a list', JSON.stringify({ owner: OWNER, tuned: [1] })],
    ['without kernels', JSON.stringify({ owner: OWNER, tuned: { [FLASH[0]]: { date: '2026-03-01' } } })],
    ['of nothing', JSON.stringify({ owner: OWNER, tuned: { [FLASH[0]]: null } })],
    ['of words', JSON.stringify({ owner: OWNER, tuned: { [FLASH[0]]: 'tile-32x32' } })],
  ])('is nothing if it is %s', (_, text) => expect(parseTuned(OWNER, text)).toEqual(new Map()));
});

describe('memory in a folder', () => {
  let root: string;
  let folder: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'tuning-test-'));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  beforeEach(() => {
    folder = join(mkdtempSync(join(root, 'cache-')), 'made', 'on demand');
    vi.stubEnv('WEBGPU_ATTENTION_TUNING', folder);
  });
  afterEach(() => vi.unstubAllEnvs());

  test('is empty at first, and adds up', async () => {
    expect(await recall(OWNER)).toEqual(new Map());
    expect(await remember(OWNER, new Map([FLASH]))).toBe(join(folder, fileName(OWNER)));
    await remember(OWNER, new Map([MATMUL]));
    expect(await recall(OWNER)).toEqual(new Map([FLASH, MATMUL]));
    await remember(OWNER, new Map([[FLASH[0], MATMUL[1]]]));
    expect(await recall(OWNER)).toEqual(new Map([[FLASH[0], MATMUL[1]], MATMUL]));
    expect(await recall({ ...OWNER, version: '0.0.1' })).toEqual(new Map());
  });

  test('recovers from a damaged file', async () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, fileName(OWNER)), '{"owner": ');
    expect(await recall(OWNER)).toEqual(new Map());
    await remember(OWNER, new Map([FLASH]));
    expect(await recall(OWNER)).toEqual(new Map([FLASH]));
  });

  test('holds what each of many writers added, in one file', async () => {
    const added = Array.from({ length: 20 }, (_, i) => [`op/${i}`, FLASH[1]] as const);
    await Promise.all(added.map((entry) => remember(OWNER, new Map([entry]))));
    expect(await recall(OWNER)).toEqual(new Map(added));
    expect(readdirSync(folder)).toEqual([fileName(OWNER)]);
  });

  test('that cannot be written says so, and one that cannot be read counts as empty', async () => {
    mkdirSync(join(folder, '..'), { recursive: true });
    writeFileSync(folder, 'a file where the folder should be');
    await expect(remember(OWNER, new Map([FLASH]))).rejects.toThrow(folder);
    expect(await recall(OWNER)).toEqual(new Map());
    vi.stubEnv('WEBGPU_ATTENTION_TUNING', join(folder, '..', 'elsewhere'));
    await expect(remember(OWNER, new Map([FLASH]))).resolves.toContain('elsewhere');
  });

  test('is not for an adapter that reports neither its vendor nor its name', async () => {
    const unknown = { ...OWNER, vendor: '', device: '' };
    await expect(remember(unknown, new Map([FLASH]))).rejects.toThrow(
      'the adapter reports neither its vendor nor its name',
    );
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, fileName(unknown)), formatTuned(unknown, new Map([FLASH])));
    expect(await recall(unknown)).toEqual(new Map());
    expect(await remember({ ...OWNER, device: '' }, new Map([FLASH]))).toContain(folder);
  });

  test('can be turned off', async () => {
    vi.stubEnv('WEBGPU_ATTENTION_TUNING', 'off');
    await expect(remember(OWNER, new Map([FLASH]))).rejects.toThrow('WEBGPU_ATTENTION_TUNING is off');
    expect(await recall(OWNER)).toEqual(new Map());
  });
});
