import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, sample, type SampleOptions } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import type { HostArray } from '../reference/host-array.ts';
import { perturbed } from '../reference/sample.ts';
import { softmax } from '../reference/softmax.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(59);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape, 3) });

async function draw(logits: HostArray, options: SampleOptions, dtype: Float = 'float32', layout?: Layout) {
  const result = device.scope(() => sample(upload(device, logits, dtype, layout), options));
  expect(result.shape).toEqual([logits.shape.length === 2 ? logits.shape[0] : 1]);
  expect(result.dtype).toBe('uint32');
  const drawn = [...(await result.data())];
  result.dispose();
  return drawn;
}

const row = (...values: number[]): HostArray => ({ shape: [values.length], data: values });

describe.each([
  ['float32', 'this device', {}],
  ['float16', 'this device', {}],
  ['float32', 'a GPU', { isSoftware: false }],
] as const)('sample in %s, planned for %s', (dtype, _device, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  /** The drawn column's score is the largest but for a logarithm's rounding. */
  async function expectDrawn(
    logits: HostArray,
    options: { temperature: number; seed?: number; step?: number },
    layout?: Layout,
  ): Promise<void> {
    const drawn = await draw(logits, options, dtype, layout);
    const [rows, columns] = [1, ...logits.shape].slice(-2);
    const { data } = stored(logits, dtype);
    for (let i = 0; i < rows; i++) {
      const scores = perturbed(
        Array.from({ length: columns }, (_, j) => data[i * columns + j]),
        i,
        options,
      );
      const highest = Math.max(...scores);
      const margin = options.temperature === 0 ? 0 : 1e-5 * Math.max(1, options.temperature, Math.abs(highest));
      expect(scores[drawn[i]]).toBeGreaterThanOrEqual(highest - margin);
    }
  }

  test.each([[[1]], [[7]], [[4, 1]], [[5, 13]], [[3, 512]], [[2, 1001]], [[3, 5000]]])('logits %j', async (shape) => {
    await expectDrawn(normals(...shape), { temperature: 0 });
    await expectDrawn(normals(...shape), { temperature: 1, seed: 7, step: 3 });
    await expectDrawn(normals(...shape), { temperature: 0.5, seed: 2 ** 40 + 5, step: 2 ** 33 + 1 });
    await expectDrawn(normals(...shape), { temperature: 100, seed: 11 });
  });

  test('strided views', async () => {
    for (const layout of [{ axes: [1, 0] }, { before: [1, 3], after: [0, 2] }, { before: [0, 4], after: [1, 4] }]) {
      await expectDrawn(normals(5, 20), { temperature: 0 }, layout);
      await expectDrawn(normals(5, 21), { temperature: 1, seed: 1 }, layout);
    }
  });

  test('the first of equal columns wins; NaN loses to every number; −∞ is never drawn', async () => {
    const greedy = { temperature: 0 };
    expect(await draw(row(1, 3, 2, 3), greedy, dtype)).toEqual([1]);
    expect(await draw(row(-0, 0), greedy, dtype)).toEqual([0]);
    expect(await draw(row(-1, -0, 0), greedy, dtype)).toEqual([1]);
    const late = Array.from({ length: 1000 }, (_, j) => (j === 700 || j === 999 ? 5 : 1));
    expect(await draw(row(...late), greedy, dtype)).toEqual([700]);
    for (const temperature of [0, 1]) {
      const options = { temperature, seed: 3 };
      expect(await draw(row(NaN, -60000, NaN), options, dtype)).toEqual([1]);
      expect(await draw(row(NaN, -Infinity, NaN), options, dtype)).toEqual([1]);
      expect(await draw(row(NaN, NaN), options, dtype)).toEqual([0]);
      expect(await draw(row(-Infinity, 0, -Infinity), options, dtype)).toEqual([1]);
      expect(await draw(row(0, Infinity, 9), options, dtype)).toEqual([1]);
    }
  });
});

describe('sample', () => {
  test('draws in proportion to softmax(logits / temperature)', async () => {
    const rows = 3000;
    const logits = row(0, 1, -1, 2, 0.5, -3, 1.5, -0.5);
    for (const temperature of [1, 0.7]) {
      const drawn = device.scope(() =>
        sample(upload(device, logits, 'float32').reshape([1, 8]).expand([rows, 8]), { temperature, seed: 5 }),
      );
      const counts = Array.from({ length: 8 }, () => 0);
      for (const column of await drawn.data()) counts[column]++;
      drawn.dispose();
      const { data: share } = softmax(logits, { scale: 1 / temperature });
      const chiSquare = counts.reduce((sum, count, j) => sum + (count - rows * share[j]) ** 2 / (rows * share[j]), 0);
      expect(chiSquare).toBeLessThan(24.3); // 7 degrees of freedom: exceeded once in a thousand seeds
    }
  });

  test('another seed, step or row draws differently, the same ones draw the same', async () => {
    const logits = { shape: [40, 50], data: new Float32Array(2000) };
    const first = await draw(logits, { seed: 1 });
    expect(await draw(logits, { seed: 1, step: 0 })).toEqual(first);
    expect(new Set(first).size).toBeGreaterThan(20);
    for (const other of [{ seed: 2 }, { seed: 1 + 2 ** 32 }, { seed: 1, step: 1 }, { seed: 1, step: 2 ** 32 }]) {
      const drawn = await draw(logits, other);
      expect(drawn.filter((column, i) => column === first[i]).length).toBeLessThan(8);
    }
    // without a seed, no two calls draw alike
    expect(await draw(logits, {})).not.toEqual(await draw(logits, {}));
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      const logits = normals(8, 10);
      const wanted = Array.from({ length: 8 }, (_, i) => {
        const scores = Array.from(logits.data).slice(10 * i, 10 * i + 10);
        return scores.indexOf(Math.max(...scores));
      });
      expect(await draw(logits, { temperature: 0 })).toEqual(wanted);
    });
  });

  test('compiles nothing new for another shape, temperature or seed', async () => {
    await draw(normals(3), { temperature: 0 });
    const { pipelines } = device.runtime.counters();
    await draw(normals(4, 900), { temperature: 0.3, seed: 4, step: 9 });
    expect(device.runtime.counters().pipelines).toBe(pipelines);
  });

  test.each<[string, SampleOptions, string]>([
    ['a negative temperature', { temperature: -1 }, 'temperature must be at least 0, got -1'],
    ['an infinite temperature', { temperature: Infinity }, 'temperature must be a finite number, got Infinity'],
    ['a negative seed', { seed: -1 }, 'seed must be an integer of at least 0, got -1'],
    ['half a step', { step: 0.5 }, 'step must be an integer of at least 0, got 0.5'],
    ['an unknown option', { topK: 5 } as SampleOptions, `unknown option 'topK'`],
  ])('refuses %s', (_name, options, message) => {
    expect(() => device.scope(() => void sample(device.zeros([4]), options))).toThrow(`sample: ${message}`);
  });

  test('refuses three axes', () => {
    expect(() => device.scope(() => void sample(device.zeros([2, 3, 4])))).toThrow(
      'sample: logits must be [batch, classes] or [classes], got [2, 3, 4]',
    );
  });
});
