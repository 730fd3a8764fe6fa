import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clipGradNorm, createDevice, type Device, GradScaler, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import { disposeAll, golden, NAMES, setGradients, startParameters } from './golden.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** A parameter with a gradient. */
function withGradient(data: ArrayLike<number>, shape: number[], dtype: 'float32' | 'float16' = 'float32'): Tensor {
  const parameter = device.zeros(shape, { dtype, requiresGrad: true });
  using gradient = device.tensor(Float32Array.from(data), shape, { dtype });
  parameter.grad = gradient;
  return parameter;
}

describe('clipGradNorm', () => {
  test.each(['0.01', '1000'])('to %s, as torch', async (limit) => {
    const parameters = startParameters(device);
    setGradients(parameters, 0);
    using norm = clipGradNorm(parameters, Number(limit));
    expect(norm.shape).toEqual([1]);
    expectClose(await norm.data(), golden(`clip/${limit}/norm`).data, tolerances.float32.updated, 'norm');
    for (const name of NAMES) {
      const { data } = golden(`clip/${limit}/${name}`);
      expectClose(await parameters[name].grad!.data(), data, tolerances.float32.updated, name);
    }
    disposeAll(parameters);
  });

  test('of many elements in several dtypes and ragged rows, the same each time', async () => {
    const random = new Random(3);
    const shapes = [[40_001], [3, 7, 5], [1], [33, 130]];
    const parameters = shapes.map((shape, i) =>
      withGradient(random.normals(shape), shape, i % 2 ? 'float16' : 'float32'),
    );
    const values = await Promise.all(parameters.map(({ grad }) => grad!.data()));
    const squares = values.map((data) => Array.from(data).reduce((sum, value) => sum + value * value, 0));
    const wanted = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
    using norm = clipGradNorm(parameters, Infinity);
    expectClose(await norm.data(), [wanted], tolerances.float32.updated, 'norm');
    using again = clipGradNorm(parameters, 1);
    expect(await again.data()).toEqual(await norm.data());
    for (const [i, { grad, dtype }] of parameters.entries()) {
      const scaled = values[i].map((value: number) => value / (wanted + 1e-6));
      const tolerance = dtype === 'float16' ? tolerances.float16.opGradient : tolerances.float32.updated;
      expectClose(await grad!.data(), scaled, tolerance, `gradient ${i}`);
    }
    for (const parameter of parameters) parameter.dispose();
  });

  test('of gradients that are still scaled', async () => {
    using scaler = new GradScaler(device, { initScale: 1024 });
    using parameter = withGradient([3 * 1024, 4 * 1024], [2], 'float16');
    using norm = clipGradNorm([parameter], 2.5, { scaler });
    expect([...(await norm.data())]).toEqual([5]);
    expectClose(await parameter.grad!.data(), [1536, 2048], { atol: 0, rtol: 1e-3 }, 'gradient');
  });

  test('leaves what the user holds as it was, and padding out', async () => {
    using wide = device.tensor([3, NaN, 4, Infinity], [2, 2], { dtype: 'float16' });
    using narrow = wide.slice(1, 0, 1); // has the layout of a fresh tensor
    using parameter = device.zeros([2, 1], { dtype: 'float16', requiresGrad: true });
    parameter.grad = narrow;
    using norm = clipGradNorm([parameter], 2.5);
    expect([...(await norm.data())]).toEqual([5]);
    expectClose(await parameter.grad.data(), [1.5, 2], { atol: 0, rtol: 1e-3 }, 'gradient');
    expect([...(await wide.data())]).toEqual([3, NaN, 4, Infinity]);
  });

  test('a norm that is not finite gives what torch gives', async () => {
    using infinite = withGradient([1, Infinity, -2], [3]);
    using norm = clipGradNorm([infinite], 1);
    expect([...(await norm.data())]).toEqual([Infinity]);
    expect([...(await infinite.grad!.data())].map(Math.abs)).toEqual([0, NaN, 0]);
    using spoilt = withGradient([1, NaN], [2]);
    using nan = clipGradNorm([spoilt], 1);
    expect([...(await nan.data())]).toEqual([NaN]);
    expect([...(await spoilt.grad!.data())]).toEqual([NaN, NaN]);
  });

  test('to Infinity, gradients stay as they are, whatever they are', async () => {
    using parameter = withGradient([1, Infinity, -2], [3]);
    const { grad } = parameter;
    using norm = clipGradNorm([parameter], Infinity);
    expect([...(await norm.data())]).toEqual([Infinity]);
    expect(parameter.grad).toBe(grad);
    expect([...(await parameter.grad!.data())]).toEqual([1, Infinity, -2]);
  });

  test('without gradients it is 0', async () => {
    using parameter = device.zeros([2], { requiresGrad: true });
    using norm = clipGradNorm([parameter], 1);
    expect([...(await norm.data())]).toEqual([0]);
  });

  test('a scaler of another device', async () => {
    using other = await createDevice();
    using scaler = new GradScaler(other);
    using parameter = device.zeros([2], { requiresGrad: true });
    expect(() => clipGradNorm([parameter], 1, { scaler })).toThrow(
      "clipGradNorm: parameters must be on the scaler's device, got a tensor of another device",
    );
  });

  test('bad input', () => {
    using parameter = device.zeros([2], { requiresGrad: true });
    expect(() => clipGradNorm([parameter], -1)).toThrow('clipGradNorm: maxNorm must be a number of at least 0, got -1');
    expect(() => clipGradNorm([], 1)).toThrow('clipGradNorm: parameters must be at least one tensor, got none');
    expect(() => clipGradNorm([parameter], 1, { scaler: 2 as unknown as GradScaler })).toThrow(
      'clipGradNorm: scaler must be a GradScaler, got 2',
    );
  });
});
