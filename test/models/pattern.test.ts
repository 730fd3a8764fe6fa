import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LoadError } from '../../src/gpu/errors.ts';
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

/** Calls `onStep` whenever `run` asks for a code point, as each step does that looks at a character. */
function watchSteps<T>(run: () => T, onStep: (at: number) => void): T {
  const native = Object.getOwnPropertyDescriptor(String.prototype, 'codePointAt')!;
  const value = function (this: string, at: number): unknown {
    onStep(at);
    return Reflect.apply(native.value as () => unknown, this, [at]);
  };
  Object.defineProperty(String.prototype, 'codePointAt', { ...native, value });
  try {
    return run();
  } finally {
    Object.defineProperty(String.prototype, 'codePointAt', native);
  }
}

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

  test('with many choices matches what JavaScript matches', () => {
    // few letters, so that many alternatives begin alike, and short texts, because JavaScript's engine may need 2^length steps
    const sample = fc.array(fc.constantFrom('a', 'b', '😀', ' '), { maxLength: 12 }).map((units) => units.join(''));
    const parts = fc.array(patterns, { minLength: 20, maxLength: 40 });
    let compared = 0;
    fc.assert(
      fc.property(parts, fc.boolean(), fc.array(sample, { minLength: 3, maxLength: 3 }), (list, isChoice, samples) => {
        const linear = list.filter((part) => compileIfLinear(part));
        const groups = linear.map((part) => `(?:${part.replaceAll('(?<name>', '(')})`);
        const source = isChoice ? `(?:b(?:${groups.join('|')})a??)+` : groups.join('a*');
        const match = compileIfLinear(source);
        if (!match) return;
        for (const text of samples) {
          compared++;
          expect(match(text), `${source} in ${JSON.stringify(text)}`).toEqual(matchNatively(source, text));
        }
      }),
      { seed: 12, numRuns: IS_MATRIX ? 5000 : 300 },
    );
    expect(compared).toBeGreaterThan(100);
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

  const alike = `(?:${Array(250).fill('a').join('|')})`;

  test.each<[string, string]>([
    ['choices that meet', `${alike}a{1500}b`],
    ['options that meet', 'a{0,240}a{1500}b'],
    ['choices that meet at a lookahead', `${alike}(?=a{1500}b)`],
    ['choices in a lookahead', `(?=${alike}a{1500}b)a`],
    ['lookaheads in lookaheads', 'a(?!(?:(?!(?:(?=a{400}b|a{400}c)))a)+b)'],
  ])('%s take no more steps for each character than the pattern has', (_name, source) => {
    const text = 'a'.repeat(2400);
    const match = compilePattern(source);
    let steps = 0;
    watchSteps(
      () => match(text),
      () => steps++,
    );
    expect(steps).toBeGreaterThan(text.length);
    expect(steps).toBeLessThan(2048 * (text.length + 1));
  });

  test('many choices for each character of a long text take little memory', () => {
    const text = 'a'.repeat(5e4);
    const bytesNow = (): number => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
    for (const part of ['x?', '(?:(?=a)|x)']) {
      const match = compilePattern(`(?:${part.repeat(200)}a)*`);
      const before = bytesNow();
      let most = 0;
      const found = watchSteps(
        () => match(text),
        (at) => (most = at === text.length ? Math.max(most, bytesNow() - before) : most),
      );
      expect(found).toEqual([
        [0, 5e4],
        [5e4, 5e4],
      ]);
      // one object for each choice on the way would be 400 MB
      expect(most).toBeLessThan(100e6);
    }
  });

  test('a text that would take more than a gibibyte is refused', () => {
    // 250 choices and 250 places where they meet are 16 words of 4 bytes
    expect(() => compilePattern(`(?:${'x?'.repeat(250)}a)*`)('a'.repeat(2 ** 24))).toThrow(
      new LoadError(
        'tokenizer: a pattern must take at most 1073741824 bytes to match a text, got 1073741888 for 16777216 characters',
      ),
    );
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
    ['many choices', 'a{0,1000}', 'have at most 256 choices and lookaheads, got more'],
    ['many lookaheads', '(?=ab)'.repeat(257), 'have at most 256 choices and lookaheads, got more'],
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
