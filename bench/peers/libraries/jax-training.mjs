/** The same model from jax-js's functions. One `jit` holds loss, gradients (`valueAndGrad`) and Adam's update. */
import { blockUntilReady, jit, nn, numpy as np, tree, valueAndGrad } from '@jax-js/jax';
import { ADAM, batchOf, weightsOf } from '../training-problem.mjs';

/** @returns {Promise<import('../worker.mjs').Prepared>} */
export async function prepareTraining(problem) {
  const { batch, length } = problem;
  const entries = Array.from(weightsOf(problem));
  const arrays = (valuesOf) =>
    Object.fromEntries(
      entries.map(([name, weight]) => [name, np.array(valuesOf(weight), { shape: [...weight.shape] })]),
    );
  const zeros = ({ values }) => new Float32Array(values.length);
  let state = { weights: arrays(({ values }) => values), first: arrays(zeros), second: arrays(zeros) };
  const ids = Object.values(batchOf(problem)).map((values) =>
    np.array(values, { shape: [batch, length], dtype: 'int32' }),
  );
  const step = jit((held, tokens, targets, rate, shrink) => {
    const lossAndGradients = valueAndGrad((weights) => lossOf(problem, weights, tokens, targets));
    const [loss, gradients] = lossAndGradients(tree.ref(held.weights));
    return [loss, update(held, gradients, rate, shrink)];
  });
  let count = 0;
  return {
    start() {
      count++;
      // the bias corrections depend on the step, and are passed as numbers on the device
      const shrink = Math.sqrt(1 - ADAM.beta2 ** count);
      const rate = (ADAM.lr * shrink) / (1 - ADAM.beta1 ** count);
      const [loss, next] = step(
        state,
        ...ids.map((array) => array.ref),
        np.array([rate]),
        np.array([ADAM.eps * shrink]),
      );
      state = next;
      return loss;
    },
    finish: (losses) => blockUntilReady([losses, state]),
    read: (loss) => loss.ref.data(),
    free: (loss) => loss.dispose(),
    release() {
      tree.dispose([state, ids]);
      step.dispose();
    },
  };
}

/** Kingma & Ba's formulas, with the bias corrections folded into the rate and eps. */
function update({ weights, first, second }, gradients, rate, eps) {
  const { beta1, beta2 } = ADAM;
  const next = { weights: {}, first: {}, second: {} };
  for (const [name, gradient] of Object.entries(gradients)) {
    const m = first[name].mul(beta1).add(gradient.ref.mul(1 - beta1));
    const v = second[name].mul(beta2).add(np.square(gradient).mul(1 - beta2));
    next.weights[name] = weights[name].sub(m.ref.mul(rate.ref).div(np.sqrt(v.ref).add(eps.ref)));
    next.first[name] = m;
    next.second[name] = v;
  }
  rate.dispose();
  eps.dispose();
  return next;
}

function lossOf({ batch, length, width, layers, heads, vocabulary }, w, tokens, targets) {
  const dim = width / heads;
  const embedded = np.matmul(nn.oneHot(tokens.ref, vocabulary), w['tokens.weight']);
  let x = embedded.add(w['positions.weight']);
  for (let i = 0; i < layers; i++) {
    const own = (name) => w[`blocks.${i}.${name}`];
    const projected = linear(
      norm(x.ref, own('norm1.weight'), own('norm1.bias')),
      own('attention.in_proj_weight'),
      own('attention.in_proj_bias'),
    );
    const [q, k, v] = np.split(projected, 3, -1).map((part) => part.reshape([batch, length, heads, dim]));
    const attended = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([batch, length, width]);
    x = x.add(linear(attended, own('attention.out_proj.weight'), own('attention.out_proj.bias')));
    const hidden = linear(norm(x.ref, own('norm2.weight'), own('norm2.bias')), own('widen.weight'), own('widen.bias'));
    x = x.add(linear(nn.gelu(hidden, { approximate: false }), own('narrow.weight'), own('narrow.bias')));
  }
  const logits = linear(norm(x, w['norm.weight'], w['norm.bias']), w['head.weight'], w['head.bias']);
  return np.mean(np.sum(nn.oneHot(targets.ref, vocabulary).mul(nn.logSoftmax(logits)), -1)).neg();
}

function linear(x, weight, bias) {
  return np.matmul(x, np.matrixTranspose(weight)).add(bias);
}

function norm(x, weight, bias) {
  return nn.standardize(x, -1, { epsilon: 1e-5 }).mul(weight).add(bias);
}
