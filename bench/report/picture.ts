/** A chart of a result as a file of its own, for documents that show pictures. */
import type { Drawing } from '../../src/display/drawing.ts';
import type { BenchResult } from '../result.ts';
import { drawTimes, lengthGroups } from './lengths.ts';
import { LIGHT } from './style.ts';

/**
 * Time against length, for the group that has the most cases, as a whole SVG file. It has its own colours and white background,
 * because it is shown without the page's style sheet.
 *
 * @throws Error if no two cases differ in their length alone
 */
export function timePicture(result: BenchResult, drawing: Drawing): string {
  const [group] = lengthGroups(result.cases);
  if (!group) throw new Error('the result must hold cases of two lengths or more, got none');
  const { text } = drawTimes(group, drawing);
  const svg = text
    .replace(/var\(--(\w+)\)/g, (_, name: keyof typeof LIGHT) => LIGHT[name])
    .replace('<svg ', `<svg xmlns="http://www.w3.org/2000/svg" color="${LIGHT.ink}" `)
    .replace(/<svg [^>]*>/, (open) => `${open}<rect width="100%" height="100%" fill="${LIGHT.paper}"/>`);
  return `${svg}\n`;
}
