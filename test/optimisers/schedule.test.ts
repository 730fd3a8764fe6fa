/** Groups of parameters with options of their own, and learning rates that change from step to step. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AdamW,
  ArgumentError,
  cosineAnnealing,
  type Device,
  LambdaLR,
  linearWarmup,
  multiply,
  SGD,
  stepDecay,
  sum,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

const leaves = (): Tensor[] => [3, 5].map((length, i) => device.randn([length], { seed: i, requiresGrad: true }));

/** Gradients that change with the parameters: those of Σ x². */
function backward(parameters: readonly Tensor[]): void {
  device.scope(() => {
    for (const x of parameters) sum(multiply(x, x)).backward();
  });
}

async function values(parameters: readonly Tensor[]): Promise<number[][]> {
  return Promise.all(parameters.map(async (x) => [...(await x.data())]));
}

describe('groups', () => {
  test.each([
    [
      'AdamW',
      AdamW,
      { lr: 0.1, weightDecay: 0.2 },
      { lr: 0.03, weightDecay: 0, eps: 1e-3, betas: [0.5, 0.9] as const },
    ],
    ['SGD', SGD, { lr: 0.1, momentum: 0.9 }, { lr: 0.03, momentum: 0, weightDecay: 0.1 }],
  ] as const)('of %s are as optimisers of their own', async (_name, Kind, common, special) => {
    const [apart, together] = [leaves(), leaves()];
    const Optimiser: typeof AdamW = Kind;
    using first = new Optimiser({ a: apart[0] }, common);
    using second = new Optimiser({ b: apart[1] }, { ...common, ...special });
    using both = new Optimiser([{ params: { a: together[0] } }, { params: { b: together[1] }, ...special }], common);
    expect(both.groups.map(({ lr }) => lr)).toEqual([0.1, 0.03]);
    for (let step = 0; step < 3; step++) {
      backward(apart);
      backward(together);
      for (const optimiser of [first, second, both]) {
        optimiser.step();
        optimiser.zeroGrad();
      }
    }
    expect(await values(together)).toEqual(await values(apart));
    expect(Object.keys(both.stateDict()).toSorted()).toEqual(
      [...Object.keys(first.stateDict()), ...Object.keys(second.stateDict())].toSorted(),
    );
    for (const x of [...apart, ...together]) x.dispose();
  });

  test('take the optimiser’s options where they say undefined', () => {
    const [a, b] = leaves();
    using optimiser = new AdamW([{ params: [a], lr: undefined }, { params: [b] }], { lr: 0.25 });
    expect(optimiser.groups.map(({ lr }) => lr)).toEqual([0.25, 0.25]);
    a.dispose();
    b.dispose();
  });

  test('have rates that are assigned apart, or together', () => {
    const [a, b] = leaves();
    using optimiser = new AdamW([{ params: [a] }, { params: [b], lr: 0.5 }], { lr: 0.1 });
    optimiser.groups[1].lr = 0.25;
    expect(optimiser.groups.map(({ lr }) => lr)).toEqual([0.1, 0.25]);
    expect(optimiser.lr).toBe(0.1);
    optimiser.lr = 0.01;
    expect(optimiser.groups.map(({ lr }) => lr)).toEqual([0.01, 0.01]);
    expect(() => (optimiser.groups[1].lr = -1)).toThrow('AdamW: lr must be a finite number of at least 0, got -1');
    expect(optimiser.groups[1].lr).toBe(0.01);
    a.dispose();
    b.dispose();
  });

  test('are refused if they do not fit', () => {
    const [a, b] = leaves();
    const make =
      (groups: object, options = {}) =>
      () =>
        new AdamW(groups as never, options);
    expect(make([{ params: [a] }, { params: [a] }])).toThrow(
      "AdamW: parameter '1' must be in one group, got it in two",
    );
    expect(make([{ params: { w: a } }, { params: { w: b } }])).toThrow(
      "AdamW: the name 'w' must be in one group, got it in two",
    );
    expect(make([{ params: [] }])).toThrow('AdamW: parameters must be at least one tensor, got none');
    expect(make([{ params: [a], lr: -1 }])).toThrow('AdamW: lr must be a finite number of at least 0, got -1');
    expect(make([{ params: [a], rate: 1 }])).toThrow("AdamW: unknown option 'rate'");
    expect(make([{ params: [a] }, b])).toThrow(ArgumentError);
    a.dispose();
    b.dispose();
  });
});

describe('schedules', () => {
  test('multiply the initial rates of all groups by a factor of the step', () => {
    const [a, b] = leaves();
    using optimiser = new AdamW([{ params: [a] }, { params: [b], lr: 0.5 }], { lr: 0.1 });
    const schedule = new LambdaLR(optimiser, linearWarmup({ warmupSteps: 4 }));
    const rates = [optimiser.groups.map(({ lr }) => lr)];
    for (let step = 0; step < 5; step++) {
      schedule.step();
      rates.push(optimiser.groups.map(({ lr }) => lr));
    }
    expect(rates).toEqual([0, 0.25, 0.5, 0.75, 1, 1].map((factor) => [0.1 * factor, 0.5 * factor]));
    a.dispose();
    b.dispose();
  });

  test('go on from their last step bit for bit', async () => {
    const factor = cosineAnnealing({ totalSteps: 20, warmupSteps: 3, finalFactor: 0.1 });
    const make = (parameters: readonly Tensor[]) => {
      const optimiser = new AdamW([{ params: { a: parameters[0] } }, { params: { b: parameters[1] }, lr: 0.02 }], {
        lr: 0.05,
      });
      return { optimiser, schedule: new LambdaLR(optimiser, factor) };
    };
    const train = ({ optimiser, schedule }: ReturnType<typeof make>, parameters: readonly Tensor[], steps: number) => {
      for (let step = 0; step < steps; step++) {
        backward(parameters);
        optimiser.step();
        optimiser.zeroGrad();
        schedule.step();
      }
    };
    const [whole, parts] = [leaves(), leaves()];
    const run = make(whole);
    train(run, whole, 20);
    const before = make(parts);
    train(before, parts, 10);
    const after = make(parts);
    after.optimiser.loadStateDict(before.optimiser.stateDict());
    after.schedule.lastStep = before.schedule.lastStep;
    expect(after.schedule.lastStep).toBe(10);
    train(after, parts, 10);
    expect(await values(parts)).toEqual(await values(whole));
    for (const { optimiser } of [run, before, after]) optimiser.dispose();
    for (const x of [...whole, ...parts]) x.dispose();
  });

  test('have the factors of torch’s', () => {
    // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=4), and StepLR(step_size=2, gamma=0.5), of a rate of 1
    const close = (factor: (step: number) => number, expected: readonly number[]) =>
      expected.forEach((value, step) => expect(factor(step)).toBeCloseTo(value, 12));
    close(cosineAnnealing({ totalSteps: 4 }), [1, 0.8535533905932737, 0.5, 0.14644660940672624, 0, 0]);
    close(cosineAnnealing({ totalSteps: 6, warmupSteps: 2, finalFactor: 0.5 }), [0, 0.5, 1, 0.9267766952966369, 0.75]);
    close(stepDecay({ stepSize: 2, gamma: 0.5 }), [1, 1, 0.5, 0.5, 0.25]);
  });

  test.each<[message: string, attempt: () => unknown]>([
    ['LambdaLR: optimiser must be an optimiser, got 3', () => new LambdaLR(3 as never, () => 1)],
    [
      'cosineAnnealing: warmupSteps must be below totalSteps 5, got 5',
      () => cosineAnnealing({ totalSteps: 5, warmupSteps: 5 }),
    ],
    ['cosineAnnealing: totalSteps must be an integer of 1 or more, got 0', () => cosineAnnealing({ totalSteps: 0 })],
    [
      'cosineAnnealing: finalFactor must be a finite number of at least 0, got -1',
      () => cosineAnnealing({ totalSteps: 5, finalFactor: -1 }),
    ],
    ['stepDecay: gamma must be a finite number of at least 0, got -1', () => stepDecay({ stepSize: 1, gamma: -1 })],
    ['linearWarmup: warmupSteps must be an integer of 0 or more, got 0.5', () => linearWarmup({ warmupSteps: 0.5 })],
  ])('%s', (message, attempt) => {
    expect(attempt).toThrow(ArgumentError);
    expect(attempt).toThrow(message);
  });

  test('are as before after a step that was only prepared', async () => {
    const [a, b] = leaves();
    using optimiser = new SGD([a, b], { lr: 0.1 });
    const schedule = new LambdaLR(optimiser, (step) => 1 / (1 + step));
    await device.prepare(() => schedule.step());
    expect(schedule.lastStep).toBe(0);
    expect(optimiser.lr).toBe(0.1);
    a.dispose();
    b.dispose();
  });

  test('refuse a factor that is no rate, and a step that is none', () => {
    const [a, b] = leaves();
    using optimiser = new SGD([a, b], { lr: 0.1 });
    const schedule = new LambdaLR(optimiser, (step) => (step < 1 ? 0.5 : NaN));
    expect(() => schedule.step()).toThrow('LambdaLR: factor of step 1 must be a finite number of at least 0, got NaN');
    expect(schedule.lastStep).toBe(0);
    expect(optimiser.lr).toBe(0.05);
    expect(() => (schedule.lastStep = -1)).toThrow('LambdaLR: lastStep must be an integer of 0 or more, got -1');
    expect(() => new LambdaLR(optimiser, 1 as never)).toThrow('factor must be a function of the step, got 1');
    a.dispose();
    b.dispose();
  });
});
