import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import * as node from '../../src/platform/cache-node.ts';
import * as web from '../../src/platform/cache-web.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});

describe('in Node', () => {
  test("is in the user's cache, for the user alone", async () => {
    const root = mkdtempSync(join(tmpdir(), 'cache-test-'));
    vi.stubEnv('WEBGPU_ATTENTION_TUNING', undefined);
    vi.stubEnv('XDG_CACHE_HOME', root);
    const path = join(root, 'webgpu-attention', 'a.json');
    expect(await node.readCached('a.json')).toBeUndefined();
    expect(await node.writeCached('a.json', 'one')).toBe(path);
    expect(await node.writeCached('a.json', 'two')).toBe(path);
    expect(await node.readCached('a.json')).toBe('two');
    expect(readFileSync(path, 'utf8')).toBe('two');
    expect(readdirSync(root)).toEqual(['webgpu-attention']);
    if (process.platform !== 'win32') expect(statSync(path).mode & 0o777).toBe(0o600);
    rmSync(root, { recursive: true });
  });

  test.runIf(process.platform === 'linux').each([
    ['relative', { XDG_CACHE_HOME: 'cache' }],
    ['empty', { XDG_CACHE_HOME: '' }],
  ])('is in ~/.cache where XDG_CACHE_HOME is %s', async (_, variables) => {
    const home = mkdtempSync(join(tmpdir(), 'cache-test-'));
    for (const [name, value] of Object.entries({ ...variables, HOME: home, WEBGPU_ATTENTION_TUNING: '' })) {
      vi.stubEnv(name, value);
    }
    expect(await node.writeCached('a.json', '')).toBe(join(home, '.cache/webgpu-attention/a.json'));
    expect(await node.readCached('a.json')).toBe('');
    rmSync(home, { recursive: true });
  });
});

test.runIf(process.platform === 'linux')('says so in Node where no folder can be made', async () => {
  vi.stubEnv('WEBGPU_ATTENTION_TUNING', '/proc/nowhere/x');
  await expect(node.writeCached('a.json', '')).rejects.toThrow("mkdir '/proc/nowhere'");
});

test('the compiler is a version of Dawn in Node, elsewhere the browser', () => {
  expect(node.compilerName()).toMatch(/^webgpu \d+\.\d+/);
  vi.stubGlobal('navigator', { userAgent: 'Deno/2.6.0' });
  expect(web.compilerName()).toBe('Deno/2.6.0');
  vi.stubGlobal('navigator', undefined);
  expect(web.compilerName()).toBe('');
});

describe('in a browser', () => {
  /** Cache storage as browsers have it: by name, then by address. */
  function cacheStorage() {
    const caches = new Map<string, Map<string, Response>>();
    const open = (name: string) => {
      const entries = caches.get(name) ?? new Map<string, Response>();
      caches.set(name, entries);
      return Promise.resolve({
        match: (url: string) => Promise.resolve(entries.get(new URL(url).href)?.clone()),
        put: (url: string, response: Response) => Promise.resolve(void entries.set(new URL(url).href, response)),
      });
    };
    return { open };
  }

  test('is in cache storage', async () => {
    vi.stubGlobal('caches', cacheStorage());
    expect(await web.readCached('a.json')).toBeUndefined();
    expect(await web.writeCached('a.json', 'one')).toBe("cache storage, 'webgpu-attention'");
    await web.writeCached('a.json', 'two');
    await web.writeCached('b.json', 'three');
    expect([await web.readCached('a.json'), await web.readCached('b.json')]).toEqual(['two', 'three']);
  });

  test.each([
    ['there is none', undefined, 'there is no cache storage here'],
    ['it is forbidden', { open: () => Promise.reject(new Error('an opaque origin')) }, 'an opaque origin'],
  ])('says so where %s', async (_, caches, message) => {
    vi.stubGlobal('caches', caches);
    await expect(web.readCached('a.json')).rejects.toThrow(message);
    await expect(web.writeCached('a.json', 'one')).rejects.toThrow(message);
  });
});
