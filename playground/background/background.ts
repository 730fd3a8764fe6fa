/** The page's side of a worker. */
import type { Reply, Request, Tasks } from './tasks.ts';

/** The task was stopped by the visitor. */
export class Stopped extends Error {
  override name = 'Stopped';
}

/** A worker that is started at the first task, and kept. */
export class Background {
  #worker: Worker | undefined;

  /** One at a time. @throws Stopped after `stop` */
  run<N extends keyof Tasks>(
    name: N,
    input: Tasks[N]['input'],
    onEvent: (event: Tasks[N]['event']) => void,
  ): Promise<Tasks[N]['result']> {
    const worker = (this.#worker ??= new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }));
    return new Promise((resolve, reject) => {
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if ('event' in data) onEvent(data.event as Tasks[N]['event']);
        else if ('result' in data) resolve(data.result as Tasks[N]['result']);
        else reject(data.isStopped ? new Stopped('stopped') : new Error(data.error));
      };
      worker.postMessage({ name, input });
    });
  }

  stop(): void {
    this.#worker?.postMessage({ name: 'stop' } satisfies Request);
  }
}

/**
 * A button that starts a task and, while it runs, stops it.
 *
 * @param work says at its end what the status shall be
 */
export function startAndStop(
  button: HTMLButtonElement,
  status: HTMLElement,
  background: Background,
  work: () => Promise<string>,
): void {
  const idle = button.textContent;
  let isRunning = false;
  button.disabled = false;
  button.addEventListener('click', () => {
    if (isRunning) {
      background.stop();
      button.disabled = true;
      return;
    }
    isRunning = true;
    button.textContent = 'Stop';
    status.classList.remove('error');
    status.textContent = 'Opening the GPU in a worker …';
    void work()
      .catch((error: Error) => {
        if (error instanceof Stopped) return 'Stopped.';
        status.classList.add('error');
        return error.message;
      })
      .then((text) => {
        status.textContent = text;
        isRunning = false;
        button.textContent = idle;
        button.disabled = false;
      });
  });
}
