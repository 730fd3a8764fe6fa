/** How much work may be in one dispatch and in one submission, by the rate that the device is seen to have. */

/** Waits for less than this tell more of the host than of the GPU. */
const LEAST_SECONDS = 0.1;
/** One wait changes the rate by at most this factor, because the host may have been slow rather than the GPU. */
const MOST_CHANGE = 4;

/** Estimated floating-point operations since the device was last idle. */
export interface WorkProgress {
  readonly done: number;
  readonly total: number;
}

/** What had been submitted at some moment: operations since the device was opened. */
export type Mark = number;

export class Pace {
  readonly #seconds: number;
  #rate: number;
  #submitted = 0;
  /** How many of them are known to have ended. */
  #done = 0;
  /** What had been submitted when the device was last idle. */
  #idle = 0;
  /** When the first of those that have not ended was submitted, or when the one before it ended. */
  #began = 0;
  /** Whether the numbers since then are exact, or else upper bounds. */
  #isExact = true;

  /** `rate`: operations a second to begin with; `seconds`: for how long a dispatch may run. */
  constructor(rate: number, seconds: number) {
    this.#rate = rate;
    this.#seconds = seconds;
  }

  /** Operations of one dispatch, and of one submission. */
  get most(): number {
    return this.#rate * this.#seconds;
  }

  get mark(): Mark {
    return this.#submitted;
  }

  get progress(): WorkProgress {
    return { done: this.#done - this.#idle, total: this.#submitted - this.#idle };
  }

  /** `now`: seconds. `isExact`: false if the operations are an upper bound. */
  submitted(operations: number, now: number, isExact = true): void {
    if (this.#done === this.#submitted) {
      this.#began = now;
      this.#idle = this.#submitted;
      this.#isExact = true;
    }
    this.#submitted += operations;
    if (!isExact) this.#isExact = false;
  }

  /**
   * What had been submitted at the mark has ended. Returns whether that was not known. `isRepresentative` is false if pipelines
   * were compiled meanwhile. The time includes the host's, so the rate that is seen is one that the GPU has at least, unless the
   * operations were upper bounds. Those never raise the rate.
   */
  ended(mark: Mark, now: number, isRepresentative: boolean): boolean {
    const [operations, seconds] = [mark - this.#done, now - this.#began];
    if (operations <= 0) return false;
    this.#done = mark;
    this.#began = now;
    if (!isRepresentative || operations / this.#rate < LEAST_SECONDS || seconds <= 0) return true;
    const most = this.#isExact ? MOST_CHANGE : 1;
    this.#rate *= Math.min(most, Math.max(1 / MOST_CHANGE, operations / seconds / this.#rate));
    return true;
  }
}
