/** NaN where nothing may read: past lengths, around and between rows, in recycled buffers and in workgroup memory. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  add,
  cast,
  concat,
  contiguous,
  crossEntropy,
  type Device,
  embedding,
  gelu,
  layerNorm,
  matmul,
  rmsNorm,
  softmax,
  sum,
  type Tensor,
  type TunableOp,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { type Tolerance, tolerances } from '../reference/tolerances.ts';
import { runGradients } from './attention/attention-backward-run.ts';
import { ATTENTION_OPS, type AttentionOp, type Problem, runAttention } from './attention/attention-run.ts';
import { boolMask, call, map, randomOperands } from './attention/attention-suite.ts';
import { kernelsOf, pinKernel, skipOnWideSubgroups } from './attention/pinned.ts';
import {
  expectCleanBuffers,
  expectSameBits,
  NAN_WORD,
  poisonWorkgroupMemory,
  type Results,
  wrapped,
} from './poison.ts';
import type { Float } from './upload.ts';

const DTYPES = narrow<Float>(['float32'], ['float32', 'float16']);
const POISON = [NaN, Infinity];

const device: Device = await testDevice();
let liveBefore: number;
beforeAll(() => {
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** A describe of the device's own choice, and in the matrix one of every kernel that it has. */
function describeKernels(op: TunableOp, tests: (kernel: string) => void): void {
  const own = 'its own choice';
  describe.each(narrow([own], [own, ...kernelsOf(op, device)]))('%s', (kernel) => {
    if (kernel !== own) {
      pinKernel(op, kernel);
      if (/^(?:register|cache)/.test(kernel) || (op === 'attentionGradient' && kernel === 'tile-32x32')) {
        skipOnWideSubgroups();
      }
    }
    tests(kernel);
  });
}

/** Heads that share keys, and odd rows. */
const SIZES = { heads: 4, kvHeads: 2, queries: 37, keys: 45, dim: 7, valueDim: 5 };
const FEW = { ...SIZES, queries: 2, keys: 700 };

/** Keys and values from `first[b]` on are the value. */
function spoiltFrom(operands: Problem, first: readonly number[], value: number): Problem {
  const poison = (x: HostArray) => {
    const [batch, heads, keys, dim] = x.shape;
    const perEntry = heads * keys * dim;
    return map(x, (kept, at) => {
      const entry = Math.floor(at / perEntry);
      return batch > 1 && Math.floor(at / dim) % keys >= first[entry] ? value : kept;
    });
  };
  return { ...operands, k: poison(operands.k), v: poison(operands.v) };
}

/** Next to NaN, a tile sums products of values in another way, which rounds otherwise. */
function expectAlike(spoilt: Results, clean: Results, tolerance: Tolerance, what: string): void {
  for (const [name, values] of Object.entries(clean)) expectClose(spoilt[name], values, tolerance, `${what}, ${name}`);
}

describe.each(narrow<AttentionOp>(['flashAttention'], ATTENTION_OPS))('%s', (op) => {
  const pins = op === 'scaledDotProductAttention' ? 'matmul' : op;
  const run = async (problem: Problem, dtype: Float): Promise<Results> => {
    const { output, logSumExp, weights } = await runAttention(op, problem, dtype);
    return { output, logSumExp, ...(weights && { weights }) };
  };

  describeKernels(pins, () => {
    test.each(DTYPES)('past the key lengths, and in masked keys, %s', async (dtype) => {
      for (const sizes of [SIZES, FEW]) {
        const random = new Random(1);
        const operands = randomOperands(random, sizes);
        const keyLengths = [sizes.keys - 12, 17];
        const clean = await run({ ...operands, keyLengths }, dtype);
        const data = Uint8Array.from({ length: 2 * sizes.keys }, (_, at) => {
          return Number(at % sizes.keys < keyLengths[Math.floor(at / sizes.keys)]);
        });
        const keyMask = { shape: [2, sizes.keys], data };
        const masked = await run({ ...operands, keyMask }, dtype);
        for (const value of POISON) {
          const spoilt = spoiltFrom(operands, keyLengths, value);
          expectSameBits(await run({ ...spoilt, keyLengths }, dtype), clean);
          expectAlike(
            await run({ ...spoilt, keyMask }, dtype),
            masked,
            tolerances[dtype].attention,
            `${value} in masked keys`,
          );
        }
      }
    });

    test.each(DTYPES)('in recycled buffers, %s', async (dtype) => {
      for (const sizes of [SIZES, FEW]) {
        const random = new Random(2);
        const operands = randomOperands(random, sizes);
        const mask = boolMask(random, [sizes.queries, sizes.keys], 0.8);
        await expectCleanBuffers(device, () => run(operands, dtype));
        await expectCleanBuffers(device, () => run({ ...operands, mask, isCausal: 'bottom-right' }, dtype));
      }
    });

    test.each(DTYPES)('around wrapped buffers, and between their rows, %s', async (dtype) => {
      const operands = randomOperands(new Random(3), SIZES);
      const attended = (word: number) => wrappedAttention(op, operands, dtype, word);
      expectSameBits(await attended(NAN_WORD), await attended(0));
    });

    test('in workgroup memory', async () => {
      const operands = randomOperands(new Random(4), SIZES);
      const clean = await run(operands, 'float32');
      expect(await poisonWorkgroupMemory(device)).toBe(0);
      expectSameBits(await run(operands, 'float32'), clean);
    });
  });
});

async function wrappedAttention(op: AttentionOp, { q, k, v }: Problem, dtype: Float, word: number): Promise<Results> {
  const inputs = [q, k, v].map(({ shape, data }) => wrapped(device, Float32Array.from(data), shape, dtype, word));
  const [Q, K, V] = inputs.map(({ tensor }) => tensor);
  const { output, logSumExp } = call(op, Q, K, V, { returnLogSumExp: true });
  const results = { output: await output.data(), logSumExp: await logSumExp!.data() };
  for (const tensor of [output, logSumExp!, Q, K, V]) tensor.dispose();
  for (const { buffer } of inputs) buffer.destroy();
  return results;
}

describe.each(narrow<AttentionOp>(['flashAttention'], ATTENTION_OPS))('gradients of %s', (op) => {
  const gradients = (problem: Problem, dtype: Float): Promise<Results> => {
    const random = new Random(5);
    const [, , , valueDim] = problem.v.shape;
    const rows = problem.q.shape.slice(0, -1);
    const output = { shape: [...rows, valueDim], data: random.normals([...rows, valueDim]) };
    const logSumExp = { shape: rows, data: random.normals(rows) };
    return runGradients(op, problem, { output, logSumExp }, dtype);
  };

  describeKernels(op === 'scaledDotProductAttention' ? 'matmul' : 'attentionGradient', () => {
    test.each(narrow<Float>(['float32'], DTYPES))('past the key lengths, and in masked keys, %s', async (dtype) => {
      const operands = randomOperands(new Random(6), SIZES);
      const keyLengths = [SIZES.keys - 12, 17];
      const data = Uint8Array.from({ length: 2 * SIZES.keys }, (_, at) => {
        return Number(at % SIZES.keys < keyLengths[Math.floor(at / SIZES.keys)]);
      });
      const keyMask = { shape: [2, SIZES.keys], data };
      const short = await gradients({ ...operands, keyLengths }, dtype);
      const masked = await gradients({ ...operands, keyMask }, dtype);
      for (const value of POISON) {
        const spoilt = spoiltFrom(operands, keyLengths, value);
        expectSameBits(await gradients({ ...spoilt, keyLengths }, dtype), short);
        const got = await gradients({ ...spoilt, keyMask }, dtype);
        expectAlike(got, masked, tolerances[dtype].gradient, `${value} in masked keys`);
      }
    });

    test.each(narrow<Float>(['float32'], DTYPES))('in recycled buffers, %s', async (dtype) => {
      const operands = randomOperands(new Random(7), SIZES);
      await expectCleanBuffers(device, () => gradients({ ...operands, isCausal: 'bottom-right' }, dtype));
    });

    test('in workgroup memory', async () => {
      const operands = randomOperands(new Random(8), SIZES);
      const clean = await gradients(operands, 'float32');
      expect(await poisonWorkgroupMemory(device)).toBe(0);
      expectSameBits(await gradients(operands, 'float32'), clean);
    });
  });
});

type Made = (x: Tensor, y: Tensor) => Tensor;

/** Ops on x and y [3, 5, 7], whose rows are padded in float16. */
const OTHERS: Readonly<Record<string, Made>> = {
  softmax: (x) => softmax(x, { isCausal: true }),
  layerNorm: (x) => layerNorm(x, 7),
  rmsNorm: (x) => rmsNorm(x, 7),
  'sum over rows': (x) => sum(x, { axes: [2] }),
  'sum over columns': (x) => sum(x, { axes: [1] }),
  gelu: (x) => gelu(x),
  'add of a transposed': (x, y) => add(x.transpose(0, 1), y.transpose(0, 1)),
  contiguous: (x) => contiguous(x.transpose(1, 2)),
  concat: (x, y) => concat(x, y, 2),
  'cast to the other dtype': (x) => cast(x, x.dtype === 'float32' ? 'float16' : 'float32'),
  crossEntropy: (x) =>
    crossEntropy(
      x.reshape([15, 7]),
      x.device.tensor(
        Int32Array.from({ length: 15 }, (_, i) => i % 7),
        [15],
      ),
    ),
  embedding: (x) => embedding(x.device.tensor(Int32Array.of(2, 14, 0), [3]), x.reshape([15, 7])),
};

describe.each(DTYPES)('ops of rows, %s', (dtype) => {
  const random = new Random(9);
  const [x, y] = [0, 1].map(() => random.normals([3, 5, 7]));

  test.each(Object.entries(OTHERS))('%s', async (_name, made) => {
    const read = async (result: Tensor, ...leaves: Tensor[]): Promise<Results> => {
      const values: Record<string, ArrayLike<number>> = { result: await result.data() };
      for (const [at, leaf] of leaves.entries()) values[`gradient ${at}`] = await leaf.grad!.data();
      for (const tensor of [result, ...leaves]) tensor.dispose();
      return values;
    };
    // what an op makes is read by the next, padding and all
    await expectCleanBuffers(device, () => {
      const result = device.scope(() => {
        const [a, b] = [x, y].map((values) => gelu(device.tensor(values, [3, 5, 7], { dtype })));
        return made(a, b);
      });
      return read(result);
    });
    await expectCleanBuffers(device, () => {
      const leaf = device.tensor(x, [3, 5, 7], { dtype, requiresGrad: true });
      const result = device.scope(() => {
        const made7 = made(leaf, device.tensor(y, [3, 5, 7], { dtype }));
        made7.backward(device.tensor(new Float32Array(made7.size).fill(0.5), made7.shape, { dtype: made7.dtype }));
        return made7;
      });
      return read(result, leaf);
    });
    const onWrapped = async (word: number) => {
      const inputs = [x, y].map((values) => wrapped(device, values, [3, 5, 7], dtype, word));
      const result = device.scope(() => made(inputs[0].tensor, inputs[1].tensor));
      const values = await read(result);
      for (const { tensor, buffer } of inputs) {
        tensor.dispose();
        buffer.destroy();
      }
      return values;
    };
    expectSameBits(await onWrapped(NAN_WORD), await onWrapped(0));
  });
});

describe('matmul', () => {
  describeKernels('matmul', () => {
    test.each(DTYPES)('%s', async (dtype) => {
      const random = new Random(10);
      const [a, b] = [random.normals([2, 37, 45]), random.normals([2, 45, 33])];
      const product = async (word: number) => {
        const inputs = [wrapped(device, a, [2, 37, 45], dtype, word), wrapped(device, b, [2, 45, 33], dtype, word)];
        const result = matmul(inputs[0].tensor, inputs[1].tensor);
        const values = { product: await result.data() };
        result.dispose();
        for (const { tensor, buffer } of inputs) {
          tensor.dispose();
          buffer.destroy();
        }
        return values;
      };
      const clean = await product(0);
      expectSameBits(await product(NAN_WORD), clean);
      await expectCleanBuffers(device, () => product(0));
      expect(await poisonWorkgroupMemory(device)).toBe(0);
      expectSameBits(await product(0), clean);
    });
  });
});
