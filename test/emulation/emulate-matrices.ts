import { afterAll, beforeAll, beforeEach, vi } from 'vitest';
import attention from '../../shaders/matrix/attention.wgsl';
import matmul from '../../shaders/matrix/matmul.wgsl';
import { MATRIX_SHADERS } from '../../src/kernels/matrix-shaders.ts';
import { replacePart, type Shader } from '../../src/gpu/shader.ts';
import { testDevice } from '../device.ts';
import emulated from './subgroup-matrix.wgsl';

/** The very text of the matrix kernels, with an emulation of the matrices. */
const EMULATED: ReadonlyMap<string, Shader> = new Map(
  [attention, matmul].map((shader) => [shader.name, replacePart(shader, 'matrix/parts/subgroup-matrix', emulated)]),
);

let isEmulating = false;

/**
 * For the tests of the surrounding describe, the shared device has tensor cores: its own, where it was opened for them,
 * else emulated ones, and ops are planned for them.
 * `vendor`: ops are planned for a GPU of this one.
 */
export function useMatrices(vendor?: string): void {
  const restore: (() => void)[] = [];
  beforeAll(async () => {
    const device = await testDevice();
    const { runtime, traits } = device;
    restore.push(() => {
      device.traits = traits;
    });
    if (vendor !== undefined) device.traits = { ...traits, vendor };
    if (traits.subgroupMatrix !== undefined || traits.subgroupSize === 0) return;
    const run = runtime.dispatch.bind(runtime);
    const dispatch = vi
      .spyOn(runtime, 'dispatch')
      .mockImplementation((launch, bindings, label) =>
        run({ ...launch, shader: EMULATED.get(launch.shader.name) ?? launch.shader }, bindings, label),
      );
    device.traits = { ...device.traits, subgroupMatrix: MATRIX_SHADERS.vectors };
    isEmulating = true;
    restore.push(() => {
      isEmulating = false;
      dispatch.mockRestore();
    });
  });
  beforeEach(async (context) => {
    const { subgroupMatrix, subgroupSize } = (await testDevice()).traits;
    context.skip(subgroupMatrix === undefined && subgroupSize === 0, 'without subgroups no tensor cores are emulated');
  });
  afterAll(() => restore.forEach((undo) => undo()));
}

/** Whether the surrounding describe runs on emulated matrices; known when its tests run. */
export function areEmulated(): boolean {
  return isEmulating;
}

/** Not on lavapipe, with subgroups of eight, where a kernel with more than a few emulated matrices takes a minute. */
export async function compilesFast(): Promise<boolean> {
  return !isEmulating || (await testDevice()).traits.subgroupSize === 4;
}
