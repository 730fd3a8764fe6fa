/** TensorFlow.js has no attention: two products and a softmax, as its users compose it. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { additiveMask, operands } from '../problems.mjs';
import { prepareTraining } from './tfjs-training.mjs';

/** @type {import('../worker.mjs').Open} */
export async function open() {
  await tf.setBackend('webgpu');
  await tf.ready();
  const backend = tf.backend();
  /** Up to 15 dispatches wait to be submitted together. The function that flushes them without a copy is internal. */
  const finish = () => {
    backend.endComputePassEncoder();
    if (backend.commandEncoder) backend.submitQueue();
    return backend.queue.onSubmittedWorkDone();
  };
  return {
    layout: 'heads-first',
    async prepare(problem) {
      if (problem.op === 'training') return prepareTraining(problem, finish);
      const tensors = operands(problem).map((values) => tf.tensor(values, shapeOf(problem, values)));
      if (problem.isCausal || problem.window) {
        tensors.push(tf.tensor(additiveMask(problem), [1, problem.queries, problem.keys]));
      }
      return {
        start: () => tf.tidy(() => (problem.op === 'matmul' ? tf.matMul(...tensors) : attend(problem, ...tensors))),
        finish,
        read: (output) => output.data(),
        free: (output) => output.dispose(),
        release: () => tf.dispose(tensors),
      };
    },
  };
}

function shapeOf(problem, { length }) {
  return problem.op === 'matmul'
    ? [problem.size, problem.size]
    : [problem.heads, length / problem.heads / problem.dim, problem.dim];
}

function attend({ dim }, q, k, v, mask) {
  const scores = tf.matMul(tf.mul(q, 1 / Math.sqrt(dim)), k, false, true); // scaling Q is cheaper than scaling the scores
  return tf.matMul(tf.softmax(mask ? tf.add(scores, mask) : scores), v);
}
