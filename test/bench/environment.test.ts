import { expect, test, vi } from 'vitest';
import { version } from '../../package.json';
import { describeEnvironment, deviceSlug } from '../../bench/environment.ts';
import { testDevice } from '../device.ts';

const device = { name: '', vendor: '', architecture: '', description: '', driver: 'hardware', isSoftware: false };

test.each([
  [{ name: 'llvmpipe (LLVM 15.0.6, 256 bits)', driver: 'lavapipe', isSoftware: true }, 'lavapipe'],
  [{ name: 'SwiftShader Device', driver: 'SwiftShader (embedded)', isSoftware: true }, 'swiftshader'],
  [{ name: 'NVIDIA H100 80GB HBM3' }, 'nvidia-h100-80gb-hbm3'],
  [{ name: 'Intel(R) Arc(tm) A770' }, 'intel-r-arc-tm-a770'],
  [{ name: '–' }, 'unnamed'],
])('the file of %j is called %s', (change, slug) => expect(deviceSlug({ ...device, ...change })).toBe(slug));

test('tells versions, device and host', async () => {
  const { info } = await testDevice();
  const environment = describeEnvironment(info);
  expect(environment.versions.package).toBe(version);
  expect(environment.versions.runtime).toMatch(/^(node|bun|deno) \d+\./);
  expect(environment.device).toMatchObject({ driver: info.driver, isSoftware: info.isSoftware });
  expect(environment.device.name).not.toBe('');
  expect(environment.host.cores).toBeGreaterThan(0);
});

test('in a browser, tells what its navigator knows', async () => {
  const { info } = await testDevice();
  vi.stubGlobal('navigator', { userAgent: 'Mozilla/5.0 Chrome/150', hardwareConcurrency: 6 });
  vi.stubGlobal('process', undefined);
  try {
    const { versions, host } = describeEnvironment(info);
    expect(versions).toEqual({ package: version, runtime: 'Mozilla/5.0 Chrome/150' });
    expect(host).toEqual({ platform: 'browser', cpu: '', cores: 6 });
  } finally {
    vi.unstubAllGlobals();
  }
});
