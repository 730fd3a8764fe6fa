import { BufferUsage, MAP_MODE_READ } from './usage.ts';

/** Nanoseconds of the GPU's clock. */
export interface Stamps {
  readonly begin: bigint;
  readonly end: bigint;
}

/** Reads the GPU's clock before and after passes, by timestamp queries. */
export class Stopwatch {
  readonly #gpu: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #bytes: number;
  readonly #readings: { count: number; staging: GPUBuffer; mapped: Promise<undefined> }[] = [];
  #count = 0;
  #staging: GPUBuffer | undefined;

  /** `capacity`: the most passes in one batch. */
  constructor(gpu: GPUDevice, capacity: number) {
    this.#gpu = gpu;
    this.#bytes = capacity * 2 * 8;
    this.#queries = gpu.createQuerySet({ type: 'timestamp', count: capacity * 2 });
    this.#resolved = gpu.createBuffer({
      size: this.#bytes,
      usage: BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
    });
  }

  /** For the next pass of the batch. */
  timestampWrites(): GPUComputePassTimestampWrites {
    const begin = 2 * this.#count++;
    return { querySet: this.#queries, beginningOfPassWriteIndex: begin, endOfPassWriteIndex: begin + 1 };
  }

  /** Call at the end of a batch's encoder. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#count === 0) return;
    this.#staging = this.#gpu.createBuffer({
      size: this.#bytes,
      usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST,
    });
    encoder.resolveQuerySet(this.#queries, 0, 2 * this.#count, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, 16 * this.#count);
  }

  /** Call after the batch was submitted. */
  collect(): void {
    if (!this.#staging) return;
    const mapped = this.#staging.mapAsync(MAP_MODE_READ);
    mapped.catch(() => undefined); // a lost device is reported by the wait that follows
    this.#readings.push({ count: this.#count, staging: this.#staging, mapped });
    this.#count = 0;
    this.#staging = undefined;
  }

  /** The stamps of all passes, in the order of `timestampWrites`. */
  async finish(): Promise<Stamps[]> {
    const all: Stamps[] = [];
    for (const { count, staging, mapped } of this.#readings) {
      await mapped;
      const stamps = new BigUint64Array(staging.getMappedRange());
      for (let i = 0; i < count; i++) all.push({ begin: stamps[2 * i], end: stamps[2 * i + 1] });
      staging.unmap();
    }
    return all;
  }

  destroy(): void {
    for (const { staging } of this.#readings) staging.destroy();
    this.#queries.destroy();
    this.#resolved.destroy();
  }
}
