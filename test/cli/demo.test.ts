import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MismatchError, runDemo } from '../../src/cli/demo.ts';
import { printInfo } from '../../src/cli/info.ts';
import { largestError } from '../../src/cli/measure.ts';
import { chooseRuns, SIX_RUNS } from '../../src/cli/six-runs.ts';
import { parseSafetensors, type SafetensorsFile } from '../../src/io/safetensors.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { exampleBytes } from './example.ts';

const isBroad = await triesEveryKernel();

let folder: string;
let printed: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'attention-maps-'));
  printed = [];
});

afterEach(() => rmSync(folder, { recursive: true }));

async function demo(
  module?: string,
  example: SafetensorsFile | undefined = parseSafetensors(exampleBytes()),
  outFolder = join(folder, 'maps'),
): Promise<string> {
  const print = (text: string) => void printed.push(text);
  await runDemo(await testDevice(), { runs: chooseRuns(module), example, outFolder, print });
  return printed.join('\n');
}

describe('demo', () => {
  test('runs the six modules, checks them, and draws the maps', async () => {
    const device = await testDevice();
    const { live } = device.memory();
    const text = await demo();
    expect(device.memory().live).toBe(live);
    expect(text).toMatch(/^Device: .+; driver: .+; taken because .+\n/);
    for (const { name } of SIX_RUNS) expect(text).toContain(name);
    for (const shape of ['context [2,10,512]', '[2,8,5,10]', 'k [2,1024,64]']) expect(text).toContain(shape);
    expect(text.match(/✓ (output|weights) \d\.\de-\d/g)).toHaveLength(10);
    expect(text).not.toContain('✗');

    const drawn = SIX_RUNS.filter(({ results }) => results.includes('weights')).flatMap(({ name }) => [
      `${name}-0.svg`,
      `${name}-1.svg`,
    ]);
    expect(readdirSync(join(folder, 'maps')).sort()).toEqual(drawn.sort());
    for (const name of drawn) expect(text).toContain(join(folder, 'maps', name));
    const map = readFileSync(join(folder, 'maps', 'SelfAttention-0.svg'), 'utf8');
    // what the example's README claims of the head for equal words
    for (const key of [0, 4, 7]) expect(map).toContain(`query 4 (the), key ${key} (the): 0.33`);
  });

  test.runIf(isBroad)('runs one alone, and draws nothing where there are no weights', async () => {
    const text = await demo('FlashAttention');
    expect(text).toContain('FlashAttention');
    expect(text).not.toContain('SelfAttention');
    expect(text).not.toContain('Attention maps');
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each([
    ['a result that is not', 0x3f, /ScaledDotProductAttention's weights by \d\.\de-1 \(allowed 1\.0e-5\)$/],
    ['NaN', 0xff, /ScaledDotProductAttention's weights by NaN /],
  ])("fails loudly on %s PyTorch's, after showing all", async (_name, byte, message) => {
    const example = parseSafetensors(exampleBytes());
    example.tensors['ScaledDotProductAttention/weights'].data.fill(byte);
    const failure = demo('ScaledDotProductAttention', example);
    await expect(failure).rejects.toThrow(MismatchError);
    await expect(failure).rejects.toThrow(message);
    expect(printed.join('\n')).toContain('✗ weights');
    expect(readdirSync(join(folder, 'maps'))).toHaveLength(2);
  });

  test("without PyTorch's file, runs on seeded weights against float64, and says where the file is", async () => {
    const print = (text: string) => void printed.push(text);
    const runs = ['ScaledDotProductAttention', 'CrossAttention'].flatMap((name) => chooseRuns(name));
    await runDemo(await testDevice(), { runs, outFolder: join(folder, 'maps'), print });
    const text = printed.join('\n');
    expect(text.match(/✓ (output|weights) \d\.\de-\d/g)).toHaveLength(4);
    expect(text).toContain('npm install webgpu-attention-six-modules');
    expect(text).not.toContain('from PyTorch');
    expect(readdirSync(join(folder, 'maps')).sort()).toEqual([
      'CrossAttention-0.svg',
      'CrossAttention-1.svg',
      'ScaledDotProductAttention-0.svg',
      'ScaledDotProductAttention-1.svg',
    ]);
  });

  test('says where it cannot write', async () => {
    const inTheWay = join(folder, 'a-file');
    writeFileSync(inTheWay, '');
    const failure = demo('ScaledDotProductAttention', parseSafetensors(exampleBytes()), inTheWay);
    await expect(failure).rejects.toMatchObject({ syscall: 'mkdir', path: inTheWay });
  });
});

test.each([
  ['equal', [1, -2], [1, -2], 0],
  ['the largest of either sign', [1, -2], [1.5, 1], 3],
  ['NaN here', [NaN, 0], [0, 0], NaN],
  ['NaN there', [0, 0], [0, NaN], NaN],
  ['an infinity', [Infinity], [Infinity], NaN],
  ['another length', [1], [1, 1], NaN],
])('the error where there is %s', (_name, actual, expected, error) => {
  expect(largestError(actual, expected)).toBe(error);
});

test('info tells the device, its limits, and the kernels it would choose', async () => {
  const device = await testDevice();
  printInfo(device, (text) => void printed.push(text));
  const text = printed.join('\n');
  expect(text).toContain(device.info.reason);
  expect(text).toMatch(/maxComputeWorkgroupStorageSize +\d+ KiB/);
  expect(text).toMatch(/ to 256 +│ (subgroup|tile|matrix)/);
  const sharing = device.info.isSoftware ? '32 rows share a workgroup' : 'each row has a workgroup of its own';
  expect(text).toMatch(new RegExp(`1024 keys +│ \\d+ invocations +│ ${sharing}`));
});
