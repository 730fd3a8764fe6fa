/**
 * Dawn's binding aborts the process if a worker thread's environment ends while a promise that it gave out is pending, and now
 * and then a driver on the CPU crashes if the main thread's does. It polls for results, and rejects what was cut short, in calls of
 * `setImmediate`, which a thread that ends no longer makes. So these calls are noted as Dawn makes them, and those that are due
 * when the thread exits are made then.
 */
/** The methods in which the binding may call `setImmediate`. */
const METHODS: Readonly<Record<string, readonly string[]>> = {
  GPU: ['requestAdapter'],
  GPUAdapter: ['requestDevice'],
  GPUDevice: ['popErrorScope', 'createComputePipelineAsync', 'createRenderPipelineAsync', 'destroy'],
  GPUBuffer: ['mapAsync', 'unmap', 'destroy'],
  GPUQueue: ['onSubmittedWorkDone'],
  GPUShaderModule: ['getCompilationInfo'],
};

type Method = (this: unknown, ...args: unknown[]) => unknown;
/** Dawn's classes by name. */
export type Classes = Readonly<Record<string, { prototype: object } | undefined>>;

/** What Dawn still has to do. */
const due = new Set<() => void>();

let isInDawn = false;

/** Calls into Dawn. What it passes to `setImmediate` meanwhile is run as it asks, and is due until then. */
function inDawn<T>(call: () => T): T {
  if (isInDawn) return call();
  const { setImmediate } = globalThis;
  const noted = (work: (...args: unknown[]) => void, ...args: unknown[]) => {
    const run = () => {
      if (due.delete(run)) inDawn(() => work(...args));
    };
    due.add(run);
    return setImmediate(run);
  };
  isInDawn = true;
  globalThis.setImmediate = noted as typeof setImmediate;
  try {
    return call();
  } finally {
    globalThis.setImmediate = setImmediate;
    isInDawn = false;
  }
}

/** Waits for the GPU, so that no promise of Dawn is pending. Nothing that awaits them runs meanwhile. */
function settle(): void {
  for (const run of due) run(); // which adds to the set as long as Dawn has more to do
}

/** Settles Dawn's promises when this thread exits. Needed once for the add-on, which each thread loads for itself. */
export function settleAtExit(classes: Classes): void {
  if (!Object.getOwnPropertyDescriptor(globalThis, 'setImmediate')?.writable) return;
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
