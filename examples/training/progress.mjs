/** One line on a terminal that is overwritten; in a log, a line now and then. */
const WIDTH = 24;
const LOG_EVERY_MS = 15_000;

export class Progress {
  #stream;
  #total;
  #logged = 0;

  constructor(total, stream = process.stderr) {
    this.#total = total;
    this.#stream = stream;
  }

  /** @param {string} text beside the bar */
  show(done, text) {
    const filled = Math.round((WIDTH * done) / this.#total);
    const line = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${done}/${this.#total}  ${text}`;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\x1b[K${line}`);
    } else if (performance.now() - this.#logged > LOG_EVERY_MS) {
      this.#logged = performance.now();
      this.#stream.write(`${line}\n`);
    }
  }

  clear() {
    if (this.#stream.isTTY) this.#stream.write('\r\x1b[K');
  }
}

/** `3 min 20 s`. */
export function formatTime(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
