import { inspect } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  createDevice,
  SGD,
  KeyValueCache,
  Tensor,
  clipGradNorm,
  GradScaler,
  sum,
  type Device,
  type DType,
  type TensorData,
} from '../../src/index.ts';
import { formatShown, takeShown } from '../../src/tensor/print.ts';
import { testDevice } from '../device.ts';

const FLOAT = (values: readonly number[]): TensorData => Float32Array.from(values);

function printed(data: TensorData, shape: readonly number[], dtype: DType = 'float32'): string {
  return formatShown(takeShown(data, shape, dtype), 'tensor('.length);
}

/** i/7 for each element. */
const sevenths = (size: number): TensorData => FLOAT(Array.from({ length: size }, (_, i) => i / 7));

/** What PyTorch 2.13 prints between `tensor(` and `)`; nan and inf are written as JavaScript writes them. */
const PYTORCH: readonly [string, TensorData, readonly number[], DType, string][] = [
  [
    'four decimals, aligned',
    FLOAT([0.1257, -0.1321, 0.6404, 0.1049, -0.5357, 0.3616]),
    [2, 3],
    'float32',
    `
[[ 0.1257, -0.1321,  0.6404],
        [ 0.1049, -0.5357,  0.3616]]`,
  ],
  [
    'scientific notation, where magnitudes differ by more than 1,000',
    FLOAT([1, 2, 3e9, NaN, -Infinity, 1e-3]),
    [2, 3],
    'float32',
    `
[[1.0000e+00, 2.0000e+00, 3.0000e+09],
        [       NaN,  -Infinity, 1.0000e-03]]`,
  ],
  ['scientific notation, below 1e-4', FLOAT([1e-5, 2e-5]), [2], 'float32', '\n[1.0000e-05, 2.0000e-05]'],
  ['scientific notation, of wide whole numbers', FLOAT([1, 2000]), [2], 'float32', '\n[1.0000e+00, 2.0000e+03]'],
  ['whole floats', FLOAT([1, 2, 300]), [3], 'float32', '\n[  1.,   2., 300.]'],
  ['zeros', FLOAT([0, 0]), [1, 2], 'float32', '\n[[0., 0.]]'],
  ['NaN', FLOAT([NaN, 1.5]), [2], 'float32', '\n[   NaN, 1.5000]'],
  ['nothing finite', FLOAT([NaN, Infinity]), [2], 'float32', '\n[     NaN, Infinity]'],
  ['integers', Int32Array.of(1, -200), [2], 'int32', '\n[   1, -200]'],
  ['large integers', Uint32Array.of(2 ** 32 - 1, 0), [2], 'uint32', '\n[4294967295,          0]'],
  ['bools', Uint8Array.of(1, 0), [1, 2], 'bool', '\n[[ true, false]]'],
  ['float16, whose rounding shows', FLOAT([0.0999755859375, 65504]), [2], 'float16', '\n[9.9976e-02, 6.5504e+04]'],
  [
    'rows that take several lines',
    sevenths(30),
    [30],
    'float32',
    `
[0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,
        1.2857, 1.4286, 1.5714, 1.7143, 1.8571, 2.0000, 2.1429, 2.2857, 2.4286,
        2.5714, 2.7143, 2.8571, 3.0000, 3.1429, 3.2857, 3.4286, 3.5714, 3.7143,
        3.8571, 4.0000, 4.1429]`,
  ],
  [
    'an empty line between matrices',
    FLOAT([0, 1, 2, 3, 4, 5, 6, 7]),
    [2, 2, 2],
    'float32',
    `
[[[0., 1.],
         [2., 3.]],

        [[4., 5.],
         [6., 7.]]]`,
  ],
  [
    'the ends of a long row',
    FLOAT(Array.from({ length: 1001 }, (_, i) => (i * 1000) / 7 - 20000)),
    [1001],
    'float32',
    `
[-20000.0000, -19857.1426, -19714.2852,  ..., 122571.4297,
        122714.2891, 122857.1406]`,
  ],
  [
    'the ends of both axes',
    sevenths(2400),
    [40, 60],
    'float32',
    `
[[0.0000e+00, 1.4286e-01, 2.8571e-01,  ..., 8.1429e+00, 8.2857e+00,
         8.4286e+00],
        [8.5714e+00, 8.7143e+00, 8.8571e+00,  ..., 1.6714e+01, 1.6857e+01,
         1.7000e+01],
        [1.7143e+01, 1.7286e+01, 1.7429e+01,  ..., 2.5286e+01, 2.5429e+01,
         2.5571e+01],
        ...,
        [3.1714e+02, 3.1729e+02, 3.1743e+02,  ..., 3.2529e+02, 3.2543e+02,
         3.2557e+02],
        [3.2571e+02, 3.2586e+02, 3.2600e+02,  ..., 3.3386e+02, 3.3400e+02,
         3.3414e+02],
        [3.3429e+02, 3.3443e+02, 3.3457e+02,  ..., 3.4243e+02, 3.4257e+02,
         3.4271e+02]]`,
  ],
];

test.each(PYTORCH)('values print as in PyTorch: %s', (_name, data, shape, dtype, text) => {
  expect(`\n${printed(data, shape, dtype)}`).toBe(text);
});

test('a print holds few elements of any shape', () => {
  for (const shape of [[1e6], [1000, 1000], [10, 10, 10, 1000], [10, 10, 10, 10, 100], [10, 10, 10, 10, 10, 10]]) {
    const size = shape.reduce((product, length) => product * length, 1);
    const { values, lengths } = takeShown(new Uint8Array(size), shape, 'bool');
    expect(values.length).toBeLessThanOrEqual(1296);
    expect(lengths).toHaveLength(shape.length);
  }
});

describe('a tensor prints', () => {
  let device: Device;
  let on: string;
  beforeAll(async () => {
    device = await testDevice();
    on = `on ${device.name}`;
  });

  test('dtype, shape and device before it was read, and then its values', async () => {
    const x = device.tensor([1.5, -2, 0.25, 3], [2, 2]);
    expect(String(x)).toBe(`Tensor(float32 [2, 2] ${on})`);
    await x.data();
    expect(String(x)).toBe(`Tensor([[ 1.5000, -2.0000],\n        [ 0.2500,  3.0000]], float32 [2, 2] ${on})`);
    expect(inspect(x)).toBe(String(x));
  });

  test('strided values and views in their own order', async () => {
    const x = device.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const [turned, row, wide] = [x.transpose(), x.slice(0, 1, 2), x.slice(0, 0, 1).expand([2, 3])];
    for (const view of [turned, row, wide]) await view.data();
    expect(String(turned)).toContain('Tensor([[1., 4.],\n        [2., 5.],\n        [3., 6.]]');
    expect(String(row)).toContain('Tensor([[4., 5., 6.]]');
    expect(String(wide)).toContain('Tensor([[1., 2., 3.],\n        [1., 2., 3.]]');
    expect(String(x)).toBe(`Tensor(float32 [2, 3] ${on})`);
  });

  test('that it requires a gradient, and that it is disposed', async () => {
    const x = device.tensor([1], [1], { requiresGrad: true });
    expect(String(x)).toBe(`Tensor(float32 [1] ${on}, requiresGrad)`);
    await x.data();
    expect(String(x)).toBe(`Tensor([1.], float32 [1] ${on}, requiresGrad)`);
    x.dispose();
    expect(String(x)).toBe(`Tensor(float32 [1] ${on}, disposed)`);
  });

  test('what it is on a line of its own where that would be too long', async () => {
    const x = device.zeros([18]);
    await x.data();
    expect(String(x)).toBe(
      `Tensor([0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.],\n       float32 [18] ${on})`,
    );
  });

  test('no values that its caller changed in the array', async () => {
    const x = device.tensor([1, 2], [2]);
    (await x.data())[0] = 9;
    expect(String(x)).toContain('[1., 2.]');
  });

  describe('no values that may be old', () => {
    const values = '[1., 2.]';
    const leaf = async (): Promise<Tensor> => {
      const x = device.tensor([1, 2], [2], { requiresGrad: true });
      await x.data();
      expect(String(x)).toContain(values);
      return x;
    };

    test('after a step of an optimiser, nor its state', async () => {
      const x = await leaf();
      const optimiser = new SGD([x], { lr: 1, momentum: 0.5 });
      sum(x).backward();
      optimiser.step();
      expect(String(x)).not.toContain(values);
      const state = Object.values(optimiser.stateDict());
      expect(state.length).toBeGreaterThan(0);
      for (const tensor of state) await tensor.data();
      for (const tensor of state) expect(String(tensor)).toMatch(/^Tensor\(\[/);
      optimiser.step();
      for (const tensor of state) expect(String(tensor)).toMatch(/^Tensor\(float32/);
      optimiser.dispose();
    });

    test('after the update of a loss scale', async () => {
      const x = device.tensor([1, 2], [2], { requiresGrad: true });
      const optimiser = new SGD([x], { lr: 1 });
      const scaler = new GradScaler(device);
      const { growth_tracker: tracker } = scaler.stateDict();
      scaler.scale(sum(x)).backward();
      await tracker.data();
      scaler.step(optimiser);
      scaler.update();
      expect(String(tracker)).toMatch(/^Tensor\(uint32/);
      for (const made of [optimiser, scaler, x]) made.dispose();
    });

    test('after it was disposed during the read', async () => {
      const x = device.tensor([1, 2], [2]);
      const read = x.data();
      x.dispose();
      expect([...(await read)]).toEqual([1, 2]);
      expect(String(x)).not.toContain(values);
    });

    test('after another backward pass, and after clipping', async () => {
      const x = await leaf();
      sum(x).backward();
      await x.grad!.data();
      expect(String(x.grad)).toContain('[1., 1.]');
      sum(x).backward();
      expect(String(x.grad)).toMatch(/^Tensor\(float32/);
      await x.grad!.data();
      clipGradNorm([x], 1);
      expect(String(x.grad)).toMatch(/^Tensor\(float32/);
    });

    test('after an append to the cache that it shows', async () => {
      const cache = new KeyValueCache(device, { batch: 1, capacity: 2, numKvHeads: 1, headDim: 2 });
      const key = device.tensor([1, 2], [1, 1, 1, 2]);
      cache.append(key, key);
      const { keys, values: stored } = cache;
      await keys.data();
      await stored.data();
      expect(String(keys)).toMatch(/1\.,\s+2\.\]/); // and a row that nothing was written to
      cache.append(key, key);
      for (const tensor of [keys, stored]) expect(String(tensor)).toMatch(/^Tensor\(float32/);
      cache.dispose();
    });

    test('if the write was recorded while the read was under way', async () => {
      const x = device.tensor([1, 2], [2], { requiresGrad: true });
      sum(x).backward();
      const optimiser = new SGD([x], { lr: 1 });
      const read = x.data();
      optimiser.step();
      expect([...(await read)]).toEqual([1, 2]);
      expect(String(x)).toMatch(/^Tensor\(float32/);
      await x.data();
      expect(String(x)).toContain('[0., 1.]');
      optimiser.dispose();
    });

    test('of a buffer that others can write to', async () => {
      const x = device.tensor([1, 2], [2]);
      const view = x.reshape([2, 1]);
      await view.data();
      expect(x.buffer).toBeDefined();
      expect(String(view)).toMatch(/^Tensor\(float32/);
      const wrapped = device.wrap(x.buffer, [2]);
      await wrapped.data();
      expect(String(wrapped)).toMatch(/^Tensor\(float32/);
    });
  });

  test('something even where it is none', () => {
    const lookalike: unknown = Object.create(Tensor.prototype);
    expect(String(lookalike)).toBe('Tensor');
    expect(inspect(lookalike)).toBe('Tensor');
    expect(String(new Proxy(device.zeros([1]), {}))).toBe('Tensor');
  });
});

describe('a device prints', () => {
  test('its name, and that it is closed or disposed', async () => {
    const { adapter } = { adapter: 'software' } as const;
    for (const end of ['closed', 'disposed'] as const) {
      const device = await createDevice({ adapter });
      const { driver, description } = device.info;
      expect(inspect(device)).toBe(`Device(${driver}, ${description}, on the CPU)`);
      const x = device.zeros([1]);
      if (end === 'closed') await device.close();
      else device.dispose();
      expect(String(device)).toBe(`Device(${driver}, ${description}, on the CPU, ${end})`);
      expect(String(x)).toBe(`Tensor(float32 [1] on ${driver})`);
    }
  });

  test('the name of a GPU', async () => {
    const device = await testDevice();
    const named = (info: Partial<Device['info']>): string => {
      const other = Object.create(device, { info: { value: { ...device.info, ...info } } }) as Device;
      return other.name;
    };
    const gpu = { isSoftware: false, driver: 'hardware', vendor: 'nvidia', architecture: 'hopper' };
    expect(named({ ...gpu, device: 'NVIDIA H200', description: '570.1' })).toBe('NVIDIA H200');
    expect(named({ ...gpu, device: '', description: '' })).toBe('nvidia hopper');
    expect(named({ ...gpu, device: '', description: '', vendor: '', architecture: '' })).toBe('hardware');
  });
});
