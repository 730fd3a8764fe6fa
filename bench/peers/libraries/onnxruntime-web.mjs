/** ONNX Runtime compiled to WebAssembly, with its WebGPU execution provider on `navigator.gpu`. */
import * as ort from 'onnxruntime-web/webgpu';
import { initialiseVariables } from '../../../dist/bench-peers.js';
import { RESULT } from '../onnx-model.mjs';
import { LAYOUT, modelOf, SESSION_OPTIONS } from '../onnx-problem.mjs';
import { override } from '../override.mjs';

/** @type {import('../worker.mjs').Open} */
export async function open({ initialised }) {
  uploadUnshared();
  if (initialised) initialiseShaders();
  ort.env.wasm.numThreads = 1; // for what runs on the CPU, which is nothing here
  ort.env.logLevel = 'error';
  return {
    layout: LAYOUT,
    async prepare(problem) {
      const session = await ort.InferenceSession.create(modelOf(problem), {
        ...SESSION_OPTIONS,
        executionProviders: ['webgpu'],
        preferredOutputLocation: 'gpu-buffer',
      });
      const device = await ort.env.webgpu.device;
      return {
        start: async () => (await session.run({}, [RESULT]))[RESULT],
        finish: () => device.queue.onSubmittedWorkDone(),
        read: (output) => output.getData(),
        free: (output) => output.dispose(),
        release: () => session.release(),
      };
    },
  };
}

/** WebAssembly's memory is shared between threads. npm's `webgpu` rejects views of shared memory, so it gets a copy. */
function uploadUnshared() {
  override(globalThis.GPUQueue.prototype, 'writeBuffer', (writeBuffer, buffer, offset, data, ...range) =>
    writeBuffer(buffer, offset, data.buffer instanceof SharedArrayBuffer ? data.slice() : data, ...range),
  );
}

function initialiseShaders() {
  override(globalThis.GPUDevice.prototype, 'createShaderModule', (createShaderModule, descriptor) =>
    createShaderModule({ ...descriptor, code: initialiseVariables(descriptor.code) }),
  );
}
