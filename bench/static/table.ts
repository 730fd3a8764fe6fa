/** The result as a table for the terminal. */
import type { KernelRecord, LoopRecord, StaticRecord } from './record.ts';

const HEAD = [
  'kernel',
  'VGPR',
  'spills',
  'scratch',
  'KiB',
  'waves',
  'code',
  'rounds',
  'fma',
  'other',
  'clamps',
  'LDS B/fma',
  'LDS wide+narrow',
  'loads wide+narrow',
  'barriers',
  'issue',
  'LDS',
  'moved',
];

/** A row for each kernel, with its step, and one for each of its hot loops. */
export function kernelTable(
  { kernels, chip, generation, mesa, webgpu }: StaticRecord,
  show: { loops: boolean },
): string {
  const rows = Object.entries(kernels).flatMap(([name, byWave]) =>
    Object.entries(byWave).flatMap(([wave, kernel]) => [
      kernelRow(`${name}, ${wave}`, kernel),
      ...(show.loops ? (kernel.loops ?? []).map(loopRow) : []),
    ]),
  );
  return `${chip} (${generation}), ${mesa}, webgpu ${webgpu}. Upper bounds: no latency, caches or bank conflicts.\n${aligned([HEAD, ...rows])}`;
}

/** Hundreds of rows: no lines between them. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function kernelRow(name: string, kernel: KernelRecord): string[] {
  const { registers, spills, scratch, shared, residency, codeSize, clamps, moved, step } = kernel;
  return [
    name,
    String(registers),
    String(spills),
    String(scratch),
    text(shared / 1024),
    text(residency),
    String(codeSize),
    ...loopCells(step, text(clamps)),
    moved === undefined ? '' : text(moved),
  ];
}

function loopRow(loop: LoopRecord): string[] {
  return ['  a hot loop', '', '', '', '', '', '', ...loopCells(loop, ''), ''];
}

function loopCells(loop: LoopRecord | undefined, clamps: string): string[] {
  if (!loop) return ['', '', '', clamps, '', '', '', '', '', ''];
  const { multiplyAdds, sharedBytes, sharedWide, sharedNarrow, loadsWide, loadsNarrow, issue, memory } = loop;
  return [
    text(loop.rounds),
    text(multiplyAdds),
    text(loop.otherVector),
    clamps,
    multiplyAdds === 0 ? '' : text(sharedBytes / multiplyAdds),
    `${text(sharedWide)} + ${text(sharedNarrow)}`,
    `${text(loadsWide)} + ${text(loadsNarrow)}`,
    text(loop.barriers),
    multiplyAdds === 0 ? '' : percent(issue),
    multiplyAdds === 0 || memory === undefined ? '' : percent(Math.min(1, memory)),
  ];
}

function text(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
