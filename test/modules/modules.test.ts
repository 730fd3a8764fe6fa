import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  createDevice,
  CrossAttention,
  FlashAttention,
  LoadError,
  LocalAttention,
  type Module,
  MultiHeadAttention,
  OutOfMemoryError,
  ScaledDotProductAttention,
  SelfAttention,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { expectClose } from '../reference/compare.ts';
import type { HostArray } from '../reference/host-array.ts';
import { multiHeadAttention } from '../reference/multi-head-attention.ts';
import { tolerances } from '../reference/tolerances.ts';

const device = await testDevice();

async function onHost(tensor: Tensor): Promise<HostArray> {
  return { shape: tensor.shape, data: await tensor.data() };
}

async function stateOf(module: Module): Promise<Record<string, HostArray>> {
  const entries = Object.entries(module.stateDict()).map(
    async ([name, tensor]) => [name, await onHost(tensor)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Gives every parameter other values, the zero biases too. */
function randomise(module: Module, seed: number): void {
  const random = new Random(seed);
  device.scope(() => {
    const state = Object.entries(module.stateDict());
    module.loadStateDict(
      Object.fromEntries(
        state.map(([name, { shape, dtype }]) => [name, device.tensor(random.normals(shape, 0.2), shape, { dtype })]),
      ),
    );
  });
}

function input(shape: number[], seed: number, dtype: 'float32' | 'float16' = 'float32'): Tensor {
  return device.tensor(new Random(seed).normals(shape), shape, { dtype });
}

describe('against the float64 reference', () => {
  test('SelfAttention with a mask, a key mask and weights', async () => {
    const random = new Random(1);
    using module = new SelfAttention(device, { embedDim: 24, numHeads: 3, seed: 4 });
    randomise(module, 2);
    using x = input([2, 9, 24], 3);
    const mask = { shape: [9, 9], data: random.bools([9, 9], 0.7) };
    const keyMask = { shape: [2, 9], data: random.bools([2, 9], 0.8) };
    const { output, weights } = module.forward(x, {
      mask: device.tensor(mask.data, mask.shape),
      keyMask: device.tensor(keyMask.data, keyMask.shape),
      needWeights: true,
    });
    const host = await onHost(x);
    const wanted = multiHeadAttention(await stateOf(module), host, host, host, { numHeads: 3, mask, keyMask });
    expectClose(await output.data(), wanted.output.data, tolerances.float32.module, 'output');
    expectClose(await weights!.data(), wanted.weights.data, tolerances.float32.weights, 'weights');
  });

  test.each(['top-left', 'bottom-right'] as const)('CrossAttention of other widths, causal %s', async (isCausal) => {
    using module = new CrossAttention(device, { embedDim: 24, numHeads: 4, kvDim: 10 });
    randomise(module, 5);
    using x = input([2, 5, 24], 6);
    using context = input([2, 8, 10], 7);
    const wanted = multiHeadAttention(
      await stateOf(module),
      await onHost(x),
      await onHost(context),
      await onHost(context),
      {
        numHeads: 4,
        isCausal,
      },
    );
    const { output, weights } = module.forward(x, context, { isCausal });
    expect(weights).toBeUndefined();
    expectClose(await output.data(), wanted.output.data, tolerances.float32.module, 'output');
  });

  test.each([0, 1, 5, 16, 200])('LocalAttention with windowSize %i', async (windowSize) => {
    using module = new LocalAttention(device, { embedDim: 24, numHeads: 3, windowSize });
    randomise(module, 8);
    using x = input([2, 40, 24], 9);
    const half = Math.floor(windowSize / 2);
    const host = await onHost(x);
    const wanted = multiHeadAttention(await stateOf(module), host, host, host, {
      numHeads: 3,
      window: { left: half, right: half },
    });
    expectClose(await module.forward(x).output.data(), wanted.output.data, tolerances.float32.module, 'output');
  });

  test('float16 with an odd head dim, whose rows cannot be merged by a view', async () => {
    using module = new SelfAttention(device, { embedDim: 21, numHeads: 3, dtype: 'float16' });
    randomise(module, 10);
    using x = input([2, 7, 21], 11, 'float16');
    const host = await onHost(x);
    const wanted = multiHeadAttention(await stateOf(module), host, host, host, { numHeads: 3 });
    expectClose(await module.forward(x).output.data(), wanted.output.data, tolerances.float16.module, 'output');
  });

  test('ScaledDotProductAttention and FlashAttention with a scale', async () => {
    const [q, k, v] = [input([2, 3, 12], 12), input([2, 4, 12], 13), input([2, 4, 5], 14)];
    const wanted = attention(await onHost(q), await onHost(k), await onHost(v), { scale: 0.7 });
    const materialised = new ScaledDotProductAttention({ scale: 0.7 }).forward(q, k, v, { needWeights: true });
    const fused = new FlashAttention({ scale: 0.7, blockSize: 32 }).forward(q, k, v, { returnLogSumExp: true });
    expectClose(await materialised.output.data(), wanted.output.data, tolerances.float32.attention, 'materialised');
    expectClose(await materialised.weights!.data(), wanted.weights.data, tolerances.float32.weights, 'weights');
    expectClose(await fused.output.data(), wanted.output.data, tolerances.float32.attention, 'fused');
    expectClose(await fused.logSumExp!.data(), wanted.logSumExp.data, tolerances.float32.logSumExp, 'logSumExp');
  });

  test('a masked key never leaks through a module', async () => {
    using module = new SelfAttention(device, { embedDim: 16, numHeads: 2 });
    const clean = new Random(15).normals([1, 6, 16]);
    const spoilt = clean.slice();
    spoilt.fill(NaN, 4 * 16);
    const keyMask = device.tensor(new Uint8Array([1, 1, 1, 1, 0, 0]), [1, 6]);
    for (const needWeights of [false, true]) {
      const run = async (data: Float32Array) =>
        (await module.forward(device.tensor(data, [1, 6, 16]), { keyMask, needWeights }).output.data()).slice(
          0,
          4 * 16,
        );
      expectClose(await run(spoilt), await run(clean), tolerances.exact, `needWeights ${needWeights}`);
    }
  });
});

describe('how it runs', () => {
  test('without weights: projection, fused attention, projection, and nothing between', async () => {
    using module = new SelfAttention(device, { embedDim: 32, numHeads: 4 });
    using x = input([2, 6, 32], 16);
    device.scope(() => void module.forward(x)); // draws the weights
    const { dispatches } = await device.profile(() => module.forward(x));
    if (device.info.features.includes('timestamp-query')) {
      expect(dispatches.map(({ label }) => label)).toEqual(['matmul', 'flashAttention', 'matmul']);
    }
  });

  test('one product for key and value that are one tensor', () => {
    using module = new CrossAttention(device, { embedDim: 32, numHeads: 4 });
    using x = input([2, 6, 32], 17);
    using context = input([2, 7, 32], 18);
    const before = device.runtime.counters().dispatches;
    device.scope(() => void module.forward(x, context));
    const first = device.runtime.counters().dispatches;
    expect(first - before).toBe(4 + 2); // the weights are drawn; zeroing biases takes no dispatch
    device.scope(() => void module.forward(x, context));
    expect(device.runtime.counters().dispatches - first).toBe(4);
  });

  test('a steady-state forward makes no buffer and no pipeline, and is one submit', async () => {
    using module = new MultiHeadAttention(device, { embedDim: 32, numHeads: 4 });
    using x = input([2, 6, 32], 19);
    const forward = () => device.scope(() => void module.forward(x, x, x));
    forward();
    forward();
    await device.sync();
    const before = device.runtime.counters();
    forward();
    await device.sync();
    const after = device.runtime.counters();
    expect(after.buffers).toBe(before.buffers);
    expect(after.pipelines).toBe(before.pipelines);
    expect(after.submits).toBe(before.submits + 1);
  });

  test('the fused and the materialised path agree', async () => {
    using module = new MultiHeadAttention(device, { embedDim: 32, numHeads: 4 });
    using x = input([2, 11, 32], 20);
    const fused = await module.forward(x, x, x, { isCausal: true }).output.data();
    const materialised = await module.forward(x, x, x, { isCausal: true, needWeights: true }).output.data();
    expectClose(materialised, fused, tolerances.float32.module, 'output');
  });

  test('everything is freed', async () => {
    await device.sync();
    const before = device.memory().live;
    device.scope(() => {
      for (const addBiasKv of [false, true]) {
        const module = new MultiHeadAttention(device, { embedDim: 16, numHeads: 2, addBiasKv, addZeroAttn: true });
        const x = input([2, 3, 16], 21);
        module.forward(x, x, x, { needWeights: true, averageWeights: true });
        module.dispose();
        module.dispose();
      }
    });
    expect(device.memory().live).toBe(before);
  });

  test('a module that does not fit leaves nothing behind', async () => {
    // the packed projection takes 48 KiB, the output projection 16 KiB, and the biases the rest
    using small = await createDevice({ memoryBudget: 64 * 1024 });
    expect(() => new SelfAttention(small, { embedDim: 64, numHeads: 2 })).toThrow(OutOfMemoryError);
    expect(small.memory().live).toBe(0);
  });

  test('a forward that fails leaves nothing behind', () => {
    using module = new SelfAttention(device, { embedDim: 16, numHeads: 2 });
    using x = input([1, 3, 16], 22);
    using mask = device.tensor(new Uint8Array(5 * 5).fill(1), [5, 5]);
    const before = device.memory().live;
    expect(() => module.forward(x, { mask })).toThrow(/mask must broadcast/);
    expect(device.memory().live).toBe(before);
  });
});

describe('parameters', () => {
  test('initialised as PyTorch does, from the seed', async () => {
    using a = new MultiHeadAttention(device, { embedDim: 64, numHeads: 4, seed: 7, addBiasKv: true });
    using b = new MultiHeadAttention(device, { embedDim: 64, numHeads: 4, seed: 7, addBiasKv: true });
    using c = new MultiHeadAttention(device, { embedDim: 64, numHeads: 4, seed: 8, addBiasKv: true });
    const [first, same, other] = await Promise.all([a, b, c].map(stateOf));
    expect(same).toEqual(first);
    expect(other['in_proj_weight'].data).not.toEqual(first['in_proj_weight'].data);

    expectUniform(first['in_proj_weight'].data, Math.sqrt(6 / (3 * 64 + 64))); // xavier_uniform_ of the packed weight
    expectUniform(first['out_proj.weight'].data, 1 / Math.sqrt(64)); // Linear's default
    expect(Array.from(first['in_proj_bias'].data).every((x) => x === 0)).toBe(true);
    expect(Array.from(first['out_proj.bias'].data).every((x) => x === 0)).toBe(true);
    const squares = Array.from(first['bias_k'].data, (x) => x * x); // xavier_normal_ of [1, 1, E]
    expect(Math.sqrt(mean(squares))).toBeCloseTo(1 / Math.sqrt(64), 1);
  });

  test('names and shapes are torch.nn.MultiheadAttention’s', () => {
    const shapes = (module: Module) =>
      Object.fromEntries(Object.entries(module.stateDict()).map(([name, { shape }]) => [name, [...shape]]));
    using packed = new MultiHeadAttention(device, { embedDim: 8, numHeads: 2 });
    expect(shapes(packed)).toEqual({
      in_proj_weight: [24, 8],
      in_proj_bias: [24],
      'out_proj.weight': [8, 8],
      'out_proj.bias': [8],
    });
    using separate = new MultiHeadAttention(device, {
      embedDim: 8,
      numHeads: 2,
      kDim: 3,
      bias: false,
      addBiasKv: true,
    });
    expect(shapes(separate)).toEqual({
      q_proj_weight: [8, 8],
      k_proj_weight: [8, 3],
      v_proj_weight: [8, 8],
      bias_k: [1, 1, 8],
      bias_v: [1, 1, 8],
      'out_proj.weight': [8, 8],
    });
    expect(separate.parameters()).toEqual(Object.values(separate.stateDict()));
  });

  test('a loaded state dict is a copy, and float16 weights convert', async () => {
    using from = new SelfAttention(device, { embedDim: 8, numHeads: 2, seed: 3, dtype: 'float16' });
    using to = new SelfAttention(device, { embedDim: 8, numHeads: 2, seed: 4 });
    to.loadStateDict(from.stateDict());
    const wanted = await stateOf(from);
    from.dispose();
    const loaded = await stateOf(to);
    for (const name of Object.keys(wanted)) expect(loaded[name].data).toEqual(wanted[name].data);
    expect(to.parameters().every(({ dtype }) => dtype === 'float32')).toBe(true);
  });

  test('every problem of a state dict is listed at once, and nothing is loaded', async () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    const before = await stateOf(module);
    const bad = {
      in_proj_weight: device.zeros([8, 8]),
      in_proj_bias: device.zeros([24]),
      'out_proj.weight': device.tensor(new Int32Array(64), [8, 8]),
      extra: device.zeros([1]),
      'out_proj.bias': [1, 2] as unknown as Tensor,
    };
    const load = () => module.loadStateDict(bad);
    expect(load).toThrow(LoadError);
    expect(load).toThrow(
      "SelfAttention.loadStateDict: 'in_proj_weight' must have shape [24, 8], got [8, 8]; " +
        "'out_proj.weight' must be float32 or float16, got int32; 'out_proj.bias' must be a Tensor, got [1, 2]; 'extra' is unexpected",
    );
    expect(await stateOf(module)).toEqual(before);
  });

  test('modules without a seed start differently', async () => {
    using a = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    using b = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    expect((await stateOf(a))['in_proj_weight'].data).not.toEqual((await stateOf(b))['in_proj_weight'].data);
  });

  test('train and eval', () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    expect(module.training).toBe(true);
    expect(module.eval().training).toBe(false);
    expect(module.train().training).toBe(true);
    expect(new FlashAttention().eval().training).toBe(false);
  });
});

describe('bad input', () => {
  const make = (options: object) => () =>
    new MultiHeadAttention(device, options as { embedDim: number; numHeads: number });
  const self = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
  const cross = new CrossAttention(device, { embedDim: 8, numHeads: 2, kvDim: 4 });
  const multi = new MultiHeadAttention(device, { embedDim: 8, numHeads: 2, addZeroAttn: true });
  const x = device.zeros([2, 3, 8]);
  const options = (value: object) => value as Parameters<SelfAttention['forward']>[1];

  test.each<[string, () => unknown, string]>([
    ['indivisible', make({ embedDim: 10, numHeads: 4 }), 'MultiHeadAttention: numHeads must divide embedDim 10, got 4'],
    [
      'too many heads',
      make({ embedDim: 4, numHeads: 8 }),
      'MultiHeadAttention: numHeads must divide embedDim 4, got 8',
    ],
    ['no heads', make({ embedDim: 4, numHeads: 0 }), 'MultiHeadAttention: numHeads must be a positive integer, got 0'],
    [
      'fractional',
      make({ embedDim: 4.5, numHeads: 1 }),
      'MultiHeadAttention: embedDim must be a positive integer, got 4.5',
    ],
    ['missing', make({ numHeads: 1 }), 'MultiHeadAttention: embedDim must be a positive integer, got undefined'],
    [
      'kDim',
      make({ embedDim: 4, numHeads: 1, kDim: -1 }),
      'MultiHeadAttention: kDim must be a positive integer, got -1',
    ],
    [
      'dtype',
      make({ embedDim: 4, numHeads: 1, dtype: 'bfloat16' }),
      "MultiHeadAttention: dtype must be float32 or float16, got 'bfloat16'",
    ],
    ['seed', make({ embedDim: 4, numHeads: 1, seed: 0.5 }), 'MultiHeadAttention: seed must be an integer, got 0.5'],
    [
      'unknown option',
      make({ embedDim: 4, numheads: 1 }),
      "MultiHeadAttention: unknown option 'numheads'; did you mean 'numHeads'?",
    ],
    [
      'negative window',
      () => new LocalAttention(device, { embedDim: 4, numHeads: 1, windowSize: -2 }),
      'LocalAttention: windowSize must be an integer of 0 or more, got -2',
    ],
    [
      'fractional window',
      () => new LocalAttention(device, { embedDim: 4, numHeads: 1, windowSize: 2.5 }),
      'LocalAttention: windowSize must be an integer of 0 or more, got 2.5',
    ],
    [
      'zero block',
      () => new FlashAttention({ blockSize: 0 }),
      'FlashAttention: blockSize must be a power of two from 4 to 128, got 0',
    ],
    [
      'negative block',
      () => new FlashAttention({ blockSize: -16 }),
      'FlashAttention: blockSize must be a power of two from 4 to 128, got -16',
    ],
    [
      'odd block',
      () => new FlashAttention({ blockSize: 24 }),
      'FlashAttention: blockSize must be a power of two from 4 to 128, got 24',
    ],
    [
      'scale',
      () => new ScaledDotProductAttention({ scale: NaN }),
      'ScaledDotProductAttention: scale must be a finite number, got NaN',
    ],
    [
      'width',
      () => self.forward(device.zeros([2, 3, 9])),
      'SelfAttention: x must be [batch, length, 8], got [2, 3, 9]',
    ],
    ['rank', () => self.forward(device.zeros([3, 8])), 'SelfAttention: x must be [batch, length, 8], got [3, 8]'],
    [
      'input dtype',
      () => self.forward(device.zeros([2, 3, 8], { dtype: 'float16' })),
      "SelfAttention: x must have the weights' dtype float32, got float16",
    ],
    [
      'bool input',
      () => self.forward(device.zeros([2, 3, 8], { dtype: 'bool' })),
      'SelfAttention: x must be float32 or float16, got bool',
    ],
    ['no tensor', () => self.forward([1, 2] as unknown as Tensor), 'SelfAttention: x must be a Tensor, got [1, 2]'],
    [
      'typo',
      () => self.forward(x, options({ casual: true })),
      "SelfAttention.forward: unknown option 'casual'; did you mean 'isCausal'?",
    ],
    [
      '3-D mask',
      () => self.forward(x, { mask: device.zeros([2, 3, 3]) }),
      'SelfAttention: mask must be [Nq, Nk] or broadcast to [B, H, Nq, Nk] with four axes, got a float32 tensor of [2, 3, 3]',
    ],
    [
      'needWeights',
      () => self.forward(x, options({ needWeights: 1 })),
      'SelfAttention: needWeights must be true or false, got 1',
    ],
    [
      'context batch',
      () => cross.forward(x, device.zeros([3, 5, 4])),
      "CrossAttention: context must have x's batch 2, got [3, 5, 4]",
    ],
    [
      'context width',
      () => cross.forward(x, device.zeros([2, 5, 8])),
      'CrossAttention: context must be [batch, length, 4], got [2, 5, 8]',
    ],
    ['null mask', () => self.forward(x, options({ mask: null })), 'SelfAttention: mask must be a Tensor, got null'],
    [
      'mask shape',
      () => self.forward(x, { mask: device.zeros([5, 5]) }),
      "SelfAttention: mask must broadcast to the scores' shape [2, 2, 3, 3], got [5, 5]",
    ],
    [
      'mask shape with appended keys',
      () => multi.forward(x, x, x, { mask: device.zeros([5, 5]) }),
      "MultiHeadAttention: mask must broadcast to the scores' shape [2, 2, 3, 3], got [5, 5]",
    ],
    [
      'key mask without a batch, with appended keys',
      () => multi.forward(x, x, x, { keyMask: device.zeros([3], { dtype: 'bool' }) }),
      'MultiHeadAttention: keyMask must have shape [batch, key length] = [2, 3], got [3]',
    ],
    [
      'bias',
      make({ embedDim: 4, numHeads: 1, bias: 'no' }),
      "MultiHeadAttention: bias must be true or false, got 'no'",
    ],
    [
      'addZeroAttn',
      make({ embedDim: 4, numHeads: 1, addZeroAttn: 1 }),
      'MultiHeadAttention: addZeroAttn must be true or false, got 1',
    ],
    [
      'value length',
      () => multi.forward(x, x, device.zeros([2, 4, 8])),
      "MultiHeadAttention: value must have key's batch and length [2, 3], got [2, 4, 8]",
    ],
    [
      'causal appended',
      () => multi.forward(x, x, x, { isCausal: true }),
      'MultiHeadAttention: isCausal must be false with addBiasKv or addZeroAttn, whose keys have no position, got true; pass a causal mask instead',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(ArgumentError);
    expect(call).toThrow(message);
  });

  test('a refused call has recorded nothing', () => {
    const before = device.runtime.counters().dispatches;
    for (const value of [{ mask: device.zeros([5, 5]) }, { needWeights: 1 }, { isCausal: 'left' }]) {
      expect(() => self.forward(x, options(value))).toThrow(ArgumentError);
    }
    expect(device.runtime.counters().dispatches).toBe(before);
  });

  test('a window wider than any sequence sees everything', async () => {
    using wide = new LocalAttention(device, { embedDim: 8, numHeads: 2, windowSize: 2 ** 40 });
    using all = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    all.loadStateDict(wide.stateDict());
    using sequence = input([1, 5, 8], 31);
    const [got, wanted] = [wide.forward(sequence).output, all.forward(sequence).output];
    expectClose(await got.data(), await wanted.data(), tolerances.float32.module, 'output');
  });

  test('a disposed module says so', () => {
    const module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    module.dispose();
    expect(() => module.forward(x)).toThrow(/disposed/);
    expect(() => module.loadStateDict(self.stateDict())).toThrow(
      'SelfAttention.loadStateDict: the module must not be disposed',
    );
  });

  test('the device is usable afterwards', async () => {
    expect((await self.forward(x).output.data()).length).toBe(48);
  });
});

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** All within ±bound, and spread as a uniform variable is. */
function expectUniform(data: ArrayLike<number>, bound: number): void {
  const values = Array.from(data);
  expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(bound);
  expect(Math.max(...values)).toBeGreaterThan(0.98 * bound);
  expect(mean(values)).toBeCloseTo(0, 1);
  expect(Math.sqrt(mean(values.map((x) => x * x)))).toBeCloseTo(bound / Math.sqrt(3), 2);
}
