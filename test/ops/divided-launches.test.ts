/** Long launches are divided into ranges of workgroups: the results are the same bits. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDevice, flashAttention, localAttention, matmul, scaledDotProductAttention } from '../../src/index.ts';
import type { Device, Tensor } from '../../src/index.ts';
import { narrow } from '../matrix/narrow.ts';
import { testDevice, triesEveryKernel } from '../device.ts';

const isBroad = await triesEveryKernel();

let whole: Device;
let divided: Device;
beforeAll(async () => {
  whole = await testDevice();
  const kernels = Object.fromEntries(whole.kernels.pinned);
  divided = await createDevice({ maxDispatchTime: 1e-4, kernels });
});
afterAll(() => divided.dispose());

/** The bits of what `work` returns on a device, and its dispatches and submissions. */
async function run(device: Device, work: (device: Device) => Tensor[]) {
  await device.sync();
  const before = device.runtime.counters();
  const outputs = device.scope(() => work(device));
  const after = device.runtime.counters();
  const bits = await Promise.all(outputs.map(async (output) => output.data()));
  for (const output of outputs) output.dispose();
  return { bits, dispatches: after.dispatches - before.dispatches, submits: after.submits - before.submits };
}

async function expectDivided(work: (device: Device) => Tensor[]) {
  const [expected, got] = [await run(whole, work), await run(divided, work)];
  expect(got.bits).toEqual(expected.bits);
  expect(got.dispatches).toBeGreaterThan(expected.dispatches);
  expect(got.submits).toBeGreaterThan(0);
}

const inputs = (device: Device, shapes: number[][]) => shapes.map((shape, seed) => device.randn(shape, { seed }));

describe('divided launches', () => {
  const calls: readonly [string, typeof flashAttention, object][] = [
    ['flashAttention', flashAttention, {}],
    ['flashAttention, causal', flashAttention, { isCausal: true }],
    ['localAttention', localAttention as typeof flashAttention, { window: { left: 20, right: 10 } }],
    ['scaledDotProductAttention', scaledDotProductAttention, {}],
  ];
  test.each(narrow(isBroad ? [calls[1], calls[3]] : [calls[3]], calls))(
    '%s, forward and backward',
    async (_, op, options) => {
      const [q, kv] = [
        [1, 4, 70, 16],
        [1, 2, 60, 16],
      ];
      await expectDivided((device) => {
        const [query, key, value, dOutput] = inputs(device, [q, kv, kv, q]);
        for (const tensor of [query, key, value]) tensor.requiresGrad = true;
        const { output } = op(query, key, value, options);
        output.backward(dOutput);
        return [output, query.grad!, key.grad!, value.grad!];
      });
    },
  );

  test('matmul', async () => {
    await expectDivided((device) => {
      const [a, b] = inputs(device, [
        [2, 70, 40],
        [2, 40, 90],
      ]);
      return [matmul(a, b)];
    });
  });

  test('are one call in a profile, with the bytes and operations of the whole', async () => {
    const profiled = async (device: Device) => {
      const { kernels } = await device.profile(() =>
        device.scope(() => void matmul(device.zeros([70, 40]), device.zeros([40, 90]))),
      );
      const [row] = kernels.filter(({ op }) => op === 'matmul');
      return {
        calls: row.calls,
        bytes: [row.bytesRead, row.bytesWritten].map(Math.round),
        operations: Math.round(row.operations!),
      };
    };
    const expected = { calls: 1, bytes: [4 * (70 * 40 + 40 * 90), 4 * 70 * 90], operations: 2 * 70 * 40 * 90 };
    expect(await profiled(whole)).toEqual(expected);
    expect(await profiled(divided)).toEqual(expected);
  });

  test('one by default, where the work is short', async () => {
    const [a, b] = [whole.zeros([2, 70, 40]), whole.zeros([2, 40, 90])];
    const { dispatches } = await run(whole, () => [matmul(a, b)]);
    expect(dispatches).toBe(1);
    for (const tensor of [a, b]) tensor.dispose();
  });

  test('a time that is none is refused', async () => {
    for (const maxDispatchTime of [0, -1, NaN, '1' as unknown as number]) {
      await expect(createDevice({ maxDispatchTime })).rejects.toThrow(
        `createDevice: maxDispatchTime must be a positive number of milliseconds, got ${maxDispatchTime}`,
      );
    }
  });
});
