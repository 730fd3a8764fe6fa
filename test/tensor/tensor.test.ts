import { getFloat16 } from '@petamoriken/float16';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, type Device, type DType, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { affine } from '../gpu/affine.ts';
import { addresses } from './addresses.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

/** 0, 1, 2, …, so that an element shows where it came from. */
function counting(shape: readonly number[], dtype: DType = 'float32'): Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  const values = Array.from({ length: size }, (_, i) => i);
  if (dtype === 'bool')
    return device.tensor(
      Uint8Array.from(values, (i) => i % 251),
      shape,
    );
  if (dtype === 'int32')
    return device.tensor(
      Int32Array.from(values, (i) => 3 - i),
      shape,
    );
  if (dtype === 'uint32')
    return device.tensor(
      Uint32Array.from(values, (i) => 2 ** 32 - 1 - i),
      shape,
    );
  return device.tensor(values, shape, { dtype });
}

const DTYPES: readonly DType[] = ['float32', 'float16', 'bool', 'int32', 'uint32'];

const valueOf = (dtype: DType, i: number): number =>
  dtype === 'bool' ? i % 251 : dtype === 'int32' ? 3 - i : dtype === 'uint32' ? 2 ** 32 - 1 - i : i;

describe('a tensor', () => {
  test('tells its shape, strides, size, rank and dtype', () => {
    const x = counting([2, 3, 5]);
    expect(x).toMatchObject({ shape: [2, 3, 5], strides: [15, 5, 1], offset: 0, size: 30, rank: 3, dtype: 'float32' });
    expect(x.device).toBe(device);
    expect(x.disposed).toBe(false);
  });

  test('keeps a shape of its own, which cannot be written', () => {
    const shape = [2, 3];
    const x = device.zeros(shape);
    shape[0] = 9;
    expect(x.shape).toEqual([2, 3]);
    expect(() => ((x.shape as number[])[0] = 9)).toThrow(TypeError);
  });

  test('is contiguous or not', () => {
    const x = counting([4, 6]);
    expect(x.isContiguous).toBe(true);
    expect(x.transpose().isContiguous).toBe(false);
    expect(x.slice(0, 1, 3).isContiguous).toBe(true);
    expect(x.slice(1, 0, 5).isContiguous).toBe(false);
    expect(x.slice(0, 0, 1).transpose().isContiguous).toBe(true); // the stride of one row says nothing
    expect(counting([4, 5], 'float16').isContiguous).toBe(true);
    expect(x.slice(0, 0, 1).expand([4, 6]).isContiguous).toBe(false);
  });
});

describe('views', () => {
  test('transpose exchanges two axes, by default the last two', async () => {
    const x = counting([2, 3, 4]);
    const y = x.transpose();
    expect(y).toMatchObject({ shape: [2, 4, 3], strides: [12, 1, 4] });
    expect([...(await y.data())].slice(0, 6)).toEqual([0, 4, 8, 1, 5, 9]);
    expect(x.transpose(0, 2)).toMatchObject({ shape: [4, 3, 2], strides: [1, 4, 12] });
    expect(x.transpose(-3, -1)).toMatchObject({ shape: [4, 3, 2], strides: [1, 4, 12] });
    expect(x.transpose(1, 1)).toMatchObject({ shape: [2, 3, 4], strides: [12, 4, 1] });
  });

  test('slice takes positions from either end', async () => {
    const x = counting([4, 5]);
    expect([...(await x.slice(0, 1, 3).data())]).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    expect([...(await x.slice(1, 3).data())]).toEqual([3, 4, 8, 9, 13, 14, 18, 19]);
    expect([...(await x.slice(-1, -2, -1).data())]).toEqual([3, 8, 13, 18]);
    expect([...(await x.slice(-2, -1).data())]).toEqual([15, 16, 17, 18, 19]);
  });

  test('reshape infers one length', () => {
    const x = counting([2, 6, 4]);
    expect(x.reshape([-1]).shape).toEqual([48]);
    expect(x.reshape([4, -1]).shape).toEqual([4, 12]);
    expect(x.reshape([2, 2, 3, -1, 1]).shape).toEqual([2, 2, 3, 4, 1]);
    expect(x.reshape([48, -1]).shape).toEqual([48, 1]);
  });

  test('heads are split off and put in front without a copy', async () => {
    const x = counting([2, 3, 8]); // [batch, length, heads · dim]
    const heads = x.reshape([2, 3, 4, 2]).transpose(1, 2);
    expect(heads).toMatchObject({ shape: [2, 4, 3, 2], strides: [24, 2, 8, 1] });
    expect([...(await heads.slice(0, 1).slice(1, 3).data())]).toEqual([30, 31, 38, 39, 46, 47]);
    expect(() => heads.reshape([2, 4, 6])).toThrow(ArgumentError);
  });

  test('expand repeats axes of length 1 and new ones', async () => {
    const x = counting([3, 1]);
    const y = x.expand([2, 3, 2]);
    expect(y).toMatchObject({ shape: [2, 3, 2], strides: [0, 1, 0] });
    expect([...(await y.data())]).toEqual([0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    expect(() => x.expand([4, 1])).toThrow(
      new ArgumentError('expand: shape must be one that [3, 1] broadcasts to, got [4, 1]'),
    );
    expect(() => x.expand([3, 0])).toThrow('expand: shape must be 1 to 6 positive integers, got [3, 0]');
  });

  const step = fc.oneof(
    fc.record({ kind: fc.constant('transpose' as const), a: fc.nat(), b: fc.nat() }),
    fc.record({ kind: fc.constant('slice' as const), axis: fc.nat(), from: fc.nat(), length: fc.nat() }),
    fc.record({ kind: fc.constant('reshape' as const), at: fc.nat() }),
  );

  test.each(DTYPES)('of views show the elements that they should: %s', async (dtype) => {
    const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(shapes, fc.array(step, { maxLength: 4 }), async (shape, steps) => {
        let view = counting(shape, dtype);
        // where the elements are in row-major order of the original
        let places = addresses(
          shape,
          shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1)),
        );
        const pick = (newShape: readonly number[], index: (at: number[]) => number[], oldShape: readonly number[]) =>
          (places = addresses(
            newShape,
            newShape.map(() => 0),
          ).map((_, flat) => {
            const at = newShape.map((length, axis) => {
              const inner = newShape.slice(axis + 1).reduce((a, b) => a * b, 1);
              return Math.floor(flat / inner) % length;
            });
            return places[index(at).reduce((from, i, axis) => from * oldShape[axis] + i, 0)];
          }));
        for (const next of steps) {
          const old = view.shape;
          if (next.kind === 'transpose') {
            const [a, b] = [next.a % view.rank, next.b % view.rank];
            view = view.transpose(a - (next.a % 2) * view.rank, b);
            pick(view.shape, (at) => at.with(a, at[b]).with(b, at[a]), old);
          } else if (next.kind === 'slice') {
            const axis = next.axis % view.rank;
            const from = next.from % old[axis];
            view = view.slice(axis, from, from + 1 + (next.length % (old[axis] - from)));
            pick(view.shape, (at) => at.with(axis, at[axis] + from), old);
          } else if (view.rank < 6) {
            view = view.reshape(view.shape.toSpliced(next.at % (view.rank + 1), 0, 1));
          }
        }
        expect([...(await view.data())]).toEqual(places.map((i) => valueOf(dtype, i)));
      }),
      { numRuns: 40 },
    );
  });
});

describe('data()', () => {
  test.each([
    ['float32', Float32Array],
    ['float16', Float32Array],
    ['bool', Uint8Array],
    ['int32', Int32Array],
    ['uint32', Uint32Array],
  ] as const)('of %s is a %O', async (dtype, array) => {
    const data = await counting([3, 3], dtype).data();
    expect(data).toBeInstanceOf(array);
    expect([...data]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => valueOf(dtype, i)));
  });

  test.each([1, 3, 5])('of float16 rows of odd length %d', async (length) => {
    const x = counting([4, length], 'float16');
    const all = Array.from({ length: 4 * length }, (_, i) => i);
    expect([...(await x.data())]).toEqual(all);
    expect([...(await x.slice(0, 1, 3).data())]).toEqual(all.slice(length, 3 * length));
    expect([...(await x.slice(0, 3).data())]).toEqual(all.slice(3 * length));
    expect([...(await x.slice(1, length - 1).data())]).toEqual([0, 1, 2, 3].map((row) => (row + 1) * length - 1));
    expect([...(await x.transpose().data())]).toEqual(all.map((_, i) => (i % 4) * length + Math.floor(i / 4)));
  });

  test.each(['bool', 'float16'] as const)('of %s from offsets inside a word', async (dtype) => {
    const x = counting([23], dtype);
    for (let start = 0; start < 8; start++) {
      for (const end of [start + 1, start + 2, start + 7, 23]) {
        const expected = Array.from({ length: end - start }, (_, i) => start + i);
        expect([...(await x.slice(0, start, end).data())]).toEqual(expected);
      }
    }
  });

  test('is a copy each time', async () => {
    const x = counting([4]);
    const first = await x.data();
    first.fill(9);
    expect([...(await x.data())]).toEqual([0, 1, 2, 3]);
  });

  test('keeps every bit of a float32: NaN, infinities, −0, subnormals', async () => {
    const values = Float32Array.of(NaN, Infinity, -Infinity, -0, 1e-45, -3e-39, 3.4e38);
    const read = await device.tensor(values, [7]).data();
    expect(new Uint32Array(read.buffer, read.byteOffset, 7)).toEqual(new Uint32Array(values.buffer));
  });

  test('of float16 rounds what it was given to the nearest', async () => {
    const x = device.tensor([0.1, 1 / 3, 65504, 1e6, 1e-8, -2.5], [2, 3], { dtype: 'float16' });
    const expected = [0.0999755859375, 0.333251953125, 65504, Infinity, 0, -2.5];
    expect([...(await x.data())]).toEqual(expected);
  });

  test('of float16 given as bits', async () => {
    const bits = Uint16Array.of(0x3c00, 0x8001, 0x7bff);
    const view = new DataView(bits.buffer);
    const x = device.tensor(bits, [1, 3]);
    expect(x.dtype).toBe('float16');
    expect([...(await x.data())]).toEqual([0, 2, 4].map((at) => getFloat16(view, at, true)));
  });
});

describe('views are refused', () => {
  const cases: [string, (x: Tensor) => unknown, string][] = [
    ['reshape to another size', (x) => x.reshape([5]), 'reshape: shape must have 24 elements as [4, 6] has, got [5]'],
    ['reshape with no fitting length', (x) => x.reshape([5, -1]), 'got [5, -1]'],
    ['reshape with two unknown lengths', (x) => x.reshape([-1, -1]), 'got [-1, -1]'],
    ['reshape with a zero', (x) => x.reshape([0, -1]), 'got [0, -1]'],
    ['reshape with a fraction', (x) => x.reshape([1.5, 16]), 'got [1.5, 16]'],
    [
      'reshape to no axes',
      (x) => x.slice(0, 0, 1).slice(1, 0, 1).reshape([]),
      'must be 1 to 6 positive integers, got []',
    ],
    ['reshape to seven axes', (x) => x.reshape([1, 1, 1, 1, 1, 4, 6]), 'must be 1 to 6 positive integers'],
    ['reshape to a number', (x) => x.reshape(24 as unknown as number[]), 'must be 1 to 6 positive integers, got 24'],
    [
      'reshape that needs a copy',
      (x) => x.transpose().reshape([24]),
      'reshape: a view of shape [6, 4] and strides [1, 6] cannot be viewed as [24]; the op reshape(x, shape) makes a copy',
    ],
    ['transpose of no axis', (x) => x.transpose(0, 2), 'transpose: axis must be an axis of shape [4, 6], got 2'],
    [
      'transpose of a negative one',
      (x) => x.transpose(-3, 0),
      'transpose: axis must be an axis of shape [4, 6], got -3',
    ],
    ['transpose of a fraction', (x) => x.transpose(0.5, 0), 'got 0.5'],
    [
      'transpose of a vector',
      (x) => x.reshape([24]).transpose(),
      'transpose: axis must be an axis of shape [24], got -2',
    ],
    ['slice along no axis', (x) => x.slice(2, 0), 'slice: axis must be an axis of shape [4, 6], got 2'],
    [
      'slice of nothing',
      (x) => x.slice(0, 2, 2),
      'slice: start and end must select at least one of the 4 positions of axis 0, got 2 and 2',
    ],
    ['slice past the end', (x) => x.slice(1, 0, 7), 'of the 6 positions of axis 1, got 0 and 7'],
    ['slice before the start', (x) => x.slice(1, -7), 'got -7'],
    ['slice backwards', (x) => x.slice(1, 4, 2), 'got 4 and 2'],
    ['slice at a fraction', (x) => x.slice(1, 0.5), 'got 0.5'],
    ['slice at NaN', (x) => x.slice(1, NaN), 'got NaN'],
  ];

  test.each(cases)('%s', (_, call, message) => {
    const x = counting([4, 6]);
    expect(() => call(x)).toThrow(ArgumentError);
    expect(() => call(x)).toThrow(message);
  });
});

describe('dispose', () => {
  test('may be called twice, by any name, and gives the memory back', () => {
    const { live } = device.memory();
    const x = counting([1000]);
    expect(device.memory().live).toBeGreaterThan(live);
    x.dispose();
    x.dispose();
    x[Symbol.dispose]();
    expect(x.disposed).toBe(true);
    expect(device.memory().live).toBe(live);
  });

  test('works by `using`', () => {
    const { live } = device.memory();
    {
      using x = counting([1000]);
      using y = x.reshape([10, 100]);
      expect(y.shape).toEqual([10, 100]);
      expect(device.memory().live).toBeGreaterThan(live);
    }
    expect(device.memory().live).toBe(live);
  });

  test.each([true, false])('storage lives as long as any view of it (base first: %s)', async (baseFirst) => {
    const { live } = device.memory();
    const x = counting([2, 500]);
    const views = [x.transpose(), x.slice(0, 1)];
    for (const tensor of baseFirst ? [x, views[0]] : [views[0], x]) tensor.dispose();
    counting([1000]).dispose(); // would take the buffer if it were free
    expect((await views[1].data())[7]).toBe(507);
    views[1].dispose();
    expect(device.memory().live).toBe(live);
  });

  test('use afterwards throws, naming the call', async () => {
    const x = counting([2, 3]);
    const view = x.transpose();
    x.dispose();
    const message = (call: string) => new ArgumentError(`${call}: the tensor of shape [2, 3] is disposed`);
    expect(() => x.reshape([6])).toThrow(message('reshape'));
    expect(() => x.transpose()).toThrow(message('transpose'));
    expect(() => x.slice(0, 1)).toThrow(message('slice'));
    expect(() => x.expand([2, 2, 3])).toThrow(message('expand'));
    expect(() => x.buffer).toThrow(message('buffer'));
    await expect(x.data()).rejects.toThrow(message('data'));
    expect(view.disposed).toBe(false);
    expect((await view.data()).length).toBe(6);
    view.dispose();
  });

  test('while work on it is recorded or being read changes no result', async () => {
    const x = device.tensor(new Float32Array(5000).fill(1), [5000]);
    const y = affine(x, { addend: 1 });
    x.dispose();
    const reading = y.data();
    y.dispose();
    const z = device.tensor(new Float32Array(5000).fill(9), [5000]);
    expect(new Set(await reading)).toEqual(new Set([2]));
    z.dispose();
  });
});
