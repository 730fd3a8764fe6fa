/** One training step of examples/train-char-lm's model: forward, loss, gradients of all weights, and Adam's update of them. */
import { normal } from '../../dist/bench-peers.js';

/**
 * @typedef {object} Training
 * @property {'training'} op
 * @property {string} name
 * @property {number} vocabulary
 * @property {number} batch
 * @property {number} length
 * @property {number} width
 * @property {number} layers
 * @property {number} heads
 *
 * @typedef {object} Weight
 * @property {readonly number[]} shape linear layers' is [out, in]
 * @property {Float32Array} values
 */

/** The optimiser that all have, or that their users write; weights do not decay. */
export const ADAM = { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 };

/**
 * PyTorch's losses of the first steps in float64, made by training-losses.py. If a library's losses fall in the same way, its
 * gradients and updates are right.
 */
export const LOSSES = [5.054374970962042, 4.781498986387957, 4.621632017475007, 4.504050959265532, 4.394019656229108];

/** The libraries differ by 1e-5. If a gradient is nearly 0, Adam amplifies rounding errors from step to step. */
export const TOLERANCE = 1e-3;

/** @returns {Training} */
export function training(name, sizes) {
  return { op: 'training', name, ...sizes };
}

/** The weights by PyTorch's names, the same in every process. */
export function weightsOf({ vocabulary, length, width, layers }) {
  /** @type {Map<string, Weight>} */
  const weights = new Map();
  const add = (name, shape, next) => {
    const size = shape.reduce((product, n) => product * n, 1);
    weights.set(name, { shape, values: Float32Array.from({ length: size }, () => next()) });
  };
  const constant = (value) => () => value;
  const matrix = (name, out, inner) => {
    const draw = normal(weights.size + 1);
    add(`${name}weight`, [out, inner], () => draw() / Math.sqrt(inner));
  };
  const linear = (name, out, inner) => {
    matrix(`${name}.`, out, inner);
    add(`${name}.bias`, [out], constant(0));
  };
  const norm = (name) => {
    add(`${name}.weight`, [width], constant(1));
    add(`${name}.bias`, [width], constant(0));
  };
  matrix('tokens.', vocabulary, width);
  matrix('positions.', length, width);
  for (let i = 0; i < layers; i++) {
    const block = `blocks.${i}`;
    norm(`${block}.norm1`);
    matrix(`${block}.attention.in_proj_`, 3 * width, width);
    add(`${block}.attention.in_proj_bias`, [3 * width], constant(0));
    linear(`${block}.attention.out_proj`, width, width);
    norm(`${block}.norm2`);
    linear(`${block}.widen`, 4 * width, width);
    linear(`${block}.narrow`, width, 4 * width);
  }
  norm('norm');
  linear('head', vocabulary, width);
  return weights;
}

/** Tokens and the ones after them, [batch, length] each. */
export function batchOf({ vocabulary, batch, length }) {
  const next = normal(0);
  const draw = () =>
    Int32Array.from({ length: batch * length }, () => Math.floor(Math.abs(next()) * 1000) % vocabulary);
  return { tokens: draw(), targets: draw() };
}
