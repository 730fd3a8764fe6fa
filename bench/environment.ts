/** What a benchmark ran on: versions, the GPU and its driver, and the machine. */
import { createRequire } from 'node:module';
import { availableParallelism, cpus } from 'node:os';
import { version } from '../package.json';
import type { DeviceInfo } from '../src/index.ts';
import type { BenchResult, DeviceRecord } from './result.ts';

export type Environment = Pick<BenchResult, 'versions' | 'device' | 'host'>;

export function describeEnvironment(info: DeviceInfo): Environment {
  const webgpu = webgpuVersion();
  return {
    versions: { package: version, runtime: runtimeVersion(), ...(webgpu && { webgpu }) },
    device: describeDevice(info),
    host: {
      platform: `${process.platform}-${process.arch}`,
      cpu: cpus()[0]?.model.trim() ?? '',
      cores: availableParallelism(),
    },
  };
}

/** Bun and Deno call themselves node too. */
function runtimeVersion(): string {
  const name = ['bun', 'deno'].find((other) => other in process.versions) ?? 'node';
  return `${name} ${process.versions[name]}`;
}

/** Undefined if the runtime has WebGPU of its own. */
function webgpuVersion(): string | undefined {
  if ('deno' in process.versions) return undefined;
  try {
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
