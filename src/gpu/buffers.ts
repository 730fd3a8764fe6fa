import { OutOfMemoryError } from './errors.ts';
import type { WebGPUBuffer } from './global-types.ts';
import { BufferUsage } from './usage.ts';

/** A storage buffer with what the runtime needs to know about it. */
export interface StorageBuffer {
  readonly gpu: WebGPUBuffer;
  /** Bytes that shaders may address, a multiple of 16. */
  readonly bytes: number;
  /** Unique for the runtime's life: the key of cached bind groups. */
  readonly id: number;
  /** Number of the last batch that uses it; a host write must not overtake a batch that is still being recorded. */
  lastBatch: number;
  /** Whether the driver failed to make it. It is then never recycled. */
  isBroken: boolean;
}

export interface MemoryUse {
  /** Bytes of the buffers in use. */
  readonly live: number;
  /** Bytes of free buffers kept for reuse. */
  readonly pooled: number;
  /** Largest `live` so far. */
  readonly peak: number;
  /** Maximum bytes of live buffers; Infinity if there is no limit. */
  readonly budget: number;
}

/**
 * Rounds up to a size class: multiples of 256 below 4 KiB, then four classes an octave, so that buffers are reused by
 * slightly different shapes and at most a fifth of a buffer is unused.
 */
export function sizeClass(bytes: number): number {
  if (bytes <= 4096) return Math.max(256, Math.ceil(bytes / 256) * 256);
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2);
  return Math.ceil(bytes / step) * step;
}

/** How to free memory, as the end of a message. */
export const FREEING =
  'free tensors by dispose() or inside device.scope(), and compute what needs no gradient inside noGrad()';

/** @throws OutOfMemoryError if so many more bytes of buffers would exceed the budget */
export function checkBudget(bytes: number, { live, budget }: MemoryUse): void {
  if (live + bytes <= budget) return;
  throw new OutOfMemoryError(
    `memory: ${bytes} more bytes would exceed the budget of ${budget} bytes, ${live} bytes are live; ${FREEING}`,
  );
}

/** Free bytes that are always kept. Beyond them, free buffers are dropped once they exceed twice the peak in use. */
const ALWAYS_POOLED = 256 * 2 ** 20;

/** Recycles storage buffers within a byte budget. */
export class BufferPool {
  readonly #create: (bytes: number, onFailure: () => void) => GPUBuffer;
  readonly #beforeDestroy: () => void;
  readonly #budget: number;
  readonly #largest: number;
  readonly #made = new Set<StorageBuffer>();
  /** By size, newest first. The oldest is taken first, so that the same calls get the same buffers each time. */
  readonly #free = new Map<number, StorageBuffer[]>();
  #live = 0;
  #pooled = 0;
  #peak = 0;
  #nextId = 1;

  /**
   * `create` makes a buffer and later calls `onFailure` if the driver could not. `beforeDestroy` is called before
   * buffers are given back to the driver: recorded work may still use them. `budget` and `largest` (of one buffer, a
   * multiple of 16) are bytes.
   */
  constructor(
    create: (bytes: number, onFailure: () => void) => GPUBuffer,
    beforeDestroy: () => void,
    limits: { budget: number; largest: number },
  ) {
    this.#create = create;
    this.#beforeDestroy = beforeDestroy;
    this.#budget = limits.budget;
    this.#largest = limits.largest;
  }

  /** `fits` says which of the free buffers may be taken; default all. */
  acquire(bytes: number, fits: (free: StorageBuffer) => boolean = () => true): StorageBuffer {
    const size = Math.max(bytes, Math.min(sizeClass(bytes), this.#largest));
    const free = this.#free.get(size) ?? [];
    for (let i = free.length - 1; i >= 0; i--) {
      if (!free[i].isBroken && !fits(free[i])) continue;
      const [recycled] = free.splice(i, 1);
      this.#pooled -= size;
      if (recycled.isBroken) continue;
      this.#use(size);
      return recycled;
    }
    if (this.#live + this.#pooled + size > this.#budget) this.trim();
    checkBudget(size, this.use());
    const gpu = this.#create(size, () => (buffer.isBroken = true));
    const buffer: StorageBuffer = this.adopt(gpu, size);
    this.#made.add(buffer);
    this.#use(size);
    return buffer;
  }

  release(buffer: StorageBuffer): void {
    if (!this.#made.has(buffer)) return; // destroyed with the pool
    const free = this.#free.get(buffer.bytes);
    if (free) free.splice(countNewer(free, buffer), 0, buffer);
    else this.#free.set(buffer.bytes, [buffer]);
    this.#live -= buffer.bytes;
    this.#pooled += buffer.bytes;
    if (this.#pooled > Math.max(ALWAYS_POOLED, 2 * this.#peak)) this.trim();
  }

  /** Wraps the first `bytes` of a buffer that somebody else owns. */
  adopt(gpu: GPUBuffer, bytes: number): StorageBuffer {
    return { gpu, bytes, id: this.#nextId++, lastBatch: -1, isBroken: false };
  }

  /** Gives all free buffers back to the driver. */
  trim(): void {
    if (this.#pooled === 0) return;
    this.#beforeDestroy();
    for (const free of this.#free.values()) {
      for (const buffer of free) {
        buffer.gpu.destroy();
        this.#made.delete(buffer);
      }
    }
    this.#free.clear();
    this.#pooled = 0;
  }

  /** Gives all buffers back to the driver, those in use too. */
  destroy(): void {
    for (const buffer of this.#made) buffer.gpu.destroy();
    this.#made.clear();
    this.#free.clear();
    this.#live = 0;
    this.#pooled = 0;
  }

  use(): MemoryUse {
    return { live: this.#live, pooled: this.#pooled, peak: this.#peak, budget: this.#budget };
  }

  /** The most bytes live at any time while `work` runs. */
  peakDuring(work: () => void): number {
    const before = this.#peak;
    this.#peak = this.#live;
    try {
      work();
      return this.#peak;
    } finally {
      this.#peak = Math.max(before, this.#peak);
    }
  }

  #use(size: number): void {
    this.#live += size;
    this.#peak = Math.max(this.#peak, this.#live);
  }
}

export const STORAGE_USAGE = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;

/** How many buffers of a list, newest first, are newer than one. By halves, because a file may have 50,000 of one size. */
function countNewer(free: readonly StorageBuffer[], { id }: StorageBuffer): number {
  let [low, high] = [0, free.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (free[middle].id > id) low = middle + 1;
    else high = middle;
  }
  return low;
}
