/** What a forward and a backward pass cost at a length. */
import { crossEntropy } from 'webgpu-attention';
import { randomOf } from '../training/random.mjs';
import { Transformer } from '../training/transformer.mjs';
import { batchOf } from './echo.mjs';

/**
 * @param {Transformer} model its weights are taken, whatever length it was made for
 * @param {{ batch: number, length: number, times?: number }} sizes
 * @returns {Promise<{ seconds: number, kept: number, scores: number, loss: number }>} median time of both passes; bytes
 *   that the forward pass keeps for the backward pass; bytes that scores of all pairs would be
 */
export async function costAt(model, { batch, length, times = 5 }) {
  const { device, config } = model;
  const longer = new Transformer(device, { ...config, length }, 0);
  longer.loadStateDict(model.stateDict());
  const { tokens, targets } = batchOf(device, { batch, length }, randomOf(0, 0));
  const before = device.memory().live;
  let kept = 0;
  const pass = () =>
    device.scope(() => {
      const loss = crossEntropy(longer.forward(tokens), targets);
      kept = device.memory().live - before;
      loss.backward();
      longer.zeroGrad();
      return loss;
    });
  const taken = [];
  let value = 0;
  for (let i = 0; i <= times; i++) {
    const began = performance.now();
    const loss = pass();
    [value] = await loss.data();
    if (i > 0) taken.push((performance.now() - began) / 1000); // the first compiles
    loss.dispose();
  }
  for (const tensor of [tokens, targets]) tensor.dispose();
  longer.dispose();
  const scores = config.layers * batch * config.heads * length ** 2 * 4;
  return { seconds: taken.sort((a, b) => a - b)[Math.floor(times / 2)], kept, scores, loss: value };
}
