/** WGSL for CodeMirror: enough to colour it. */
import { HighlightStyle, StreamLanguage, syntaxHighlighting, type StreamParser } from '@codemirror/language';
import type { Extension } from '@codemirror/state';
import { tags } from '@lezer/highlight';

const KEYWORDS = new Set(
  'alias break case const const_assert continue continuing default else fn for if let loop return struct switch var while'.split(
    ' ',
  ),
);
const TYPES = /^(?:bool|[fiu]32|vec[234][fiu]?|mat[234]x[234]f?|array)$/;

const parser: StreamParser<{ isInComment: boolean }> = {
  startState: () => ({ isInComment: false }),
  token(stream, state) {
    if (state.isInComment || stream.match('/*')) {
      state.isInComment = !stream.match(/^.*?\*\//);
      if (state.isInComment) stream.skipToEnd();
      return 'comment';
    }
    if (stream.match('//')) {
      stream.skipToEnd();
      return 'comment';
    }
    if (stream.match(/^(?:0x[\da-f]+|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)[fiuh]?/i)) return 'number';
    const word = stream.match(/^[A-Za-z_]\w*/) as RegExpMatchArray | null;
    if (!word) {
      stream.next();
      return null;
    }
    if (KEYWORDS.has(word[0])) return 'keyword';
    if (/^(?:true|false)$/.test(word[0])) return 'bool';
    if (TYPES.test(word[0])) return 'typeName';
    return stream.match(/^\s*\(/, false) ? 'variableName.function' : 'variableName';
  },
  languageData: { commentTokens: { line: '//', block: { open: '/*', close: '*/' } } },
};

// the colours are the style sheet's, so that they follow light and dark
const style = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--code-keyword)' },
  { tag: [tags.number, tags.bool], color: 'var(--code-number)' },
  { tag: tags.typeName, color: 'var(--code-type)' },
  { tag: tags.function(tags.variableName), color: 'var(--code-function)' },
  { tag: tags.comment, color: 'var(--soft)', fontStyle: 'italic' },
]);

export function wgsl(): Extension {
  return [StreamLanguage.define(parser), syntaxHighlighting(style)];
}
