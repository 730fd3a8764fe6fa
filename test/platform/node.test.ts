import { mkdirSync, mkdtempSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lavapipeManifest } from '../../src/platform/manifests.ts';
import { openAdapter } from '../../src/platform/node.ts';
import { compilePlatform, openScript, removeFolder, runChild, type Child } from './child.ts';

let folder: string;
beforeAll(() => {
  folder = compilePlatform();
});
afterAll(() => removeFolder(folder));

interface Opened {
  driver?: string;
  isSoftware?: boolean;
  reason?: string;
  squares?: number[];
  error?: string;
  message?: string;
  environmentIsKept: boolean;
}

const openedBy = (child: Child): Opened[] => child.result['opened'] as Opened[];

const DEFAULT = { WEBGPU_ATTENTION_ADAPTER: undefined };
const isLinux = process.platform === 'linux';
const hasEmbedded = isLinux && process.arch === 'x64';

describe('without a request', () => {
  test('takes a GPU in silence, or a software driver with one line on stderr', async () => {
    const child = await runChild(folder, openScript({}, { experimental: true }), DEFAULT);
    expect(child.status).toBe(0);
    const [first, second] = openedBy(child);
    expect(first.squares).toEqual([0, 1, 4, 9]);
    expect(second.driver).toBe(first.driver);
    expect(first.environmentIsKept).toBe(true);
    expect(child.notes).toHaveLength(first.isSoftware ? 1 : 0);
    for (const note of child.notes) {
      expect(note).toContain(first.driver);
      expect(note).toContain('WEBGPU_ATTENTION_ADAPTER=software');
    }
  });

  test.runIf(hasEmbedded)('needs no driver of the system', async () => {
    const nothing = mkdtempSync(join(folder, 'empty-'));
    const hidden = {
      XDG_DATA_DIRS: nothing,
      XDG_CONFIG_DIRS: nothing,
      XDG_DATA_HOME: nothing,
      XDG_CONFIG_HOME: nothing,
    };
    const child = await runChild(folder, openScript({}), { ...DEFAULT, ...hidden });
    expect(child.status).toBe(0);
    expect(openedBy(child)[0].squares).toEqual([0, 1, 4, 9]);
  });

  test.runIf(hasEmbedded)('gets over a lavapipe that does not load', async () => {
    const data = mkdtempSync(join(folder, 'data-'));
    mkdirSync(join(data, 'vulkan/icd.d'), { recursive: true });
    const broken = { file_format_version: '1.0.0', ICD: { library_path: '/no/such/library.so', api_version: '1.4.0' } };
    writeFileSync(join(data, 'vulkan/icd.d/lvp_icd.json'), JSON.stringify(broken));
    const hidden = { XDG_DATA_DIRS: data, XDG_CONFIG_DIRS: data, XDG_DATA_HOME: data, XDG_CONFIG_HOME: data };
    const requests = [{}, { adapter: 'software' }, { adapter: 'lavapipe' }];
    const child = await runChild(folder, openScript(...requests), { ...DEFAULT, ...hidden });
    const [byDefault, software, lavapipe] = openedBy(child);
    expect(byDefault.squares).toEqual([0, 1, 4, 9]);
    expect(software.driver).toBe('SwiftShader (embedded)');
    expect(lavapipe.message).toContain('Dawn does not accept lavapipe');
    expect(child.status).toBe(0);
  });
});

test("'hardware' gives a GPU, or says what to install", async () => {
  const child = await runChild(folder, openScript({ adapter: 'hardware' }), DEFAULT);
  const [opened] = openedBy(child);
  expect(child.notes).toEqual([]);
  if (opened.error) {
    expect(opened.error).toBe('AdapterNotFoundError');
    expect(opened.message).toMatch(/^createDevice: no hardware GPU was found.*; .*(install|needed|runs on)/);
  } else {
    expect(opened).toMatchObject({ driver: 'hardware', isSoftware: false });
  }
});

describe('the environment', () => {
  test('chooses if the request does not', async () => {
    const child = await runChild(folder, openScript({}), { WEBGPU_ATTENTION_ADAPTER: 'hardwrae' });
    const [opened] = openedBy(child);
    expect(opened.error).toBe('ArgumentError');
    expect(opened.message).toBe(
      "createDevice: WEBGPU_ATTENTION_ADAPTER must be one of 'hardware', 'software', 'lavapipe', 'embedded', " +
        "got 'hardwrae' (did you mean 'hardware'?)",
    );
  });

  test.runIf(hasEmbedded)('an empty variable is no choice, and the request comes first', async () => {
    const [empty, request] = await Promise.all([
      runChild(folder, openScript({}), { WEBGPU_ATTENTION_ADAPTER: '' }),
      runChild(folder, openScript({ adapter: 'embedded' }), { WEBGPU_ATTENTION_ADAPTER: 'hardware' }),
    ]);
    expect(openedBy(empty)[0].error).toBeUndefined();
    expect(openedBy(request)[0].driver).toBe('SwiftShader (embedded)');
  });

  test.runIf(hasEmbedded)('names drivers, which are used unless another is forced', async () => {
    const missing = join(folder, 'no-such-driver.json');
    const requests = [{}, { adapter: 'software' }, { adapter: 'hardware' }, { adapter: 'embedded' }];
    const child = await runChild(folder, openScript(...requests), { ...DEFAULT, VK_ICD_FILENAMES: missing });
    const [byDefault, software, hardware, embedded] = openedBy(child);
    for (const refused of [byDefault, software, hardware]) {
      expect(refused.error).toBe('AdapterNotFoundError');
      expect(refused.message).toContain(missing);
    }
    expect(embedded).toMatchObject({
      driver: 'SwiftShader (embedded)',
      squares: [0, 1, 4, 9],
      environmentIsKept: true,
    });
    expect(child.notes).toEqual([]);
    expect(child.status).toBe(0);
  });

  test.runIf(hasEmbedded)('naming a software driver asks for it', async () => {
    const cache = mkdtempSync(join(folder, 'cache-'));
    await runChild(folder, openScript({ adapter: 'embedded' }), { XDG_CACHE_HOME: cache });
    const manifest = join(cache, readdirSync(cache)[0], 'vk_swiftshader_icd.json');
    const preset = { ...DEFAULT, VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest };
    const child = await runChild(folder, openScript({}, { adapter: 'software' }), preset);
    expect(openedBy(child).map(({ driver }) => driver)).toEqual(['SwiftShader', 'SwiftShader']);
    expect(child.notes).toEqual([]);
  });
});

test.runIf(isLinux)("'software' and 'lavapipe' print nothing", async () => {
  const child = await runChild(folder, openScript({ adapter: 'software' }, { adapter: 'lavapipe' }), DEFAULT);
  const [software, lavapipe] = openedBy(child);
  expect(software.isSoftware).toBe(true);
  if (!lavapipeManifest()) expect(lavapipe.message).toContain('lavapipe is not installed');
  else if (software.driver !== 'lavapipe') expect(lavapipe.message).toContain('Dawn does not accept lavapipe');
  else expect(lavapipe).toMatchObject({ driver: 'lavapipe', isSoftware: true, squares: [0, 1, 4, 9] });
  expect(child.notes).toEqual([]);
  expect(child.status).toBe(0);
});

describe.runIf(hasEmbedded)("'embedded'", () => {
  test('opens from a fresh cache in several processes at once', async () => {
    const cache = mkdtempSync(join(folder, 'cache-'));
    const open = (): Promise<Child> => runChild(folder, openScript({ adapter: 'embedded' }), { XDG_CACHE_HOME: cache });
    for (const child of await Promise.all([open(), open(), open()])) {
      expect(child.status).toBe(0);
      expect(openedBy(child)[0]).toMatchObject({
        driver: 'SwiftShader (embedded)',
        isSoftware: true,
        reason: "adapter 'embedded' was asked for",
        squares: [0, 1, 4, 9],
      });
    }
    const [driver, ...others] = readdirSync(cache);
    expect(others).toEqual([]);
    expect(readdirSync(join(cache, driver))).toHaveLength(4); // no partial files
  });

  test('mends a damaged cache', async () => {
    const cache = mkdtempSync(join(folder, 'cache-'));
    const environment = { XDG_CACHE_HOME: cache };
    await runChild(folder, openScript({ adapter: 'embedded' }), environment);
    truncateSync(join(cache, readdirSync(cache)[0], 'libvk_swiftshader.so'), 1000);
    const child = await runChild(folder, openScript({ adapter: 'embedded' }), environment);
    expect(openedBy(child)[0].squares).toEqual([0, 1, 4, 9]);
  });

  test('works without a cache, and leaves nothing behind then', async () => {
    const temporary = join(folder, 'tmp');
    mkdirSync(temporary);
    const environment = { XDG_CACHE_HOME: '/dev/null', TMPDIR: temporary };
    const child = await runChild(folder, openScript({ adapter: 'embedded' }), environment);
    expect(openedBy(child)[0].squares).toEqual([0, 1, 4, 9]);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('says that a worker thread cannot switch drivers', async () => {
    const script = `
      import { Worker } from 'node:worker_threads';
      const code = ${JSON.stringify(openScript({ adapter: 'embedded' }))};
      new Worker(new URL('data:text/javascript,' + encodeURIComponent(code.replace('./platform', 'file://' + process.cwd() + '/platform'))));
    `;
    const child = await runChild(folder, script, { VK_ICD_FILENAMES: '/no/such/driver.json' });
    expect(openedBy(child)[0].message).toContain('a worker thread cannot choose its driver');
  });
});

test('a device outlives the collection of everything that it came from', async () => {
  // Without a lasting reference to its instance Dawn aborts the process, or never lets it end.
  const script = `
    import { setFlagsFromString } from 'node:v8';
    import { runInNewContext } from 'node:vm';
    import { openAdapter } from './platform/node.js';
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc');
    const open = async () => (await openAdapter()).adapter.requestDevice();
    for (let round = 0; round < 3; round++) {
      const device = await open();
      for (let use = 0; use < 3; use++) {
        collect();
        await new Promise((resolve) => setTimeout(resolve, 20));
        const buffer = device.createBuffer({ size: 16, usage: 0x8 | 0x1 });
        device.queue.writeBuffer(buffer, 0, new Uint32Array(4));
        await buffer.mapAsync(1);
      }
      device.destroy();
      collect();
    }
    console.log('{}');
  `;
  const child = await runChild(folder, script);
  expect(child.status).toBe(0);
});

test('an unknown adapter is refused', async () => {
  const unknown = openAdapter({ adapter: 'gpu' as 'hardware' });
  await expect(unknown).rejects.toThrow(
    "createDevice: adapter must be one of 'hardware', 'software', 'lavapipe', 'embedded', got 'gpu'",
  );
});

test('the driver of this process can be opened twice', async () => {
  const [first, second] = [await openAdapter(), await openAdapter()];
  expect(second.driver).toBe(first.driver);
  const devices = [await first.adapter.requestDevice(), await second.adapter.requestDevice()];
  for (const device of devices) device.destroy();
});
