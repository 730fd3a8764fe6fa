import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { bigramLoss } from '../../examples/train-char-lm/bigram.mjs';
import { charLm } from '../../examples/train-char-lm/char-lm.mjs';
import { generate } from '../../examples/train-char-lm/generate.mjs';
import { encode, readText, windowsOf } from '../../examples/train-char-lm/text.mjs';
import { costAt } from '../../examples/train-local/cost.mjs';
import { echo } from '../../examples/train-local/echo.mjs';
import { readState } from '../../examples/training/checkpoint.mjs';
import { exportModel } from '../../examples/training/export.mjs';
import { drawLossCurve } from '../../examples/training/loss-curve.mjs';
import { parseOptions } from '../../examples/training/options.mjs';
import { rateAt, train } from '../../examples/training/train.mjs';
import { parseSafetensors } from '../../src/io/safetensors.ts';
import { testDevice, triesEveryKernel } from '../device.ts';

// the examples import the package, which need not be built here
vi.mock('webgpu-attention', () => import('../../src/index.ts'));

const device = await testDevice();
const isBroad = await triesEveryKernel();

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'webgpu-attention-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const stream = { write: () => {} };
const LOOP = { steps: 4, warmup: 1, rate: 0.01, every: 2, seed: 1 };

describe('train-char-lm', () => {
  const SIZES = { batch: 2, length: 16, width: 16, layers: 1, heads: 2, seed: 1 };
  const words = 'the cat sat on the mat and the dog lay on the rug. '.repeat(4);
  const text = { training: words, validation: words, characters: [...new Set(words)].sort() };

  /** Trains a model of its own into a folder of its own. */
  async function run(out: string, options: object) {
    const { model, task, checked, dispose } = charLm(device, text, { ...SIZES, ...options });
    const result = await train({ device, model, task, stream }, { ...LOOP, ...options, out: join(folder, out) });
    return { result, model, checked, dispose };
  }

  test('saves and ends at a signal, and continues from there', async () => {
    const interruption = new AbortController();
    const { model, task, dispose } = charLm(device, text, SIZES);
    const options = { ...LOOP, out: join(folder, 'interrupted') };
    // comes with the first wait, which is for the losses of two steps: the third is the last
    const loss = (step: number) => {
      if (step === 1) queueMicrotask(() => interruption.abort()); // step 0 is prepared too
      return task.loss(step);
    };
    const interrupted = { ...task, loss };
    const { signal } = interruption;
    const { step, training } = await train({ device, model, task: interrupted, stream, signal }, options);
    dispose();
    expect(step).toBe(3);
    expect((await readState(join(folder, 'interrupted/checkpoint.safetensors'))).step).toBe(step);
    const rest = await run('interrupted', { resume: true });
    expect(rest.result.training.slice(0, step)).toEqual(training);
    expect(rest.result.training).toHaveLength(4);
    rest.dispose();
  });

  test('continues exactly where it was interrupted, leaves nothing behind, and says what it is', async () => {
    const before = device.memory().live;
    const whole = await run('whole', {});
    whole.dispose();
    expect(device.memory().live).toBe(before);
    expect(whole.result.training).toHaveLength(4);
    expect(whole.result.training.at(-1)).toBeLessThan(whole.result.training[0]);

    (await run('parts', { stop: 2 })).dispose();
    const parts = await run('parts', { resume: true });
    expect(parts.result.training).toEqual(whole.result.training);
    expect(parts.result.validation).toEqual(whole.result.validation);
    const [one, other] = await Promise.all(['whole', 'parts'].map((name) => file(name, 'checkpoint.safetensors')));
    expect(parseSafetensors(other).tensors).toEqual(parseSafetensors(one).tensors);
    expect((await readState(join(folder, 'parts/checkpoint.safetensors'))).step).toBe(4);
    const svg = (await file('parts', 'loss.svg')).toString();
    for (const name of ['bigram', 'validation']) expect(svg).toMatch(new RegExp(`<text [^>]*>${name} [\\d.]+</text>`));

    await exportModel(join(folder, 'parts'), parts.model, parts.checked);
    const { tensors: weights, metadata } = parseSafetensors(await file('parts', 'model.safetensors'));
    expect(Object.keys(weights).sort()).toEqual(Object.keys(parts.model.stateDict()).sort());
    expect(JSON.parse(metadata['config'])).toMatchObject({ length: 16, width: 16, layers: 1, heads: 2 });
    const { tensors: check } = parseSafetensors(await file('parts', 'check.safetensors'));
    for (const name of Object.keys(weights)) expect(check[`gradient.${name}`].shape).toEqual(weights[name].shape);

    const written = await generate(parts.model, encode('the ', text.characters), {
      count: 20,
      temperature: 1,
      seed: 1,
    });
    expect(written).toHaveLength(24);
    parts.dispose();
    expect(device.memory().live).toBe(before);
  });

  test.runIf(isBroad)(
    'with dropout, 10 and 10 steps equal 20 bit for bit, whatever the device did between them',
    async () => {
      const loop = { steps: 20, every: 10, dropout: 0.2 };
      const whole = await run('whole-dropout', loop);
      whole.dispose();
      const without = await run('without-dropout', { ...loop, dropout: 0 });
      without.dispose();
      expect(whole.result.training).not.toEqual(without.result.training);
      (await run('parts-dropout', { ...loop, stop: 10 })).dispose();
      device.seed = 1234;
      const parts = await run('parts-dropout', { ...loop, resume: true });
      parts.dispose();
      expect(parts.result.training).toEqual(whole.result.training);
      expect(parts.result.validation).toEqual(whole.result.validation);
      const names = ['whole-dropout', 'parts-dropout'];
      const [one, other] = await Promise.all(names.map((name) => file(name, 'checkpoint.safetensors')));
      expect(parseSafetensors(other).tensors).toEqual(parseSafetensors(one).tensors);
      expect(parseSafetensors(other).metadata['deviceSeed']).toBe(parseSafetensors(one).metadata['deviceSeed']);
    },
  );

  const file = (...path: string[]) => readFile(join(folder, ...path));

  test("the text is prose of Node's documentation, mostly to train on", async () => {
    const { training, validation, characters } = await readText();
    expect(training.length + validation.length).toBeGreaterThan(200_000);
    expect(validation.length / training.length).toBeCloseTo(1 / 9, 2);
    expect(characters.join('')).toMatch(/^\n[ -~]+$/);
    expect(training).toContain('The `node:fs` module enables interacting with the file system');
    expect(() => encode('ü', characters)).toThrow("got 'ü'");
    expect(() => charLm(device, text, { ...SIZES, length: 1000 })).toThrow('more than 1000 characters');
  });

  test('windows are shifted by one', () => {
    const windows = windowsOf(Int32Array.of(0, 1, 2, 3, 4, 5), [0, 2], 3);
    expect(windows).toEqual({ tokens: Int32Array.of(0, 1, 2, 2, 3, 4), targets: Int32Array.of(1, 2, 3, 3, 4, 5) });
  });

  test('the bigram model counts', () => {
    // after 0 comes 1 three times out of four; the least smoothing suits a text of the same shares best
    const training = Int32Array.of(0, 1, 0, 1, 0, 1, 0, 0, 1).slice(0, 8);
    const validation = { tokens: Int32Array.of(0, 0, 0, 0), targets: Int32Array.of(1, 1, 1, 0) };
    const expected = -(3 * Math.log(3.01 / 4.02) + Math.log(1.01 / 4.02)) / 4;
    expect(bigramLoss(training, validation, 2)).toBeCloseTo(expected, 12);
  });
});

describe('train-local', () => {
  const SIZES = { batch: 2, length: 80, width: 16, layers: 1, heads: 2, window: 16, seed: 1 };

  test('trains, and measures what a length costs', async () => {
    const { model, task } = echo(device, SIZES);
    const out = join(folder, 'local');
    const { training, validation } = await train({ device, model, task, stream }, { ...LOOP, steps: 2, out });
    expect(training).toHaveLength(2);
    expect(Object.keys(validation[0].losses)).toEqual(['after 8', 'after 64']);
    for (const loss of Object.values(validation[0].losses)) expect(loss).toBeGreaterThan(Math.log(16));
    const one = await costAt(model, { batch: 2, length: 80, times: 1 });
    const four = await costAt(model, { batch: 2, length: 320, times: 1 });
    expect(one.scores).toBe(2 * 2 * 80 ** 2 * 4);
    expect(four.kept / one.kept).toBeGreaterThan(3);
    expect(four.kept / one.kept).toBeLessThan(5);
    model.dispose();
  });
});

describe('the loop', () => {
  test('options are numbers, text or flags; --smoke yields to what is given', () => {
    const known = {
      steps: { help: '', default: 100 },
      rate: { help: '', default: 0.1 },
      out: { help: '', default: 'runs' },
      dropout: { help: '', default: 0, isShare: true },
      smoke: { help: '', default: false },
    };
    const defaults = { steps: 100, rate: 0.1, out: 'runs', dropout: 0 };
    const parse = (...args: string[]): object => parseOptions(args, known, { steps: 3 });
    expect(parse()).toEqual({ ...defaults, smoke: false });
    expect(parse('--smoke', '--rate', '1e-3')).toEqual({
      ...defaults,
      steps: 3,
      rate: 0.001,
      smoke: true,
    });
    expect(parse('--dropout', '0.1')).toMatchObject({ dropout: 0.1 });
    expect(() => parse('--dropout', '1.1')).toThrow("--dropout must be a number from 0 to 1, got '1.1'");
    expect(parse('--smoke', '--steps', '7', '--out', '9')).toMatchObject({ steps: 7, out: '9' });
    expect(() => parse('--steps', '1.5')).toThrow("--steps must be a whole number of 1 or more, got '1.5'");
    expect(() => parse('--rate', 'x')).toThrow("--rate must be a positive number, got 'x'");
    expect(() => parse('--step', '3')).toThrow('--step');
  });

  test('the rate rises, then falls to a tenth', () => {
    const schedule = { steps: 110, warmup: 10, rate: 1 };
    expect([0, 4, 9, 10].map((step) => rateAt(step, schedule))).toEqual([0.1, 0.5, 1, 1]);
    expect(rateAt(60, schedule)).toBeCloseTo(0.55, 12);
    expect(rateAt(110, schedule)).toBeCloseTo(0.1, 12);
  });

  test('the curve stands alone and names its lines', () => {
    const svg = drawLossCurve({
      title: 'A & B',
      unit: 'loss',
      training: [3, 2, 1],
      validation: [{ step: 3, losses: { near: 1.5, far: 2.5 } }],
      levels: { bigram: 2 },
    });
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" /);
    for (const text of ['A &amp; B', 'near 1.500', 'far 2.500', 'bigram 2.000', 'step']) expect(svg).toContain(text);
  });
});
