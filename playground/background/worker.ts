/** A worker of the page, with a device of its own. It does one task at a time. */
import { createDevice, type Device } from 'webgpu-attention';
import type { Line, Reply, Request, Tasks } from './tasks.ts';

type Task<N extends keyof Tasks> = (
  device: Device,
  input: Tasks[N]['input'],
  line: Line<Tasks[N]['event']>,
) => Promise<Tasks[N]['result']>;

/** Each is loaded when it is asked for. */
const TASKS: { readonly [N in keyof Tasks]: () => Promise<Task<N>> } = {
  compare: async () => (await import('../compare/task.ts')).compare,
  measure: async () => (await import('../measure/task.ts')).measure,
  generate: async () => (await import('../text/task.ts')).continueText,
  train: async () => (await import('../live/task.ts')).trainLive,
};

const scope = globalThis as unknown as {
  onmessage: (event: { readonly data: Request }) => void;
  postMessage: (reply: Reply) => void;
};
let device: Promise<Device> | undefined;
let controller = new AbortController();

/** The worker's one device; another after it failed to open or was lost. */
function openDevice(): Promise<Device> {
  if (device) return device;
  const opening = createDevice();
  const forget = (): void => {
    if (device === opening) device = undefined;
  };
  opening.then(({ gpu }) => gpu.lost.then(forget), forget);
  device = opening;
  return opening;
}

async function run<N extends keyof Tasks>(name: N, input: Tasks[N]['input']): Promise<void> {
  controller = new AbortController();
  const { signal } = controller;
  try {
    const task = await TASKS[name]();
    const result = await task(await openDevice(), input, {
      emit: (event) => scope.postMessage({ event }),
      signal,
    });
    scope.postMessage({ result });
  } catch (error) {
    scope.postMessage({ error: (error as Error).message, isStopped: signal.aborted });
  }
}

scope.onmessage = ({ data }) => {
  if (data.name === 'stop') controller.abort();
  else void run(data.name, data.input);
};
