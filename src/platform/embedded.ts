/**
 * SwiftShader, a Vulkan driver that runs on the CPU, from the npm package `@sparticuz/chromium`: works without root,
 * without a GPU and without a Vulkan loader of the system, which the package brings too.
 */
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { AdapterNotFoundError, LoadError } from '../gpu/errors.ts';
import { cacheRoot, makeFolder, writeWhole } from './cache-folder.ts';
import { readTar } from './tar.ts';

const PACKAGE = '@sparticuz/chromium';
const ARCHIVE = 'bin/swiftshader.tar.br';
const MANIFEST = 'vk_swiftshader_icd.json';
const LOADER = 'libvulkan.so.1';
const FILES = ['libvk_swiftshader.so', LOADER, MANIFEST];
const SIZES = 'sizes.json';

export interface EmbeddedDriver {
  /** Path of the Vulkan driver manifest. */
  readonly manifest: string;
  /** Path of the Vulkan loader library. */
  readonly loader: string;
}

let unpacked: EmbeddedDriver | undefined;

/**
 * Unpacks the driver at the first call.
 *
 * @throws AdapterNotFoundError if the package is missing or has no driver for this platform
 */
export function embeddedDriver(): EmbeddedDriver {
  if (!unpacked) {
    const folder = unpack(locatePackage(), cacheRoot());
    unpacked = { manifest: join(folder, MANIFEST), loader: join(folder, LOADER) };
  }
  return unpacked;
}

/** The package's folder, as seen from this library or from the program that uses it. */
function locatePackage(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== 'linux-x64') {
    throw new AdapterNotFoundError(`createDevice: the embedded software driver is for linux-x64 only, not ${platform}`);
  }
  for (const origin of [import.meta.url, join(process.cwd(), 'package.json')]) {
    let folder: string;
    try {
      folder = dirname(createRequire(origin).resolve(PACKAGE));
    } catch {
      continue;
    }
    // The package exports only its entry, which is some folders down.
    for (; folder !== dirname(folder); folder = dirname(folder)) {
      if (existsSync(join(folder, ARCHIVE))) return folder;
    }
  }
  throw new AdapterNotFoundError(
    `createDevice: the embedded software driver needs an npm package: npm install --save-dev ${PACKAGE}@147`,
  );
}

/**
 * Unpacks the driver of the package in `source` into a folder under `cache`, or into a temporary one where that cannot
 * be written or trusted, and returns the folder. Any number of processes may do so at once.
 *
 * @throws AdapterNotFoundError if the package's archive is damaged
 */
export function unpack(source: string, cache: string): string {
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as { version: string };
  const folder = join(cache, `webgpu-attention-swiftshader-${version}`);
  if (isComplete(folder)) return folder;
  const files = readArchive(source);
  try {
    makeFolder(folder);
    if (isPrivate(folder)) {
      writeFiles(files, folder);
      return folder;
    }
  } catch {
    // A read-only home, or a full disk.
  }
  const temporary = mkdtempSync(join(tmpdir(), 'webgpu-attention-'));
  process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));
  writeFiles(files, temporary);
  return temporary;
}

/** Whether only this user can write there. Otherwise others could plant a library that this process would run. */
function isPrivate(folder: string): boolean {
  const { uid, mode } = lstatSync(folder);
  return uid === process.getuid?.() && (mode & 0o022) === 0;
}

function isComplete(folder: string): boolean {
  try {
    const sizes = JSON.parse(readFileSync(join(folder, SIZES), 'utf8')) as Record<string, number>;
    return isPrivate(folder) && FILES.every((name) => statSync(join(folder, name)).size === sizes[name]);
  } catch {
    return false;
  }
}

function readArchive(source: string): Map<string, Uint8Array> {
  const path = join(source, ARCHIVE);
  try {
    const archive = readTar(brotliDecompressSync(readFileSync(path)));
    const missing = FILES.filter((name) => !archive.has(name));
    if (missing.length > 0) throw new LoadError(`it has no ${missing.join(', ')}`);
    return new Map(FILES.map((name) => [name, archive.get(name)!]));
  } catch (error) {
    const { message } = error as Error;
    throw new AdapterNotFoundError(`createDevice: the driver cannot be unpacked from ${path} (${message})`, {
      cause: error,
    });
  }
}

function writeFiles(files: ReadonlyMap<string, Uint8Array>, folder: string): void {
  for (const [name, content] of files) writeWhole(join(folder, name), content);
  const sizes = Object.fromEntries([...files].map(([name, content]) => [name, content.length]));
  writeWhole(join(folder, SIZES), JSON.stringify(sizes));
}
