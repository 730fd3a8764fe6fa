/** What is due when a thread exits, of a binding that is made up. */
import { afterEach, expect, test, vi } from 'vitest';
import { settleAtExit, type Classes } from '../../src/platform/thread-exit.ts';

afterEach(() => vi.restoreAllMocks());

/** A binding whose `requestAdapter` does `work`, and what is registered for the end of the thread. */
function binding(work: () => void) {
  const prototype = { requestAdapter: () => work() };
  const classes = { GPU: { prototype } };
  const onExit: (() => void)[] = [];
  const install = (settle: (given: Classes) => void) => {
    const spy = vi.spyOn(process, 'on').mockImplementation((_, listener) => {
      onExit.push(listener as () => void);
      return process;
    });
    settle(classes);
    spy.mockRestore();
  };
  install(settleAtExit);
  return {
    call: () => prototype.requestAdapter(),
    prototype,
    install,
    onExit,
    exit: () => onExit.forEach((listener) => listener()),
  };
}

test('what Dawn still has to do is done at the exit, and what that adds', () => {
  const done: string[] = [];
  const { call, exit } = binding(() => {
    setImmediate((word: string) => (done.push(word), void setImmediate(() => done.push('again'))), 'first');
  });
  call();
  expect(done).toEqual([]);
  exit();
  expect(done).toEqual(['first', 'again']);
});

test('what throws keeps nothing else from being done', () => {
  const done: string[] = [];
  const { call, exit } = binding(() => {
    setImmediate(() => {
      throw new Error('mine');
    });
    setImmediate(() => done.push('second'));
  });
  call();
  exit();
  expect(done).toEqual(['second']);
});

test('what Dawn cleared is not done', () => {
  const done: string[] = [];
  const { call, exit } = binding(() => {
    const cleared = setImmediate(() => done.push('cleared'));
    setImmediate(() => done.push('kept'));
    clearImmediate(cleared);
  });
  call();
  exit();
  expect(done).toEqual(['kept']);
});

test('the main thread leaves a driver that hangs', () => {
  let polls = 0;
  const poll = () => {
    if (++polls < 1e6) setImmediate(poll);
  };
  const { call, exit } = binding(poll);
  call();
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 10));
  exit();
  expect(polls).toBeLessThan(200);
});

test('classes are changed once, whoever loads this library', async () => {
  const { prototype, install, onExit } = binding(() => undefined);
  const before = { ...prototype };
  install(settleAtExit);
  vi.resetModules();
  install((await import('../../src/platform/thread-exit.ts')).settleAtExit);
  expect({ ...prototype }).toEqual(before);
  expect(onExit).toHaveLength(1);
});

test('setImmediate and clearImmediate are their own outside of Dawn', () => {
  const own = [setImmediate, clearImmediate];
  const { call } = binding(() => expect([setImmediate, clearImmediate]).not.toEqual(own));
  call();
  expect([setImmediate, clearImmediate]).toEqual(own);
});
