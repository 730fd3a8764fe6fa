import { expect, test } from 'vitest';
import { lookUp } from '../../src/models/drafts.ts';

test.each<[string, number[], number, number[]]>([
  ['what followed the last time', [1, 2, 3, 4, 1, 2, 5, 6, 1, 2], 2, [5, 6]],
  ['the longest end first', [7, 1, 2, 3, 9, 8, 2, 3, 4, 1, 2, 3], 2, [9, 8]],
  ['a single token', [4, 1, 2, 4], 3, [1, 2, 4]],
  ['an end that overlaps itself', [5, 5, 5], 3, [5]],
  ['no more than the text has', [3, 9, 3], 4, [9, 3]],
  ['nothing', [1, 2, 3], 4, []],
  ['nothing after a single token', [1], 4, []],
])('lookUp finds %s', (_name, text, most, wanted) => {
  expect(lookUp(text, most)).toEqual(wanted);
});
