import { BufferUsage, MAP_MODE_READ } from './usage.ts';

export interface DispatchTime {
  readonly label: string;
  /** Milliseconds on the GPU. */
  readonly gpuTime: number;
}

/** Times each dispatch by timestamp queries. While it runs, every dispatch has its own pass. */
export class Stopwatch {
  readonly #gpu: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #bytes: number;
  readonly #readings: { labels: string[]; staging: GPUBuffer; mapped: Promise<undefined> }[] = [];
  #labels: string[] = [];
  #staging: GPUBuffer | undefined;

  /** `capacity`: the most dispatches in one batch. */
  constructor(gpu: GPUDevice, capacity: number) {
    this.#gpu = gpu;
    this.#bytes = capacity * 2 * 8;
    this.#queries = gpu.createQuerySet({ type: 'timestamp', count: capacity * 2 });
    this.#resolved = gpu.createBuffer({
      size: this.#bytes,
      usage: BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
    });
  }

  timestampWrites(label: string): GPUComputePassDescriptor {
    const begin = 2 * this.#labels.length;
    this.#labels.push(label);
    return {
      timestampWrites: {
        querySet: this.#queries,
        beginningOfPassWriteIndex: begin,
        endOfPassWriteIndex: begin + 1,
      },
    };
  }

  /** Call at the end of a batch's encoder. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#labels.length === 0) return;
    this.#staging = this.#gpu.createBuffer({
      size: this.#bytes,
      usage: BufferUsage.MAP_READ | BufferUsage.COPY_DST,
    });
    encoder.resolveQuerySet(this.#queries, 0, 2 * this.#labels.length, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#staging, 0, 16 * this.#labels.length);
  }

  /** Call after the batch was submitted. */
  collect(): void {
    if (!this.#staging) return;
    const mapped = this.#staging.mapAsync(MAP_MODE_READ);
    mapped.catch(() => undefined); // a lost device is reported by the wait that follows
    this.#readings.push({ labels: this.#labels, staging: this.#staging, mapped });
    this.#labels = [];
    this.#staging = undefined;
  }

  async finish(): Promise<DispatchTime[]> {
    const times: DispatchTime[] = [];
    for (const { labels, staging, mapped } of this.#readings) {
      await mapped;
      const stamps = new BigUint64Array(staging.getMappedRange());
      labels.forEach((label, i) => {
        times.push({ label, gpuTime: Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6 });
      });
      staging.unmap();
    }
    return times;
  }

  destroy(): void {
    for (const { staging } of this.#readings) staging.destroy();
    this.#queries.destroy();
    this.#resolved.destroy();
  }
}
