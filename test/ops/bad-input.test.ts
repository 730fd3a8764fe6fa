/**
 * What bad input gets: one sentence, thrown at once, that names the op, the argument, what was expected and what came; nothing
 * is allocated, and the device stays usable.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  cast,
  clone,
  concat,
  contiguous,
  createDevice,
  flashAttention,
  keyMaskFromTorch,
  localAttention,
  maskFromBlocked,
  maskFromTorch,
  matmul,
  reshape,
  scaledDotProductAttention,
  softmax,
  type Device,
  type DType,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { openGpuDevice } from '../gpu/gpu-device.ts';

let device: Device;
let other: Device;
beforeAll(async () => {
  device = await testDevice();
  other = await createDevice();
});
afterAll(() => other.dispose());

const zeros = (shape: readonly number[], dtype?: DType) => device.zeros(shape, { dtype });
/** What a program without types may pass. */
const untyped = (value: unknown) => value as never;

function disposed(shape: readonly number[]): Tensor {
  const tensor = zeros(shape);
  tensor.dispose();
  return tensor;
}

/** Each case's call makes its own tensors, in a scope. */
type Case = [name: string, call: () => unknown, message: string | RegExp];

function refuses(cases: readonly Case[]): void {
  test.each(cases)('%s', async (_, call, message) => {
    const { live } = device.memory();
    const failure = (() => {
      try {
        device.scope(() => void call());
      } catch (error) {
        return error as Error;
      }
      return undefined;
    })();
    expect(failure?.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
    expect(failure).toBeInstanceOf(ArgumentError);
    expect(failure!.message).not.toContain('\n');
    expect(device.memory().live).toBe(live);
    await device.sync();
  });
}

describe('tensors', () => {
  const shape = 'shape must be 1 to 6 positive integers';
  refuses([
    [
      'too few numbers',
      () => device.tensor([1, 2], [3]),
      'device.tensor: data must have 3 elements for shape [3], got 2',
    ],
    ['a zero length', () => device.tensor([], [2, 0]), `device.tensor: ${shape}, got [2, 0]`],
    ['a negative length', () => zeros([-3]), `device.zeros: ${shape}, got [-3]`],
    ['a fraction', () => zeros([1.5]), `device.zeros: ${shape}, got [1.5]`],
    ['no axes', () => device.tensor([1], []), `device.tensor: ${shape}, got []`],
    ['seven axes', () => zeros([1, 1, 1, 1, 1, 1, 1]), `device.zeros: ${shape}, got [1, 1, 1, 1, 1, 1, 1]`],
    ['a number for a shape', () => device.tensor([1], untyped(1)), `device.tensor: ${shape}, got 1`],
    ['no shape', () => device.randn(untyped(undefined)), `device.randn: ${shape}, got undefined`],
    [
      'an unknown dtype',
      () => zeros([2], untyped('float64')),
      'device.zeros: dtype must be one of float32, float16, bool, int32, uint32, got float64',
    ],
    [
      'doubles',
      () => device.tensor(untyped(new Float64Array(1)), [1]),
      'device.tensor: data for float32 must be a Float32Array or numbers, got Float64Array',
    ],
    [
      'bytes for float32',
      () => device.tensor(new Uint8Array(1), [1], { dtype: 'float32' }),
      'device.tensor: data for float32 must be a Float32Array or numbers, got Uint8Array',
    ],
    [
      'booleans for bool',
      () => device.tensor(untyped([true]), [1], { dtype: 'bool' }),
      'device.tensor: data for bool must be a Uint8Array, got an array of booleans',
    ],
    [
      'nested arrays',
      () => device.tensor(untyped([[1], [2]]), [2]),
      'device.tensor: data for float32 must be a Float32Array or numbers, got an array of objects',
    ],
    [
      'strings',
      () => device.tensor(untyped(['1']), [1], { dtype: 'float16' }),
      'device.tensor: data for float16 must be a Float32Array, numbers, or a Uint16Array of float16 bits, got an array of strings',
    ],
    ['nothing', () => device.tensor(untyped(undefined), [1]), /data for float32 must be .*, got undefined$/],
    [
      'an unknown option',
      () => device.tensor([1], [1], untyped({ dtpye: 'float32' })),
      "device.tensor: unknown option 'dtpye'; did you mean 'dtype'?",
    ],
    [
      'a dtype for options',
      () => device.tensor([1], [1], untyped('bool')),
      'device.tensor: options must be an object, got bool',
    ],
    ['a fraction for a seed', () => device.randn([2], { seed: 0.5 }), 'device.randn: seed must be an integer, got 0.5'],
    [
      'random bools',
      () => device.randn([2], { dtype: 'bool' }),
      'device.randn: dtype must be float32 or float16, got bool',
    ],
    ['no buffer', () => device.wrap(untyped(undefined), [2]), 'device.wrap: buffer must be a GPUBuffer, got undefined'],
    [
      'an object for a buffer',
      () => device.wrap(untyped({}), [2]),
      'device.wrap: buffer must be a GPUBuffer, got Object',
    ],
    [
      'a view of another size',
      () => zeros([2, 3]).reshape([7]),
      'reshape: shape must have 6 elements as [2, 3] has, got [7]',
    ],
  ]);

  test('more than the device allows', () => {
    const limit = Math.min(device.gpu.limits.maxStorageBufferBindingSize, device.gpu.limits.maxBufferSize);
    const message = (call: string, shape: string) =>
      new RegExp(
        `^${call}: a float32 tensor of shape \\[${shape}\\] must fit the device's limit of ${limit} bytes a buffer ` +
          `\\(maxStorageBufferBindingSize\\), got \\d+ bytes$`,
      );
    const long = Math.ceil(Math.sqrt(limit / 4)) + 1;
    expect(() => zeros([long, long])).toThrow(message('device.zeros', `${long}, ${long}`));
    device.scope(() => {
      const [column, row, q] = [zeros([long, 1]), zeros([1, long]), zeros([1, long, 1])];
      expect(() => matmul(column, row)).toThrow(message('matmul', `${long}, ${long}`));
      expect(() => scaledDotProductAttention(q, q, q, { returnWeights: true })).toThrow(
        message('scaledDotProductAttention', '[\\d, ]+'),
      );
    });
  });
});

describe('createDevice', () => {
  test.each<[object | null, string]>([
    [{ adaptor: 'hardware' }, "createDevice: unknown option 'adaptor'; did you mean 'adapter'?"],
    [
      { adapter: 'gpu' },
      "createDevice: adapter must be one of 'hardware', 'software', 'lavapipe', 'embedded', got 'gpu'",
    ],
    [{ memoryBudget: -1 }, 'createDevice: memoryBudget must be a positive number of bytes, got -1'],
    [{ gpuDevice: {} }, 'createDevice: gpuDevice must be a GPUDevice, got Object'],
    [null, 'createDevice: options must be an object, got null'],
  ])('%j', async (options, message) => {
    await expect(createDevice(untyped(options))).rejects.toThrow(new ArgumentError(message));
  });
});

describe('matmul', () => {
  refuses([
    [
      'depths that differ',
      () => matmul(zeros([2, 3]), zeros([2, 4])),
      "matmul: b must have a's depth 3, got 2 (a [2, 3], b [2, 4])",
    ],
    [
      'depths that differ after transposing',
      () => matmul(zeros([2, 3]), zeros([3, 4]), { transposeB: true }),
      "matmul: b must have a's depth 3, got 4 (a [2, 3], b [4, 3])",
    ],
    ['a vector', () => matmul(zeros([3]), zeros([3, 2])), 'matmul: a must have at least two axes, got [3]'],
    [
      'batches that do not broadcast',
      () => matmul(zeros([2, 2, 3]), zeros([3, 3, 2])),
      "matmul: b's batch axes must broadcast with a's [2], got [3]",
    ],
    ['bools', () => matmul(zeros([2, 3], 'bool'), zeros([3, 2])), 'matmul: a must be float32 or float16, got bool'],
    [
      'integers',
      () => matmul(zeros([2, 3]), zeros([3, 2], 'int32')),
      'matmul: b must be float32 or float16, got int32',
    ],
    [
      'two dtypes',
      () => matmul(zeros([2, 3]), zeros([3, 2], 'float16')),
      "matmul: b must have a's dtype float32, got float16",
    ],
    [
      'a bias of another length',
      () => matmul(zeros([2, 3]), zeros([3, 2]), { bias: zeros([3]) }),
      'matmul: bias must have shape [2], got [3]',
    ],
    [
      'a bias with two axes',
      () => matmul(zeros([2, 3]), zeros([3, 2]), { bias: zeros([1, 2]) }),
      'matmul: bias must have shape [2], got [1, 2]',
    ],
    [
      'null for a bias',
      () => matmul(zeros([2, 3]), zeros([3, 2]), { bias: untyped(null) }),
      'matmul: bias must be a Tensor, got null',
    ],
    [
      'a number for a flag',
      () => matmul(zeros([2, 3]), zeros([3, 2]), { transposeB: untyped(1) }),
      'matmul: transposeB must be true or false, got 1',
    ],
    [
      'an unknown option',
      () => matmul(zeros([2, 3]), zeros([3, 2]), untyped({ transpose_a: true })),
      "matmul: unknown option 'transpose_a'; did you mean 'transposeA'?",
    ],
    ['no b', () => matmul(zeros([2, 3]), untyped(undefined)), 'matmul: b must be a Tensor, got undefined'],
    ['an array', () => matmul(untyped([1, 2]), zeros([3, 2])), 'matmul: a must be a Tensor, got [1, 2]'],
    [
      'a tensor of another device',
      () => matmul(zeros([2, 3]), other.zeros([3, 2])),
      "matmul: b must be on a's device, got a tensor of another device",
    ],
    [
      'a disposed tensor',
      () => matmul(disposed([2, 3]), zeros([3, 2])),
      'matmul: a must not be disposed, got a disposed tensor of [2, 3]',
    ],
  ]);
});

describe('softmax', () => {
  refuses([
    [
      'a mask that does not broadcast',
      () => softmax(zeros([2, 3]), { mask: zeros([4], 'bool') }),
      "softmax: mask must broadcast to x's shape [2, 3], got [4]",
    ],
    [
      'a mask with more axes',
      () => softmax(zeros([2, 3]), { mask: zeros([1, 2, 3], 'bool') }),
      "softmax: mask must broadcast to x's shape [2, 3], got [1, 2, 3]",
    ],
    [
      'a mask of integers',
      () => softmax(zeros([2, 3]), { mask: zeros([3], 'int32') }),
      "softmax: mask must be bool or have x's dtype float32, got int32",
    ],
    [
      'an array for a mask',
      () => softmax(zeros([2, 3]), { mask: untyped([true]) }),
      'softmax: mask must be a Tensor, got [true]',
    ],
    [
      'a disposed mask',
      () => softmax(zeros([2, 3]), { mask: disposed([2, 3]) }),
      'softmax: mask must not be disposed, got a disposed tensor of [2, 3]',
    ],
    [
      'a mask of another device',
      () => softmax(zeros([2, 3]), { mask: other.zeros([3]) }),
      "softmax: mask must be on x's device, got a tensor of another device",
    ],
    [
      'NaN for a scale',
      () => softmax(zeros([2, 3]), { scale: NaN }),
      'softmax: scale must be a finite number, got NaN',
    ],
    [
      'a string for a scale',
      () => softmax(zeros([3]), { scale: untyped('2') }),
      "softmax: scale must be a finite number, got '2'",
    ],
    [
      'an unknown alignment',
      () => softmax(zeros([2, 3]), { isCausal: untyped('lower-right') }),
      "softmax: isCausal must be true, false, 'top-left' or 'bottom-right', got 'lower-right'",
    ],
    [
      'a causal vector',
      () => softmax(zeros([3]), { isCausal: true }),
      'softmax: x must have two axes to be causal, got one',
    ],
    ['five axes', () => softmax(zeros([1, 1, 1, 2, 3])), 'softmax: x must have at most four axes, got [1, 1, 1, 2, 3]'],
    ['bools', () => softmax(zeros([3], 'bool')), 'softmax: x must be float32 or float16, got bool'],
    [
      'an unknown option',
      () => softmax(zeros([3]), untyped({ casual: true })),
      "softmax: unknown option 'casual'; did you mean 'isCausal'?",
    ],
    ['null for options', () => softmax(zeros([3]), untyped(null)), 'softmax: options must be an object, got null'],
  ]);
});

const ATTENTION = {
  scaledDotProductAttention,
  flashAttention,
  localAttention: (q: Tensor, k: Tensor, v: Tensor, options = {}) =>
    localAttention(q, k, v, { window: { left: 1, right: 1 }, ...options }),
};

describe.each(Object.entries(ATTENTION))('%s', (op, attend) => {
  const q = () => zeros([2, 4, 3, 8]);
  const k = () => zeros([2, 2, 5, 8]);
  const v = () => zeros([2, 2, 5, 6]);
  const attendWith = (options: Record<string, unknown>) => attend(q(), k(), v(), options);
  const ranks = 'query must be [batch, heads, length, headDim] or [batch, length, headDim]';
  const causal = "isCausal must be true, false, 'top-left' or 'bottom-right'";
  const cases: Case[] = [
    ['a query with two axes', () => attend(zeros([3, 8]), k(), v()), `${ranks}, got [3, 8]`],
    ['a query with five', () => attend(zeros([1, 1, 1, 3, 8]), k(), v()), `${ranks}, got [1, 1, 1, 3, 8]`],
    ['a key of another rank', () => attend(q(), zeros([2, 5, 8]), v()), "key must have query's rank 4, got [2, 5, 8]"],
    [
      'a value of another rank',
      () => attend(q(), k(), zeros([2, 5, 8])),
      "value must have query's rank 4, got [2, 5, 8]",
    ],
    ['a key of another batch', () => attend(q(), zeros([3, 2, 5, 8]), v()), "key batch must equal query's 2, got 3"],
    [
      'a value of another batch',
      () => attend(q(), k(), zeros([1, 2, 5, 8])),
      "value batch must equal query's 2, got 1",
    ],
    [
      'a key of another head dim',
      () => attend(q(), zeros([2, 2, 5, 7]), v()),
      "key headDim must equal query's 8, got 7",
    ],
    [
      'a value of another length',
      () => attend(q(), k(), zeros([2, 2, 4, 8])),
      "value length must equal key's 5, got 4",
    ],
    ['a value of other heads', () => attend(q(), k(), zeros([2, 1, 5, 8])), "value heads must equal key's 2, got 1"],
    [
      'heads that do not divide',
      () => attend(q(), zeros([2, 3, 5, 8]), zeros([2, 3, 5, 8])),
      "key heads must divide query's 4, got 3",
    ],
    [
      'more key heads than query heads',
      () => attend(q(), zeros([2, 8, 5, 8]), zeros([2, 8, 5, 8])),
      "key heads must divide query's 4, got 8",
    ],
    [
      '3-D tensors that do not fit',
      () => attend(zeros([2, 3, 8]), zeros([2, 5, 7]), zeros([2, 5, 7])),
      "key headDim must equal query's 8, got 7",
    ],
    ['bools', () => attend(q(), k(), zeros([2, 2, 5, 6], 'bool')), 'value must be float32 or float16, got bool'],
    [
      'two dtypes',
      () => attend(q(), zeros([2, 2, 5, 8], 'float16'), v()),
      "key must have query's dtype float32, got float16",
    ],
    [
      'two devices',
      () => attend(q(), k(), other.zeros([2, 2, 5, 6])),
      "value must be on query's device, got a tensor of another device",
    ],
    [
      'a disposed key',
      () => attend(q(), disposed([2, 2, 5, 8]), v()),
      'key must not be disposed, got a disposed tensor of [2, 2, 5, 8]',
    ],
    ['no value', () => attend(q(), k(), untyped(undefined)), 'value must be a Tensor, got undefined'],
    ['an infinite scale', () => attendWith({ scale: Infinity }), 'scale must be a finite number, got Infinity'],
    ['a NaN scale', () => attendWith({ scale: NaN }), 'scale must be a finite number, got NaN'],
    ['a string for a scale', () => attendWith({ scale: '1' }), "scale must be a finite number, got '1'"],
    ['null for a scale', () => attendWith({ scale: null }), 'scale must be a finite number, got null'],
    [
      'a mask that does not broadcast',
      () => attendWith({ mask: zeros([3, 4], 'bool') }),
      "mask must broadcast to the scores' shape [2, 4, 3, 5], got [3, 4]",
    ],
    [
      'a mask with five axes',
      () => attendWith({ mask: zeros([1, 2, 4, 3, 5], 'bool') }),
      "mask must broadcast to the scores' shape [2, 4, 3, 5], got [1, 2, 4, 3, 5]",
    ],
    [
      'a mask with heads for 3-D tensors',
      () => attend(zeros([2, 3, 8]), zeros([2, 5, 8]), zeros([2, 5, 6]), { mask: zeros([2, 1, 3, 5], 'bool') }),
      "mask must broadcast to the scores' shape [2, 3, 5], got [2, 1, 3, 5]",
    ],
    [
      'a float mask of another dtype',
      () => attendWith({ mask: zeros([3, 5], 'float16') }),
      "mask must be bool or have query's dtype float32, got float16",
    ],
    [
      'a mask of integers',
      () => attendWith({ mask: zeros([3, 5], 'uint32') }),
      "mask must be bool or have query's dtype float32, got uint32",
    ],
    [
      'a mask of another device',
      () => attendWith({ mask: other.zeros([3, 5]) }),
      "mask must be on query's device, got a tensor of another device",
    ],
    [
      'a disposed mask',
      () => attendWith({ mask: disposed([3, 5]) }),
      'mask must not be disposed, got a disposed tensor of [3, 5]',
    ],
    ['null for a mask', () => attendWith({ mask: null }), 'mask must be a Tensor, got null'],
    [
      'a key mask of another length',
      () => attendWith({ keyMask: zeros([2, 4], 'bool') }),
      'keyMask must have shape [batch, key length] = [2, 5], got [2, 4]',
    ],
    [
      'a key mask without the batch',
      () => attendWith({ keyMask: zeros([5], 'bool') }),
      'keyMask must have shape [batch, key length] = [2, 5], got [5]',
    ],
    ['a key mask of numbers', () => attendWith({ keyMask: zeros([2, 5]) }), 'keyMask must be bool, got float32'],
    [
      'an array for a key mask',
      () => attendWith({ keyMask: new Uint8Array(10) }),
      'keyMask must be a Tensor, got Uint8Array',
    ],
    ['an unknown alignment', () => attendWith({ isCausal: 'bottom_right' }), `${causal}, got 'bottom_right'`],
    ['null for causal', () => attendWith({ isCausal: null }), `${causal}, got null`],
    ['a number for a flag', () => attendWith({ returnLogSumExp: 1 }), 'returnLogSumExp must be true or false, got 1'],
    ['a misspelt option', () => attendWith({ casual: true }), "unknown option 'casual'; did you mean 'isCausal'?"],
    [
      'another misspelt option',
      () => attendWith({ key_mask: true }),
      "unknown option 'key_mask'; did you mean 'keyMask', where true = may attend (keyMaskFromTorch converts a " +
        'key_padding_mask, where true = padding)?',
    ],
    [
      'an option that there is not',
      () => attendWith({ temperature: 2 }),
      new RegExp(
        `^${op}: unknown option 'temperature'; known options are mask, keyMask, isCausal, window, queryOffset, scale, `,
      ),
    ],
  ];
  refuses(
    cases.map(([name, call, message]) => [name, call, typeof message === 'string' ? `${op}: ${message}` : message]),
  );
});

describe('scaledDotProductAttention alone', () => {
  const x = () => zeros([1, 3, 8]);
  refuses([
    [
      'a string for a flag',
      () => scaledDotProductAttention(x(), x(), x(), { returnWeights: untyped('yes') }),
      "scaledDotProductAttention: returnWeights must be true or false, got 'yes'",
    ],
    [
      'null for options',
      () => scaledDotProductAttention(x(), x(), x(), untyped(null)),
      'scaledDotProductAttention: options must be an object, got null',
    ],
  ]);
});

describe('flashAttention alone', () => {
  const x = () => zeros([1, 3, 8]);
  refuses(
    [0, -16, 2.5, 3, 2, 256, NaN, Infinity, '32', null].map((blockSize): Case => [
      `blockSize ${String(blockSize)}`,
      () => flashAttention(x(), x(), x(), { blockSize: untyped(blockSize) }),
      `flashAttention: blockSize must be a power of two from 4 to 128, got ${
        typeof blockSize === 'string' ? `'${blockSize}'` : String(blockSize)
      }`,
    ]),
  );

  test('a blockSize over the limit of the device, which is named', async () => {
    const gpuDevice = await openGpuDevice(); // WebGPU's default limits
    const small = await createDevice({ gpuDevice });
    const q = small.zeros([1, 3, 8]);
    const { live } = small.memory();
    const limit = gpuDevice.limits.maxComputeWorkgroupStorageSize;
    expect(limit).toBe(16_384);
    expect(() => flashAttention(q, q, q, { blockSize: 128 })).toThrow(
      /^flashAttention: blockSize must fit the device's maxComputeWorkgroupStorageSize of 16384 bytes, got 128, which needs \d+ bytes$/,
    );
    expect(small.memory().live).toBe(live);
    small.dispose();
    gpuDevice.destroy();
  });
});

describe('localAttention alone', () => {
  const x = () => zeros([1, 3, 8]);
  const windowed = (window: unknown) => () => localAttention(x(), x(), x(), { window: untyped(window) });
  const side = (name: string) => `localAttention: window.${name} must be a whole number of keys, or -1 for unbounded`;
  refuses([
    [
      'no options',
      () => localAttention(x(), x(), x(), untyped(undefined)),
      'localAttention: window must be { left, right }, got undefined',
    ],
    [
      'null for options',
      () => localAttention(x(), x(), x(), untyped(null)),
      'localAttention: options must be an object, got null',
    ],
    [
      'a windowSize',
      () => localAttention(x(), x(), x(), untyped({ windowSize: 16 })),
      "localAttention: unknown option 'windowSize'; use 'window', { left, right }, with align: 'bottom-right' for " +
        "flash-attn's alignment",
    ],
    ['no window', windowed(undefined), 'localAttention: window must be { left, right }, got undefined'],
    ['a number for a window', windowed(16), 'localAttention: window must be { left, right }, got 16'],
    ['a pair for a window', windowed([8, 8]), 'localAttention: window must be { left, right }, got [8, 8]'],
    ['an empty window', windowed({}), `${side('left')}, got undefined`],
    ['one side only', windowed({ left: 1 }), `${side('right')}, got undefined`],
    ['a negative side', windowed({ left: -2, right: 0 }), `${side('left')}, got -2`],
    ['a fractional side', windowed({ left: 0, right: 1.5 }), `${side('right')}, got 1.5`],
    ['a NaN side', windowed({ left: NaN, right: 0 }), `${side('left')}, got NaN`],
    ['a string for a side', windowed({ left: '3', right: 0 }), `${side('left')}, got '3'`],
    [
      'an unknown alignment',
      windowed({ left: 0, right: 0, align: 'top' }),
      "localAttention: window.align must be 'top-left' or 'bottom-right', got 'top'",
    ],
    [
      'an unknown field',
      windowed({ left: 0, right: 0, algin: 'top-left' }),
      "localAttention: window: unknown option 'algin'; did you mean 'align'?",
    ],
  ]);
});

describe('copies', () => {
  refuses([
    [
      'reshape to another size',
      () => reshape(zeros([2, 3]), [7]),
      'reshape: shape must have 6 elements as [2, 3] has, got [7]',
    ],
    [
      'reshape of a transposed view to another size',
      () => reshape(zeros([2, 3]).transpose(), [2, 2]),
      'reshape: shape must have 6 elements as [3, 2] has, got [2, 2]',
    ],
    [
      'reshape with a zero',
      () => reshape(zeros([2, 3]), [0, 6]),
      'reshape: shape must have 6 elements as [2, 3] has, got [0, 6]',
    ],
    [
      'reshape to a number',
      () => reshape(zeros([2, 3]), untyped(6)),
      'reshape: shape must be 1 to 6 positive integers, got 6',
    ],
    ['reshape of nothing', () => reshape(untyped(undefined), [6]), 'reshape: x must be a Tensor, got undefined'],
    [
      'contiguous of a disposed tensor',
      () => contiguous(disposed([2, 3])),
      'contiguous: x must not be disposed, got a disposed tensor of [2, 3]',
    ],
    ['clone of a number', () => clone(untyped(5)), 'clone: x must be a Tensor, got 5'],
    ['cast of bools', () => cast(zeros([2], 'bool'), 'float32'), 'cast: x must be float32 or float16, got bool'],
    ['cast to bool', () => cast(zeros([2]), untyped('bool')), "cast: dtype must be float32 or float16, got 'bool'"],
    [
      'concat of shapes that differ elsewhere',
      () => concat(zeros([2, 3]), zeros([2, 4]), 0),
      "concat: y must have x's shape [2, 3] except along axis 0, got [2, 4]",
    ],
    [
      'concat of another rank',
      () => concat(zeros([2, 3]), zeros([3]), 0),
      "concat: y must have x's shape [2, 3] except along axis 0, got [3]",
    ],
    [
      'concat of two dtypes',
      () => concat(zeros([2, 3]), zeros([2, 3], 'float16'), 0),
      "concat: y must have x's dtype float32, got float16",
    ],
    [
      'concat along no axis',
      () => concat(zeros([2, 3]), zeros([2, 3]), 2),
      'concat: axis must be an axis of x [2, 3], got 2',
    ],
    [
      'concat along a fraction',
      () => concat(zeros([2, 3]), zeros([2, 3]), 0.5),
      'concat: axis must be an axis of x [2, 3], got 0.5',
    ],
    [
      'concat of two devices',
      () => concat(zeros([2, 3]), other.zeros([2, 3]), 0),
      "concat: y must be on x's device, got a tensor of another device",
    ],
  ]);

  test('reshape infers a length, as tensor.reshape does', async () => {
    const x = device.tensor([0, 1, 2, 3, 4, 5], [2, 3]);
    expect(reshape(x, [-1]).shape).toEqual([6]);
    const copy = reshape(x.transpose(), [-1]);
    expect([...(await copy.data())]).toEqual([0, 3, 1, 4, 2, 5]);
    x.dispose();
    copy.dispose();
  });
});

describe('mask converters', () => {
  refuses([
    [
      'a mask with four axes',
      () => maskFromTorch(zeros([2, 2, 3, 4], 'bool'), 2),
      'maskFromTorch: attnMask must be [Nq, Nk] or [B·H, Nq, Nk], got [2, 2, 3, 4]',
    ],
    [
      'heads that do not divide',
      () => maskFromTorch(zeros([6, 3, 4], 'bool'), 4),
      "maskFromTorch: numHeads must divide attnMask's first axis of 6, got 4",
    ],
    [
      'no heads',
      () => maskFromTorch(zeros([3, 4], 'bool'), 0),
      'maskFromTorch: numHeads must be a positive integer, got 0',
    ],
    [
      'a mask of integers',
      () => maskFromTorch(zeros([3, 4], 'int32'), 2),
      'maskFromTorch: attnMask must be bool, float32 or float16, got int32',
    ],
    [
      'a key mask of numbers',
      () => keyMaskFromTorch(zeros([3, 4])),
      'keyMaskFromTorch: keyPaddingMask must be bool [B, Nk], got a float32 tensor of [3, 4]',
    ],
    [
      'a key mask with one axis',
      () => keyMaskFromTorch(zeros([4], 'bool')),
      'keyMaskFromTorch: keyPaddingMask must be bool [B, Nk], got a bool tensor of [4]',
    ],
    ['blocked numbers', () => maskFromBlocked(zeros([4])), 'maskFromBlocked: blocked must be bool, got float32'],
  ]);
});

test('after everything that the device computes', async () => {
  const x = device.tensor([0, 0, 0, 0], [2, 2]);
  const y = softmax(x);
  expect([...(await y.data())]).toEqual([0.5, 0.5, 0.5, 0.5]);
  x.dispose();
  y.dispose();
});
