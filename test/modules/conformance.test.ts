/** torch.nn.MultiheadAttention's own outputs, weights and gradients, through MultiHeadAttention in float32 and float16. */
import { describe, expect, test } from 'vitest';
import type { Device } from '../../src/index.ts';
import { describeConformance, type MhaCase } from '../conformance.ts';
import { testDevice } from '../device.ts';
import { largest } from '../ops/attention/attention-run.ts';
import type { Float } from '../ops/upload.ts';
import { readGradients } from '../ops/walk-back.ts';
import { expectClose, expectFloat16Close } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import {
  batchFirst,
  evaluateMha,
  evaluateMhaGradients,
  expectedMha,
  goldenMhaGradients,
} from '../reference/torch-mha.ts';
import { enqueueMha, toBatchFirst } from './mha-run.ts';

await describeConformance('mha', (cases) => {
  test.each(cases)('$name, float32', async (c) => {
    const { output, weights } = await run(await testDevice(), c, 'float32');
    const wanted = expectedMha(c);
    expectClose(output, wanted.output, tolerances.float32.module, 'output');
    if (wanted.weights) expectClose(weights!, wanted.weights, tolerances.float32.weights, 'weights');
    else expect(weights).toBeUndefined();
  });

  test.each(cases)('$name, float16', async (c) => {
    const { output, weights } = await run(await testDevice(), c, 'float16');
    const wanted = expectedMha(c);
    const straightforward = evaluateMha(c, { inFloat16: true });
    const room = tolerances.float16.moduleBeyondStraightforward;
    expectFloat16Close(output, straightforward.output.data, wanted.output, room, 'output');
    if (wanted.weights) expectFloat16Close(weights!, straightforward.weights.data, wanted.weights, room, 'weights');
  });

  const trained = cases.filter((c) => c.has('grad/out_proj.weight'));
  describe.each([
    ['by the materialised op', true],
    ['by the fused op', false],
  ] as const)('gradients, %s', (_name, needWeights) => {
    test.each(trained)('$name, float32', async (c) => {
      const gradients = await gradientsOf(await testDevice(), c, 'float32', needWeights);
      const wanted = goldenMhaGradients(c);
      expect(Object.keys(gradients).sort()).toEqual(Object.keys(wanted).sort());
      for (const [name, { data }] of Object.entries(wanted)) {
        expectClose(gradients[name], data, tolerances.float32.moduleGradient, name);
      }
    });

    test.each(trained)('$name, float16', async (c) => {
      const gradients = await gradientsOf(await testDevice(), c, 'float16', needWeights);
      const straightforward = evaluateMhaGradients(c, { inFloat16: true });
      for (const [name, { data }] of Object.entries(goldenMhaGradients(c))) {
        // they may be large, and a rounding is in proportion
        const room = tolerances.float16.moduleBeyondStraightforward * Math.max(1, 2 * largest(data));
        expectFloat16Close(gradients[name], straightforward[name].data, data, room, name);
      }
    });
  });
});

async function run(device: Device, c: MhaCase, dtype: Float) {
  const result = device.scope(() => {
    const { module, output, weights } = enqueueMha(device, c, dtype);
    module.dispose();
    return { output, weights };
  });
  const [output, weights] = await Promise.all([result.output.data(), result.weights?.data()]);
  result.output.dispose();
  result.weights?.dispose();
  return { output, weights };
}

/** By the case's names, those of the inputs batch first. */
async function gradientsOf(
  device: Device,
  c: MhaCase,
  dtype: Float,
  needWeights: boolean,
): Promise<Record<string, ArrayLike<number>>> {
  const { live } = device.memory();
  const leaves = device.scope(() => {
    const { module, inputs, output } = enqueueMha(device, c, dtype, { needWeights, requiresGrad: true });
    const { shape, data } = c.tensor('dout');
    output.backward(toBatchFirst(c, device.tensor(data as Float32Array, shape, { dtype })));
    const ofInputs = Object.entries(inputs).map(([name, leaf]) => [`d${name}`, leaf] as const);
    const ofState = Object.entries(module.stateDict()).map(([name, leaf]) => [`grad/${name}`, leaf] as const);
    return Object.fromEntries([...ofInputs, ...ofState]);
  });
  const gradients = await readGradients(leaves);
  expect(device.memory().live).toBe(live);
  return Object.fromEntries(
    Object.entries(gradients).map(([name, data]) => [
      name,
      name.startsWith('grad/') ? data : batchFirst(c, { ...c.tensor(name), data }).data,
    ]),
  );
}
