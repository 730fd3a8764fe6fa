import { describe, expect, test } from 'vitest';
import { rotaryEmbedding } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import type { HostArray } from '../reference/host-array.ts';
import { rotaryEmbedding as reference } from '../reference/rotary-embedding.ts';
import { expectGradients, type GradientProblem } from './gradient-run.ts';

const random = new Random(61);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

function tables(positions: number, pairs: number): { cos: HostArray; sin: HostArray } {
  const angles = random.normals([positions, pairs]);
  const of = (f: (x: number) => number) => ({ shape: [positions, pairs], data: angles.map(f) });
  return { cos: of(Math.cos), sin: of(Math.sin) };
}

describe.each(['float32', 'float16'] as const)('rotaryEmbedding’s gradient in %s', (dtype) => {
  test.each<[number[], number, boolean]>([
    [[2, 3, 4, 8], 8, false],
    [[2, 3, 4, 8], 8, true],
    [[1, 2, 3, 7], 4, false],
    [[1, 2, 3, 7], 6, true],
    [[1, 1, 1, 2], 2, false],
  ])('of %j, %i columns turned, interleaved: %j', async (shape, rotary, interleaved) => {
    const device = await testDevice();
    const { cos, sin } = tables(9, rotary / 2);
    const [batch, , length] = shape;
    const offsets = Array.from({ length: batch }, (_, i) => 2 * i + 1);
    const ids = {
      shape: [batch, length],
      data: Int32Array.from({ length: batch * length }, () => random.integer(0, 8)),
    };
    for (const [options, position] of [
      [{}, (_b: number, n: number) => n],
      [{ offset: offsets }, (b: number, n: number) => offsets[b] + n],
      [{ ids }, (b: number, n: number) => ids.data[b * length + n]],
    ] as const) {
      const problem: GradientProblem = {
        dtype,
        inputs: [normals(...shape)],
        op: ([x]) => {
          const [c, s] = [cos, sin].map((table) => device.tensor(table.data as Float32Array, table.shape));
          const positions = 'ids' in options ? { positions: device.tensor(ids.data, ids.shape) } : options;
          return rotaryEmbedding(x, c, s, { ...positions, interleaved });
        },
        reference: ([x]) => reference(x, cos, sin, { position, interleaved }),
      };
      await expectGradients(problem);
      await expectGradients({ ...problem, layouts: [{ axes: [0, 2, 1, 3] }], gradientLayout: { axes: [0, 2, 1, 3] } });
      await expectGradients({ ...problem, repeats: [1, 3] });
    }
  });
});

test('rotaryEmbedding of three axes has a gradient', async () => {
  const device = await testDevice();
  const { cos, sin } = tables(5, 2);
  await expectGradients({
    dtype: 'float32',
    inputs: [normals(2, 5, 6)],
    op: ([x]) => {
      const [c, s] = [cos, sin].map((table) => device.tensor(table.data as Float32Array, table.shape));
      return rotaryEmbedding(x, c, s);
    },
    reference: ([{ data }]) => {
      const turned = reference({ shape: [2, 1, 5, 6], data }, cos, sin, { position: (_b, n) => n });
      return { shape: [2, 5, 6], data: turned.data };
    },
  });
});

test('rotaryEmbedding refuses a gradient of its tables, and only that', async () => {
  const device = await testDevice();
  device.scope(() => {
    const x = device.zeros([1, 2, 4], { requiresGrad: true });
    const [cos, sin] = [device.zeros([2, 2]), device.zeros([2, 2], { requiresGrad: true })];
    const y = rotaryEmbedding(x, cos, sin);
    expect(() => y.backward(device.zeros([1, 2, 4]))).toThrow(
      'rotaryEmbedding: cos and sin must not require a gradient, got one that does: detach it',
    );
    expect(x.grad).toBeUndefined();
  });
});
