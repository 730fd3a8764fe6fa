import { Adam, crossEntropy } from '../../../dist/index.js';
import { Transformer } from '../../../examples/training/transformer.mjs';
import { ADAM, batchOf, weightsOf } from '../training-problem.mjs';

/** @returns {Promise<import('../worker.mjs').Prepared>} */
export async function prepareTraining(device, problem) {
  const { vocabulary, batch, length, width, layers, heads } = problem;
  const model = new Transformer(device, { vocabulary, length, width, layers, heads }, 0);
  const weights = Array.from(weightsOf(problem), ([name, { values, shape }]) => [name, device.tensor(values, shape)]);
  model.loadStateDict(Object.fromEntries(weights));
  for (const [, weight] of weights) weight.dispose();
  const { tokens, targets } = batchOf(problem);
  const [inputs, wanted] = [tokens, targets].map((ids) => device.tensor(ids, [batch, length]));
  const { lr, beta1, beta2, eps } = ADAM;
  const optimiser = new Adam(model.parameters(), { lr, betas: [beta1, beta2], eps });
  return {
    start: () =>
      device.scope(() => {
        const loss = crossEntropy(model.forward(inputs), wanted);
        loss.backward();
        optimiser.step();
        optimiser.zeroGrad();
        return loss;
      }),
    finish: () => device.sync(),
    read: (loss) => loss.data(),
    free: (loss) => loss.dispose(),
    release() {
      for (const owned of [inputs, wanted, optimiser, model]) owned.dispose();
    },
  };
}
