import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AdamW,
  type Device,
  GradScaler,
  type GradScalerOptions,
  LoadError,
  multiply,
  SGD,
  sum,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import { disposeAll, golden, NAMES, setGradients, startParameters, STEPS } from './golden.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

async function scaleOf(scaler: GradScaler): Promise<number> {
  return (await scaler.stateDict()['scale'].data())[0];
}

function setGradient(parameter: Tensor, data: number[]): void {
  using gradient = device.tensor(data, parameter.shape, { dtype: parameter.dtype });
  parameter.grad = gradient;
}

describe('GradScaler', () => {
  test.each(['step', 'unscale and step'])('torch’s decisions, by %s', async (way) => {
    const parameters = startParameters(device);
    using optimiser = new AdamW(parameters, { lr: 0.01 });
    using scaler = new GradScaler(device, {
      initScale: 1024,
      growthFactor: 4,
      backoffFactor: 0.25,
      growthInterval: 2,
    });
    for (let step = 0; step < STEPS; step++) {
      setGradients(parameters, step, await scaleOf(scaler));
      if (step === 1) setGradient(parameters['bias'], [1, 2, 3, Infinity, 5, 6, 7]);
      if (way !== 'step') scaler.unscale(optimiser);
      scaler.step(optimiser);
      scaler.update();
      expect(await scaleOf(scaler)).toBe(golden(`scaler/${step}/scale`).data[0]);
      for (const name of NAMES) {
        const { data } = golden(`scaler/${step}/${name}`);
        expectClose(await parameters[name].data(), data, tolerances.float32.updated, `${name} after step ${step}`);
      }
    }
    const { 'step.weight': weightSteps, 'step.bias': biasSteps } = optimiser.stateDict();
    expect([...(await weightSteps.data()), ...(await biasSteps.data())]).toEqual([4, 3]); // one was left out
    disposeAll(parameters);
  });

  test.each([NaN, -Infinity])('float16: %f leaves everything as it was', async (value) => {
    const parameters = startParameters(device, 'float16');
    using optimiser = new AdamW(parameters, { lr: 0.01 });
    using scaler = new GradScaler(device, { initScale: 8 });
    setGradients(parameters, 0, 8);
    scaler.step(optimiser);
    scaler.update();
    const state = async () => {
      const all = { ...parameters, ...optimiser.stateDict() };
      return Promise.all(Object.entries(all).map(async ([name, tensor]) => [name, await tensor.data()] as const));
    };
    const before = await state();
    setGradients(parameters, 1, 8);
    setGradient(parameters['bias'], [1, 2, 3, 4, 5, 6, value]);
    scaler.step(optimiser);
    scaler.update();
    expect(await state()).toEqual(before);
    expect(await scaleOf(scaler)).toBe(4);
    disposeAll(parameters);
  });

  test('padding of float16 rows does not count', async () => {
    using parameter = device.zeros([2, 1], { dtype: 'float16', requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    using scaler = new GradScaler(device, { initScale: 2 });
    using wide = device.tensor([2, NaN, 4, NaN], [2, 2], { dtype: 'float16' });
    using narrow = wide.slice(1, 0, 1); // has the layout of a fresh tensor
    parameter.grad = narrow;
    scaler.step(optimiser);
    expect([...(await parameter.data())]).toEqual([-1, -2]);
  });

  test('scales a loss in float32, and gradients with it; small ones of float16 survive', async () => {
    using parameter = device.tensor([2 ** -9], [1], { dtype: 'float16', requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 2 ** 15 });
    using scaler = new GradScaler(device, { initScale: 2 ** 14 });
    using factor = device.tensor([2 ** -20], [1], { dtype: 'float16' });
    device.scope(() => {
      const scaled = scaler.scale(sum(multiply(multiply(parameter, factor), factor)));
      expect(scaled.dtype).toBe('float32');
      scaled.backward(); // 2⁻⁴⁰ alone would vanish, and even 2⁻⁴⁰ · 2¹⁴ is 2⁻²⁶: below float16's least
    });
    expect([...(await parameter.grad!.data())]).toEqual([0]);
    parameter.grad = undefined;
    device.scope(() => scaler.scale(sum(multiply(parameter, factor))).backward());
    expect([...(await parameter.grad!.data())]).toEqual([2 ** -6]);
    scaler.step(optimiser);
    expect([...(await parameter.data())]).toEqual([2 ** -9 - 2 ** -5]);
    scaler.update();
  });

  test('one that overflows does not stop another optimiser', async () => {
    using good = device.tensor([1], [1], { requiresGrad: true });
    using bad = device.tensor([1], [1], { requiresGrad: true });
    using first = new SGD([bad], { lr: 1 });
    using second = new SGD([good], { lr: 1 });
    using scaler = new GradScaler(device, { initScale: 4 });
    setGradient(bad, [Infinity]);
    setGradient(good, [2]);
    scaler.step(first);
    scaler.step(second);
    scaler.update();
    expect([...(await bad.data()), ...(await good.data()), await scaleOf(scaler)]).toEqual([1, 0.5, 2]);
    setGradient(bad, [1]);
    scaler.step(first); // what was found before is forgotten
    expect([...(await bad.data())]).toEqual([0.5]);
  });

  test('a scale never becomes infinite', async () => {
    using parameter = device.tensor([1], [1], { requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    using scaler = new GradScaler(device, { initScale: 3e38, growthInterval: 1 });
    setGradient(parameter, [1]);
    scaler.step(optimiser);
    scaler.update();
    expect(await scaleOf(scaler)).toBe(Math.fround(3e38));
  });

  test('its state can be saved and loaded', async () => {
    using parameter = device.tensor([1], [1], { requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    using scaler = new GradScaler(device, { initScale: 4, growthInterval: 3 });
    using other = new GradScaler(device, { growthInterval: 3 });
    const step = (with_: GradScaler) => {
      setGradient(parameter, [0]);
      with_.step(optimiser);
      with_.update();
    };
    step(scaler);
    step(scaler);
    other.loadStateDict(scaler.stateDict());
    expect([...(await other.stateDict()['growth_tracker'].data())]).toEqual([2]);
    step(other);
    expect(await scaleOf(other)).toBe(8);
    expect(await scaleOf(scaler)).toBe(4);
    const load = () => other.loadStateDict({ scale: scaler.stateDict()['growth_tracker'], extra: parameter });
    expect(load).toThrow(LoadError);
    expect(load).toThrow(
      "GradScaler.loadStateDict: 'scale' must be float32, got uint32; 'growth_tracker' is missing; " +
        "'extra' is unexpected",
    );
  });

  test('what a step that failed has found does not stop another optimiser', async () => {
    using bad = device.tensor([1], [1], { requiresGrad: true });
    using good = device.tensor([1], [1], { requiresGrad: true });
    const disposed = new SGD([bad], { lr: 1 });
    using optimiser = new SGD([good], { lr: 1 });
    using scaler = new GradScaler(device, { initScale: 4 });
    setGradient(bad, [Infinity]);
    setGradient(good, [2]);
    disposed.dispose();
    expect(() => scaler.step(disposed)).toThrow('SGD.step: the optimiser must not be disposed');
    scaler.step(optimiser);
    expect([...(await good.data())]).toEqual([0.5]);
  });

  test('after it was disposed', () => {
    using parameter = device.tensor([1], [1], { requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    const scaler = new GradScaler(device);
    scaler.dispose();
    expect(() => scaler.scale(parameter)).toThrow('GradScaler.scale: the scaler must not be disposed');
    expect(() => scaler.step(optimiser)).toThrow('GradScaler.step: the scaler must not be disposed');
    expect(() => scaler.update()).toThrow('GradScaler.update: the scaler must not be disposed');
    expect(() => scaler.stateDict()).toThrow('GradScaler.stateDict: the scaler must not be disposed');
  });

  test.each<[GradScalerOptions, string]>([
    [{ initScale: 0 }, 'GradScaler: initScale must be greater than 0, got 0'],
    [{ growthFactor: 1 }, 'GradScaler: growthFactor must exceed 1, got 1'],
    [{ backoffFactor: 1 }, 'GradScaler: backoffFactor must lie between 0 and 1, got 1'],
    [{ growthInterval: 0 }, 'GradScaler: growthInterval must be a positive integer, got 0'],
    [{ growthInterval: 2 ** 32 }, 'GradScaler: growthInterval must be less than 2^32, got 4294967296'],
  ])('refuses %o', (options, message) => {
    expect(() => new GradScaler(device, options)).toThrow(message);
  });

  test('calls in the wrong order', () => {
    using parameter = device.tensor([1], [1], { requiresGrad: true });
    using optimiser = new SGD([parameter], { lr: 1 });
    using scaler = new GradScaler(device);
    setGradient(parameter, [1]);
    expect(() => scaler.update()).toThrow(
      'GradScaler.update: it must come after a step or an unscale, got neither since the last',
    );
    scaler.unscale(optimiser);
    expect(() => scaler.unscale(optimiser)).toThrow('it must be called once between two updates and before step');
    scaler.step(optimiser);
    expect(() => scaler.step(optimiser)).toThrow('GradScaler.step: it must be called once between two updates');
    expect(() => scaler.unscale(optimiser)).toThrow('got it after step');
    scaler.update();
    expect(() => scaler.step({} as SGD)).toThrow('GradScaler.step: optimiser must be an optimiser of this library');
  });
});
