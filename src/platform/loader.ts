/** The Vulkan loader: the library `libvulkan.so.1`, which Dawn opens and which opens the drivers. */
import { constants } from 'node:os';
import { embeddedDriver } from './embedded.ts';

let hasSystemLoader: boolean | undefined;

/**
 * Makes sure that Dawn finds a Vulkan loader under the name `libvulkan.so.1`: the system's, else the one that comes
 * with the embedded driver, which finds the system's drivers as well. Returns whether the system has its own.
 */
export function loadVulkan(): boolean {
  if (hasSystemLoader === undefined) {
    hasSystemLoader = process.platform !== 'linux' || loadLibrary('libvulkan.so.1');
    if (!hasSystemLoader) loadEmbeddedLoader();
  }
  return hasSystemLoader;
}

function loadEmbeddedLoader(): void {
  let loader: string;
  try {
    ({ loader } = embeddedDriver());
  } catch {
    return; // opening the embedded driver reports the reason
  }
  loadLibrary(loader);
}

const RTLD_NODELETE = 0x1000; // not among Node's constants

/** Loads a shared library permanently, by path or soname. */
function loadLibrary(name: string): boolean {
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, name, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    return true;
  } catch (error) {
    // Node has loaded it, found that it is not an add-on, and closed it again. NODELETE keeps it in memory.
    return (error as Error).message.includes('did not self-register');
  }
}
