/** The libraries that take turns, in this order. */
import { readFileSync } from 'node:fs';

/**
 * @typedef {object} Library
 * @property {string} name as results give it
 * @property {string} version
 * @property {string} module in `libraries/`
 * @property {boolean} isWebGpu false if it runs on the CPU, for scale
 * @property {boolean} trains whether it has gradients
 * @property {object} options of the module
 */

const ours = readJson('../../package.json');
const { dependencies } = readJson('package.json');

/** @type {readonly Library[]} */
export const LIBRARIES = [
  { name: ours.name, version: ours.version, module: 'webgpu-attention', isWebGpu: true, trains: true, options: {} },
  peer('onnxruntime-web', 'onnxruntime-web'),
  peer('onnxruntime-web (initialised)', 'onnxruntime-web', { options: { initialised: true } }),
  peer('onnxruntime-node', 'onnxruntime-node', { options: { provider: 'webgpu' } }),
  peer('tfjs-backend-webgpu', '@tensorflow/tfjs-backend-webgpu', { module: 'tfjs', trains: true }),
  peer('jax-js', '@jax-js/jax', { module: 'jax', trains: true }),
  peer('onnxruntime-node (CPU)', 'onnxruntime-node', { options: { provider: 'cpu' }, isWebGpu: false }),
];

/** @returns {Library} */
function peer(name, packageName, { module = packageName, isWebGpu = true, trains = false, options = {} } = {}) {
  return { name, version: dependencies[packageName], module, isWebGpu, trains, options };
}

function readJson(path) {
  return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
}
