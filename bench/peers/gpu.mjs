/** One GPU for all: the adapter that webgpu-attention opens, given to libraries that ask `navigator.gpu` for theirs. */
import { create, globals } from 'webgpu';
import { describeEnvironment } from '../../dist/bench-peers.js';
import { openAdapter } from '../../dist/platform-node.js';
import { override } from './override.mjs';

// The process aborts if one is collected while one of its devices lives.
const kept = [];

/**
 * Makes this process look like a browser with WebGPU.
 *
 * @returns the device that runs here, and the Vulkan manifest of a driver that was chosen
 */
export async function installWebGpu() {
  Object.assign(globalThis, globals);
  const gpu = create([]);
  const manifestOf = watchManifests(Object.getPrototypeOf(gpu));
  gpu.requestAdapter = async () => {
    const { adapter } = await openAdapter();
    kept.push(adapter);
    return adapter;
  };
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });

  const { adapter, driver, isSoftware } = await openAdapter();
  kept.push(gpu, adapter);
  const { vendor, architecture, device, description } = adapter.info;
  const environment = describeEnvironment({ vendor, architecture, device, description, driver, isSoftware });
  return { environment, manifest: manifestOf() };
}

/** The environment names a software driver's manifest only while Dawn opens it. */
function watchManifests(prototype) {
  let manifest;
  override(prototype, 'requestAdapter', (requestAdapter, ...request) => {
    manifest = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
    return requestAdapter(...request);
  });
  return () => manifest;
}
