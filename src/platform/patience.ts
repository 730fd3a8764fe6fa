/** The longest sleep between polls in milliseconds, and the sleep's share of the time waited so far. */
const LONGEST = 1;
const SHARE = 0.05;

const cell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits, without keeping a core busy, for a driver that runs on this machine's own cores. Dawn in Node polls in a loop without
 * pause. Here the thread sleeps between polls for a twentieth of the time waited so far, at most a millisecond.
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
