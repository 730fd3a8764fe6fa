/** Writes the training problem as JSON, for training-losses.py. */
import { PROBLEMS } from './problems.mjs';
import { ADAM, batchOf, LOSSES, weightsOf } from './training-problem.mjs';

const problem = PROBLEMS.find(({ op }) => op === 'training');
const weights = Array.from(weightsOf(problem), ([name, { shape, values }]) => [
  name,
  { shape, values: Array.from(values) },
]);
const batch = Object.entries(batchOf(problem)).map(([name, ids]) => [name, Array.from(ids)]);
const { vocabulary, length, width, layers, heads } = problem;
const config = { vocabulary, length, width, layers, heads };
const whole = {
  config,
  adam: ADAM,
  steps: LOSSES.length,
  weights: Object.fromEntries(weights),
  ...Object.fromEntries(batch),
};
process.stdout.write(JSON.stringify(whole));
