import { describe, expect, test, vi } from 'vitest';
import { ArgumentError, type Device, type TuneOptions, type TuneResult } from '../../src/index.ts';
import { parseKernels, runTune, type TuneWords } from '../../src/cli/tune.ts';
import { testDevice } from '../device.ts';

const NO_WORDS: TuneWords = { op: [], dtype: [], headDim: [] };

const RESULT: TuneResult = {
  choices: [
    {
      op: 'flashAttention',
      dtype: 'float32',
      sizeClass: 64,
      kernel: 'tile-64x32',
      date: '2026-03-01',
      speedup: 1.254,
      candidates: [
        { kernel: 'tile-32x32', milliseconds: 2.5 },
        { kernel: 'tile-64x32', milliseconds: 2 },
        { kernel: 'tile-8x32', milliseconds: 9, note: 'too slow to go on' },
        { kernel: 'subgroup', note: `failed: ${'long '.repeat(30)}\nsecond line` },
      ],
    },
    {
      op: 'matmul',
      dtype: 'float16',
      sizeClass: 'many',
      kernel: 'tile-64x64',
      date: '2026-03-01',
      speedup: 1,
      candidates: [{ kernel: 'tile-64x64', milliseconds: 3 }],
    },
    { op: 'matmul', dtype: 'float16', sizeClass: 'few', kernel: 'tile-32x32', candidates: [] },
  ],
  keptIn: '/home/ada/.cache/webgpu-attention/tuning-x.json',
};

/** The command on a device that tunes in no time; what it was asked for, and what was printed. */
async function run(words: TuneWords, result: TuneResult = RESULT) {
  const { info } = await testDevice();
  const tune = vi.fn<(options: TuneOptions) => Promise<TuneResult>>((options) => {
    options.onProgress?.({ done: 1, total: 3, op: 'matmul', dtype: 'float16', sizeClass: 'few', kernel: 'subgroup' });
    return Promise.resolve(result);
  });
  const [printed, progress]: [string[], string[]] = [[], []];
  await runTune({ info, tune } as unknown as Device, words, {
    print: (text) => void printed.push(text),
    progress: (line) => void progress.push(line),
  });
  const { onProgress: _, ...asked } = tune.mock.calls[0][0];
  return { asked, progress, text: printed.join('\n') };
}

describe('tune', () => {
  test('shows each kernel, its time, what is chosen and where that is kept', async () => {
    const { text, progress } = await run(NO_WORDS);
    expect(text).toMatch(/^Device: .+\n\n/);
    for (const part of [
      /flashAttention │ float32 │ head dims up to 64 +│ tile-32x32 │ 2\.50 ms .*│ tile-64x32 │ 1\.25× the default's/,
      /tile-8x32 +│ 9\.00 ms, too slow to go on/,
      /subgroup +│ failed: long [^\n]{40,60}… +│/,
      /many +│ tile-64x64 │ 3\.00 ms +│ tile-64x64 │ the default's/,
      /few +│ +│ +│ tile-32x32 │ not measured/,
    ]) {
      expect(text).toMatch(part);
    }
    expect(text).not.toContain('second line');
    expect(text).toMatch(/\nLater devices of this kind take them too: \/home\/ada\/\S+\.json$/);
    expect(progress).toEqual(['1/3 matmul float16 few: subgroup …', '']);
  });

  test('says so where nothing is remembered', async () => {
    const { text } = await run(NO_WORDS, { choices: [], notKept: 'the disk is full' });
    expect(text).toContain('Not remembered: the disk is full');
    expect(text).not.toContain('Later devices');
  });

  test('asks for all, and always measures', async () => {
    const { asked } = await run(NO_WORDS);
    expect(asked).toEqual({ remeasure: true });
  });

  test('asks for what was given, once or with commas', async () => {
    const words = { op: ['matmul,flashAttention'], dtype: ['float16'], headDim: ['64', '96,128'], seconds: '2.5' };
    const { asked } = await run(words);
    expect(asked).toEqual({
      ops: ['matmul', 'flashAttention'],
      dtypes: ['float16'],
      headDims: [64, 96, 128],
      timeBudget: 2500,
      remeasure: true,
    });
  });

  test.each<[Partial<TuneWords>, string]>([
    [{ op: ['softmax'] }, 'ops must be'],
    [{ dtype: ['float64'] }, 'dtypes must be'],
    [{ headDim: ['64,wide'] }, "--head-dim must be whole numbers from 1 to 256, got 'wide'"],
    [{ headDim: ['257'] }, "--head-dim must be whole numbers from 1 to 256, got '257'"],
    [{ headDim: ['64,'] }, "--head-dim must be whole numbers from 1 to 256, got ''"],
    [{ seconds: '-1' }, "--seconds must be a positive number, got '-1'"],
    [{ seconds: 'long' }, "--seconds must be a positive number, got 'long'"],
  ])('refuses %j', async (words, message) => {
    const tuning = runTune(await testDevice(), { ...NO_WORDS, ...words }, { print: () => undefined });
    await expect(tuning).rejects.toThrow(ArgumentError);
    await expect(tuning).rejects.toThrow(message);
  });
});

describe('--kernel', () => {
  test('names kernels by op', () => {
    expect(parseKernels([])).toEqual({});
    expect(parseKernels(['matmul=subgroup', 'flashAttention=tile-32x32,localAttention=tile-8x32'])).toEqual({
      matmul: 'subgroup',
      flashAttention: 'tile-32x32',
      localAttention: 'tile-8x32',
    });
  });

  test.each(['subgroup', 'matmul=a=b', ''])('refuses %j', (word) => {
    expect(() => parseKernels([word])).toThrow(
      new ArgumentError(`--kernel must be an op and its kernel, such as matmul=subgroup, got '${word}'`),
    );
  });
});
