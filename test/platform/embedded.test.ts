import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdapterNotFoundError } from '../../src/gpu/errors.ts';
import { unpack } from '../../src/platform/embedded.ts';
import { makeTar } from './tar.ts';

const DRIVER = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
const UNPACKED = [...DRIVER, 'sizes.json'].sort();

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'embedded-test-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A package that looks like `@sparticuz/chromium`, with this file in place of the driver's archive. */
function packageWith(archive: Uint8Array, version = '1.2.3'): string {
  const source = mkdtempSync(join(root, 'package-'));
  mkdirSync(join(source, 'bin'));
  writeFileSync(join(source, 'package.json'), JSON.stringify({ version }));
  writeFileSync(join(source, 'bin/swiftshader.tar.br'), archive);
  return source;
}

function driverArchive(names: readonly string[] = DRIVER): Uint8Array {
  return brotliCompressSync(makeTar(names.map((name) => ({ name, content: `content of ${name}` }))));
}

const newCache = (): string => mkdtempSync(join(root, 'cache-'));

// Users and permission bits are POSIX's.
describe.runIf(process.platform !== 'win32')('unpack', () => {
  test('puts the driver into a private folder of its version, and keeps it', () => {
    const cache = newCache();
    const folder = unpack(packageWith(driverArchive([...DRIVER, 'libEGL.so'])), cache);
    expect(folder).toBe(join(cache, 'webgpu-attention-swiftshader-1.2.3'));
    expect(readdirSync(folder).sort()).toEqual(UNPACKED);
    for (const name of DRIVER) expect(readFileSync(join(folder, name), 'utf8')).toBe(`content of ${name}`);
    expect(statSync(folder).mode & 0o777).toBe(0o700);

    const unreadable = packageWith(Buffer.from('never read again'));
    expect(unpack(unreadable, cache)).toBe(folder);
    expect(unpack(packageWith(driverArchive(), '2.0.0'), cache)).toBe(
      join(cache, 'webgpu-attention-swiftshader-2.0.0'),
    );
  });

  test.each([...UNPACKED])('mends a folder in which %s is missing or cut short', (name) => {
    const source = packageWith(driverArchive());
    const cache = newCache();
    const file = join(unpack(source, cache), name);
    const content = readFileSync(file);
    rmSync(file);
    unpack(source, cache);
    expect(readFileSync(file)).toEqual(content);
    writeFileSync(file, content.subarray(0, 3));
    unpack(source, cache);
    expect(readFileSync(file)).toEqual(content);
  });

  test('trusts no folder that others can write to, and no link', () => {
    const source = packageWith(driverArchive());
    const [open, linked] = [newCache(), newCache()];
    chmodSync(unpack(source, open), 0o777);
    symlinkSync(unpack(source, newCache()), join(linked, 'webgpu-attention-swiftshader-1.2.3'));
    for (const cache of [open, linked]) {
      const folder = unpack(source, cache);
      expect(folder).not.toContain(cache);
      expect(readdirSync(folder).sort()).toEqual(UNPACKED);
      expect(statSync(folder).mode & 0o777).toBe(0o700);
      rmSync(folder, { recursive: true });
    }
  });

  test('takes a temporary folder where there can be no cache', () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    const folder = unpack(packageWith(driverArchive()), file);
    expect(readdirSync(folder).sort()).toEqual(UNPACKED);
    rmSync(folder, { recursive: true });
  });

  test.each<[string, Uint8Array]>([
    ['is no brotli stream', Buffer.from('nonsense')],
    ['is cut off', driverArchive().subarray(0, 60)],
    ['is no tar archive', brotliCompressSync(Buffer.alloc(2000, 'nonsense'))],
    ['lacks a file', driverArchive(DRIVER.slice(0, 2))],
    ['leads out of the folder', driverArchive([...DRIVER, '../evil'])],
  ])('refuses an archive that %s, and writes nothing', (_, archive) => {
    const [source, cache] = [packageWith(archive), newCache()];
    expect(() => unpack(source, cache)).toThrow(AdapterNotFoundError);
    expect(() => unpack(source, cache)).toThrow(
      /^createDevice: the driver cannot be unpacked from .*swiftshader\.tar\.br/,
    );
    expect(readdirSync(cache)).toEqual([]);
  });
});
