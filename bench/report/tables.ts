/** A result as markdown, for docs/benchmarks.md. */
import type { BenchResult, CaseResult, PeersResult } from '../result.ts';
import { day, digits, driverName, NOTHING, percent, rate, shortShape, timing, variant } from './describe.ts';
import { compareRow, isOurs, type Comparison } from './peers.ts';

/** More cases than this are folded away under a summary. */
const MOST_UNFOLDED = 24;

/** The device, then ratios to the peers where they were measured, then the cases. */
export function markdownTables(result: BenchResult): string {
  const { cases, failures = [], peers } = result;
  const parts = [introduction(result)];
  if (peers && peers.rows.length > 0) parts.push(peersTable(peers));
  if (cases.length > MOST_UNFOLDED) {
    parts.push(`<details><summary>All ${cases.length} cases</summary>`, casesTable(cases), '</details>');
  } else if (cases.length > 0) parts.push(casesTable(cases));
  if (failures.length > 0) {
    parts.push(`Without figures: ${failures.map(({ name, reason }) => escape(`${name} (${reason})`)).join('; ')}`);
  }
  return parts.join('\n\n');
}

function introduction({ date, device, host, roof, versions }: BenchResult): string {
  const on = [
    device.isSoftware ? device.description || device.name : driverName(device),
    host.cpu,
    `${host.cores} cores`,
    versions.runtime,
    versions.webgpu,
  ];
  const f16 = roof.f16Gflops === undefined ? '' : `, ${rate(roof.f16Gflops)} in float16`;
  return (
    `**${escape(device.name)}** (${escape(on.filter(Boolean).join(', '))}), ` +
    `webgpu-attention ${escape(versions.package)}, ${day(date)}. ` +
    `Measured on it: ${rate(roof.f32Gflops)} in float32${f16}, ${digits(roof.copyGBs)} GB/s copied.`
  );
}

function peersTable({ date, rows }: PeersResult): string {
  const entries = rows.flatMap((row) => row.entries);
  const ours = entries.filter(isOurs);
  const peers = entries.filter((entry) => entry.isWebGpu && !isOurs(entry));
  const others = entries.filter(({ isWebGpu }) => !isWebGpu);
  const libraries = [...new Set([...ours, ...peers, ...others].map(({ library }) => library))];
  const versions = new Set([...ours, ...peers, ...others].map(({ library, version }) => `${library} ${version}`));
  const body = rows
    .map(compareRow)
    .map((comparison) => [
      escape(comparison.row.name),
      ...libraries.map((library) => peerCell(comparison, library)),
      comparison.ratio === undefined ? NOTHING : `**${digits(comparison.ratio)}×**`,
    ]);
  return `${table(['wall ms', ...libraries.map(escape), 'times as fast as the best peer'], body)}

The best peer is the fastest WebGPU library whose result is right. Libraries on the CPU are there for scale.
Measured on ${day(date)}: ${escape([...versions].join(', '))}.`;
}

function peerCell({ row }: Comparison, library: string): string {
  const entry = row.entries.find((candidate) => candidate.library === library);
  if (!entry?.timing) return NOTHING;
  return `${digits(entry.timing.median)}${entry.isRight === false ? ' (wrong)' : ''}`;
}

function casesTable(cases: readonly CaseResult[]): string {
  const timed = cases.filter(({ gpu }) => gpu).length;
  const clock = timed === cases.length ? 'GPU ms' : timed === 0 ? 'wall ms' : 'GPU ms, else wall';
  const body = cases.map((result) => [
    `\`${result.op}\``,
    [shortShape(result), variant(result)].filter(Boolean).join(', '),
    result.dtype,
    digits(timing(result).median),
    digits(result.gflops),
    percent(result.roofShare),
  ]);
  return table(['op', 'shape', 'dtype', clock, 'GFLOP/s', 'of the roof'], body);
}

/** A table whose cells are markdown already. */
function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Escapes the text, so that markdown shows it as it is, on one line. */
function escape(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>|&~]/g, '\\$&');
}
