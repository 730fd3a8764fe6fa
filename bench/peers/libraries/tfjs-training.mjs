/** The same model from TensorFlow.js's operations, trained by its own `AdamOptimizer`. */
import { register } from 'node:module';
import * as tf from '@tensorflow/tfjs-core';
import { ADAM, batchOf, weightsOf } from '../training-problem.mjs';

/**
 * The build of tfjs-core that Node loads has no gradients, and the file that has them imports others without `.js`, as bundlers
 * allow. Gradients are registered globally, so both builds use them.
 */
async function registerGradients() {
  const hook = `export const resolve = (name, context, next) =>
    next(/tfjs-core.dist/.test(context.parentURL) && /^\\.[^]*(?<!\\.js)$/.test(name) ? name + '.js' : name, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
  await import('@tensorflow/tfjs-core/dist/register_all_gradients.js');
}

/**
 * @param {(outputs: unknown[]) => unknown} finish
 * @returns {Promise<import('../worker.mjs').Prepared>}
 */
export async function prepareTraining(problem, finish) {
  await registerGradients();
  const { batch, length, vocabulary } = problem;
  const entries = Array.from(weightsOf(problem), ([name, { values, shape }]) => [
    name,
    tf.variable(tf.tensor(values, shape)),
  ]);
  const weights = Object.fromEntries(entries);
  const { tokens, targets } = batchOf(problem);
  const constants = {
    tokens: tf.tensor2d(tokens, [batch, length], 'int32'),
    wanted: tf.tidy(() => tf.oneHot(tf.tensor1d(targets, 'int32'), vocabulary)),
    // added to scores, this gives a softmax of 0 in float32
    mask: tf.tidy(() => tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([length, length]), -1, 0)), -1e9)),
  };
  const { lr, beta1, beta2, eps } = ADAM;
  const optimiser = tf.train.adam(lr, beta1, beta2, eps);
  const list = Object.values(weights);
  return {
    start: () => optimiser.minimize(() => lossOf(problem, weights, constants), true, list),
    finish,
    read: (loss) => loss.data(),
    free: (loss) => loss.dispose(),
    release() {
      tf.dispose([list, constants]);
      optimiser.dispose();
    },
  };
}

function lossOf({ batch, length, width, layers, heads }, w, { tokens, wanted, mask }) {
  const dim = width / heads;
  const rows = [batch * length, width];
  let x = tf.reshape(tf.add(tf.gather(w['tokens.weight'], tokens), w['positions.weight']), rows);
  for (let i = 0; i < layers; i++) {
    const own = (name) => w[`blocks.${i}.${name}`];
    const projected = linear(
      norm(x, own('norm1.weight'), own('norm1.bias')),
      own('attention.in_proj_weight'),
      own('attention.in_proj_bias'),
    );
    const [q, k, v] = tf.split(projected, 3, -1).map((part) => {
      return tf.transpose(tf.reshape(part, [batch, length, heads, dim]), [0, 2, 1, 3]);
    });
    const scores = tf.add(tf.matMul(tf.mul(q, 1 / Math.sqrt(dim)), k, false, true), mask);
    const attended = tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]), rows);
    x = tf.add(x, linear(attended, own('attention.out_proj.weight'), own('attention.out_proj.bias')));
    const hidden = gelu(
      linear(norm(x, own('norm2.weight'), own('norm2.bias')), own('widen.weight'), own('widen.bias')),
    );
    x = tf.add(x, linear(hidden, own('narrow.weight'), own('narrow.bias')));
  }
  const logits = linear(norm(x, w['norm.weight'], w['norm.bias']), w['head.weight'], w['head.bias']);
  return tf.neg(tf.mean(tf.sum(tf.mul(wanted, tf.logSoftmax(logits)), -1)));
}

function linear(x, weight, bias) {
  return tf.add(tf.matMul(x, weight, false, true), bias);
}

function norm(x, weight, bias) {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
}

function gelu(x) {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
}
