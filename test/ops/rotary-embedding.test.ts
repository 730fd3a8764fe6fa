import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, rotaryEmbedding, type RotaryEmbeddingOptions, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { rotaryEmbedding as reference } from '../reference/rotary-embedding.ts';
import { tolerances } from '../reference/tolerances.ts';
import { type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(47);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

/** Tables of a plain rotary embedding. */
function tables(positions: number, pairs: number): { cos: HostArray; sin: HostArray } {
  const make = (turn: (angle: number) => number) => ({
    shape: [positions, pairs],
    data: Float32Array.from({ length: positions * pairs }, (_, at) =>
      turn(Math.floor(at / pairs) * 100 ** (-(at % pairs) / pairs)),
    ),
  });
  return { cos: make(Math.cos), sin: make(Math.sin) };
}

interface Problem {
  x: HostArray;
  rotary: number;
  table?: number;
  offset?: number | number[];
  /** [B or 1, N]. */
  positions?: { shape: number[]; data: Int32Array | Uint32Array };
  interleaved?: boolean;
  layouts?: Partial<Record<'x' | 'cos' | 'sin', Layout>>;
}

describe.each(['float32', 'float16'] as const)('rotaryEmbedding in %s', (dtype) => {
  async function run(problem: Problem): Promise<{ result: Tensor; values: Float32Array; wanted: Float64Array }> {
    const { x, rotary, table = 40, offset, positions, interleaved, layouts = {} } = problem;
    const { cos, sin } = tables(table, rotary / 2);
    const options: RotaryEmbeddingOptions = { offset, interleaved };
    const result = device.scope(() =>
      rotaryEmbedding(
        upload(device, x, dtype, layouts.x),
        upload(device, cos, 'float32', layouts.cos),
        upload(device, sin, 'float32', layouts.sin),
        { ...options, positions: positions && device.tensor(positions.data, positions.shape) },
      ),
    );
    expect(result.shape).toEqual(x.shape);
    expect(result.dtype).toBe(dtype);
    const values = await result.data();
    const [batch, length, dim] = [x.shape[0], x.shape.at(-2)!, x.shape.at(-1)!];
    const heads = x.shape.length === 4 ? x.shape[1] : 1;
    const position = (b: number, n: number) => {
      if (positions) return positions.data[(positions.shape[0] === 1 ? 0 : b) * length + n];
      return (Array.isArray(offset) ? offset[b] : (offset ?? 0)) + n;
    };
    const host = { shape: [batch, heads, length, dim], data: stored(x, dtype).data };
    return { result, values, wanted: reference(host, cos, sin, { position, interleaved }).data };
  }

  async function expectRotated(problem: Problem): Promise<void> {
    for (const interleaved of [false, true]) {
      const { result, values, wanted } = await run({ ...problem, interleaved });
      expectClose(values, wanted, tolerances[dtype].rotated, `rotary ${problem.x.shape}, interleaved ${interleaved}`);
      result.dispose();
    }
  }

  test.each([
    [[1, 1, 1, 2], 2],
    [[2, 3, 7, 8], 8],
    [[2, 3, 7, 8], 4],
    [[2, 3, 5, 11], 6],
    [[1, 2, 9, 64], 64],
    [[2, 2, 4, 10], 10],
    [[2, 7, 9], 2],
    [[3, 1, 5], 4],
  ])('x %j, %i columns turned', async (shape, rotary) => {
    await expectRotated({ x: normals(...shape), rotary });
    await expectRotated({ x: normals(...shape), rotary, offset: 31 });
    await expectRotated({ x: normals(...shape), rotary, offset: Array.from({ length: shape[0] }, (_, b) => 13 * b) });
  });

  test('positions, one row for all or for each batch entry', async () => {
    const x = normals(2, 3, 4, 6);
    await expectRotated({ x, rotary: 6, positions: { shape: [1, 4], data: Int32Array.of(0, 39, 7, 7) } });
    const data = Uint32Array.of(3, 2, 1, 0, 9, 19, 29, 39);
    await expectRotated({ x, rotary: 4, positions: { shape: [2, 4], data } });
  });

  test('a position outside the tables gives NaN only in the rotated columns of its row', async () => {
    const x = normals(1, 1, 4, 7);
    const positions = { shape: [1, 4], data: Int32Array.of(0, 40, -1, 39) };
    const { result, values, wanted } = await run({ x, rotary: 4, positions });
    result.dispose();
    const kept = [...wanted].flatMap((value, i) => (Number.isNaN(value) ? [] : [i]));
    expect(kept).toHaveLength(28 - 2 * 4);
    expect([...values].flatMap((value, i) => (Number.isNaN(value) ? [] : [i]))).toEqual(kept);
    const at = (source: ArrayLike<number>) => kept.map((i) => source[i]);
    expectClose(at(values), at(wanted), tolerances[dtype].rotated, 'the others');
  });

  test('strided views: split heads keep their place in memory', async () => {
    for (const dim of [8, 5]) {
      const layouts = { x: { axes: [0, 2, 1, 3] } };
      const { result, values, wanted } = await run({ x: normals(2, 3, 7, dim), rotary: 4, layouts });
      expectClose(values, wanted, tolerances[dtype].rotated, 'heads in rows');
      expect(result.strides[1]).toBeLessThan(result.strides[2]);
      using merged = result.transpose(1, 2);
      expect(merged.isContiguous).toBe(true);
      result.dispose();
    }
    // a part of a joint projection of queries and keys
    await expectRotated({ x: normals(2, 3, 7, 8), rotary: 8, layouts: { x: { axes: [0, 2, 1, 3], after: [0, 3] } } });
    await expectRotated({
      x: normals(2, 3, 7, 6),
      rotary: 6,
      layouts: { x: { axes: [3, 1, 0, 2], before: [0, 1, 2] } },
    });
    await expectRotated({
      x: normals(2, 7, 6),
      rotary: 6,
      layouts: { x: { axes: [1, 0, 2] }, cos: { axes: [1, 0] }, sin: { before: [2, 1], after: [1] } },
    });
  });
});

describe('rotaryEmbedding', () => {
  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      const x = normals(2, 4, 40, 16);
      const { cos, sin } = tables(40, 8);
      const [c, s] = [upload(device, cos, 'float32'), upload(device, sin, 'float32')];
      const result = device.scope(() => rotaryEmbedding(upload(device, x, 'float32'), c, s));
      const wanted = reference(x, cos, sin, { position: (_, n) => n });
      expectClose(await result.data(), wanted.data, tolerances.float32.rotated, 'folded');
      for (const tensor of [result, c, s]) tensor.dispose();
    });
  });

  const call = (options: RotaryEmbeddingOptions, shape = [2, 3, 4, 8], cos = [10, 4], sin = cos) => {
    rotaryEmbedding(device.zeros(shape), device.zeros(cos), device.zeros(sin), options);
  };
  const ids = (...shape: number[]) => device.zeros(shape, { dtype: 'int32' });
  test.each<[string, () => void, string]>([
    [
      'x of two axes',
      () => call({}, [4, 8]),
      'x must be [batch, heads, length, dim] or [batch, length, dim], got [4, 8]',
    ],
    ['too wide tables', () => call({}, [1, 4, 6]), `cos must have at most half of x's 6 columns, got [10, 4]`],
    ['tables that differ', () => call({}, [1, 4, 8], [10, 4], [9, 4]), `sin must have cos's shape [10, 4], got [9, 4]`],
    ['too short tables', () => call({}, [1, 12, 8]), `cos must have a row for each of x's 12 rows, got [10, 4]`],
    ['an offset past the tables', () => call({ offset: 7 }), 'offset must be from 0 to 6, where the tables end, got 7'],
    ['a negative offset', () => call({ offset: [0, -1] }), 'offset must be from 0 to 6, where the tables end, got -1'],
    ['a fraction', () => call({ offset: 0.5 }), 'offset must be from 0 to 6, where the tables end, got 0.5'],
    ['too few offsets', () => call({ offset: [1] }), 'offset must be one for each of 2 batch entries, got [1]'],
    [
      'both',
      () => call({ offset: 1, positions: ids(2, 4) }),
      'offset must not be given together with positions, got 1',
    ],
    ['positions of another shape', () => call({ positions: ids(4, 2) }), 'positions must be [2, 4], got [4, 2]'],
    [
      'float positions',
      () => call({ positions: device.zeros([2, 4]) }),
      'positions must be int32 or uint32, got float32',
    ],
  ])('refuses %s', (_name, refused, message) => {
    expect(() => device.scope(refused)).toThrow(`rotaryEmbedding: ${message}`);
  });

  test('refuses tables in float16', () => {
    const half = () => device.zeros([10, 4], { dtype: 'float16' });
    expect(() => device.scope(() => void rotaryEmbedding(device.zeros([1, 4, 8]), half(), half()))).toThrow(
      'rotaryEmbedding: cos must be float32, got float16',
    );
  });
});
