import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/gpu/errors.ts';
import { adapterNames, checkChoice, softwareDriver } from '../../src/platform/adapter.ts';

describe('softwareDriver tells drivers apart', () => {
  test.each([
    [{ architecture: 'software', device: 'llvmpipe-llvm-15-0-6-256-bits-', isFallbackAdapter: true }, 'lavapipe'],
    [{ vendor: 'mesa', description: 'llvmpipe: Mesa 25.0.7 (LLVM 15.0.6) 0.0.1' }, 'lavapipe'],
    [{ vendor: 'google', architecture: 'swiftshader', device: '', description: '' }, 'SwiftShader'],
    [{ vendor: 'google', description: 'SwiftShader driver 5.0.0' }, 'SwiftShader'],
    [{ vendor: 'microsoft', device: 'Microsoft Basic Render Driver', isFallbackAdapter: false }, 'WARP'],
    [{ vendor: 'microsoft', architecture: 'warp' }, 'WARP'],
    [{ vendor: 'unheard-of', isFallbackAdapter: true }, 'software'],
    [{ vendor: 'unheard-of', architecture: 'software' }, 'software'],
    [{ vendor: 'nvidia', architecture: 'ampere', description: 'NVIDIA: 535.54.03' }, undefined],
    [{ vendor: 'intel', architecture: 'gen-12lp', device: 'intel-r--iris-r--xe-graphics--tgl-gt2-' }, undefined],
    [{ vendor: 'apple', architecture: 'metal-3', isFallbackAdapter: false }, undefined],
    [{}, undefined],
  ])('%j → %s', (info, driver) => {
    expect(softwareDriver(info)).toBe(driver);
  });
});

describe('adapterNames', () => {
  const known = { vendor: 'nvidia', architecture: 'ampere', device: 'NVIDIA H100', description: 'NVIDIA: 535.54.03' };

  test.each([
    // as Deno 2.9 reports them
    [
      { vendor: '65541', device: '0', description: 'llvmpipe (LLVM 15.0.6, 256 bits)' },
      'mesa',
      'llvmpipe (LLVM 15.0.6, 256 bits)',
    ],
    [
      { vendor: '6880', device: '49374', description: 'SwiftShader Device (Subzero)' },
      'google',
      'SwiftShader Device (Subzero)',
    ],
    [{ vendor: '4318', device: '9008', description: 'NVIDIA H100' }, 'nvidia', 'NVIDIA H100'],
    [{ vendor: '4098', device: '29772', description: 'AMD Radeon RX 7900' }, 'amd', 'AMD Radeon RX 7900'],
    [{ vendor: '0', device: '0', description: 'Apple M2' }, 'apple', 'Apple M2'],
    [{ vendor: '7', device: '0', description: 'Unheard-of 1' }, '', 'Unheard-of 1'],
  ])("names wgpu's %j", (info, vendor, device) => {
    expect(adapterNames(info)).toEqual({ vendor, architecture: '', device, description: '' });
  });

  test("leaves Dawn's as they are, and those that a browser hides", () => {
    expect(adapterNames(known)).toEqual(known);
    expect(adapterNames({})).toEqual({ vendor: '', architecture: '', device: '', description: '' });
  });
});

describe('checkChoice', () => {
  test.each(['hardware', 'software', 'lavapipe', 'embedded'] as const)('takes %s', (choice) => {
    expect(checkChoice('adapter', choice)).toBe(choice);
  });

  test.each([
    ['Hardware', "got 'Hardware' (did you mean 'hardware'?)"],
    ['lavapip', "got 'lavapip' (did you mean 'lavapipe'?)"],
    ['sofware', "got 'sofware' (did you mean 'software'?)"],
    ['swiftshader', "got 'swiftshader'"],
    ['', "got ''"],
    [7, "got '7'"],
    [null, "got 'null'"],
  ])('refuses %j in one sentence', (value, ending) => {
    const refusal = "adapter must be one of 'hardware', 'software', 'lavapipe', 'embedded', " + ending;
    const check = (): unknown => checkChoice('adapter', value);
    expect(check).toThrow(new ArgumentError(`createDevice: ${refusal}`));
  });
});
