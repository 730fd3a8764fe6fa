/** Memory that nothing may read holds NaN, and no bit of a result may change. */
import { expect } from 'vitest';
import { sizeClass } from '../../src/gpu/buffers.ts';
import { BufferUsage } from '../../src/gpu/usage.ts';
import type { Device, Shape, Tensor } from '../../src/index.ts';
import type { Float } from './upload.ts';

/** NaN as float32, and as either half of two float16. */
export const NAN_WORD = 0x7fff7fff;

/** Buffers up to this size are filled; those of the tests are smaller. */
const LARGEST = 2 ** 17;

/** The buffers that the pool hands out next hold this word everywhere: all that are free, and a few more of each size. */
export function fillPool(device: Device, word: number): void {
  const taken: Tensor[] = [];
  for (let bytes = 256; bytes <= LARGEST; bytes = sizeClass(bytes + 1)) {
    const words = new Uint32Array(bytes / 4).fill(word);
    for (let fresh = 0; fresh < 4;) {
      const { pooled } = device.memory();
      taken.push(device.tensor(words, [words.length], { dtype: 'uint32' }));
      if (device.memory().pooled === pooled) fresh++;
    }
  }
  for (const tensor of taken) tensor.dispose();
}

export type Results = Readonly<Record<string, ArrayLike<number>>>;

/** Fails unless both runs gave the same bits, and the first no NaN. */
export function expectSameBits(spoilt: Results, clean: Results): void {
  expect(Object.keys(spoilt)).toEqual(Object.keys(clean));
  for (const [name, values] of Object.entries(clean)) {
    for (let at = 0; at < values.length; at++) {
      if (Number.isNaN(values[at])) throw new Error(`${name}: element ${at} is NaN without any poison`);
      if (Object.is(spoilt[name][at], values[at])) continue;
      throw new Error(`${name}: element ${at} is ${spoilt[name][at]}, without poison ${values[at]}`);
    }
  }
}

/** Fails unless what recycled buffers hold changes no bit of what `run` reads back. */
export async function expectCleanBuffers(device: Device, run: () => Promise<Results>): Promise<void> {
  fillPool(device, 0);
  const clean = await run();
  fillPool(device, NAN_WORD);
  expectSameBits(await run(), clean);
}

/**
 * A tensor in the first bytes of a larger buffer, which holds `word` behind them; in float16 also where rows of an odd length
 * are padded. The buffer is the caller's to destroy.
 */
export function wrapped(device: Device, values: Float32Array, shape: Shape, dtype: Float, word: number) {
  const width = shape.at(-1)!;
  const pitch = dtype === 'float16' ? width + (width % 2) : width;
  const rows = values.length / width;
  const padded = new Float32Array(rows * pitch).fill(word === 0 ? 0 : NaN);
  for (let row = 0; row < rows; row++) padded.set(values.subarray(row * width, (row + 1) * width), row * pitch);
  const stored = device.tensor(padded, [...shape.slice(0, -1), pitch], { dtype });
  const bytes = Math.ceil((padded.length * (dtype === 'float16' ? 2 : 4)) / 16) * 16;
  const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
  const buffer = device.gpu.createBuffer({ size: 2 * bytes + 256, usage });
  device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(word));
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(
    stored.buffer,
    0,
    buffer,
    0,
    Math.floor((padded.length * (dtype === 'float16' ? 2 : 4)) / 4) * 4,
  );
  device.gpu.queue.submit([encoder.finish()]);
  stored.dispose();
  return { tensor: device.wrap(buffer, shape, { dtype }), buffer };
}

/** All workgroup memory that a device without special limits has. */
const SHARED_BYTES = 16_384;

/**
 * A kernel that counts the words of its workgroup memory that are not 0 as it begins, and leaves NaN in all of them. WebGPU promises
 * that workgroup memory begins as zeros.
 */
export async function poisonWorkgroupMemory(device: Device): Promise<number> {
  const { gpu } = device;
  const code = `
    var<workgroup> memory: array<u32, ${SHARED_BYTES / 4}>;
    @group(0) @binding(0) var<storage, read_write> found: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
      var count: u32 = 0u;
      for (var i = lane; i < ${SHARED_BYTES / 4}u; i += 64u) {
        count += select(0u, 1u, memory[i] != 0u);
        memory[i] = ${NAN_WORD}u;
      }
      workgroupBarrier();
      // so that no compiler leaves the writes out
      found[64u * group.x + lane] = count + select(1u, 0u, memory[(61u * lane) % ${SHARED_BYTES / 4}u] == ${NAN_WORD}u);
    }`;
  const groups = 8;
  const module = gpu.createShaderModule({ code });
  const pipeline = gpu.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const found = device.zeros([64 * groups], { dtype: 'uint32' });
  const entries = [{ binding: 0, resource: { buffer: found.buffer } }];
  const bindings = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  for (let i = 0; i < 2; i++) pass.dispatchWorkgroups(groups);
  pass.end();
  gpu.queue.submit([encoder.finish()]);
  const counts = await found.data();
  found.dispose();
  return counts.reduce((sum, count) => sum + count, 0);
}
