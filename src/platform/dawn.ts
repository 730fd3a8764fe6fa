/** Dawn, Chromium's WebGPU, as the npm package `webgpu`. */
import { AdapterNotFoundError } from '../gpu/errors.ts';
import { presetManifests, withManifest } from './manifests.ts';
import { settleAtExit, type Classes } from './thread-exit.ts';

// Never freed, because the process aborts or hangs if one is collected while one of its devices lives. Reuse also prints
// Dawn's warnings about the driver's limits only once.
const instances = new Map<string, GPU>();

export interface DawnRequest {
  experimental: boolean;
  /** Path of a Vulkan driver manifest; by default what the system or the environment offers. */
  manifest?: string;
  forceFallbackAdapter?: boolean;
}

/** @throws AdapterNotFoundError if Dawn itself cannot be loaded */
export async function requestDawnAdapter(request: DawnRequest): Promise<GPUAdapter | undefined> {
  const dawn = await importDawn();
  const enabled = ['vulkan_enable_f16_on_nvidia', ...(request.experimental ? ['allow_unsafe_apis'] : [])];
  const ask = (): Promise<GPUAdapter | null> => {
    const key = `${enabled.join()} ${presetManifests() ?? ''}`;
    let gpu = instances.get(key);
    if (!gpu) {
      gpu = dawn.create(['disable-dawn-features=timestamp_quantization', `enable-dawn-features=${enabled.join()}`]);
      instances.set(key, gpu);
    }
    const { forceFallbackAdapter = false } = request;
    return gpu.requestAdapter({ powerPreference: 'high-performance', forceFallbackAdapter });
  };
  // Dawn opens the drivers within the call of requestAdapter, so the environment does not matter later.
  return (await (request.manifest ? withManifest(request.manifest, ask) : ask())) ?? undefined;
}

interface Dawn {
  create(options: string[]): GPU;
  readonly globals: Classes;
}

let imported: Promise<Dawn> | undefined;

/** @throws AdapterNotFoundError if Dawn cannot be loaded, saying what to install */
export async function importDawn(): Promise<Dawn> {
  try {
    return await (imported ??= loadDawn());
  } catch (error) {
    const [detail] = (error as Error).message.split('\n');
    const isMissing = /Cannot find (package|module) ['"]webgpu['"]/.test(detail);
    throw new AdapterNotFoundError(
      isMissing
        ? 'createDevice: Dawn, the npm package webgpu, is an optional dependency and is not installed; run npm i webgpu'
        : `createDevice: Dawn (the npm package webgpu) does not load on ${process.platform}-${process.arch}: ${detail}`,
      { cause: error },
    );
  }
}

async function loadDawn(): Promise<Dawn> {
  const dawn = (await import('webgpu')) as unknown as Dawn;
  settleAtExit(dawn.globals);
  return dawn;
}
