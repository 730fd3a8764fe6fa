/** Drivers that run on the CPU. */
import { isMainThread } from 'node:worker_threads';
import { AdapterNotFoundError } from '../gpu/errors.ts';
import { foundAdapter, softwareDriver } from './adapter.ts';
import type { FoundAdapter } from './adapter.ts';
import { requestDawnAdapter } from './dawn.ts';
import { embeddedDriver } from './embedded.ts';
import { loadVulkan } from './loader.ts';
import { lavapipeManifest, manifestFolders } from './manifests.ts';

/** lavapipe, else the embedded driver; outside Linux the system's own software driver (WARP on Windows). */
export async function openSoftware(experimental: boolean, reason: string): Promise<FoundAdapter> {
  if (process.platform !== 'linux') {
    const adapter = await requestDawnAdapter({ experimental, forceFallbackAdapter: true });
    if (adapter) return foundAdapter(adapter, reason);
    throw new AdapterNotFoundError(`createDevice: Dawn offers no software adapter on ${process.platform}`);
  }
  if (lavapipeManifest()) {
    try {
      return await openLavapipe(experimental, reason);
    } catch {
      // Too old for Dawn, as Debian 12's own is.
    }
  }
  return openEmbedded(experimental, reason);
}

/** The Mesa driver of this Linux system. */
export async function openLavapipe(experimental: boolean, reason: string): Promise<FoundAdapter> {
  const manifest = lavapipeManifest();
  if (!manifest) {
    throw new AdapterNotFoundError(
      `createDevice: lavapipe is not installed (no lvp_icd*.json in ${manifestFolders().join(', ')}); on Debian and ` +
        'Ubuntu it is in mesa-vulkan-drivers',
    );
  }
  const hint = "Debian 12's own Mesa is too old: take mesa-vulkan-drivers from bookworm-backports";
  const adapter = await openManifest(manifest, 'lavapipe', hint, experimental);
  return foundAdapter(adapter, reason);
}

/** SwiftShader from an npm package. */
export async function openEmbedded(experimental: boolean, reason: string): Promise<FoundAdapter> {
  const { manifest } = embeddedDriver();
  const hint = 'remove its folder, so that it is unpacked anew';
  const adapter = await openManifest(manifest, 'SwiftShader', hint, experimental);
  return { ...foundAdapter(adapter, reason), driver: 'SwiftShader (embedded)' };
}

async function openManifest(
  manifest: string,
  driver: string,
  hint: string,
  experimental: boolean,
): Promise<GPUAdapter> {
  loadVulkan();
  const adapter = await requestDawnAdapter({ experimental, manifest });
  if (adapter && softwareDriver(adapter.info) === driver) return adapter;
  throw new AdapterNotFoundError(
    isMainThread
      ? `createDevice: Dawn does not accept ${driver} as installed at ${manifest}; ${hint}`
      : // Drivers read the process's environment, and a worker has only a copy of it.
        `createDevice: a worker thread cannot choose its driver; start the process with VK_ICD_FILENAMES=${manifest}`,
  );
}
