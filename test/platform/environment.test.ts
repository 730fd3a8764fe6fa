import { afterEach, expect, test, vi } from 'vitest';
import { withManifest } from '../../src/platform/manifests.ts';

/** What the C library has as environment, in a Bun on a system with musl. */
const library = new Map<string, string>();

function bun(env: Readonly<Record<string, string>>): typeof process {
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  const symbols = {
    setenv: (name: Uint8Array, value: Uint8Array) => library.set(text(name), text(value)),
    unsetenv: (name: Uint8Array) => library.delete(text(name)),
  };
  const dlopen = (name: string) => {
    if (name.startsWith('libc.musl')) return { symbols };
    throw new Error(`Failed to open library "${name}"`);
  };
  return {
    env: { ...env },
    versions: { bun: '1.4.5' },
    getBuiltinModule: () => ({ dlopen }),
  } as unknown as typeof process;
}

afterEach(() => {
  vi.unstubAllGlobals();
  library.clear();
});

test('in Bun, whose process.env is a copy, a driver reads the chosen manifest from the C library', () => {
  vi.stubGlobal('process', bun({ VK_DRIVER_FILES: '/theirs.json' }));
  const seen = withManifest('/mine.json', () => [...library]);
  expect(seen).toEqual([['VK_ICD_FILENAMES\0', '/mine.json\0']]);
  expect([...library]).toEqual([['VK_DRIVER_FILES\0', '/theirs.json\0']]);
  expect(process.env).toEqual({ VK_DRIVER_FILES: '/theirs.json' });
});

test('in Node, whose process.env is the C library’s, nothing else is set', () => {
  withManifest('/mine.json', () => expect(process.env['VK_ICD_FILENAMES']).toBe('/mine.json'));
  expect([...library]).toEqual([]);
});
