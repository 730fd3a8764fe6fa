import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileWords } from '../../src/models/word-search.ts';

const letters = fc.constantFrom('a', 'b', '😀', 'ab');
const word = fc.array(letters, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(''));
const text = fc.array(fc.oneof(letters, fc.constant('c')), { maxLength: 30 }).map((parts) => parts.join(''));

test('finds the leftmost and longest of the words, as an alternation of the longest first does', () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 12 }), text, (words, sample) => {
      const longestFirst = words.toSorted((a, b) => b.length - a.length).join('|');
      const wanted = Array.from(sample.matchAll(new RegExp(longestFirst, 'gu')), ({ index, 0: { length } }) => {
        return [index, index + length];
      });
      expect(compileWords(words)(sample)).toEqual(wanted);
    }),
    { seed: 12, numRuns: 2000 },
  );
});

test('finds nothing without words, and in nothing', () => {
  expect(compileWords([])('a')).toEqual([]);
  expect(compileWords(['a'])('')).toEqual([]);
});

// an alternation takes 200,000 steps for each character, and a trie without suffixes 100,000
test('takes linear time for 200,000 words, and for long words that almost match', () => {
  const many = Array.from({ length: 200_000 }, (_, i) => `<${i}>`);
  const found = compileWords(many)(`x<7>${'<'.repeat(1e5)}${'a<199999>'.repeat(1e5)}`);
  expect(found).toHaveLength(100_001);
  expect(compileWords([`${'a'.repeat(1e5)}b`, 'c'])(`${'a'.repeat(1e6)}c`)).toEqual([[1e6, 1e6 + 1]]);
});
