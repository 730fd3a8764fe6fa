import { AdapterNotFoundError, ArgumentError } from '../gpu/errors.ts';
import type { WebGPUAdapter } from '../gpu/global-types.ts';

/**
 * `'hardware'`: a GPU; `'software'`: any driver that runs on the CPU; `'lavapipe'`: the system's Mesa driver;
 * `'embedded'`: SwiftShader from the npm package `@sparticuz/chromium`.
 */
export type AdapterChoice = (typeof ADAPTER_CHOICES)[number];

export const ADAPTER_CHOICES = ['hardware', 'software', 'lavapipe', 'embedded'] as const;

export interface AdapterRequest {
  /** By default the high-performance GPU, else a software driver. */
  adapter?: AdapterChoice;
  /** Let the adapter offer features that are not standard yet. */
  experimental?: boolean;
}

export interface FoundAdapter {
  readonly adapter: WebGPUAdapter;
  readonly isSoftware: boolean;
  /** `'hardware'`, or the software driver's name. */
  readonly driver: string;
  /** One clause: why this adapter was taken. */
  readonly reason: string;
  /** How to wait for it, if plain awaiting would take a core away from it. */
  readonly patiently?: <T>(result: Promise<T>) => Promise<T>;
}

/** @throws ArgumentError unless `value` is a choice; `source` names where it came from */
export function checkChoice(source: string, value: unknown): AdapterChoice {
  const choice = ADAPTER_CHOICES.find((known) => known === value);
  if (choice) return choice;
  // Two letters tell the choices apart, whatever is mistyped after them.
  const near = ADAPTER_CHOICES.find((known) => known.startsWith(String(value).trim().toLowerCase().slice(0, 2) || '-'));
  const known = ADAPTER_CHOICES.map((name) => `'${name}'`).join(', ');
  const hint = near ? ` (did you mean '${near}'?)` : '';
  throw new ArgumentError(`createDevice: ${source} must be one of ${known}, got '${String(value)}'${hint}`);
}

/** The strings that distinguish drivers. Browsers leave some of them empty. */
export type DriverInfo = Partial<
  Pick<GPUAdapterInfo, 'vendor' | 'architecture' | 'device' | 'description' | 'isFallbackAdapter'>
>;

/** The name of the software driver that an adapter runs on; undefined for a GPU. */
export function softwareDriver(info: DriverInfo): string | undefined {
  const text = `${info.architecture} ${info.device} ${info.description}`.toLowerCase();
  if (/llvmpipe|lavapipe/.test(text)) return 'lavapipe';
  if (text.includes('swiftshader')) return 'SwiftShader';
  if (text.includes('microsoft basic render') || info.architecture === 'warp') return 'WARP';
  return info.isFallbackAdapter || info.architecture === 'software' ? 'software' : undefined;
}

/** Makers by the number that Vulkan and Direct3D have for them (PCI's, where they have one). */
const MAKERS: Readonly<Record<number, string>> = {
  0x1002: 'amd',
  0x1010: 'img-tec',
  0x106b: 'apple',
  0x10de: 'nvidia',
  0x13b5: 'arm',
  0x1414: 'microsoft',
  0x144d: 'samsung',
  0x14e4: 'broadcom',
  0x1ae0: 'google',
  0x5143: 'qualcomm',
  0x8086: 'intel',
  0x10005: 'mesa',
};

const isNumber = (text: string | undefined): boolean => /^\d+$/.test(text ?? '');

/**
 * An adapter's strings as Dawn has them. wgpu, in Deno, gives numbers for maker and device, or 0 where there are none (on Metal),
 * and the adapter's name as its description.
 */
export function adapterNames(info: DriverInfo): {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
} {
  const { vendor = '', architecture = '', device = '', description = '' } = info;
  const byName = Object.values(MAKERS).find((maker) => description.toLowerCase().startsWith(maker));
  return {
    vendor: isNumber(vendor) ? (MAKERS[Number(vendor)] ?? byName ?? '') : vendor,
    architecture,
    device: isNumber(device) ? description : device,
    description: isNumber(device) ? '' : description,
  };
}

export function foundAdapter(adapter: GPUAdapter, reason: string): FoundAdapter {
  const software = softwareDriver(adapter.info);
  return { adapter, isSoftware: software !== undefined, driver: software ?? 'hardware', reason };
}

/** @throws AdapterNotFoundError, saying what to install, unless the adapter is a GPU */
export function requireHardware(found: FoundAdapter | undefined, install: string): FoundAdapter {
  if (found && !found.isSoftware) return found;
  const offered = found ? ` (only the software driver ${found.driver})` : '';
  throw new AdapterNotFoundError(`createDevice: ${NO_HARDWARE}${offered}; ${install}`);
}

/** Why a software driver was taken although nobody asked for it. */
export const NO_HARDWARE = 'no hardware GPU was found';

let noted = false;

/** Says once per process, on stderr or the browser's console, that a slow driver replaces a GPU. */
export function noteFallback(driver: string, advice: string): void {
  if (noted) return;
  noted = true;
  console.warn(`webgpu-attention: ${NO_HARDWARE}, running on the CPU with ${driver}; ${advice}`);
}
