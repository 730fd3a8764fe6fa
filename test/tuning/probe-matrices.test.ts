import { describe, expect, test, vi } from 'vitest';
import { multipliesRight, probeMatrices } from '../../src/tuning/probe-matrices.ts';
import { offersMatrices } from '../../src/tuning/offers-matrices.ts';
import { testDevice } from '../device.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { useMatrices } from '../emulation/emulate-matrices.ts';

describe('probeMatrices', () => {
  test('is not asked on a device that does not offer matrices', async () => {
    const device = await testDevice();
    if (device.gpu.features.has('chromium-experimental-subgroup-matrix')) return;
    expect(offersMatrices(device.gpu, device.traits)).toBe(false);
  });

  test('does not trust a compiler that refuses the shader', async () => {
    const device = await testDevice();
    if (device.gpu.features.has('chromium-experimental-subgroup-matrix')) return;
    const { traits, kernels } = device;
    const { live } = device.memory();
    expect(await probeMatrices(device)).toBeUndefined();
    expect(device.traits).toBe(traits);
    expect(device.kernels).toBe(kernels);
    expect(device.memory().live).toBe(live);
    await device.sync();
  });
});

describe('multipliesRight', () => {
  useMatrices();

  test.runIf(IS_MATRIX)('accepts matrices that multiply', async () => {
    expect(await multipliesRight(await testDevice(), 'vectors')).toBe(true);
  });

  test('refuses those that do not', async () => {
    const device = await testDevice();
    const zeros = vi.spyOn(device, 'tensor').mockImplementation((_, shape, options) => device.zeros(shape, options));
    expect(await multipliesRight(device, 'vectors')).toBe(false);
    zeros.mockRestore();
  });
});
