/** The page that shows the figures: the text between two markers is made from the committed result. */
import { boundOf, type KernelRecord, type StaticRecord } from './record.ts';

const BEGIN = '<!-- static:begin -->';
const END = '<!-- static:end -->';

/** @throws Error if the document has no markers */
export function withStaticTables(document: string, record: StaticRecord): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END, begin);
  if (begin < 0 || end < 0) throw new Error(`the document must hold ${BEGIN} and after it ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${tables(record)}\n\n${document.slice(end)}`;
}

function tables({ generation, chip, mesa, webgpu, kernels }: StaticRecord): string {
  const all = Object.entries(kernels).flatMap(([name, { wave64, wave32 }]) =>
    wave64 ? [{ name, kernel: wave64, narrow: wave32 }] : [],
  );
  const products = all.filter(({ kernel }) => kernel.step);
  const movers = all.filter(({ kernel }) => !kernel.step && kernel.moved !== undefined);
  return [
    `${generation} (${chip}), ${mesa}, webgpu ${webgpu}. Waves of 64, and in the last column the upper bound of waves of 32.`,
    '',
    '| kernel | registers | scratch | KiB | waves a SIMD | clamps a step | LDS bytes per multiply-add | issue | LDS | upper bound | … wave32 |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ...products.map(({ name, kernel, narrow }) => productRow(name, kernel, narrow)),
    '',
    '| kernel bound by bytes | registers | scratch | KiB | waves a SIMD | bytes asked for over those that must move |',
    '| --- | --- | --- | --- | --- | --- |',
    ...movers.map(({ name, kernel }) => row([name, ...resources(kernel), String(kernel.moved)])),
  ].join('\n');
}

function productRow(name: string, kernel: KernelRecord, narrow: KernelRecord | undefined): string {
  const { clamps, step } = kernel;
  const { sharedBytes, multiplyAdds, issue, memory } = step!;
  const bytes = multiplyAdds === 0 ? 0 : sharedBytes / multiplyAdds;
  return row([
    name,
    ...resources(kernel),
    String(Math.round(clamps)),
    bytes.toFixed(2),
    percent(issue),
    percent(Math.min(1, memory ?? 1)),
    percent(boundOf(kernel)),
    percent(narrow && boundOf(narrow)),
  ]);
}

function resources({ registers, scratch, shared, residency }: KernelRecord): string[] {
  return [String(registers), String(scratch), String(shared / 1024), String(residency)];
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function percent(share: number | undefined): string {
  return share === undefined ? '' : `${Math.round(100 * share)} %`;
}
