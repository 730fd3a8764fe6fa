import type { Device } from '../../src/index.ts';

/** How long a soak runs: `npm run soak` sets it, and `npm run test:matrix` runs a short one. */
export const ROUNDS = Number(process.env['WEBGPU_ATTENTION_SOAK'] ?? 300);

/** What would grow if something leaked. */
export interface Sample {
  readonly live: number;
  readonly pooled: number;
  readonly pipelines: number;
  readonly buffers: number;
}

/** Samples a device's counts, and the size of the process, which depends on the machine and is only told. */
export class Watch {
  readonly #device: Device;
  readonly #samples: { readonly round: number; readonly counts: Sample; readonly resident: number }[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  note(round: number): void {
    const { live, pooled } = this.#device.memory();
    const { pipelines, buffers } = this.#device.runtime.counters();
    const counts = { live, pooled, pipelines, buffers };
    this.#samples.push({ round, counts, resident: process.memoryUsage.rss() });
  }

  /** The samples from a round on: all alike if nothing grows. */
  from(first: number): Sample[] {
    return this.#from(first).map(({ counts }) => counts);
  }

  /** Says what was seen, if somebody runs the soak for its figures. */
  tell(what: string, first: number): void {
    if (process.env['WEBGPU_ATTENTION_SOAK'] === undefined) return;
    const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const samples = this.#from(first);
    const resident = samples.map((sample) => sample.resident);
    const growth = (100 * (resident.at(-1)! - resident[0])) / resident[0];
    const { live, pooled, pipelines, buffers } = samples.at(-1)!.counts;
    console.log(
      `${what}: ${live} bytes live, ${pooled} pooled, ${pipelines} pipelines, ${buffers} buffers made\n` +
        `resident size from round ${first} on: ${mebibytes(resident[0])} at first, ${mebibytes(Math.min(...resident))} to ` +
        `${mebibytes(Math.max(...resident))}, ${mebibytes(resident.at(-1)!)} at last (${growth.toFixed(1)} %)`,
    );
  }

  #from(first: number) {
    return this.#samples.filter(({ round }) => round >= first);
  }
}
