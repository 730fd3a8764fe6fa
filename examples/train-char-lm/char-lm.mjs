/** A character model as a task for the training loop. */
import { crossEntropy } from 'webgpu-attention';
import { randomOf } from '../training/random.mjs';
import { meanLoss } from '../training/train.mjs';
import { Transformer } from '../training/transformer.mjs';
import { bigramLoss } from './bigram.mjs';
import { encode, windowsOf } from './text.mjs';

/** Windows of the validation text, spread evenly over it, and how many are computed at a time. */
const VALIDATION = { windows: 64, batch: 16 };

/**
 * @param {import('webgpu-attention').Device} device
 * @param {Awaited<ReturnType<typeof import('./text.mjs').readText>>} text
 * @param {{ length: number, batch: number, width: number, layers: number, heads: number, dropout?: number, seed: number }} options
 */
export function charLm(device, { training, validation, characters }, options) {
  const { length, batch, width, layers, heads, dropout, seed } = options;
  const vocabulary = characters.length;
  const trained = encode(training, characters);
  const unseen = encode(validation, characters);
  if (Math.min(trained.length, unseen.length) <= length) {
    throw new Error(
      `the text must have more than ${length} characters in either part, got ${trained.length} and ${unseen.length}`,
    );
  }
  const model = new Transformer(device, { vocabulary, length, width, layers, heads, dropout }, seed);
  const upload = (windows) => {
    const shape = [windows.tokens.length / length, length];
    return { tokens: device.tensor(windows.tokens, shape), targets: device.tensor(windows.targets, shape) };
  };
  const spread = Array.from({ length: VALIDATION.windows }, (_, i) => {
    return Math.floor((i * (unseen.length - length - 1)) / VALIDATION.windows);
  });
  const batches = chunks(spread, VALIDATION.batch).map((starts) => upload(windowsOf(unseen, starts, length)));
  const lossOf = ({ tokens, targets }) => crossEntropy(model.forward(tokens), targets);
  const task = {
    title: 'A character model',
    unit: 'loss, nats a character',
    tokensPerStep: batch * length,
    levels: { bigram: bigramLoss(trained, windowsOf(unseen, spread, length), vocabulary) },
    loss(step) {
      const random = randomOf(seed, step);
      const starts = Array.from({ length: batch }, () => Math.floor(random() * (trained.length - length)));
      return lossOf(upload(windowsOf(trained, starts, length)));
    },
    validate: async () => ({ validation: await meanLoss(device, batches, lossOf) }),
  };
  const [checked] = batches;
  const dispose = () => {
    for (const { tokens, targets } of batches) {
      tokens.dispose();
      targets.dispose();
    }
    model.dispose();
  };
  return { model, task, checked, dispose };
}

function chunks(items, size) {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
