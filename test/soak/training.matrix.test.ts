/** A real model, trained long: whatever a step leaves behind adds up. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { charLm } from '../../examples/train-char-lm/char-lm.mjs';
import { train } from '../../examples/training/train.mjs';
import { testDevice } from '../device.ts';
import { ROUNDS, Watch } from './watch.ts';

// the examples import the package, which need not be built here
vi.mock('webgpu-attention', () => import('../../src/index.ts'));

const SIZES = { batch: 2, length: 16, width: 16, layers: 1, heads: 2, dropout: 0.1, seed: 1 };
/** Steps after which everything has been compiled and validated, and a checkpoint has been written. */
const WARM = Math.min(500, Math.round(ROUNDS / 30) * 10);
/** The loop holds losses that it has not read. After so many steps it has read them all. */
const READ_EVERY = 10;

test(`${ROUNDS} training steps leave nothing behind`, async () => {
  const device = await testDevice();
  const before = device.memory().live;
  const words = 'the cat sat on the mat and the dog lay on the rug. '.repeat(4);
  const text = { training: words, validation: words, characters: [...new Set(words)].sort() };
  const { model, task, dispose } = charLm(device, text, SIZES);
  const watch = new Watch(device);
  const watched = {
    ...task,
    loss(step: number) {
      if (step % READ_EVERY === 0) watch.note(step);
      return task.loss(step);
    },
  };
  const out = await mkdtemp(join(tmpdir(), 'webgpu-attention-'));
  try {
    const loop = { steps: ROUNDS, warmup: 20, rate: 0.01, every: WARM, seed: 1, out };
    const { training } = await train({ device, model, task: watched, stream: { write: () => {} } }, loop);
    watch.note(ROUNDS);
    expect(training).toHaveLength(ROUNDS);
    expect(training.every(Number.isFinite)).toBe(true);
    expect(training.at(-1)).toBeLessThan(training[0]);
  } finally {
    await rm(out, { recursive: true, force: true });
  }
  watch.tell(`${ROUNDS} training steps`, WARM);
  const [first, ...later] = watch.from(WARM);
  const optimised = later.pop()!; // the optimiser's state is gone
  expect(later.filter(({ live }) => live !== first.live)).toEqual([]);
  expect(optimised.live).toBeLessThan(first.live);
  expect(optimised).toMatchObject({ pipelines: first.pipelines, buffers: first.buffers });
  dispose();
  expect(device.memory().live).toBe(before);
});
