/** Waiting that a signal can end. */

/**
 * The promise's result, or the signal's reason as a rejection if the signal is aborted first. The work goes on unwatched then, and
 * its failure is left to whoever waits next.
 */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  work.catch(() => undefined); // nobody may wait for it any more
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([aborted, work]);
  } finally {
    signal.removeEventListener('abort', stop!);
  }
}
