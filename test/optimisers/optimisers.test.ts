import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Adam,
  AdamW,
  createDevice,
  type Device,
  LoadError,
  loadSafetensors,
  multiply,
  OutOfMemoryError,
  saveSafetensors,
  SGD,
  sum,
  type Tensor,
} from '../../src/index.ts';
import { copyInto } from '../../src/ops/internal/copy.ts';
import { testDevice } from '../device.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import {
  cases,
  disposeAll,
  golden,
  goldenNames,
  makeOptimiser,
  NAMES,
  setGradients,
  startParameters,
  STEPS,
} from './golden.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

describe.each(cases)('torch’s $name', (golds) => {
  const { name: prefix } = golds;

  test('float32: parameters after each step, and the state', async () => {
    const parameters = startParameters(device);
    using optimiser = makeOptimiser(golds, parameters);
    for (let step = 0; step < STEPS; step++) {
      setGradients(parameters, step);
      optimiser.step();
      for (const name of NAMES) {
        const wanted = golden(`${prefix}/${step}/${name}`).data;
        expectClose(await parameters[name].data(), wanted, tolerances.float32.updated, `${name} after step ${step}`);
      }
    }
    const state = optimiser.stateDict();
    const names = goldenNames(`${prefix}/state/`).map((name) => name.slice(`${prefix}/state/`.length));
    // torch's SGD counts no steps
    expect(Object.keys(state).filter((name) => golds.optimiser !== 'SGD' || !name.startsWith('step.'))).toEqual(
      expect.arrayContaining(names),
    );
    for (const name of names) {
      const { shape, data } = golden(`${prefix}/state/${name}`);
      expect(state[name].shape).toEqual(shape);
      expectClose(await state[name].data(), data, tolerances.float32.updated, name);
    }
    disposeAll(parameters);
  });

  test('float16: the parameters are the roundings of what is kept in float32', async () => {
    const parameters = startParameters(device, 'float16');
    using optimiser = makeOptimiser(golds, parameters);
    for (let step = 0; step < STEPS; step++) {
      setGradients(parameters, step);
      optimiser.step();
    }
    for (const name of NAMES) {
      const wanted = golden(`${prefix}/${STEPS - 1}/${name}`).data;
      const master = optimiser.stateDict()[`master.${name}`];
      expectClose(await master.data(), wanted, tolerances.float32.updated, `master.${name}`);
      using rounded = device.tensor((await master.data()) as Float32Array, master.shape, { dtype: 'float16' });
      expect(await parameters[name].data()).toEqual(await rounded.data());
    }
    disposeAll(parameters);
  });
});

describe('steps', () => {
  test('many small ones move a float16 parameter', async () => {
    using parameter = device.tensor([1], [1], { dtype: 'float16', requiresGrad: true });
    using gradient = device.tensor([1], [1], { dtype: 'float16' });
    using optimiser = new SGD([parameter], { lr: 2 ** -14 });
    for (let step = 0; step < 16; step++) {
      parameter.grad = gradient;
      optimiser.step();
    }
    expect([...(await parameter.data())]).toEqual([1 - 2 ** -10]);
  });

  test('the learning rate can be changed between them', async () => {
    using parameter = device.tensor([1, 2], [2], { requiresGrad: true });
    using gradient = device.tensor([1, -1], [2]);
    using optimiser = new SGD([parameter], { lr: 0.5 });
    parameter.grad = gradient;
    optimiser.step();
    optimiser.lr = 0.25;
    expect(optimiser.lr).toBe(0.25);
    optimiser.step();
    expect([...(await parameter.data())]).toEqual([0.25, 2.75]);
  });

  test('a gradient of any strides, without its padding', async () => {
    using parameter = device.zeros([2, 3], { dtype: 'float16', requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    using wide = device.tensor([1, 2, 3, NaN, 4, 5, 6, NaN], [2, 4], { dtype: 'float16' });
    using narrow = wide.slice(1, 0, 3); // has the layout of a fresh tensor
    using column = device.tensor([1, 2, 3, 4, 5, 6], [3, 2], { dtype: 'float16' });
    using across = column.transpose();
    for (const gradient of [narrow, across]) {
      parameter.grad = gradient;
      optimiser.step();
    }
    expect([...(await parameter.data())]).toEqual([-2, -5, -8, -6, -9, -12]);
    expect([...(await wide.data())]).toEqual([1, 2, 3, NaN, 4, 5, 6, NaN]);
  });

  test('a parameter may be its own gradient', async () => {
    using parameter = device.tensor([1, 2, 3], [3], { requiresGrad: true });
    parameter.grad = parameter;
    using optimiser = new SGD([parameter], { lr: 0.5 });
    optimiser.step();
    expect([...(await parameter.data())]).toEqual([0.5, 1, 1.5]);
  });

  test('what was recorded before one cannot be walked after it', () => {
    device.scope(() => {
      const parameter = device.tensor([1, 2], [2], { requiresGrad: true });
      const loss = sum(multiply(parameter, parameter));
      const other = sum(multiply(parameter, parameter));
      loss.backward();
      const optimiser = new SGD([parameter], { lr: 1 });
      optimiser.step();
      expect(() => other.backward()).toThrow('must be as it was when multiply ran');
      optimiser.dispose();
    });
  });

  test('a float16 parameter that was changed from outside continues from its new value', async () => {
    using parameter = device.tensor([1, 1], [2], { dtype: 'float16', requiresGrad: true });
    using gradient = device.tensor([2 ** -12, 2 ** -12], [2], { dtype: 'float16' });
    using optimiser = new SGD([parameter], { lr: 1 });
    parameter.grad = gradient;
    optimiser.step();
    using changed = device.tensor([1, 3], [2], { dtype: 'float16' });
    copyInto('test', [[changed, parameter]]); // as a module's loadStateDict
    optimiser.step();
    expect([...(await optimiser.stateDict()['master.0'].data())]).toEqual([1 - 2 ** -11, 3 - 2 ** -12]);
  });

  test('in a steady state make no buffer and no pipeline, and wait for nothing', async () => {
    const parameters = startParameters(device);
    using optimiser = new AdamW(parameters);
    setGradients(parameters, 0);
    optimiser.step();
    optimiser.step();
    await device.sync();
    const before = device.runtime.counters();
    optimiser.step();
    await device.sync();
    const after = device.runtime.counters();
    expect(after.dispatches - before.dispatches).toBe(3); // one for all, one for each parameter
    expect(after.buffers).toBe(before.buffers);
    expect(after.pipelines).toBe(before.pipelines);
    expect(after.submits).toBe(before.submits + 1);
    disposeAll(parameters);
  });

  test('without a gradient nothing happens, and no state is made', async () => {
    const parameters = startParameters(device);
    using optimiser = new Adam(parameters);
    const before = device.runtime.counters().dispatches;
    optimiser.step();
    expect(device.runtime.counters().dispatches).toBe(before);
    expect(optimiser.stateDict()).toEqual({});
    setGradients(parameters, 2); // no gradient of the bias
    optimiser.step();
    expect(Object.keys(optimiser.stateDict())).toEqual(['step.weight', 'exp_avg.weight', 'exp_avg_sq.weight']);
    expect(await parameters['bias'].data()).toEqual(golden('start/bias').data);
    disposeAll(parameters);
  });

  test.each([1, 30, 499, 12_345])('after %i others, Adam corrects as exactly as at first', async (done) => {
    using parameter = device.tensor([0.5], [1], { requiresGrad: true });
    using gradient = device.tensor([0.25], [1]);
    using optimiser = new Adam([parameter], { lr: 1 });
    device.scope(() =>
      optimiser.loadStateDict({
        'step.0': device.tensor([done], [1]),
        'exp_avg.0': device.tensor([0.5], [1]),
        'exp_avg_sq.0': device.tensor([2], [1]),
      }),
    );
    parameter.grad = gradient;
    optimiser.step();
    const [mean, square] = [0.9 * 0.5 + 0.1 * 0.25, 0.999 * 2 + 0.001 * 0.0625];
    const wanted = 0.5 - mean / (1 - 0.9 ** (done + 1)) / (Math.sqrt(square / (1 - 0.999 ** (done + 1))) + 1e-8);
    expectClose(await parameter.data(), [wanted], tolerances.float32.updated, `step ${done + 1}`);
  });

  test('zeroGrad', () => {
    const parameters = startParameters(device);
    using optimiser = new SGD(Object.values(parameters), { lr: 1 });
    setGradients(parameters, 0);
    optimiser.zeroGrad();
    expect(Object.values(parameters).map(({ grad }) => grad)).toEqual([undefined, undefined]);
    disposeAll(parameters);
  });
});

describe('state', () => {
  test.each(['float32', 'float16'] as const)('%s: saved, loaded and resumed exactly', async (dtype) => {
    const golds = cases.find(({ name }) => name === 'adamw')!;
    const straight = startParameters(device, dtype);
    using optimiser = makeOptimiser(golds, straight);
    let file: Uint8Array | undefined;
    for (let step = 0; step < STEPS; step++) {
      if (step === 3) {
        const parameters = Object.entries(straight).map(([name, tensor]) => [`parameters.${name}`, tensor] as const);
        file = await saveSafetensors({ ...Object.fromEntries(parameters), ...optimiser.stateDict() });
      }
      setGradients(straight, step);
      optimiser.step();
    }
    const loaded = await loadSafetensors(device, file!);
    const resumed: Record<string, Tensor> = {};
    const state: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(loaded)) {
      const own = /^parameters\.(.*)/.exec(name);
      if (own) resumed[own[1]] = tensor;
      else state[name] = tensor;
    }
    for (const parameter of Object.values(resumed)) parameter.requiresGrad = true;
    using second = makeOptimiser(golds, { weight: resumed['weight'], bias: resumed['bias'] });
    second.loadStateDict(state);
    disposeAll(state);
    for (let step = 3; step < STEPS; step++) {
      setGradients(resumed, step);
      second.step();
    }
    for (const name of NAMES) expect(await resumed[name].data()).toEqual(await straight[name].data());
    const [got, wanted] = [second.stateDict(), optimiser.stateDict()];
    expect(Object.keys(got)).toEqual(Object.keys(wanted));
    for (const name of Object.keys(wanted)) expect(await got[name].data()).toEqual(await wanted[name].data());
    disposeAll(straight);
    disposeAll(resumed);
  });

  test('of its own, and of nothing', async () => {
    const parameters = startParameters(device);
    using optimiser = new SGD(parameters, { lr: 0.1, momentum: 0.5 });
    setGradients(parameters, 0);
    optimiser.step();
    const before = await optimiser.stateDict()['momentum_buffer.weight'].data();
    optimiser.loadStateDict(optimiser.stateDict());
    expect(await optimiser.stateDict()['momentum_buffer.weight'].data()).toEqual(before);
    expect([...(await optimiser.stateDict()['step.bias'].data())]).toEqual([1]);
    optimiser.loadStateDict({});
    expect(optimiser.stateDict()).toEqual({});
    disposeAll(parameters);
  });

  test('that does not fit in memory leaves the optimiser as it was', async () => {
    // the parameter, its gradient and two memories take 64 KiB each, and the copies do not fit
    using small = await createDevice({ memoryBudget: 360 * 1024 });
    const parameter = small.zeros([128, 128], { requiresGrad: true });
    using gradient = small.zeros([128, 128]);
    parameter.grad = gradient;
    using optimiser = new Adam([parameter]);
    optimiser.step();
    const { live } = small.memory();
    const before = optimiser.stateDict();
    expect(() => optimiser.loadStateDict(before)).toThrow(OutOfMemoryError);
    expect(small.memory().live).toBe(live);
    expect(optimiser.stateDict()).toEqual(before);
    optimiser.step();
    expect([...(await optimiser.stateDict()['step.0'].data())]).toEqual([2]);
  });

  test('every problem is listed at once, and nothing is loaded', async () => {
    const parameters = startParameters(device);
    using optimiser = new Adam(parameters);
    setGradients(parameters, 0);
    optimiser.step();
    const before = await optimiser.stateDict()['exp_avg.weight'].data();
    device.scope(() => {
      const load = () =>
        optimiser.loadStateDict({
          'step.weight': device.zeros([1]),
          'exp_avg.weight': device.zeros([5, 3]),
          'exp_avg_sq.weight': device.zeros([3, 5], { dtype: 'float16' }),
          'exp_avg.bias': device.zeros([7]),
          'exp_avg_sq.bias': 3 as unknown as Tensor,
          'exp_avg.other': device.zeros([1]),
        });
      expect(load).toThrow(LoadError);
      expect(load).toThrow(
        "Adam.loadStateDict: 'exp_avg.weight' must have shape [3, 5], got [5, 3]; 'exp_avg_sq.weight' must be float32, " +
          "got float16; 'step.bias' is missing; 'exp_avg_sq.bias' must be a Tensor, got 3; " +
          "'exp_avg.other' is unexpected",
      );
    });
    expect(() => optimiser.loadStateDict(null as never)).toThrow(
      'Adam.loadStateDict: the state must be a record of tensors, got null',
    );
    expect(await optimiser.stateDict()['exp_avg.weight'].data()).toEqual(before);
    disposeAll(parameters);
  });
});

describe('bad input', () => {
  test.each<[string, (device: Device) => unknown, string]>([
    ['no parameters', () => new SGD([], { lr: 1 }), 'SGD: parameters must be at least one tensor, got none'],
    [
      'one tensor',
      (d) => new SGD(d.zeros([2]) as unknown as Tensor[], { lr: 1 }),
      'SGD: parameters must be an array or a record of tensors, got a float32 tensor of [2]',
    ],
    ['no tensor', () => new Adam([1 as unknown as Tensor]), "Adam: parameter '0' must be a Tensor, got 1"],
    [
      'integers',
      (d) => new Adam({ ids: d.zeros([2], { dtype: 'int32' }) }),
      "Adam: parameter 'ids' must be float32 or float16, got int32",
    ],
    [
      'a view',
      (d) => new Adam([d.zeros([4]).slice(0, 1)]),
      "Adam: parameter '0' must be a tensor of its own, got a view or the result of a recorded call",
    ],
    [
      'a result',
      (d) => new Adam([multiply(d.zeros([4], { requiresGrad: true }), d.zeros([4]))]),
      "Adam: parameter '0' must be a tensor of its own, got a view or the result of a recorded call",
    ],
    ['lr', (d) => new SGD([d.zeros([1])], { lr: -1 }), 'SGD: lr must be a finite number of at least 0, got -1'],
    [
      'no lr',
      (d) => new SGD([d.zeros([1])], {} as { lr: number }),
      'SGD: lr must be a finite number of at least 0, got undefined',
    ],
    [
      'momentum',
      (d) => new SGD([d.zeros([1])], { lr: 1, momentum: NaN }),
      'SGD: momentum must be a finite number of at least 0, got NaN',
    ],
    [
      'nesterov',
      (d) => new SGD([d.zeros([1])], { lr: 1, nesterov: true }),
      'SGD: nesterov must come with a momentum and without dampening, got momentum 0 and dampening 0',
    ],
    [
      'betas',
      (d) => new AdamW([d.zeros([1])], { betas: [0.9, 1] }),
      'AdamW: betas must be two numbers from 0 to below 1, got [0.9, 1]',
    ],
    [
      'unknown option',
      (d) => new AdamW([d.zeros([1])], { weightdecay: 1 } as object),
      "AdamW: unknown option 'weightdecay'; did you mean 'weightDecay'?",
    ],
  ])('%s', (_name, call, message) => {
    expect(() => device.scope(() => void call(device))).toThrow(message);
  });

  test('a disposed parameter or optimiser, and a new rate', () => {
    using parameter = device.zeros([1], { requiresGrad: true });
    const gone = device.zeros([1], { requiresGrad: true });
    const optimiser = new SGD({ parameter, gone }, { lr: 1 });
    expect(() => (optimiser.lr = Infinity)).toThrow('SGD: lr must be a finite number of at least 0, got Infinity');
    gone.dispose();
    expect(() => optimiser.step()).toThrow("SGD.step: parameter 'gone' must not be disposed");
    optimiser.dispose();
    optimiser.dispose();
    expect(() => optimiser.step()).toThrow('SGD.step: the optimiser must not be disposed');
  });

  test('a tensor with two names counts once', async () => {
    using parameter = device.tensor([1], [1], { requiresGrad: true });
    using optimiser = new SGD({ first: parameter, second: parameter }, { lr: 1, momentum: 0.5 });
    using gradient = device.tensor([0.5], [1]);
    parameter.grad = gradient;
    optimiser.step();
    expect([...(await parameter.data())]).toEqual([0.5]);
    expect(Object.keys(optimiser.stateDict())).toEqual(['step.first', 'momentum_buffer.first']);
  });
});
