import { createDevice, flashAttention, localAttention, matmul } from '../../../dist/index.js';
import { operands } from '../problems.mjs';
import { prepareTraining } from './webgpu-attention-training.mjs';

/** @type {import('../worker.mjs').Open} */
export async function open() {
  const device = await createDevice();
  return {
    layout: 'heads-first',
    async prepare(problem) {
      if (problem.op === 'training') return prepareTraining(device, problem);
      const tensors = operands(problem).map((values) => device.tensor(values, shapeOf(problem, values)));
      return {
        start: operation(problem, tensors),
        finish: () => device.sync(),
        read: (output) => output.data(),
        free: (output) => output.dispose(),
        release: () => tensors.forEach((tensor) => tensor.dispose()),
      };
    },
  };
}

function shapeOf(problem, { length }) {
  if (problem.op === 'matmul') return [problem.size, problem.size];
  const { heads, dim } = problem;
  return [1, heads, length / heads / dim, dim];
}

function operation(problem, tensors) {
  if (problem.op === 'matmul') return () => matmul(...tensors);
  const { isCausal, window } = problem;
  if (window === undefined) return () => flashAttention(...tensors, { isCausal }).output;
  return () => localAttention(...tensors, { isCausal, window: { left: window, right: window } }).output;
}
