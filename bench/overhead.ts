/** The cost of one more dispatch, pass and submit, from the call to the end of the wait: the slope over many of them. */
import { WebGPUAttentionError } from '../src/index.ts';
import { BufferUsage, MAP_MODE_READ } from '../src/gpu/usage.ts';
import type { Roof } from './result.ts';
import tick from './shaders/tick.wgsl';

const FEW = 32;
const MANY = 256;
const REPEATS = 15;

/** Records and submits this many dispatches. */
type Work = (dispatches: number) => void;

export async function measureOverheads(gpu: GPUDevice): Promise<Pick<Roof, 'dispatchUs' | 'passUs' | 'submitUs'>> {
  const pipeline = gpu.createComputePipeline({
    label: 'tick',
    layout: 'auto',
    compute: { module: gpu.createShaderModule({ label: 'tick', code: tick.text }) },
  });
  const size = 4;
  const count = gpu.createBuffer({ size, usage: BufferUsage.STORAGE | BufferUsage.COPY_SRC });
  const bindGroup = gpu.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: count } }],
  });
  let expected = 0;
  const dispatchAll = (pass: GPUComputePassEncoder, dispatches: number) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let i = 0; i < dispatches; i++) pass.dispatchWorkgroups(1);
    pass.end();
    expected += dispatches;
  };
  const inOnePass: Work = (dispatches) => {
    const encoder = gpu.createCommandEncoder();
    dispatchAll(encoder.beginComputePass(), dispatches);
    gpu.queue.submit([encoder.finish()]);
  };
  const inPasses: Work = (dispatches) => {
    const encoder = gpu.createCommandEncoder();
    for (let i = 0; i < dispatches; i++) dispatchAll(encoder.beginComputePass(), 1);
    gpu.queue.submit([encoder.finish()]);
  };
  const inSubmits: Work = (dispatches) => {
    for (let i = 0; i < dispatches; i++) inOnePass(1);
  };
  try {
    const dispatch = await marginalUs(gpu, inOnePass);
    const pass = await marginalUs(gpu, inPasses);
    const submit = await marginalUs(gpu, inSubmits);
    if ((await readCount(gpu, count, size)) !== expected) {
      throw new WebGPUAttentionError(`bench: the device must run all of ${expected} dispatches, and it did not`);
    }
    // a pass of one dispatch costs both, a submit of one pass all three; noise must not make a cost negative
    return {
      dispatchUs: dispatch,
      passUs: Math.max(0, pass - dispatch),
      submitUs: Math.max(0, submit - pass),
    };
  } finally {
    count.destroy();
  }
}

async function marginalUs(gpu: GPUDevice, work: Work): Promise<number> {
  await leastMs(gpu, work, FEW); // compiles
  const few = await leastMs(gpu, work, FEW);
  const many = await leastMs(gpu, work, MANY);
  return Math.max(0, ((many - few) / (MANY - FEW)) * 1000);
}

async function leastMs(gpu: GPUDevice, work: Work, dispatches: number): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now();
    work(dispatches);
    await gpu.queue.onSubmittedWorkDone();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

async function readCount(gpu: GPUDevice, count: GPUBuffer, size: number): Promise<number> {
  const staging = gpu.createBuffer({ size, usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST });
  const encoder = gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(count, 0, staging, 0, size);
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(MAP_MODE_READ);
  const [value] = new Uint32Array(staging.getMappedRange());
  staging.destroy();
  return value;
}
