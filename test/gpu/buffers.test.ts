import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BufferPool, sizeClass } from '../../src/gpu/buffers.ts';
import { OutOfMemoryError } from '../../src/gpu/errors.ts';

describe('sizeClass', () => {
  test('multiples of 256 at first, then four classes an octave', () => {
    expect([0, 1, 256, 257, 4096].map(sizeClass)).toEqual([256, 256, 256, 512, 4096]);
    const classes = new Set(Array.from({ length: 4096 }, (_, i) => sizeClass(4097 + i)));
    expect([...classes]).toEqual([5120, 6144, 7168, 8192]);
  });

  test('holds what was asked for, wastes at most a fifth, is stable and monotonic', () => {
    const bytes = fc.integer({ min: 1, max: 2 ** 40 });
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const size = sizeClass(a);
        expect(size).toBeGreaterThanOrEqual(a);
        expect(size % 256).toBe(0);
        expect(size - a).toBeLessThanOrEqual(Math.max(255, size / 5));
        expect(sizeClass(size)).toBe(size);
        if (a <= b) expect(size).toBeLessThanOrEqual(sizeClass(b));
      }),
    );
  });
});

/** A pool over objects that only count. */
function fakePool({ budget = Infinity, largest = 2 ** 30 } = {}) {
  const log = { made: 0, destroyed: 0, flushes: 0, fail: [] as (() => void)[] };
  const pool = new BufferPool(
    (size, onFailure) => {
      log.made++;
      log.fail.push(onFailure);
      return { size, destroy: () => log.destroyed++ } as unknown as GPUBuffer;
    },
    () => log.flushes++,
    { budget, largest },
  );
  return { pool, log };
}

describe('BufferPool', () => {
  test('recycles within a size class', () => {
    const { pool, log } = fakePool();
    const first = pool.acquire(1000);
    expect(first.bytes).toBe(1024);
    pool.release(first);
    expect(pool.acquire(900)).toBe(first);
    expect(pool.acquire(900)).not.toBe(first);
    expect(pool.acquire(2000)).not.toBe(first);
    expect(log.made).toBe(3);
  });

  test('counts live, pooled and peak bytes', () => {
    const { pool } = fakePool();
    const [a, b] = [pool.acquire(1024), pool.acquire(2048)];
    expect(pool.use()).toMatchObject({ live: 3072, pooled: 0, peak: 3072 });
    pool.release(a);
    expect(pool.use()).toMatchObject({ live: 2048, pooled: 1024, peak: 3072 });
    pool.release(b);
    pool.acquire(1024);
    expect(pool.use()).toMatchObject({ live: 1024, pooled: 2048, peak: 3072 });
    pool.trim();
    expect(pool.use()).toMatchObject({ live: 1024, pooled: 0, peak: 3072 });
  });

  test('tells the peak of some work alone, and keeps the peak of all', () => {
    const { pool } = fakePool();
    pool.release(pool.acquire(8192));
    const held = pool.acquire(256);
    const churn = () => {
      pool.release(pool.acquire(1024));
      pool.release(pool.acquire(2048));
    };
    expect(pool.peakDuring(churn)).toBe(256 + 2048);
    expect(pool.use()).toMatchObject({ live: 256, peak: 8192 });
    expect(pool.peakDuring(() => pool.acquire(16384))).toBe(256 + 16384);
    expect(pool.use().peak).toBe(256 + 16384);
    const fail = () => {
      pool.release(held);
      throw new Error('full');
    };
    expect(() => pool.peakDuring(fail)).toThrow('full');
    expect(pool.use().peak).toBe(256 + 16384);
  });

  test('the same calls get the same buffers again, in whatever order they are released', () => {
    const calls = fc.array(fc.record({ bytes: fc.constantFrom(256, 1024), frees: fc.nat({ max: 3 }), at: fc.nat() }));
    fc.assert(
      fc.property(calls, (steps) => {
        const { pool, log } = fakePool();
        const run = () => {
          const held = [];
          const ids: number[] = [];
          for (const { bytes, frees, at } of steps) {
            held.push(pool.acquire(bytes));
            ids.push(held.at(-1)!.id);
            for (let i = 0; i < frees && held.length > 0; i++) pool.release(held.splice(at % held.length, 1)[0]);
          }
          for (const buffer of held) pool.release(buffer);
          return ids;
        };
        const first = run();
        const { made } = log;
        expect(run()).toEqual(first);
        expect(log.made).toBe(made);
      }),
    );
  });

  test('gives free buffers back to the driver before it goes over the budget, and only then', () => {
    const { pool, log } = fakePool({ budget: 4096 });
    pool.release(pool.acquire(1024));
    pool.acquire(2048);
    expect(log).toMatchObject({ destroyed: 0, flushes: 0 });
    pool.acquire(2048); // 1024 pooled + 2048 live + 2048 > 4096
    expect(log).toMatchObject({ destroyed: 1, flushes: 1 });
    expect(pool.use()).toMatchObject({ live: 4096, pooled: 0, peak: 4096 });
  });

  test('refuses what does not fit the budget, and goes on', () => {
    const { pool } = fakePool({ budget: 4096 });
    const held = pool.acquire(3072);
    expect(() => pool.acquire(2048)).toThrow(
      new OutOfMemoryError(
        'memory: 2048 more bytes would exceed the budget of 4096 bytes, 3072 bytes are live; free tensors by dispose() or ' +
          'inside device.scope(), and compute what needs no gradient inside noGrad()',
      ),
    );
    expect(pool.use()).toMatchObject({ live: 3072, pooled: 0, peak: 3072 });
    pool.release(held);
    expect(pool.acquire(4096).bytes).toBe(4096);
  });

  test('does not round up past the largest buffer that the device allows', () => {
    const largest = 2 ** 20 - 16; // as the 2³¹ − 4 bytes of some drivers
    const { pool } = fakePool({ largest });
    expect(sizeClass(largest)).toBeGreaterThan(largest);
    expect(pool.acquire(largest).bytes).toBe(largest);
    expect(pool.acquire(largest - 16).bytes).toBe(largest);
    expect(pool.acquire(2 ** 19).bytes).toBe(2 ** 19);
  });

  test('never recycles a buffer that the driver could not make', () => {
    const { pool, log } = fakePool();
    const [broken, whole] = [pool.acquire(1024), pool.acquire(1024)];
    pool.release(broken);
    log.fail[0]();
    expect(pool.acquire(1024)).not.toBe(broken);
    pool.release(whole);
    log.fail[2]();
    expect(pool.acquire(1024)).toBe(whole);
    expect(pool.use().pooled).toBe(0);
  });

  test('destroy gives back everything, and what is released afterwards is forgotten', () => {
    const { pool, log } = fakePool();
    const held = pool.acquire(1024);
    pool.release(pool.acquire(256));
    pool.destroy();
    expect(log.destroyed).toBe(2);
    pool.release(held);
    expect(pool.use()).toMatchObject({ live: 0, pooled: 0, peak: 1280 });
  });

  test('an adopted buffer is counted by nobody', () => {
    const { pool } = fakePool();
    const gpu = { size: 4096 } as GPUBuffer;
    const [a, b] = [pool.adopt(gpu, 64), pool.adopt(gpu, 64)];
    expect(a).toMatchObject({ gpu, bytes: 64 });
    expect(a.id).not.toBe(b.id);
    expect(pool.use()).toMatchObject({ live: 0, pooled: 0, peak: 0 });
  });

  test('takes back 5,000 buffers in any order without comparing each with all others', () => {
    const { pool } = fakePool();
    const buffers = Array.from({ length: 5000 }, () => pool.acquire(256));
    let reads = 0;
    for (const buffer of buffers) {
      const { id } = buffer;
      Object.defineProperty(buffer, 'id', { get: () => (reads++, id) });
    }
    const shuffled = buffers.map((_, i) => buffers[(i * 7919) % buffers.length]);
    for (const order of [buffers, buffers.toReversed(), shuffled]) {
      for (const buffer of order) pool.release(buffer);
      const taken = buffers.map(() => pool.acquire(256));
      expect(taken.every((buffer, i) => buffer === buffers[i])).toBe(true);
    }
    // three times 5,000 buffers, each of which finds its place by 13 halves
    expect(reads).toBeLessThan(3 * 5000 * (13 + 3));
  });
});
