/**
 * Streams that repeat themselves, as a task for the training loop. Half of them are loops of `NEAR` symbols, half loops of
 * `FAR` other symbols. Attention within a window sees the last turn of the former and learns to go on; the last turn of the
 * latter is out of its reach, and no training can do better than to guess.
 */
import { crossEntropy } from 'webgpu-attention';
import { randomOf } from '../training/random.mjs';
import { meanLoss } from '../training/train.mjs';
import { Transformer } from '../training/transformer.mjs';

/** Tokens of a turn. */
const NEAR = 8;
const FAR = 64;
/** How many symbols each kind of stream has. */
const SYMBOLS = 16;
/** A target that does not count: in the first turn there is nothing to repeat. */
const IGNORED = -100;
/** Streams of validation have seeds of their own. */
const VALIDATION = { seed: 0x7a11da7e, batches: 2 };

/**
 * @param {import('webgpu-attention').Device} device
 * @param {{ length: number, batch: number, width: number, layers: number, heads: number, window: number, seed: number }} options
 */
export function echo(device, options) {
  const { length, batch, width, layers, heads, window: windowSize, seed } = options;
  const config = { vocabulary: 2 * SYMBOLS, length, positions: windowSize, width, layers, heads, windowSize };
  const model = new Transformer(device, config, seed);
  const lossOf = (kinds) => (step) => {
    const { tokens, targets } = upload(device, streams(randomOf(VALIDATION.seed, step), kinds, length), length);
    return crossEntropy(model.forward(tokens), targets);
  };
  const steps = Array.from({ length: VALIDATION.batches }, (_, i) => i);
  const task = {
    title: `Streams that repeat after ${NEAR} and after ${FAR} tokens, attention to the last ${windowSize / 2}`,
    unit: 'loss, nats a token',
    tokensPerStep: batch * length,
    levels: { 'a guess': Math.log(SYMBOLS) },
    loss(step) {
      const { tokens, targets } = batchOf(device, { batch, length }, randomOf(seed, step));
      return crossEntropy(model.forward(tokens), targets);
    },
    validate: async () => ({
      [`after ${NEAR}`]: await meanLoss(device, steps, lossOf([NEAR])),
      [`after ${FAR}`]: await meanLoss(device, steps, lossOf([FAR])),
    }),
  };
  return { model, task };
}

/** As many streams of either kind. */
export function batchOf(device, { batch, length }, random) {
  const kinds = Array.from({ length: batch }, (_, i) => (i % 2 === 0 ? NEAR : FAR));
  return upload(device, streams(random, kinds, length), length);
}

function streams(random, kinds, length) {
  const tokens = new Int32Array(kinds.length * length);
  const targets = new Int32Array(kinds.length * length);
  for (const [row, turn] of kinds.entries()) {
    const first = turn === NEAR ? 0 : SYMBOLS;
    const loop = Int32Array.from({ length: turn }, () => first + Math.floor(random() * SYMBOLS));
    for (let i = 0; i < length; i++) {
      tokens[row * length + i] = loop[i % turn];
      targets[row * length + i] = i + 1 < turn ? IGNORED : loop[(i + 1) % turn];
    }
  }
  return { tokens, targets };
}

function upload(device, { tokens, targets }, length) {
  const shape = [tokens.length / length, length];
  return { tokens: device.tensor(tokens, shape), targets: device.tensor(targets, shape) };
}
