/** Compares this library with the peers that run on WebGPU and give the right result. */
import type { PeerEntry, PeerRow, Timing } from '../result.ts';

/** The package's name, as the entries give it. */
const OURS = 'webgpu-attention';

export type Timed = PeerEntry & { readonly timing: Timing };

export interface Comparison {
  readonly row: PeerRow;
  /** Absent if this library was not measured, has no time, or is wrong. */
  readonly ours?: Timed;
  /** The fastest other WebGPU library that is right. */
  readonly best?: Timed;
  /** The median of `best` over this library's: above 1, this library is faster. */
  readonly ratio?: number;
}

export function isOurs({ library }: PeerEntry): boolean {
  return library === OURS;
}

export function compareRow(row: PeerRow): Comparison {
  const right = row.entries.filter((entry): entry is Timed => entry.isRight === true && entry.timing !== undefined);
  const ours = right.find(isOurs);
  const [best] = right
    .filter((entry) => entry.isWebGpu && !isOurs(entry))
    .sort((a, b) => a.timing.median - b.timing.median);
  return { row, ours, best, ratio: ours && best && best.timing.median / ours.timing.median };
}
