import { setImmediate as nextPoll } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { patiently } from '../../src/platform/patience.ts';

afterEach(() => vi.restoreAllMocks());

test('resolves to what the promise resolves to', async () => {
  await expect(patiently(Promise.resolve(7))).resolves.toBe(7);
  await expect(patiently(Promise.reject(new Error('lost')))).rejects.toThrow('lost');
});

test('sleeps a twentieth of the time waited, at most a millisecond, and stops with the promise', async () => {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const sleeps: number[] = [];
  vi.spyOn(Atomics, 'wait').mockImplementation((_cell: unknown, _index, _value, milliseconds) => {
    sleeps.push(milliseconds!);
    now += 8;
    return 'timed-out';
  });
  let finish!: (value: string) => void;
  const waiting = patiently(
    new Promise<string>((resolve) => {
      finish = resolve;
    }),
  );
  // each sleep gives way to other work
  while (sleeps.length < 5) await nextPoll();
  finish('done');
  expect(await waiting).toBe('done');
  for (let i = 0; i < 3; i++) await nextPoll();
  expect(sleeps).toEqual([0, 0.4, 0.8, 1, 1]);
});
