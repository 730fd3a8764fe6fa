import { OutOfMemoryError } from './errors.ts';
import { BufferUsage } from './usage.ts';

/** A storage buffer with what the runtime has to know about it. */
export interface StorageBuffer {
  readonly gpu: GPUBuffer;
  /** Size of the GPU buffer, a multiple of 256. */
  readonly bytes: number;
  /** Unique for the runtime's life: the key of cached bind groups. */
  readonly id: number;
  /** Number of the last batch that uses it; a host write must not overtake a batch that is still being recorded. */
  lastBatch: number;
}

export interface MemoryUse {
  /** Bytes of the buffers in use. */
  readonly live: number;
  /** Bytes of free buffers kept for reuse. */
  readonly pooled: number;
  /** Largest `live` so far. */
  readonly peak: number;
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

/** Recycles storage buffers within a byte budget. */
export class BufferPool {
  readonly #create: (bytes: number) => GPUBuffer;
  readonly #beforeDestroy: () => void;
  readonly #budget: number;
  readonly #free = new Map<number, StorageBuffer[]>();
  #live = 0;
  #pooled = 0;
  #peak = 0;
  #nextId = 1;

  /** `beforeDestroy` is called before buffers are given back to the driver: recorded work may still use them. */
  constructor(create: (bytes: number) => GPUBuffer, beforeDestroy: () => void, budget: number) {
    this.#create = create;
    this.#beforeDestroy = beforeDestroy;
    this.#budget = budget;
  }

  acquire(bytes: number): StorageBuffer {
    const size = sizeClass(bytes);
    const recycled = this.#free.get(size)?.pop();
    if (recycled) {
      this.#pooled -= size;
      this.#use(size);
      return recycled;
    }
    if (this.#live + this.#pooled + size > this.#budget) this.trim();
    if (this.#live + size > this.#budget) {
      throw new OutOfMemoryError(
        `memory: ${size} more bytes would exceed the budget of ${this.#budget} bytes, ${this.#live} bytes are live`,
      );
    }
    const buffer = { gpu: this.#create(size), bytes: size, id: this.#nextId++, lastBatch: -1 };
    this.#use(size);
    return buffer;
  }

  release(buffer: StorageBuffer): void {
    const free = this.#free.get(buffer.bytes);
    if (free) free.push(buffer);
    else this.#free.set(buffer.bytes, [buffer]);
    this.#live -= buffer.bytes;
    this.#pooled += buffer.bytes;
  }

  /** Gives an identity to a buffer that somebody else owns. */
  adopt(gpu: GPUBuffer): StorageBuffer {
    return { gpu, bytes: gpu.size, id: this.#nextId++, lastBatch: -1 };
  }

  /** Gives all free buffers back to the driver. */
  trim(): void {
    if (this.#pooled === 0) return;
    this.#beforeDestroy();
    for (const free of this.#free.values()) for (const buffer of free) buffer.gpu.destroy();
    this.#free.clear();
    this.#pooled = 0;
  }

  use(): MemoryUse {
    return { live: this.#live, pooled: this.#pooled, peak: this.#peak };
  }

  #use(size: number): void {
    this.#live += size;
    this.#peak = Math.max(this.#peak, this.#live);
  }
}

export const STORAGE_USAGE = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
