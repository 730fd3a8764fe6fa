/** Opens a GPU in Node; the twin of web.ts. */
import { AdapterNotFoundError } from '../gpu/errors.ts';
import { checkChoice, foundAdapter, NO_HARDWARE, noteFallback, requireHardware } from './adapter.ts';
import type { AdapterChoice, AdapterRequest, FoundAdapter } from './adapter.ts';
import { importDawn, requestDawnAdapter } from './dawn.ts';
import { loadVulkan } from './loader.ts';
import { driverManifests, presetManifests } from './manifests.ts';
import { patiently } from './patience.ts';
import { openEmbedded, openLavapipe, openSoftware } from './software.ts';

export type { AdapterChoice, AdapterRequest, FoundAdapter } from './adapter.ts';
export { compilerName, readCached, writeCached } from './cache-node.ts';
export { readFolder } from './files-node.ts';

const VARIABLE = 'WEBGPU_ATTENTION_ADAPTER';

const INSTALL: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux:
    "install the GPU's Vulkan driver and the Vulkan loader (Debian and Ubuntu: mesa-vulkan-drivers or NVIDIA's driver, " +
    'and libvulkan1)',
  win32: "install the GPU maker's driver, with Direct3D 12",
  darwin: 'a Mac with Metal is needed',
};
const INSTALL_HERE = INSTALL[process.platform] ?? 'Dawn runs on Linux, Windows and macOS';

/**
 * Opens the adapter that the request, else the variable `WEBGPU_ATTENTION_ADAPTER`, asks for. By default that is the
 * high-performance GPU, else the system's lavapipe, else the embedded SwiftShader; a software driver that nobody asked
 * for is announced once on stderr. Drivers named by `VK_DRIVER_FILES` or `VK_ICD_FILENAMES` are used as they are,
 * unless `'lavapipe'` or `'embedded'` is asked for.
 *
 * @throws ArgumentError for an unknown choice
 * @throws AdapterNotFoundError if there is no adapter of the wanted kind; says what to install
 */
export async function openAdapter(request: AdapterRequest = {}): Promise<FoundAdapter> {
  const found = await findAdapter(request);
  return found.isSoftware ? { ...found, patiently } : found;
}

async function findAdapter({ adapter, experimental = false }: AdapterRequest): Promise<FoundAdapter> {
  const { choice, reason } = readChoice(adapter);
  await importDawn(); // without it no driver is of use, so its absence is told before theirs
  const preset = process.platform === 'linux' ? presetManifests() : undefined;
  if (choice === 'lavapipe') return openLavapipe(experimental, reason);
  if (choice === 'embedded') return openEmbedded(experimental, reason);
  if (choice === 'software' && !preset) return openSoftware(experimental, reason);

  const offered = await openOffered(experimental, preset ? `the environment names the driver ${preset}` : reason);
  if (choice === 'hardware') {
    return requireHardware(offered, preset ? `the environment names the Vulkan driver ${preset}` : INSTALL_HERE);
  }
  if (preset) return requirePreset(offered, choice, preset);
  return offered?.isSoftware === false ? offered : fallBack(offered, experimental);
}

function readChoice(adapter: AdapterChoice | undefined): { choice?: AdapterChoice; reason: string } {
  if (adapter !== undefined) {
    return { choice: checkChoice('adapter', adapter), reason: `adapter '${adapter}' was asked for` };
  }
  const value = process.env[VARIABLE];
  if (!value) return { reason: 'it is the high-performance GPU of this machine' };
  return { choice: checkChoice(VARIABLE, value), reason: `${VARIABLE}=${value} asks for it` };
}

/** The adapter that Dawn chooses: a GPU if there is one, else any software driver of the system. */
async function openOffered(experimental: boolean, reason: string): Promise<FoundAdapter | undefined> {
  const hasSystemLoader = loadVulkan();
  // Asked without any driver to load, Dawn would print a stack trace.
  if (!hasSystemLoader && !presetManifests() && driverManifests().length === 0) return undefined;
  const adapter = await requestDawnAdapter({ experimental });
  return adapter && foundAdapter(adapter, reason);
}

function requirePreset(
  offered: FoundAdapter | undefined,
  choice: 'software' | undefined,
  preset: string,
): FoundAdapter {
  if (offered && (choice === undefined || offered.isSoftware)) return offered;
  throw new AdapterNotFoundError(
    `createDevice: the Vulkan driver that the environment names (${preset}) offers no ${choice ?? 'usable'} adapter; ` +
      "unset VK_ICD_FILENAMES and VK_DRIVER_FILES, or ask for adapter 'lavapipe' or 'embedded'",
  );
}

async function fallBack(offered: FoundAdapter | undefined, experimental: boolean): Promise<FoundAdapter> {
  let found: FoundAdapter;
  try {
    found = offered ? { ...offered, reason: NO_HARDWARE } : await openSoftware(experimental, NO_HARDWARE);
  } catch (error) {
    throw new AdapterNotFoundError(
      `createDevice: no GPU was found, hardware or software; ${INSTALL_HERE}, or a software driver ` +
        `(${(error as Error).message.replace('createDevice: ', '')})`,
      { cause: error },
    );
  }
  noteFallback(found.driver, `${VARIABLE}=software silences this, ${VARIABLE}=hardware makes it an error`);
  return found;
}
