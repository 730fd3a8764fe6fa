import { afterAll, beforeAll, expect, test } from 'vitest';
import { add, AdamW, clipGradNorm, type Device, GradScaler, Linear, mean, multiply, noGrad } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** Whether a linear layer becomes another one, to whose outputs its own are fitted. */
test('a linear layer is trained in float16, with everything that this needs', async () => {
  const dtype = 'float16';
  using teacher = new Linear(device, { inFeatures: 4, outFeatures: 3, seed: 1 });
  using student = new Linear(device, { inFeatures: 4, outFeatures: 3, seed: 2, dtype });
  using optimiser = new AdamW(student.namedParameters(), { lr: 0.05, weightDecay: 0 });
  using scaler = new GradScaler(device, { growthInterval: 4 }); // grows until gradients overflow
  using x = device.randn([32, 4], { seed: 3, dtype });
  using minusWanted = device.scope(() => {
    const wanted = noGrad(() => teacher.forward(device.randn([32, 4], { seed: 3 })));
    return multiply(wanted, device.tensor([-1], [1]));
  });
  using wantedInDType = device.tensor(await minusWanted.data(), [32, 3], { dtype });
  const losses: number[] = [];
  for (let step = 0; step < 60; step++) {
    const loss = device.scope(() => {
      const error = add(student.forward(x), wantedInDType);
      const squared = mean(multiply(error, error));
      scaler.scale(squared).backward();
      clipGradNorm(student.parameters(), 1, { scaler }).dispose();
      scaler.step(optimiser);
      scaler.update();
      optimiser.zeroGrad();
      return squared;
    });
    losses.push((await loss.data())[0]);
    loss.dispose();
  }
  expect(losses[0]).toBeGreaterThan(0.1);
  expect(losses.at(-1)).toBeLessThan(losses[0] / 100);
  const steps = (await optimiser.stateDict()['step.weight'].data())[0];
  expect(steps).toBeGreaterThan(40);
  expect(steps).toBeLessThan(60); // some overflowed
});
