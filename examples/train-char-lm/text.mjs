/** The text to learn, in two parts: what the model is trained on, and what it never sees but is validated on. */
import { readFile } from 'node:fs/promises';

/** Of Node's documentation as @types/node quotes it: those with the most prose. */
const MODULES =
  'fs http crypto process stream buffer child_process util events url path os net worker_threads test'.split(' ');
/** The end of each piece is for validation. */
const TRAINED = 0.9;
/** Shorter paragraphs are headings and names of arguments. */
const LEAST_LENGTH = 60;

/** @param {string} [file] a text of one's own instead */
export async function readText(file) {
  const pieces = file
    ? [await readFile(file, 'utf8')]
    : await Promise.all(
        MODULES.map(async (name) => {
          const path = new URL(`../../node_modules/@types/node/${name}.d.ts`, import.meta.url);
          return proseOf(await readFile(path, 'utf8'));
        }),
      );
  const cut = (piece) => Math.floor(piece.length * TRAINED);
  const training = pieces.map((piece) => piece.slice(0, cut(piece))).join('');
  const validation = pieces.map((piece) => piece.slice(cut(piece))).join('');
  const characters = [...new Set(training + validation)].sort();
  return { training, validation, characters };
}

/** Whole sentences out of doc comments, a paragraph a line, in ASCII. */
function proseOf(source) {
  const comments = Array.from(source.matchAll(/\/\*\*([^]*?)\*\//g), ([, comment]) => comment);
  const paragraphs = comments.flatMap((comment) =>
    comment
      .replaceAll(/^[ \t]*\* ?/gm, '')
      .replaceAll(/^```[^]*?^```$/gm, '') // examples
      .replace(/^@[^]*/m, '') // tags, from the first to the end
      .replaceAll(/\{@link (\S+?)\}/g, '$1')
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .split(/\n\s*\n/)
      .map((paragraph) => paragraph.replaceAll(/\s+/g, ' ').trim()),
  );
  const prose = paragraphs.filter((paragraph) => paragraph.length > LEAST_LENGTH && /[.:]$/.test(paragraph));
  return prose
    .map((paragraph) => `${paragraph}\n`)
    .join('')
    .replaceAll(/[^\n -~]/g, '');
}

/** Numbers of characters. */
export function encode(text, characters) {
  const numbers = new Map(characters.map((character, i) => [character, i]));
  return Int32Array.from(text, (character) => {
    const number = numbers.get(character);
    if (number === undefined)
      throw new Error(`the text must consist of its ${characters.length} characters, got '${character}'`);
    return number;
  });
}

/** Windows [start, start + length] of a text: `tokens` without the last, `targets` without the first. */
export function windowsOf(encoded, starts, length) {
  const gather = (shift) => {
    const rows = new Int32Array(starts.length * length);
    starts.forEach((start, row) => rows.set(encoded.subarray(start + shift, start + shift + length), row * length));
    return rows;
  };
  return { tokens: gather(0), targets: gather(1) };
}
