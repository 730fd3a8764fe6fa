import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crossEntropy, type CrossEntropyOptions, type Device, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { expectClose } from '../reference/compare.ts';
import { crossEntropy as lossReference, crossEntropyGradient } from '../reference/cross-entropy.ts';
import { numericalGradients } from '../reference/finite-differences.ts';
import { type HostArray, sizeOf } from '../reference/host-array.ts';
import { tolerances } from '../reference/tolerances.ts';
import { map } from './attention/attention-suite.ts';
import { walkBack } from './walk-back.ts';
import { changeTraits } from './traits.ts';
import { type Float, type Layout, stored, upload } from './upload.ts';
import { withWorkgroupLimit } from './attention/workgroup-limit.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const random = new Random(45);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });
const classesOf = (shape: readonly number[], classes: number): HostArray => ({
  shape,
  data: Int32Array.from({ length: sizeOf(shape) }, () => random.integer(0, classes - 1)),
});

interface Problem extends CrossEntropyOptions {
  logits: HostArray;
  targets: HostArray;
  dLoss?: HostArray;
  layout?: Layout;
}

const integers = ({ shape, data }: HostArray): Tensor => device.tensor(Int32Array.from(data), shape);

/** The loss, and the gradient of the logits. */
async function run({ logits, targets, dLoss, layout, ...options }: Problem, dtype: Float) {
  const { leaf, loss } = device.scope(() => {
    const leaf = upload(device, logits, dtype, layout);
    leaf.requiresGrad = true;
    const loss = crossEntropy(leaf, integers(targets), options);
    if (dLoss) walkBack([[loss, upload(device, dLoss, 'float32')]]);
    else loss.backward();
    return { leaf, loss };
  });
  expect(loss.dtype).toBe('float32');
  expect(leaf.grad!.dtype).toBe(dtype);
  expect(leaf.grad!.shape).toEqual(logits.shape);
  const result = {
    shape: loss.shape,
    loss: await loss.data(),
    gradient: (await leaf.grad!.data()) as Float32Array,
  };
  loss.dispose();
  leaf.dispose();
  return result;
}

async function expectLoss(problem: Problem, dtype: Float) {
  const { logits, targets, dLoss = { shape: [1], data: [1] }, layout: _, ...options } = problem;
  const { shape, loss, gradient } = await run(problem, dtype);
  const x = stored(logits, dtype);
  const expected = lossReference(x, targets, options);
  expect(shape).toEqual(expected.shape);
  expectClose(loss, expected.data, tolerances.float32.crossEntropy, `loss of ${logits.shape}`);
  const wanted = crossEntropyGradient(x, targets, dLoss, options).data;
  expectClose(gradient, wanted, tolerances[dtype].crossEntropyGradient, `gradient of ${logits.shape}`);
  return { loss, gradient };
}

describe.each([
  ['float32', 'this device', {}],
  ['float16', 'this device', {}],
  ['float32', 'a GPU', { isSoftware: false }],
  ['float16', 'a GPU', { isSoftware: false }],
] as const)('crossEntropy of %s, planned for %s', (dtype, _name, traits) => {
  let restore: () => void;
  beforeAll(() => (restore = changeTraits(device, traits)));
  afterAll(() => restore());

  test.each([
    [[1, 1]],
    [[5, 1]],
    [[7, 2]],
    [[9, 17]],
    [[2, 3, 33]],
    [[2, 3, 2, 64]],
    [[3, 257]],
    [[2, 1000]],
    [[2, 5000]],
  ])('logits %j', async (shape) => {
    const [rows, classes] = [shape.slice(0, -1), shape.at(-1)!];
    for (const options of [{}, { labelSmoothing: 0.1 }] as const) {
      for (const reduction of ['mean', 'sum'] as const) {
        const problem = { logits: normals(...shape), targets: classesOf(rows, classes), reduction, ...options };
        await expectLoss(problem, dtype);
      }
      const problem = { logits: normals(...shape), targets: classesOf(rows, classes), ...options };
      await expectLoss({ ...problem, reduction: 'none', dLoss: normals(...rows) }, dtype);
    }
  });

  // 24 are whole vectors
  test.each([21, 24])('targets to be ignored, of %i classes', async (classes) => {
    const logits = map(normals(6, classes), (value, at) => (Math.floor(at / classes) === 2 ? NaN : value));
    const targets = { shape: [6], data: [3, -100, -100, 0, 20, 7] };
    for (const reduction of ['mean', 'sum', 'none'] as const) {
      const dLoss = reduction === 'none' ? normals(6) : { shape: [1], data: [-2] };
      const { gradient } = await expectLoss({ logits, targets, reduction, labelSmoothing: 0.2, dLoss }, dtype);
      expect(gradient.subarray(classes, 3 * classes).every((value) => value === 0)).toBe(true);
    }
    await expectLoss({ logits, targets: map(targets, (value) => Math.max(value, 2)), ignoreIndex: 2 }, dtype);
    const none = await run({ logits, targets: map(targets, () => -100) }, dtype);
    expect(none.loss[0]).toBeNaN();
    expect(none.gradient.every((value) => value === 0)).toBe(true);
  });

  test('logits far from 0, and outliers', async () => {
    for (const base of [-1e4, 1e4]) {
      // all of them exact in either dtype
      const far = map(normals(4, 20), () => base + 8 * random.integer(-2, 2));
      await expectLoss({ logits: far, targets: classesOf([4], 20), labelSmoothing: 0.1, reduction: 'sum' }, dtype);
      for (const target of [3, 5]) {
        const logits = map(normals(1, 300), (value, at) => (at === 3 ? base : value));
        const targets = { shape: [1], data: [target] };
        await expectLoss({ logits, targets }, dtype);
        await expectLoss({ logits, targets, labelSmoothing: 0.5 }, dtype);
      }
    }
  });

  test.each([[-1], [20], [2 ** 31 - 1]])('a target of %i is no class', async (target) => {
    const [logits, targets] = [normals(3, 20), { shape: [3], data: [4, target, 5] }];
    const { loss, gradient } = await run({ logits, targets, reduction: 'none', dLoss: normals(3) }, dtype);
    expect(Array.from(loss, Number.isNaN)).toEqual([false, true, false]);
    gradient.forEach((value, at) => expect(Number.isNaN(value)).toBe(at >= 20 && at < 40));
    expect((await run({ logits, targets }, dtype)).loss[0]).toBeNaN();
  });

  test('NaN and +∞ spoil their own row only, −∞ has no weight', async () => {
    const clean = {
      logits: normals(3, 20),
      targets: classesOf([3], 20),
      reduction: 'none',
      dLoss: normals(3),
    } as const;
    const wanted = await run(clean, dtype);
    for (const value of [NaN, Infinity]) {
      for (const at of [20, 39]) {
        const logits = map(clean.logits, (other, i) => (i === at ? value : other));
        const { loss, gradient } = await run({ ...clean, logits }, dtype);
        expect(loss).toEqual(wanted.loss.with(1, NaN));
        gradient.forEach((got, i) => expect(got).toBe(i >= 20 && i < 40 ? NaN : wanted.gradient[i]));
      }
    }
    const masked = map(clean.logits, (other, i) => (i % 20 < 3 ? -Infinity : other));
    await expectLoss({ ...clean, logits: masked, targets: { shape: [3], data: [3, 19, 7] } }, dtype);
    const lost = await run({ ...clean, logits: masked, targets: { shape: [3], data: [0, 3, 3] } }, dtype);
    expect(lost.loss[0]).toBe(Infinity);
    const empty = await run({ ...clean, logits: map(masked, () => -Infinity) }, dtype);
    expect(empty.loss.every(Number.isNaN)).toBe(true);
  });
});

describe('crossEntropy', () => {
  test('the reference has the gradient of its loss', () => {
    const [logits, targets, dLoss] = [normals(4, 5), { shape: [4], data: [0, -100, 4, 2] }, normals(4)];
    for (const options of [{ reduction: 'none', labelSmoothing: 0.3 }, { reduction: 'mean' }] as const) {
      const d = options.reduction === 'none' ? dLoss : { shape: [1], data: [0.7] };
      const [expected] = numericalGradients((x) => lossReference(x, targets, options), [logits], d);
      const got = crossEntropyGradient(logits, targets, d, options);
      expectClose(got.data, expected.data, { atol: 1e-9, rtol: 1e-9 }, JSON.stringify(options));
    }
  });

  // x = torch.tensor([[1., 2, 3, 4], [0.5, -1, 0, 2], [7, 1, -3, 2]], requires_grad=True)
  // y = torch.nn.functional.cross_entropy(x, torch.tensor([2, -100, 0]), label_smoothing=0.1); y.backward()
  test('is as PyTorch has it', async () => {
    const logits = { shape: [3, 4], data: [1, 2, 3, 4, 0.5, -1, 0, 2, 7, 1, -3, 2] };
    const problem = { logits, targets: { shape: [3], data: [2, -100, 0] }, labelSmoothing: 0.1 };
    const { loss, gradient } = await run(problem, 'float32');
    expectClose(loss, [1.012204528], tolerances.float32.crossEntropy, 'loss');
    const rows = [
      0.003529303, 0.031072162, -0.344058573, 0.309457123, 0, 0, 0, 0, 0.03291142, -0.011271998, -0.012477509,
      -0.009161945,
    ];
    expectClose(gradient, rows, tolerances.float32.crossEntropyGradient, 'gradient');
  });

  test('of strided logits and of uint32 targets', async () => {
    const targets = classesOf([3, 4], 11);
    for (const layout of [{ axes: [2, 0, 1] }, { before: [1, 0, 3], after: [0, 1, 2] }, { axes: [1, 0, 2] }]) {
      await expectLoss({ logits: normals(3, 4, 11), targets, layout }, 'float32');
    }
    const { signed, unsigned } = device.scope(() => {
      const logits = device.randn([3, 4, 11], { seed: 5 });
      const words = device.tensor(Uint32Array.from(targets.data), [3, 4]);
      return { signed: crossEntropy(logits, integers(targets)), unsigned: crossEntropy(logits, words) };
    });
    expect(await unsigned.data()).toEqual(await signed.data());
    for (const tensor of [signed, unsigned]) tensor.dispose();
  });

  test('a row of losses is a mean of thousands', async () => {
    const problem = { logits: normals(3000, 6), targets: classesOf([3000], 6) };
    const first = await expectLoss(problem, 'float32');
    expect(await run(problem, 'float32')).toMatchObject(first);
  });

  test('of more workgroups than one dimension holds', async () => {
    await withWorkgroupLimit(device, 3, async () => {
      await expectLoss({ logits: normals(137, 40), targets: classesOf([137], 40) }, 'float32');
    });
  });

  test('compiles nothing new for other sizes and options, and frees what it saved', async () => {
    await run({ logits: normals(3, 5), targets: classesOf([3], 5) }, 'float32');
    const { pipelines } = device.runtime.counters();
    const targets = classesOf([2, 3], 100);
    await run({ logits: normals(2, 3, 100), targets, labelSmoothing: 0.1, reduction: 'sum' }, 'float32');
    expect(device.runtime.counters().pipelines).toBe(pipelines);
    const { live } = device.memory();
    device.scope(() => {
      const logits = device.randn([3, 8]);
      logits.requiresGrad = true;
      crossEntropy(logits, device.tensor(new Int32Array(3), [3]));
    });
    expect(device.memory().live).toBe(live);
  });

  const logits = () => device.zeros([2, 3, 4]);
  const targets = () => device.zeros([2, 3], { dtype: 'int32' });
  test.each<[string, () => unknown, string]>([
    [
      'float targets',
      () => crossEntropy(logits(), device.zeros([2, 3])),
      'targets must be int32 or uint32, got float32',
    ],
    [
      'one axis of logits',
      () => crossEntropy(device.zeros([4]), device.zeros([1], { dtype: 'int32' })),
      'logits must be [..., classes] of two axes or more, got [4]',
    ],
    [
      'targets of another shape',
      () => crossEntropy(logits(), device.zeros([6], { dtype: 'int32' })),
      `targets must have logits' shape without the classes, [2, 3], got [6]`,
    ],
    [
      'an unknown reduction',
      () => crossEntropy(logits(), targets(), { reduction: 'batchmean' as 'mean' }),
      `reduction must be 'mean', 'sum' or 'none', got 'batchmean'`,
    ],
    [
      'smoothing above 1',
      () => crossEntropy(logits(), targets(), { labelSmoothing: 1.5 }),
      'labelSmoothing must be a number from 0 to 1, got 1.5',
    ],
    [
      'an ignoreIndex of more than 32 bits',
      () => crossEntropy(logits(), targets(), { ignoreIndex: 2 ** 40 }),
      'ignoreIndex must be a whole number of 32 bits, got 1099511627776',
    ],
    [
      'class weights',
      () => crossEntropy(logits(), targets(), { weight: logits() } as object),
      `unknown option 'weight'`,
    ],
  ])('refuses %s', (_name, call, message) => {
    expect(() => device.scope(() => void call())).toThrow(`crossEntropy: ${message}`);
  });
});
