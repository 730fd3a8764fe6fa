import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileLiteral, compilePattern, PatternProblem, type Match } from '../../src/models/pattern.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';

/** What JavaScript's own engine finds, but for the empty matches that V8 finds between the halves of a surrogate pair. */
function matchNatively(source: string, text: string): Match[] {
  return Array.from(text.matchAll(new RegExp(source, 'gu')), ({ index, 0: { length } }) => {
    return [index, index + length] as const;
  }).filter(([start]) => !(start > 0 && text.codePointAt(start - 1)! > 0xffff));
}

/** Patterns of real tokenizers, as tokenizer.json has them but for (?i:…), which older versions of Node cannot read. */
const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const REAL: Readonly<Record<string, string>> = {
  'GPT-2': "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  'Llama 3': `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  'Qwen 2': `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  o200k:
    `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${CONTRACTIONS}?|` +
    `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${CONTRACTIONS}?|` +
    `\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  'DeepSeek V3':
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|' +
    ' ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  'DeepSeek Coder': '\\s+$',
  Falcon: '[0-9][0-9][0-9]',
};

const TEXT_UNITS = [
  'a',
  'b',
  'Ab',
  "'s",
  "'LL",
  ' ',
  '  ',
  '\n',
  '\r\n',
  '\t',
  '7',
  '2024',
  'é',
  'e\u0301',
  '日本',
  '😀',
  '_(',
  '.',
  '\ud83d',
];
const texts = fc.array(fc.constantFrom(...TEXT_UNITS), { maxLength: 40 }).map((units) => units.join(''));

const patterns = fc.letrec<Record<'choice' | 'sequence' | 'repeat' | 'term', string>>((tie) => ({
  choice: fc.oneof(
    { maxDepth: 4 },
    tie('sequence'),
    fc.array(tie('sequence'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('|')),
  ),
  sequence: fc.array(tie('repeat'), { maxLength: 4 }).map((parts) => parts.join('')),
  repeat: fc
    .tuple(tie('term'), fc.constantFrom('', '', '*', '+', '?', '*?', '+?', '??', '{2}', '{1,3}', '{2,}', '{0,2}?'))
    .map(([term, sign]) => (/^(\(\?<?[=!]|[\^$]|\\[bB])/.test(term) ? term : term + sign)),
  term: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom('a', 'b', '[ab]', '[^a]', '.', '\\p{L}', '😀', ' ', '\\s', '\\u{1f600}', '\\ud83d\\ude00', '\\x61'),
    fc.constantFrom('^', '$', '\\b', '\\B', '(?<=a)', '(?<!😀)'),
    ...['(?:', '(', '(?<name>', '(?=', '(?!'].map((open) => tie('choice').map((body) => `${open}${body})`)),
  ),
})).choice;

describe('a pattern', () => {
  test('matches what JavaScript matches', () => {
    let compared = 0;
    fc.assert(
      fc.property(patterns, fc.array(texts, { minLength: 3, maxLength: 3 }), (source, samples) => {
        const match = compileIfLinear(source);
        if (!match) return;
        for (const text of samples) {
          compared++;
          expect(match(text), `${source} in ${JSON.stringify(text)}`).toEqual(matchNatively(source, text));
        }
      }),
      { seed: 12, numRuns: IS_MATRIX ? 20_000 : 1000 },
    );
    expect(compared).toBeGreaterThan(500);
  });

  /** Undefined for repetition of what may be empty, and for groups of one name. */
  function compileIfLinear(source: string): ReturnType<typeof compilePattern> | undefined {
    try {
      return compilePattern(source);
    } catch (error) {
      expect(error).toBeInstanceOf(PatternProblem);
      return undefined;
    }
  }

  test.each(Object.entries(REAL))('of %s matches what JavaScript matches', (_name, source) => {
    const match = compilePattern(source);
    fc.assert(
      fc.property(texts, (text) => {
        expect(match(text)).toEqual(matchNatively(source, text));
      }),
      { seed: 12, numRuns: IS_MATRIX ? 10_000 : 500 },
    );
  });

  // JavaScript's engine needs 2^1,000,000 steps for the first, and a million times a million for the others
  test.each<[string, string, number]>([
    ['(a+)+$', `${'a'.repeat(1e6)}b`, 0],
    ['(a|a)+$', `${'a'.repeat(1e6)}b`, 0],
    ['a*a*a*a*c', 'a'.repeat(1e6), 0],
    ['\\s+$', `${' '.repeat(1e6)}b`, 0],
    ['a*b|a', 'a'.repeat(1e6), 1e6],
    ['(?=.*x)a', `${'a'.repeat(1e6)}x`, 1e6],
    ['a(?!.*x)', 'a'.repeat(1e6), 1e6],
    ['(?:(?=(a+)+b)a)+', 'a'.repeat(1e6), 0],
  ])('%s takes linear time', (source, text, count) => {
    expect(compilePattern(source)(text)).toHaveLength(count);
  });

  test.each<[string, string, string]>([
    ['a backreference', '(a)\\1', 'have no backreferences'],
    ['a named backreference', '(?<x>a)\\k<x>', 'have no backreferences'],
    ['repetition of nothing', '(a*)*', 'repeat nothing that may be empty'],
    ['an optional lookahead in a group', '(?:(?=a))+', 'repeat nothing that may be empty'],
    ['a long lookbehind', '(?<=ab)c', 'look behind for one character at most'],
    ['another syntax', '(?>a)++', 'be a regular expression that JavaScript can read'],
    ['many repetitions', 'a{1000000}', 'be shorter with its repetitions written out'],
    ['repetitions of repetitions', '(((a{99}){99}){99}){99}', 'be shorter with its repetitions written out'],
    ['many choices', 'a{0,1000}', 'have at most 256 choices, got more'],
    ['many groups', '('.repeat(100) + ')'.repeat(100), 'nest at most 32 groups, got more'],
    ['a long text', 'a'.repeat(5000), 'have at most 4096 characters, got 5000'],
  ])('%s is refused', (_name, source, message) => {
    expect(() => compilePattern(source)).toThrow(new PatternProblem(message));
  });
});

describe('a literal', () => {
  test('matches as it stands', () => {
    expect(compileLiteral('a.')('a.aa.a.a.')).toEqual([
      [0, 2],
      [3, 5],
      [5, 7],
      [7, 9],
    ]);
    expect(compileLiteral('aa')('aaaaa')).toEqual([
      [0, 2],
      [2, 4],
    ]);
  });

  test.each<[string, string, string]>([
    ['nothing', '', 'not be empty'],
    ['much', 'a'.repeat(257), 'have at most 256 characters, got 257'],
    ['half a character', '\ud83d', 'be Unicode, got half of a surrogate pair'],
  ])('%s is refused', (_name, literal, message) => {
    expect(() => compileLiteral(literal)).toThrow(new PatternProblem(message));
  });
});
