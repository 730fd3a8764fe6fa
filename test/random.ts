/** Reproducible random numbers for tests: the same seed gives the same test on every machine. */
export class Random {
  #state: number;
  #spare: number | undefined;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [min, max), from the mulberry32 generator. */
  uniform(min = 0, max = 1): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return min + (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * (max - min);
  }

  /** Uniform among the integers from min to max, both included. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.uniform() * (max - min + 1));
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(0, choices.length - 1)];
  }

  /** Gaussian with mean 0, by Marsaglia's polar method. */
  normal(deviation = 1): number {
    if (this.#spare !== undefined) {
      const value = this.#spare;
      this.#spare = undefined;
      return value * deviation;
    }
    let x: number, y: number, square: number;
    do {
      x = this.uniform(-1, 1);
      y = this.uniform(-1, 1);
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    this.#spare = y * factor;
    return x * factor * deviation;
  }

  /** Gaussian values for a tensor of this shape. */
  normals(shape: readonly number[], deviation = 1): Float32Array {
    return Float32Array.from({ length: sizeOf(shape) }, () => this.normal(deviation));
  }

  /** Zeros and ones for a bool tensor of this shape, with this share of ones. */
  bools(shape: readonly number[], share = 0.5): Uint8Array {
    return Uint8Array.from({ length: sizeOf(shape) }, () => (this.uniform() < share ? 1 : 0));
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}
