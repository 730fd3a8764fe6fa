/** Gradients of flash and local attention against the float64 reference, by the kernels that the device takes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createBlockMask,
  type Device,
  flashAttention,
  KeyValueCache,
  maskMod,
  scoreMod,
  type ScoreMod,
  softcap,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { IS_MATRIX, narrow } from '../../matrix/narrow.ts';
import { Random } from '../../random.ts';
import type { OutputGradients } from '../../reference/attention-gradient.ts';
import { expectClose } from '../../reference/compare.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { expectGradients, runGradients } from './attention-backward-run.ts';
import type { AttentionOp, Problem } from './attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from './attention-suite.ts';
import type { Float } from '../upload.ts';

const random = new Random(51);

/** Normal gradients of the output and of the log-sum-exp. */
function gradientsFor({ q, v }: Problem): OutputGradients {
  const rows = q.shape.slice(0, -1);
  const normals = (shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
  return { output: normals([...rows, v.shape.at(-1)!]), logSumExp: normals(rows) };
}

function check(problem: Problem, dtype: Float = 'float32', op: AttentionOp = 'flashAttention') {
  return expectGradients(op, problem, gradientsFor(problem), dtype);
}

describe.each(narrow<'flashAttention' | 'localAttention'>(['flashAttention'], ['flashAttention', 'localAttention']))(
  '%s',
  (op) => {
    test('ragged lengths, and one row or key', async () => {
      for (const [queries, keys] of [
        [37, 41],
        [70, 33],
        [1, 9],
        [9, 1],
        [1, 1],
      ]) {
        await check(randomOperands(random, { queries, keys }), 'float32', op);
      }
    });

    test('grouped-query heads', async () => {
      const operands = randomOperands(random, { heads: 6, kvHeads: 2, queries: 11, keys: 35 });
      await check(operands, 'float32', op);
      await check({ ...operands, isCausal: true }, 'float32', op);
    });

    test('causal and windows', async () => {
      const problem = randomOperands(random, { batch: 1, queries: 70, keys: 75 });
      for (const isCausal of [true, 'bottom-right'] as const) await check({ ...problem, isCausal }, 'float32', op);
      for (const window of [
        { left: 3, right: 2 },
        { left: 40, right: 0, align: 'bottom-right' as const },
        { left: -1, right: 0 },
        { left: 0, right: 0 },
      ]) {
        await check({ ...problem, window }, 'float32', op);
      }
      await check({ ...problem, window: { left: 5, right: 5 }, isCausal: true, queryOffset: 30 }, 'float32', op);
      // queries before all keys, and behind all of them
      for (const queryOffset of [-40, 60]) {
        await check({ ...problem, window: { left: 9, right: 1 }, queryOffset }, 'float32', op);
      }
    });

    test('bool masks, key masks, and rows that see nothing', async () => {
      const operands = randomOperands(random, { queries: 35, keys: 40, kvHeads: 1 });
      const mask = boolMask(random, [2, 2, 35, 40]);
      const emptyRows = {
        ...mask,
        data: Uint8Array.from(mask.data, (x, at) => (Math.floor(at / 40) % 3 === 0 ? 0 : x)),
      };
      await check({ ...operands, mask: emptyRows }, 'float32', op);
      await check({ ...operands, keyMask: boolMask(random, [2, 40]), isCausal: true }, 'float32', op);
    });

    test('float masks and their own gradients, summed where they are broadcast', async () => {
      const operands = randomOperands(random, { queries: 35, keys: 40, kvHeads: 1 });
      for (const shape of [[2, 2, 35, 40], [2, 1, 35, 40], [1, 2, 35, 1], [2, 1, 1, 40], [40], [1, 1, 1, 1]]) {
        const problem = {
          ...operands,
          mask: shape.at(-1) === 1 ? { shape, data: random.normals(shape) } : floatMask(random, shape),
        };
        await check(problem, 'float32', op);
        if (shape[0] === 2)
          await check({ ...problem, isCausal: true, keyMask: boolMask(random, [2, 40]) }, 'float32', op);
      }
    });

    test('sinks, key lengths and offsets of each batch entry', async () => {
      const operands = randomOperands(random, { queries: 9, keys: 37, kvHeads: 1 });
      const sinks = { shape: [2], data: Float32Array.of(0.7, -Infinity) };
      const problem = { ...operands, sinks, keyLengths: [0, 33], asTensors: true };
      await check(problem, 'float32', op);
      await check({ ...problem, isCausal: 'bottom-right' }, 'float32', op);
      await check({ ...problem, isCausal: true, queryOffset: [3, -5] }, 'float32', op);
    });

    test('packed sequences of different lengths', async () => {
      const operands = randomOperands(random, { batch: 1, heads: 4, kvHeads: 2, queries: 60, keys: 70 });
      const packed = { ...operands, queryOffsets: [0, 20, 20, 57, 60], keyOffsets: [0, 30, 31, 31, 70] };
      await check(packed, 'float32', op);
      await check({ ...packed, isCausal: 'bottom-right', window: { left: 5, right: 0 } }, 'float32', op);
      // keys past a sequence's length get 0, and one length is past its sequence's end
      await check({ ...packed, keyLengths: [7, 5, 0, 37], isCausal: 'bottom-right' }, 'float32', op);
    });

    test('three axes, strided operands and their layouts', async () => {
      const operands = randomOperands(random, { heads: 3, queries: 10, keys: 12, dim: 6, valueDim: 5 });
      const split = { axes: [0, 2, 1, 3] };
      const slice = { before: [0, 0, 1, 1], after: [0, 0, 2, 3] };
      await check({ ...operands, layouts: { q: split, k: split, v: split } }, 'float32', op);
      await check({ ...operands, layouts: { q: slice, k: { axes: [3, 1, 0, 2] }, v: slice } }, 'float32', op);
      const flat = ({ shape: [batch, heads, ...rest], data }: HostArray) => ({ shape: [batch * heads, ...rest], data });
      const [q, k, v] = [operands.q, operands.k, operands.v].map(flat);
      await check({ q, k, v, mask: floatMask(random, [6, 10, 12]) }, 'float32', op);
    });
  },
);

const isBroad = await triesEveryKernel();

describe('flashAttention', () => {
  let device: Device;
  beforeAll(async () => {
    device = await testDevice();
  });

  test.each(
    narrow(
      [[7, 5]],
      [
        [7, 5],
        [40, 60],
        [40, 70],
        [128, 100],
      ],
    ),
  )('head dim %i and value dim %i', async (dim, valueDim) => {
    await check(randomOperands(random, { batch: 1, queries: 35, keys: 37, dim, valueDim }));
  });

  test.runIf(IS_MATRIX)('more head dims than a launch computes', async (context) => {
    if (device.traits.isSoftware && device.traits.subgroupSize >= 8) {
      context.skip(
        'a CPU driver with wide subgroups takes half a minute to compile the tile kernels, all that can do this',
      );
    }
    await check(randomOperands(random, { batch: 1, heads: 1, queries: 5, keys: 6, dim: 270, valueDim: 250 }));
  });

  test('float16, odd dims, a mask, sinks, strided operands', async () => {
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 33, keys: 35, dim: 7, valueDim: 5 });
    const sinks = { shape: [4], data: random.normals([4]) };
    const split = { axes: [0, 2, 1, 3] };
    const problem = { ...operands, sinks, asTensors: true, layouts: { q: split, k: split, v: split } };
    await check({ ...problem, mask: floatMask(random, [2, 1, 33, 35]), isCausal: true }, 'float16');
    if (IS_MATRIX) {
      await check({ ...problem, window: { left: 4, right: 4 }, mask: floatMask(random, [33, 1]) }, 'float16');
    }
  });

  test('softcap and ALiBi', async () => {
    const operands = randomOperands(random, { heads: 4, kvHeads: 2, queries: 33, keys: 35 });
    const alibiSlopes = { shape: [4], data: Float32Array.of(0.5, 0.25, 0, 0.1) };
    await check({ ...operands, softcap: 0.8, alibiSlopes, isCausal: true });
    if (isBroad) await check({ ...operands, softcap: 2, mask: floatMask(random, [4, 33, 35]), scale: 3 });
  });

  /** A score modifier with its derivative and captures, for two heads. */
  function bent(queries: number): Pick<Problem, 'scoreMod' | 'scoreModDerivative'> & { of: (on: Device) => ScoreMod } {
    const bias = random.normals([2, queries]);
    return {
      scoreMod: (score, _batch, head, query, key) => score * (1 + score) * bias[head * queries + query] + 0.1 * key,
      scoreModDerivative: (score, _batch, head, query) => (1 + 2 * score) * bias[head * queries + query],
      of: (on) =>
        scoreMod(
          `fn derivative(s: f32) -> f32 { return s * (1.0 + s); }
           fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
             return derivative(score) * bias(head, query) + step_of() * f32(key);
           }`,
          {
            captures: { bias: on.tensor(bias, [2, queries]), step_of: 0.1 },
            derivative: `fn score_mod_derivative(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
              return (1.0 + 2.0 * s) * bias(h, i);
            }`,
          },
        ),
    };
  }

  // in npm test beside a block mask, below
  test.runIf(IS_MATRIX)('a score modifier with its derivative, and captures', async () => {
    const { of, ...functions } = bent(9);
    const operands = randomOperands(random, { queries: 9, keys: 35 });
    const modifiers = (on: Device) => ({ scoreMod: of(on) });
    await check({ ...operands, ...functions, isCausal: 'bottom-right', modifiers });
  });

  test.runIf(isBroad)('the ready-made softcap has its derivative', async () => {
    // in the op whose kernels compile the fastest: the text is the same in all
    const operands = randomOperands(random, { queries: 9, keys: 35 });
    const gradients = gradientsFor(operands);
    const own = await expectGradients('scaledDotProductAttention', { ...operands, softcap: 0.9 }, gradients, 'float32');
    const modifiers = () => ({ scoreMod: softcap(0.9) });
    const ready = await runGradients('scaledDotProductAttention', { ...operands, modifiers }, gradients, 'float32');
    for (const name of ['q', 'k', 'v'] as const) {
      ready[name]!.forEach((value, at) => expect(value).toBeCloseTo(own[name]![at], 4));
    }
  });

  test.runIf(isBroad).each(narrow([true], [true, false]))(
    'block masks, beside a score modifier: %s',
    async (isBent) => {
      const operands = randomOperands(random, { queries: 70, keys: 100, kvHeads: 1 });
      // documents of thirty positions
      const isSeen = (_batch: number, _head: number, query: number, key: number) =>
        Math.floor(query / 30) === Math.floor(key / 30);
      const source = `fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool { return query / 30u == key / 30u; }`;
      const { of, ...functions } = bent(70);
      const modifiers = (on: Device) => ({
        blockMask: createBlockMask(on, maskMod(source), { queryLength: 70, keyLength: 100, blockSize: 32 }),
        ...(isBent && { scoreMod: of(on) }),
      });
      const problem = { ...operands, maskMod: isSeen, modifiers, ...(isBent && functions) };
      if (IS_MATRIX) await check(problem);
      await check({ ...problem, mask: floatMask(random, [70, 100]), window: { left: 20, right: 3 } });
    },
  );

  test('gradients of the output alone, of the log-sum-exp alone, and one that repeats a number', async () => {
    // dims that nothing divides, whose kernels are those of a gradient that repeats a number
    const dims = IS_MATRIX ? {} : { dim: 9, valueDim: 7 };
    const operands = randomOperands(random, { queries: 9, keys: 13, ...dims });
    const { output, logSumExp } = gradientsFor(operands);
    await expectGradients('flashAttention', operands, { output }, 'float32');
    await expectGradients('flashAttention', operands, { logSumExp }, 'float32');
    const { q, k, v } = operands;
    const ones = map(output!, () => 1);
    const expected = await expectGradients('flashAttention', operands, { output: ones }, 'float32');
    const leaves = device.scope(() => {
      const made = [q, k, v].map(({ shape, data }) =>
        device.tensor(Float32Array.from(data), shape, { requiresGrad: true }),
      );
      const { output: result } = flashAttention(made[0], made[1], made[2]);
      result.backward(device.tensor([1], [1]).expand(result.shape));
      return made;
    });
    for (const [i, name] of (['q', 'k', 'v'] as const).entries()) {
      expect(await leaves[i].grad!.data()).toEqual(expected[name]);
      leaves[i].dispose();
    }
  });

  test('is the same bit for bit on repetition, and of each operand alone', async () => {
    const operands = randomOperands(random, { heads: 4, kvHeads: 1, queries: 40, keys: 45 });
    const problem = { ...operands, mask: floatMask(random, [40, 45]), isCausal: true };
    const gradients = gradientsFor(problem);
    const first = await runGradients('flashAttention', problem, gradients, 'float32');
    expect(await runGradients('flashAttention', problem, gradients, 'float32')).toEqual(first);
    const together = await runGradients('flashAttention', problem, { output: gradients.output }, 'float32');
    for (const name of ['q', 'k', 'v'] as const) {
      const leaves = device.scope(() => {
        const made = (['q', 'k', 'v', 'mask'] as const).map((input) =>
          device.tensor(Float32Array.from(problem[input].data), problem[input].shape, { requiresGrad: input === name }),
        );
        const [q, k, v, mask] = made;
        const { output } = flashAttention(q, k, v, { mask, isCausal: true });
        output.backward(device.tensor(Float32Array.from(gradients.output!.data), gradients.output!.shape));
        return made;
      });
      for (const [i, input] of (['q', 'k', 'v', 'mask'] as const).entries()) {
        expect(await leaves[i].grad?.data()).toEqual(input === name ? together[name] : undefined);
        leaves[i].dispose();
      }
    }
  });

  test('what hidden keys, hidden queries and gradients of empty rows hold reaches nothing', async () => {
    const operands = randomOperands(random, { batch: 1, heads: 2, kvHeads: 1, queries: 40, keys: 50 });
    // every seventh key hidden from all, every fifth query from all; the gradient of those rows is NaN too
    const data = Uint8Array.from({ length: 40 * 50 }, (_, at) =>
      Number((at % 50) % 7 !== 0 && Math.floor(at / 50) % 5 !== 0),
    );
    const problem = { ...operands, mask: { shape: [40, 50], data } };
    const gradients = gradientsFor(problem);
    const expected = await expectGradients('flashAttention', problem, gradients, 'float32');
    const poison = [NaN, Infinity, -Infinity];
    const rows = (x: HostArray, step: number, columns: number) =>
      map(x, (value, at) => ((Math.floor(at / columns) % x.shape.at(-2)!) % step === 0 ? poison[at % 3] : value));
    const poisoned = { ...problem, q: rows(problem.q, 5, 8), k: rows(problem.k, 7, 8), v: rows(problem.v, 7, 8) };
    const output = rows(gradients.output!, 5, 8);
    const got = await runGradients('flashAttention', poisoned, { ...gradients, output }, 'float32');
    // not bit for bit: what holds NaN is added in another order
    for (const name of ['q', 'k', 'v'] as const) {
      expectClose(got[name]!, expected[name]!, { atol: 1e-6, rtol: 1e-5 }, name);
    }
  });

  test('NaN in a gradient reaches what the row sees, and nothing else', async () => {
    const operands = randomOperands(random, { batch: 1, heads: 1, queries: 40, keys: 40 });
    const output = map(gradientsFor(operands).output!, (value, at) => (at === 33 * 8 + 2 ? NaN : value));
    const { q, k, v } = await runGradients('flashAttention', { ...operands, isCausal: true }, { output }, 'float32');
    const isNaNAt = (values: Float32Array) =>
      Array.from({ length: 40 }, (_, row) => values.subarray(8 * row, 8 * row + 8).some(Number.isNaN));
    expect(isNaNAt(q!)).toEqual(Array.from({ length: 40 }, (_, row) => row === 33));
    for (const values of [k!, v!]) expect(isNaNAt(values)).toEqual(Array.from({ length: 40 }, (_, row) => row <= 33));
    // of dV, in its own column
    expect(v!.every((value, at) => Number.isNaN(value) === (at % 8 === 2 && at < 34 * 8))).toBe(true);
  });

  test('keeps q, k, v, masks, output and log-sum-exp between the passes, and nothing after', () => {
    const { live } = device.memory();
    const sinks = device.zeros([1], { requiresGrad: true });
    const least = device.memory().live - live; // of the smallest tensor
    for (const length of [64, 256]) {
      const q = device.zeros([1, 1, length, 4], { requiresGrad: true });
      const gradient = device.zeros(q.shape);
      const held = device.memory().live;
      const { output } = flashAttention(q, q, q, { sinks, alibiSlopes: [1], isCausal: true });
      // the table of sinks and slopes besides
      expect(device.memory().live - held).toBe(4 * (length * 4 + length) + least);
      output.backward(gradient);
      output.dispose();
      expect(device.memory().live - held).toBe(4 * length * 4 + least);
      sinks.grad = undefined;
      for (const tensor of [q, gradient]) tensor.dispose();
    }
    sinks.dispose();
    expect(device.memory().live).toBe(live);
  });

  test('allocates nothing that grows with length² in the backward pass', () => {
    const peak = (length: number) => {
      const q = device.zeros([1, 1, length, 4], { requiresGrad: true });
      const mask = device.zeros([1, length], { requiresGrad: true });
      const work = () => {
        const { output } = flashAttention(q, q, q, { mask });
        output.backward(q);
        output.dispose();
      };
      const before = device.memory().live;
      const bytes = device.runtime.peakDuring(work) - before;
      q.dispose();
      mask.dispose();
      return bytes;
    };
    expect(peak(1024)).toBeLessThanOrEqual(2 * peak(512));
  });

  describe('refuses', () => {
    const call = (options: (q: Tensor) => Parameters<typeof flashAttention>[3]) => () =>
      device.scope(() => {
        const q = device.zeros([1, 2, 3, 4], { requiresGrad: true });
        flashAttention(q, q, q, options(q)).output.backward(q);
      });
    const source = 'fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return s; }';
    const parameter = () => device.zeros([2], { requiresGrad: true });

    test('a score modifier without its derivative', () => {
      expect(call(() => ({ scoreMod: scoreMod(source) }))).toThrow(
        'flashAttention: scoreMod must come with its derivative where a gradient is wanted, got none',
      );
    });

    test('slopes and captures that require a gradient', () => {
      expect(call(() => ({ alibiSlopes: parameter() }))).toThrow(
        'flashAttention: alibiSlopes must not require a gradient, which they have none of, got a tensor that does',
      );
      const code = 'fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return c(i) == 0.0; }';
      expect(call(() => ({ maskMod: maskMod(code, { captures: { c: parameter() } }) }))).toThrow(
        "flashAttention: a modifier's captures must not require a gradient, which they have none of, got a tensor that does",
      );
    });

    test('attention to a cache, for which nothing is saved', () => {
      device.scope(() => {
        using cache = new KeyValueCache(device, { batch: 1, numKvHeads: 2, headDim: 4, capacity: 8 });
        const q = device.zeros([1, 2, 3, 4], { requiresGrad: true });
        cache.append(q, q);
        const { output } = cache.attend(q);
        expect(output.requiresGrad).toBe(true);
        expect(() => output.backward(q)).toThrow(
          'keys and values must be tensors of the call where a gradient is wanted, got those of a cache',
        );
      });
    });

    test('derivatives that are not such a function', () => {
      expect(() => scoreMod(source, { derivative: 3 as never })).toThrow(
        'scoreMod: derivative must be WGSL as a string, got 3',
      );
      expect(() => scoreMod(source, { derivative: source })).toThrow(
        "scoreMod's derivative: line 1, column 1: the source must declare fn score_mod_derivative(f32, u32, u32, u32, u32) -> f32",
      );
    });
  });
});

describe.runIf(isBroad).each([8, 9])('with %i storage buffers a kernel', (maxStorageBuffersPerShaderStage) => {
  let device: Device;
  let traits: Device['traits'];

  beforeAll(async () => {
    device = await testDevice();
    ({ traits } = device);
    device.traits = { ...traits, maxStorageBuffersPerShaderStage };
  });
  afterAll(() => {
    device.traits = traits;
  });

  test('dK and dV are right, in one buffer or in two', async (context) => {
    context.skip(maxStorageBuffersPerShaderStage > device.gpu.limits.maxStorageBuffersPerShaderStage, 'has no more');
    const problem = randomOperands(random, { heads: 4, kvHeads: 2, queries: 11, keys: 35, dim: 9, valueDim: 7 });
    for (const dtype of narrow<Float>(['float32'], ['float32', 'float16'])) await check(problem, dtype);
  });
});
