/** A library in its own process, so that two copies of Dawn never share one, and a crash ends only one library. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const WORKER = fileURLToPath(new URL('worker.mjs', import.meta.url));

/** After this time a library counts as hung. A software driver may compile one shader for half a minute. */
const LIMIT_MS = 300_000;

export class Peer {
  #env;
  #device;
  #child;
  #complaints = '';

  /**
   * @param {import('./libraries.mjs').Library} library
   * @param {NodeJS.ProcessEnv} env
   * @param {string} [device] the name of the GPU that it has to run on
   */
  constructor(library, env, device) {
    this.library = library;
    this.#env = env;
    this.#device = device;
  }

  /** Starts the process unless it is alive; a worker with a GPU then says what it runs on. */
  async open() {
    if (this.#child) return;
    const child = fork(WORKER, {
      env: this.#env,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#child = child;
    this.#complaints = '';
    child.stderr.on('data', (text) => {
      this.#complaints = `${this.#complaints}${text}`.slice(-4000);
    });
    child.once('exit', () => {
      if (this.#child === child) this.#child = undefined;
    });
    const { module, options, isWebGpu } = this.library;
    const opened = await this.ask('open', { module, options, usesWebGpu: isWebGpu });
    const name = opened?.environment.device.name;
    if (this.#device && name && name !== this.#device) throw new Error(`it runs on ${name}, ours on ${this.#device}`);
    return opened;
  }

  /** Has the worker do one thing; rejects with one line if it fails, dies or hangs, and ends it in the latter case. */
  ask(command, argument = {}) {
    const child = this.#child;
    if (!child) return Promise.reject(new Error('its process has ended'));
    return new Promise((resolve, reject) => {
      const settle = (settled, value) => {
        clearTimeout(timer);
        child.off('message', answer).off('exit', ended);
        settled(value);
      };
      const answer = ({ value, error }) => {
        if (error === undefined) settle(resolve, value);
        else settle(reject, new Error(firstLine(error)));
      };
      const ended = (code, signal) => {
        const reason = signal ?? `exit status ${code}`;
        settle(reject, new Error(`its process ended by ${reason}: ${lastLine(this.#complaints)}`));
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        settle(reject, new Error(`no answer to '${command}' within ${LIMIT_MS / 1000} s`));
      }, LIMIT_MS);
      child.on('message', answer).on('exit', ended);
      child.send({ command, argument }, (error) => error && settle(reject, error));
    });
  }

  close() {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }
}

function firstLine(text) {
  return text.trim().split('\n')[0];
}

/** Dawn warns about limits at every start. */
function lastLine(text) {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Warning: '));
  return lines.at(-1) ?? 'it said nothing';
}
