/**
 * Dawn's binding aborts the process if a worker thread's environment ends while a promise that it gave out is pending, and a CPU
 * driver sometimes crashes when the main thread ends that way. The binding polls for results, and rejects what was cut short, in
 * calls of `setImmediate`, which a thread that ends no longer makes. So these calls are noted as Dawn makes them, and those that
 * are due when the thread exits are made then.
 */
import { isMainThread } from 'node:worker_threads';

/** The methods in which the binding may call `setImmediate`. */
const METHODS: Readonly<Record<string, readonly string[]>> = {
  GPU: ['requestAdapter'],
  GPUAdapter: ['requestDevice'],
  GPUDevice: ['popErrorScope', 'createComputePipelineAsync', 'createRenderPipelineAsync', 'destroy'],
  GPUBuffer: ['mapAsync', 'unmap', 'destroy'],
  GPUQueue: ['onSubmittedWorkDone'],
  GPUShaderModule: ['getCompilationInfo'],
};

/**
 * Milliseconds for which an exiting main thread waits for the GPU, because a driver may hang, and nothing aborts there. A worker
 * waits as long as it takes: it would take the whole process along.
 */
const MOST_AT_EXIT = 1000;

/** Marks classes that are settled already, because this file may be loaded twice for one add-on. */
const SETTLED = Symbol.for('webgpu-attention.settled');

type Method = (this: unknown, ...args: unknown[]) => unknown;
/** Dawn's classes by name. */
export type Classes = Readonly<Record<string, { prototype: object } | undefined>>;

/** What Dawn still has to do, by what its `setImmediate` returned. */
const due = new Map<unknown, () => void>();

let isInDawn = false;

/** Calls into Dawn. What it passes to `setImmediate` meanwhile is run as it asks, and is due until then or until it is cleared. */
function inDawn<T>(call: () => T): T {
  if (isInDawn) return call();
  const { setImmediate, clearImmediate } = globalThis;
  const noted = (work: (...args: unknown[]) => void, ...args: unknown[]) => {
    const run = () => {
      if (due.delete(immediate)) inDawn(() => work(...args));
    };
    const immediate = setImmediate(run);
    due.set(immediate, run);
    return immediate;
  };
  const cleared = (immediate: NodeJS.Immediate | undefined) => {
    due.delete(immediate);
    clearImmediate(immediate);
  };
  isInDawn = true;
  Object.assign(globalThis, { setImmediate: noted, clearImmediate: cleared });
  try {
    return call();
  } finally {
    Object.assign(globalThis, { setImmediate, clearImmediate });
    isInDawn = false;
  }
}

/** Waits for the GPU, so that no promise of Dawn is pending. Nothing that awaits them runs meanwhile. */
function settle(): void {
  const end = isMainThread ? performance.now() + MOST_AT_EXIT : Infinity;
  for (const run of due.values()) {
    try {
      run(); // which adds to the map as long as Dawn has more to do
    } catch {
      // the others must be settled all the same, and nobody is left to tell
    }
    if (performance.now() >= end) return;
  }
}

/** Settles Dawn's promises when this thread exits. Needed once for the add-on, which each thread loads for itself. */
export function settleAtExit(classes: Classes): void {
  const isWritable = (name: string) => Object.getOwnPropertyDescriptor(globalThis, name)?.writable === true;
  const gpu = classes['GPU']?.prototype;
  if (!gpu || Object.hasOwn(gpu, SETTLED) || !['setImmediate', 'clearImmediate'].every(isWritable)) return;
  Object.defineProperty(gpu, SETTLED, { value: true });
  for (const [name, methods] of Object.entries(METHODS)) {
    const prototype = classes[name]?.prototype as Record<string, Method> | undefined;
    for (const method of methods) {
      const original = prototype?.[method];
      if (!prototype || !original) continue;
      prototype[method] = function (...args) {
        return inDawn(() => original.apply(this, args));
      };
    }
  }
  process.on('exit', settle);
}
