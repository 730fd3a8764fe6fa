/** jax-js: `jit` of its own `dotProductAttention` and `matmul`. */
import { blockUntilReady, defaultDevice, init, jit, nn, numpy } from '@jax-js/jax';
import { operands } from '../problems.mjs';
import { prepareTraining } from './jax-training.mjs';

const LAYOUT = 'heads-last';

/** @type {import('../worker.mjs').Open} */
export async function open() {
  giveIteratorsMethods();
  await init('webgpu');
  defaultDevice('webgpu');
  return {
    layout: LAYOUT,
    async prepare(problem) {
      if (problem.op === 'training') return prepareTraining(problem);
      const arrays = operands(problem, LAYOUT).map((values) =>
        numpy.array(values, { shape: shapeOf(problem, values) }),
      );
      const call = jit(operation(problem));
      return {
        start: () => call(...arrays.map((array) => array.ref)), // a call consumes its references
        finish: (outputs) => blockUntilReady(outputs),
        read: (output) => output.ref.data(),
        free: (output) => output.dispose(),
        release() {
          for (const array of arrays) array.dispose();
          call.dispose();
        },
      };
    },
  };
}

function shapeOf(problem, { length }) {
  if (problem.op === 'matmul') return [problem.size, problem.size];
  const { heads, dim } = problem;
  return [1, length / heads / dim, heads, dim];
}

function operation(problem) {
  if (problem.op === 'matmul') return (a, b) => numpy.matmul(a, b);
  const { isCausal, window: localWindowSize } = problem;
  return (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal, localWindowSize });
}

/** `dotProductAttention` maps and filters an iterator, which Node can do since version 22. */
function giveIteratorsMethods() {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([].values()));
  prototype.map ??= function* (change) {
    for (const value of this) yield change(value);
  };
  prototype.filter ??= function* (keep) {
    for (const value of this) if (keep(value)) yield value;
  };
}
