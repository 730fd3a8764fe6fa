/** Milliseconds that a poll waits at most, and its share of what has been waited already. */
const LONGEST = 1;
const SHARE = 0.05;

const cell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits for a GPU that runs on this machine's own cores without keeping one of them busy: Dawn in Node polls in a loop
 * that never rests. Between polls the thread sleeps for a twentieth of the time waited so far, at most a millisecond.
 */
export async function patiently<T>(result: Promise<T>): Promise<T> {
  let isPending = true;
  const began = performance.now();
  const rest = () => {
    if (!isPending) return;
    Atomics.wait(cell, 0, 0, Math.min(LONGEST, SHARE * (performance.now() - began)));
    setImmediate(rest);
  };
  setImmediate(rest);
  try {
    return await result;
  } finally {
    isPending = false;
  }
}
