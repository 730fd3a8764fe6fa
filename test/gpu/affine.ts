/** A kernel small enough to compile in no time, for tests of the runtime: output = FACTOR · x + addend. */
import type { Runtime } from '../../src/gpu/runtime.ts';
import type { FloatTensor, Tensor } from '../../src/index.ts';
import { shaderOf } from '../shader-of.ts';

export const AFFINE = shaderOf(
  'affine',
  `
const FACTOR: f32 = 1.0;
struct Params { count: u32, addend: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x < params.count { output[id.x] = FACTOR * x[id.x] + params.addend; }
}
`,
);

/** FACTOR · x + addend of a contiguous float32 tensor. */
export function affine(x: Tensor, { factor = 1, addend = 0 }: { factor?: number; addend?: number }): FloatTensor {
  const output = x.device.empty(x.shape, 'float32', 'affine');
  const launch = {
    shader: AFFINE,
    constants: { FACTOR: factor },
    params: { count: x.size, addend },
    workgroups: [Math.ceil(x.size / 64), 1, 1] as const,
  };
  x.device.runtime.dispatch(launch, { x: x.storage('affine'), output: output.storage('affine') });
  return output;
}

/** What `work` adds to each counter. */
export function counted(runtime: Runtime, work: () => void): ReturnType<Runtime['counters']> {
  const before = runtime.counters();
  work();
  const after = runtime.counters();
  return {
    submits: after.submits - before.submits,
    dispatches: after.dispatches - before.dispatches,
    pipelines: after.pipelines - before.pipelines,
    buffers: after.buffers - before.buffers,
  };
}
