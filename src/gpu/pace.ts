/** How much work may be in one dispatch and in one submission, by the rate that the device is seen to have. */

/** Waits for less than this tell more of the host than of the GPU. */
const LEAST_SECONDS = 0.1;
/** One wait changes the rate by at most this factor, because the host may have been slow rather than the GPU. */
const MOST_CHANGE = 4;

export class Pace {
  readonly #seconds: number;
  #rate: number;
  /** Submitted and not yet waited for. */
  #operations = 0;
  #began = 0;

  /** `rate`: operations a second to begin with; `seconds`: for how long a dispatch may run. */
  constructor(rate: number, seconds: number) {
    this.#rate = rate;
    this.#seconds = seconds;
  }

  /** Operations of one dispatch, and of one submission. */
  get most(): number {
    return this.#rate * this.#seconds;
  }

  /** `now`: seconds. */
  submitted(operations: number, now: number): void {
    if (this.#operations === 0) this.#began = now;
    this.#operations += operations;
  }

  /**
   * Everything submitted has ended. `isRepresentative` is false if pipelines were compiled meanwhile. The time includes the
   * host's, so the rate that is seen is one that the GPU has at least.
   */
  waited(now: number, isRepresentative: boolean): void {
    const [operations, seconds] = [this.#operations, now - this.#began];
    this.#operations = 0;
    if (!isRepresentative || operations / this.#rate < LEAST_SECONDS || seconds <= 0) return;
    const change = operations / seconds / this.#rate;
    this.#rate *= Math.min(MOST_CHANGE, Math.max(1 / MOST_CHANGE, change));
  }
}
