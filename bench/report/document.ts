/** Documents that show results: the text between two markers is made from the committed result files. */
import type { BenchResult } from '../result.ts';
import { markdownTables } from './tables.ts';

const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';

/**
 * The document with the tables of all results between its markers, GPUs before software drivers.
 *
 * @throws Error if the document has no markers
 */
export function withTables(document: string, results: readonly BenchResult[]): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END, begin);
  // without results the document needs no markers
  if (begin < 0 && results.length === 0) return document;
  if (begin < 0 || end < 0) {
    throw new Error(`the document must hold ${BEGIN} and after it ${END}, got ${begin < 0 ? 'no begin' : 'no end'}`);
  }
  const ordered = [...results].sort((a, b) => Number(a.device.isSoftware) - Number(b.device.isSoftware));
  const tables = ordered.map((result) => `\n${markdownTables(result)}\n`).join('');
  return `${document.slice(0, begin)}${BEGIN}\n${tables}${tables && '\n'}${document.slice(end)}`;
}
