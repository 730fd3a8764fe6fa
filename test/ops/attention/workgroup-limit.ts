import { expect, vi } from 'vitest';
import type { Device } from '../../../src/index.ts';
import { changeTraits } from '../traits.ts';

/**
 * Runs `work` while the device seems to allow fewer workgroups a dimension, so that launches fold: the 65,536 and more
 * that fold by themselves take a software driver a minute. Fails if none did.
 */
export async function withWorkgroupLimit(device: Device, limit: number, work: () => Promise<void>): Promise<void> {
  const restore = changeTraits(device, { maxComputeWorkgroupsPerDimension: limit });
  const dispatch = vi.spyOn(device.runtime, 'dispatch');
  try {
    await work();
    const folded = dispatch.mock.calls.map(([launch]) => launch.workgroups).filter(([, y]) => y > 1);
    expect(folded.length).toBeGreaterThan(0);
    for (const [x] of folded) expect(x).toBeLessThanOrEqual(limit);
  } finally {
    dispatch.mockRestore();
    restore();
  }
}
