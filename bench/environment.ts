/** What a benchmark ran on: versions, the GPU and its driver, and the machine. Imports nothing of Node's, so it loads in a browser. */
import { version } from '../package.json';
import type { DeviceInfo } from '../src/index.ts';
import type { BenchResult, DeviceRecord } from './result.ts';

export type Environment = Pick<BenchResult, 'versions' | 'device' | 'host'>;

export function describeEnvironment(info: DeviceInfo): Environment {
  const webgpu = webgpuVersion();
  return {
    versions: { package: version, runtime: runtimeVersion(), ...(webgpu && { webgpu }) },
    device: describeDevice(info),
    host: describeHost(),
  };
}

interface Globals {
  /** Undefined in a browser. */
  readonly process?: typeof process;
  readonly navigator: { readonly userAgent: string; readonly hardwareConcurrency: number };
}

function describeHost(): BenchResult['host'] {
  const { process: server, navigator } = globalThis as unknown as Globals;
  if (!server) return { platform: 'browser', cpu: '', cores: navigator.hardwareConcurrency };
  const { availableParallelism, cpus } = server.getBuiltinModule('node:os');
  return {
    platform: `${server.platform}-${server.arch}`,
    cpu: cpus()[0]?.model.trim() ?? '',
    cores: availableParallelism(),
  };
}

/** Bun and Deno call themselves node too. */
function runtimeVersion(): string {
  const { process: server, navigator } = globalThis as unknown as Globals;
  if (!server) return navigator.userAgent;
  const name = ['bun', 'deno'].find((other) => other in server.versions) ?? 'node';
  return `${name} ${server.versions[name]}`;
}

/** Undefined if the runtime has WebGPU of its own. */
function webgpuVersion(): string | undefined {
  const { process: server } = globalThis as unknown as Globals;
  if (!server || 'deno' in server.versions) return undefined;
  try {
    const { createRequire } = server.getBuiltinModule('node:module');
    const { version: installed } = createRequire(import.meta.url)('webgpu/package.json') as { version: string };
    return `webgpu ${installed}`;
  } catch {
    return undefined;
  }
}

function describeDevice({ device, description, vendor, architecture, driver, isSoftware }: DeviceInfo): DeviceRecord {
  // a CPU driver's name includes its compiler and its vector width
  const hardware = device || description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed';
  const name = isSoftware ? driver : hardware;
  return { name, vendor, architecture, description, driver, isSoftware };
}

/**
 * The name of the device's file in `bench/results`: a GPU's model, or the name of a software driver, whose device name also
 * includes the compiler and the processor.
 */
export function deviceSlug({ name, driver, isSoftware }: DeviceRecord): string {
  const text = isSoftware ? driver.replace(/ \(.*/, '') : name;
  return (
    text
      .toLowerCase()
      .match(/[a-z0-9]+/g)
      ?.join('-') ?? 'unnamed'
  );
}
