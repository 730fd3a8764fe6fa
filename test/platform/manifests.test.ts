import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  driverManifests,
  lavapipeManifest,
  manifestFolders,
  presetManifests,
  withManifest,
} from '../../src/platform/manifests.ts';

describe('manifestFolders follows the Vulkan loader', () => {
  test('with nothing set', () => {
    expect(manifestFolders({ HOME: '/home/me' })).toEqual([
      '/home/me/.config/vulkan/icd.d',
      '/etc/xdg/vulkan/icd.d',
      '/etc/vulkan/icd.d',
      '/home/me/.local/share/vulkan/icd.d',
      '/usr/local/share/vulkan/icd.d',
      '/usr/share/vulkan/icd.d',
    ]);
  });

  test('with the folders of the XDG specification, each once', () => {
    const env = {
      XDG_CONFIG_HOME: '/c',
      XDG_CONFIG_DIRS: '/etc',
      XDG_DATA_HOME: '/d',
      XDG_DATA_DIRS: '/run/opengl::/usr/share:/d',
    };
    const bases = ['/c', '/etc', '/d', '/run/opengl', '/usr/share'];
    expect(manifestFolders(env)).toEqual(bases.map((base) => `${base}/vulkan/icd.d`));
  });
});

describe('drivers in folders', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'manifests-test-'));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  function folderWith(...names: string[]): string {
    const folder = mkdtempSync(join(root, 'icd-'));
    for (const name of names) writeFileSync(join(folder, name), '{}');
    return folder;
  }

  test('are JSON files; a folder may be missing or be no folder', () => {
    const folder = folderWith('radeon_icd.json', 'lvp_icd.json', 'lvp_icd.json.bak');
    const folders = [join(root, 'missing'), join(folder, 'lvp_icd.json'), folder];
    expect(driverManifests(folders)).toEqual([join(folder, 'lvp_icd.json'), join(folder, 'radeon_icd.json')]);
  });

  test('lavapipe is found in the first folder that has it for this processor', () => {
    const mine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
    const other = folderWith('lvp_icd.i686.json', 'nvidia_icd.json');
    const first = folderWith('intel_icd.json', `lvp_icd.${mine}.json`);
    const second = folderWith('lvp_icd.json');
    const found = lavapipeManifest(driverManifests([other, first, second]));
    expect(found).toBe(join(first, `lvp_icd.${mine}.json`));
    expect(lavapipeManifest(driverManifests([second]))).toBe(join(second, 'lvp_icd.json'));
    expect(lavapipeManifest(driverManifests([other]))).toBeUndefined();
  });
});

test('presetManifests: VK_DRIVER_FILES comes first, an empty variable counts as unset', () => {
  expect(presetManifests({})).toBeUndefined();
  expect(presetManifests({ VK_ICD_FILENAMES: '' })).toBeUndefined();
  expect(presetManifests({ VK_ICD_FILENAMES: '/a.json:/b.json' })).toBe('/a.json:/b.json');
  expect(presetManifests({ VK_ICD_FILENAMES: '/a.json', VK_DRIVER_FILES: '/b.json' })).toBe('/b.json');
});

test('withManifest restores the environment, whatever happens inside', () => {
  const before = { ...process.env };
  const seen = withManifest('/mine.json', () => [process.env['VK_ICD_FILENAMES'], process.env['VK_DRIVER_FILES']]);
  expect(seen).toEqual(['/mine.json', undefined]);
  expect(process.env).toEqual(before);
  const fail = (): never => {
    throw new Error('inside');
  };
  expect(() => withManifest('/mine.json', fail)).toThrow('inside');
  expect(process.env).toEqual(before);
});
