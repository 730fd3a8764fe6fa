/** Vulkan driver manifests: the JSON files by which the Vulkan loader on Linux knows its drivers. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setEnvironment, type Environment } from './environment.ts';

/** The folders in which the Vulkan loader looks for driver manifests, in its order. */
export function manifestFolders(env: Environment = process.env): string[] {
  const { HOME = '' } = env;
  const bases = [
    env.XDG_CONFIG_HOME || (HOME && join(HOME, '.config')),
    ...(env.XDG_CONFIG_DIRS || '/etc/xdg').split(':'),
    '/etc',
    env.XDG_DATA_HOME || (HOME && join(HOME, '.local/share')),
    ...(env.XDG_DATA_DIRS || '/usr/local/share:/usr/share').split(':'),
  ];
  return [...new Set(bases.filter((base) => base !== '').map((base) => join(base, 'vulkan/icd.d')))];
}

/** Paths of the manifests (`*.json`) in these folders. */
export function driverManifests(folders: readonly string[] = manifestFolders()): string[] {
  return folders.flatMap((folder) => {
    try {
      const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
      return names.sort().map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
}

const MESA_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };

/** lavapipe's manifest for this processor: `lvp_icd.json`, or `lvp_icd.x86_64.json` where Mesa names the processor. */
export function lavapipeManifest(manifests: readonly string[] = driverManifests()): string | undefined {
  const names = ['lvp_icd.json', `lvp_icd.${MESA_ARCHITECTURES[process.arch]}.json`];
  return manifests.find((path) => names.some((name) => path.endsWith(`/${name}`)));
}

/** The manifests that the user's environment names; the loader reads no others then. */
export function presetManifests(env: Environment = process.env): string | undefined {
  return env.VK_DRIVER_FILES || env.VK_ICD_FILENAMES || undefined;
}

/** Runs `open` while the loader sees only this driver. */
export function withManifest<T>(manifest: string, open: () => T): T {
  const { VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
  setEnvironment({ VK_DRIVER_FILES: undefined, VK_ICD_FILENAMES: manifest }); // newer loaders prefer the former
  try {
    return open();
  } finally {
    setEnvironment({ VK_DRIVER_FILES, VK_ICD_FILENAMES });
  }
}
