/** Opens a GPU in browsers and Deno; the twin of node.ts. */
import { AdapterNotFoundError, ArgumentError } from '../gpu/errors.ts';
import { checkChoice, foundAdapter, NO_HARDWARE, noteFallback, requireHardware } from './adapter.ts';
import type { AdapterRequest, FoundAdapter } from './adapter.ts';

export type { AdapterChoice, AdapterRequest, FoundAdapter } from './adapter.ts';
export { compilerName, readCached, writeCached } from './cache-web.ts';
export { readFolder } from './files-web.ts';

/**
 * Asks the browser, or Deno, for its high-performance adapter. `experimental` does nothing, because the browser's flags set
 * what a page may use.
 *
 * @throws ArgumentError for the choices that exist in Node only
 * @throws AdapterNotFoundError if there is no WebGPU, or no adapter of the wanted kind
 */
export async function openAdapter({ adapter: choice }: AdapterRequest = {}): Promise<FoundAdapter> {
  if (choice !== undefined) checkChoice('adapter', choice);
  if (choice === 'lavapipe' || choice === 'embedded') {
    throw new ArgumentError(`createDevice: adapter must be 'hardware' or 'software' outside of Node, got '${choice}'`);
  }
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (!navigator?.gpu) {
    throw new AdapterNotFoundError(
      'createDevice: there is no WebGPU here (navigator.gpu is missing): it needs a browser with WebGPU, a page served ' +
        'over https or from localhost, or Deno with --unstable-webgpu where it is not on by default',
    );
  }
  const adapter = await navigator.gpu.requestAdapter({
    powerPreference: 'high-performance',
    forceFallbackAdapter: choice === 'software',
  });
  const reason = choice ? `adapter '${choice}' was asked for` : 'it is the high-performance adapter offered here';
  const found = adapter ? foundAdapter(adapter, reason) : undefined;
  if (choice === 'hardware') {
    return requireHardware(found, "turn on the browser's hardware acceleration, or update the GPU's driver");
  }
  if (!found || (choice === 'software' && !found.isSoftware)) {
    const kind = choice === 'software' ? 'software adapter' : 'adapter';
    throw new AdapterNotFoundError(`createDevice: WebGPU is here but offers no ${kind}`);
  }
  if (choice || !found.isSoftware) return found;
  noteFallback(found.driver, "createDevice({ adapter: 'software' }) silences this");
  return { ...found, reason: NO_HARDWARE };
}
