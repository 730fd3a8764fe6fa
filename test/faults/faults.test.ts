/** The list of faults. run.mjs plants them, which takes too long for a suite. This tests only that each can still be planted. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { FAULTS, plant } from './faults.mjs';

interface Fault {
  name: string;
  file: string;
  from: string;
  to: string;
  tests: string[];
}

test.each(FAULTS as Fault[])('$name', (fault) => {
  const whole = readFileSync(fault.file, 'utf8');
  expect(plant(fault, whole)).not.toBe(whole);
  expect(fault.tests.filter((file) => !existsSync(file))).toEqual([]);
});

test('a text that a file no longer has, or has twice, is an error', () => {
  const fault = { name: 'one', file: 'some.wgsl', from: 'a', to: 'b' };
  expect(plant(fault, 'cac')).toBe('cbc');
  expect(() => plant(fault, 'c')).toThrow('one: expected its text once in');
  expect(() => plant(fault, 'aca')).toThrow('found it 2 times');
});
