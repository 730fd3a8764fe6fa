/** ONNX Runtime as a native library. Its WebGPU execution provider has its own Dawn. */
import * as ort from 'onnxruntime-node';
import { FIRST, RESULT } from '../onnx-model.mjs';
import { LAYOUT, modelOf, SESSION_OPTIONS } from '../onnx-problem.mjs';

/** @type {import('../worker.mjs').Open} */
export async function open({ provider }) {
  return {
    layout: LAYOUT,
    async prepare(problem) {
      const session = await ort.InferenceSession.create(modelOf(problem, { cutsFirst: true }), {
        ...SESSION_OPTIONS,
        executionProviders: [provider],
      });
      return {
        // Outputs cannot stay on the GPU here, so the cheapest way to wait for the result is to fetch one number.
        start: () => session.run({}, [FIRST]),
        finish() {},
        read: async () => (await session.run({}, [RESULT]))[RESULT].data,
        free() {},
        release: () => session.release(),
      };
    },
  };
}
