import { setTimeout as sleepFor } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { patiently } from '../../src/platform/patience.ts';

test('gives what the promise gives', async () => {
  await expect(patiently(Promise.resolve(7))).resolves.toBe(7);
  await expect(patiently(Promise.reject(new Error('lost')))).rejects.toThrow('lost');
});

test('sleeps between polls, lets other work run, and stops with the promise', async () => {
  const sleep = vi.spyOn(Atomics, 'wait');
  try {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await patiently(sleepFor(50));
    clearInterval(timer);
    const sleeps = sleep.mock.calls.length;
    expect(sleeps).toBeGreaterThan(0);
    expect(ticks).toBeGreaterThan(0);
    for (const [, , , milliseconds] of sleep.mock.calls) expect(milliseconds).toBeLessThanOrEqual(1);
    await sleepFor(20);
    expect(sleep.mock.calls.length).toBe(sleeps);
  } finally {
    sleep.mockRestore();
  }
});
