import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AdapterNotFoundError, ArgumentError } from '../../src/gpu/errors.ts';
import { openAdapter } from '../../src/platform/web.ts';

const GPU = { info: { vendor: 'nvidia', architecture: 'ampere' } } as GPUAdapter;
const SWIFTSHADER = { info: { vendor: 'google', architecture: 'swiftshader' } } as GPUAdapter;

/** A browser with these adapters; returns what it was asked for. */
function browser(usual: GPUAdapter | null, fallback: GPUAdapter | null = null): GPURequestAdapterOptions[] {
  const asked: GPURequestAdapterOptions[] = [];
  const requestAdapter = (options: GPURequestAdapterOptions): Promise<GPUAdapter | null> => {
    asked.push(options);
    return Promise.resolve(options.forceFallbackAdapter ? fallback : usual);
  };
  vi.stubGlobal('navigator', { gpu: { requestAdapter } });
  return asked;
}

const warn = vi.fn<(message: string) => void>();

beforeEach(() => {
  vi.spyOn(console, 'warn').mockImplementation(warn);
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  warn.mockClear();
});

describe('openAdapter in a browser', () => {
  test('takes the high-performance adapter', async () => {
    const asked = browser(GPU, SWIFTSHADER);
    const found = await openAdapter({ experimental: true });
    expect(found).toMatchObject({ adapter: GPU, driver: 'hardware', isSoftware: false });
    expect(asked).toEqual([{ powerPreference: 'high-performance', forceFallbackAdapter: false }]);
    expect(await openAdapter({ adapter: 'hardware' })).toMatchObject({ adapter: GPU });
    expect(warn).not.toHaveBeenCalled();
  });

  test('takes the fallback adapter on demand, silently', async () => {
    browser(GPU, SWIFTSHADER);
    const found = await openAdapter({ adapter: 'software' });
    expect(found).toMatchObject({ adapter: SWIFTSHADER, driver: 'SwiftShader', isSoftware: true });
    expect(warn).not.toHaveBeenCalled();
  });

  test('says when there is only the fallback adapter', async () => {
    browser(SWIFTSHADER);
    expect(await openAdapter()).toMatchObject({ isSoftware: true, reason: 'no hardware GPU was found' });
    await openAdapter();
    expect(warn.mock.calls.length).toBeLessThanOrEqual(1); // once a process
    await expect(openAdapter({ adapter: 'hardware' })).rejects.toThrow(
      /^createDevice: no hardware GPU was found \(only the software driver SwiftShader\); turn on/,
    );
  });

  test.each([
    ['no adapter', null, null, undefined],
    ['no adapter', null, null, 'hardware'],
    ['no fallback adapter', GPU, null, 'software'],
    ['a GPU where a fallback adapter was asked for', GPU, GPU, 'software'],
  ] as const)('refuses %s', async (_, usual, fallback, adapter) => {
    browser(usual, fallback);
    await expect(openAdapter({ adapter })).rejects.toThrow(AdapterNotFoundError);
  });

  test.each([{}, undefined, { gpu: undefined }])(
    'says what is missing without WebGPU (navigator: %j)',
    async (navigator) => {
      vi.stubGlobal('navigator', navigator);
      await expect(openAdapter()).rejects.toThrow(AdapterNotFoundError);
      await expect(openAdapter()).rejects.toThrow(/navigator\.gpu is missing/);
    },
  );

  test.each(['lavapipe', 'embedded'] as const)('has no %s', async (adapter) => {
    browser(GPU, SWIFTSHADER);
    await expect(openAdapter({ adapter })).rejects.toThrow(
      new ArgumentError(`createDevice: adapter must be 'hardware' or 'software' outside of Node, got '${adapter}'`),
    );
  });

  test('refuses a value that is not a choice', async () => {
    browser(GPU);
    await expect(openAdapter({ adapter: 'hardwear' as 'hardware' })).rejects.toThrow(/did you mean 'hardware'\?/);
  });
});
