/** Remembers tuned kernels in a file or the browser's storage, for one adapter and one version of this package. */
import { compilerName, readCached, writeCached } from '#platform';
import { version } from '../../package.json';
import type { DeviceInfo } from '../tensor/device.ts';
import type { MatrixDialect, Traits, TunedKernel } from '../tensor/traits.ts';

/** The device that the choices belong to, with all that kernels are planned by. A GPU's description is its driver's version. */
export interface Owner extends Omit<Traits, 'subgroupMatrix'> {
  readonly subgroupMatrix?: MatrixDialect;
  readonly version: string;
  /** What compiles shaders: the browser, or a version of Dawn. */
  readonly compiler: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
}

export type Tuned = ReadonlyMap<string, TunedKernel>;

export function ownerOf({ vendor, architecture, device, description }: DeviceInfo, traits: Traits): Owner {
  const owner = { version, compiler: compilerName(), vendor, architecture, device, description };
  return { ...owner, ...traits, subgroupMatrix: traits.subgroupMatrix?.dialect };
}

/** A readable name for the adapter, and a number that distinguishes adapters of the same name. */
export function fileName(owner: Owner): string {
  const { vendor, architecture, device, description } = owner;
  const words = `${vendor} ${device || description || architecture}`.toLowerCase().match(/[a-z0-9]+/g) ?? ['unnamed'];
  return `tuning-${words.join('-').slice(0, 60)}-${hash(JSON.stringify(owner))}.json`;
}

/** FNV-1a, in hexadecimal. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, '0');
}

export function formatTuned(owner: Owner, tuned: Tuned): string {
  return `${JSON.stringify({ owner, tuned: Object.fromEntries(tuned) }, undefined, 2)}\n`;
}

/** The choices in a text; none if it is damaged or belongs to another device. */
export function parseTuned(owner: Owner, text: string): Tuned {
  try {
    const file = JSON.parse(text) as { owner: unknown; tuned: Record<string, TunedKernel> };
    const entries = Object.entries(file.tuned);
    const isOurs = JSON.stringify(file.owner) === JSON.stringify(owner);
    const isSound = entries.every(([, { kernel, date }]) => typeof kernel === 'string' && typeof date === 'string');
    return new Map(isOurs && isSound ? entries : []);
  } catch {
    return new Map();
  }
}

/** Whether the GPU is known. Browsers may hide it, and results of one GPU would then be used on another. */
function isNamed({ vendor, device }: Owner): boolean {
  return vendor !== '' || device !== '';
}

/** Empty if nothing can be read, because remembered choices only make ops faster. */
export async function recall(owner: Owner): Promise<Tuned> {
  if (!isNamed(owner)) return new Map();
  const text = await readCached(fileName(owner)).catch(() => undefined);
  return text === undefined ? new Map() : parseTuned(owner, text);
}

let lastWrite: Promise<unknown> = Promise.resolve();

/**
 * Adds choices to the file. This process adds them one after the other. If two processes add at the same moment, one of them
 * loses its choices, and measures them again.
 *
 * @returns where it is kept; rejects if it cannot be
 */
export function remember(owner: Owner, added: Tuned): Promise<string> {
  const write = lastWrite.then(() => add(owner, added));
  lastWrite = write.catch(() => undefined);
  return write;
}

async function add(owner: Owner, added: Tuned): Promise<string> {
  if (!isNamed(owner)) throw new Error('the adapter reports neither its vendor nor its name');
  const all = new Map([...(await recall(owner)), ...added]);
  return writeCached(fileName(owner), formatTuned(owner, all));
}
