import { afterEach, describe, expect, test, vi } from 'vitest';
import { race, winner, type Effort } from '../../src/tuning/race.ts';

const EFFORT: Effort = { least: 3, most: 3, milliseconds: 0, warmUp: 0 };

/** Kernels that take what they are said to, by turns where several times are given; and who had a turn, in order. */
function track(times: Readonly<Record<string, readonly number[]>>) {
  const turns: string[] = [];
  const sample = (kernel: string, runs: number) => {
    const own = times[kernel];
    const turn = turns.filter((turned) => turned.startsWith(`${kernel} `)).length;
    turns.push(`${kernel} ${runs}`);
    return Promise.resolve(own[turn % own.length]);
  };
  return { turns, sample };
}

afterEach(() => vi.restoreAllMocks());

describe('race', () => {
  test('gives every kernel its turn in every round, and tells medians', async () => {
    const { turns, sample } = track({ a: [9, 9, 9, 5, 7, 6], b: [8, 8, 1, 100, 4] });
    const times = await race(['a', 'b'], sample, EFFORT);
    const rounds = ['a 1', 'b 1', 'a 1', 'b 1', 'a 1', 'b 1'];
    expect(turns).toEqual(['a 1', 'a 1', 'b 1', 'b 1', 'a 1', ...rounds]);
    expect([...times]).toEqual([
      ['a', { milliseconds: 6, isAbandoned: false }],
      ['b', { milliseconds: 4, isAbandoned: false }],
    ]);
  });

  test('runs short ones together, at most 64 times', async () => {
    const { turns, sample } = track({ a: [1], b: [0.6], c: [2.9], d: [0.000_001] });
    await race(['a', 'b', 'c'], sample, { ...EFFORT, most: 1 });
    expect(turns.slice(-3)).toEqual(['a 1', 'a 3', 'b 5']);
    turns.length = 0;
    await race(['d', 'd'], sample, { ...EFFORT, most: 1 });
    expect(turns.slice(-3)).toEqual(['d 1', 'd 64', 'd 64']);
  });

  test('warms the GPU up with the default, however coarse its clock', async () => {
    const { turns, sample } = track({ a: [3], b: [3], still: [0] });
    await race(['a', 'b'], sample, { ...EFFORT, warmUp: 20 });
    expect(turns.slice(0, 5)).toEqual(['a 1', 'a 2', 'a 4', 'a 1', 'b 1']);
    turns.length = 0;
    await race(['still'], sample, { ...EFFORT, warmUp: 20 });
    expect(turns.slice(0, 10)).toEqual([1, 2, 4, 8, 16, 32, 64, 64, 64, 64].map((runs) => `still ${runs}`));
    expect(turns.slice(10)).toEqual(['still 1', 'still 64', 'still 1', 'still 64']);
  });

  test.each([
    ['the default', [100, 10, 10, 10, 10, 10], [5, 5, 5, 5, 5]],
    ['the best', [10, 10, 10, 10, 10, 10], [100, 5, 5, 5, 5]],
    ['the default, and the best thereafter,', [90, 90, 10, 10, 10, 10], [100, 5, 5, 5, 5]],
  ])('does not mind where %s is slow at first', async (_, a, b) => {
    const { sample } = track({ a, b });
    const times = await race(['a', 'b'], sample, EFFORT);
    expect(winner(times)).toBe('b');
    expect([...times.values()]).toEqual([
      { milliseconds: 10, isAbandoned: false },
      { milliseconds: 5, isAbandoned: false },
    ]);
  });

  test('runs again together what the clock did not see', async () => {
    const { turns, sample } = track({ a: [0.1], b: [0, 0.09, 0, 0.08], c: [0.5] });
    const times = await race(['a', 'b', 'c'], sample, { ...EFFORT, most: 1 });
    expect(turns.slice(1, 9)).toEqual(['a 1', 'b 1', 'b 64', 'c 1', 'c 1', 'b 1', 'b 64', 'a 1']);
    expect(turns.slice(9)).toEqual(['a 30', 'b 38']);
    expect(times.get('a')).toEqual({ milliseconds: 0.1, isAbandoned: false });
    expect(times.get('c')).toEqual({ milliseconds: 0.5, isAbandoned: true });
  });

  test('drops no kernel if one cannot be timed', async () => {
    const { sample } = track({ a: [2], b: [0], c: [1] });
    const times = await race(['a', 'b', 'c'], sample, EFFORT);
    expect([...times.values()].map(({ isAbandoned }) => isAbandoned)).toEqual([false, false, false]);
    expect(winner(times)).toBe('c');
  });

  test('drops a kernel that is far slower from the start, even the first', async () => {
    const { turns, sample } = track({ a: [50], b: [10], c: [20], d: [31] });
    const times = await race(['a', 'b', 'c', 'd'], sample, EFFORT);
    expect(turns.slice(9)).toEqual(['b 1', 'c 1', 'b 1', 'c 1', 'b 1', 'c 1']);
    expect(times.get('a')).toEqual({ milliseconds: 50, isAbandoned: true });
    expect(times.get('c')).toEqual({ milliseconds: 20, isAbandoned: false });
    expect([...times.keys()]).toEqual(['a', 'b', 'c', 'd']);
  });

  test('needs no round where one alone is left', async () => {
    const { turns, sample } = track({ a: [10], b: [90] });
    expect((await race(['a', 'b'], sample, EFFORT)).get('a')).toEqual({ milliseconds: 10, isAbandoned: false });
    expect(turns).toEqual(['a 1', 'a 1', 'b 1', 'b 1', 'a 1']);
  });

  test('goes on past the least rounds while there is time', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    const { turns, sample } = track({ a: [10], b: [10] });
    const timed: typeof sample = async (kernel, runs) => {
      const milliseconds = await sample(kernel, runs);
      now.mockReturnValue(performance.now() + runs * milliseconds);
      return milliseconds;
    };
    const roundsIn = async (milliseconds: number) => {
      turns.length = 0;
      await race(['a', 'b'], timed, { ...EFFORT, least: 2, most: 5, milliseconds });
      return (turns.length - 5) / 2;
    };
    for (const [milliseconds, rounds] of [
      [0, 2],
      [40, 2],
      [41, 3],
      [61, 4],
      [100, 5],
      [1000, 5],
    ]) {
      expect(await roundsIn(milliseconds)).toBe(rounds);
    }
  });
});

describe('winner', () => {
  const of = (times: Readonly<Record<string, number>>) =>
    winner(new Map(Object.entries(times).map(([kernel, milliseconds]) => [kernel, { milliseconds }])));

  test.each([
    [{ a: 10, b: 9.4, c: 9.3 }, 'c'],
    [{ a: 10, b: 9.51 }, 'a'],
    [{ a: 10, b: 9.49 }, 'b'],
    [{ a: 10, b: 20 }, 'a'],
    [{ a: 10 }, 'a'],
    [{ a: 10, b: 0, c: 9 }, 'c'],
    [{ a: 0, b: 1 }, 'a'],
  ])('of %j is %s: the default, which comes first, unless one is faster by 5 %%', (times, expected) => {
    expect(of(times as Record<string, number>)).toBe(expected);
  });
});
