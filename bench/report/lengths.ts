/** Time and memory of attention against its length, for cases that differ only in length. */
import type { Drawing } from '../../src/display/drawing.ts';
import { formatBytes } from '../../src/display/text.ts';
import { isTraining } from '../cost.ts';
import type { CaseResult } from '../result.ts';
import { digits, familyOf, isPositive, timing, variant, type Family } from './describe.ts';
import type { Point } from './free-space.ts';
import { drawLengthChart, type LengthDot, type LengthLine } from './length-chart.ts';
import { decimalTicks, formatTick } from './log-chart.ts';
import type { Markup } from './markup.ts';

/** Cases that share batch size, heads, head dim and dtype, and whether they decode or train; each line has two lengths or more. */
export interface LengthGroup {
  /** `8 heads of 64, float32`. */
  readonly title: string;
  readonly cases: readonly CaseResult[];
}

/** The groups with the most cases come first. */
export function lengthGroups(cases: readonly CaseResult[]): LengthGroup[] {
  return [...groupBy(cases.filter(hasPlace), titleOf)]
    .map(([title, members]) => ({
      title,
      cases: [...groupBy(members, lineName).values()].filter(hasTwoLengths).flat(),
    }))
    .filter((group) => group.cases.length > 0)
    .sort((a, b) => b.cases.length - a.cases.length);
}

/** Leaves out masked cases, which read more, and cases of two lengths, except decoding, where one of them is 1. */
function hasPlace(result: CaseResult): boolean {
  const isAttention = ['materialised', 'flash', 'cache', 'local'].includes(familyOf(result)) && result.flops > 0;
  const { median, low, high } = timing(result);
  const isUsual = result.mask === undefined && (result.keyLength === undefined || isDecoding(result));
  return isAttention && isUsual && [median, low, high, result.bytes].every(isPositive);
}

function isDecoding({ shape, keyLength }: CaseResult): boolean {
  return shape[2] === 1 && keyLength !== undefined;
}

function titleOf(result: CaseResult): string {
  const { shape, kvHeads, dtype } = result;
  const [batch, heads, , headDim] = shape;
  const shared = kvHeads === undefined ? '' : ` sharing ${kvHeads} of keys`;
  const what = isDecoding(result) ? ', one query' : isTraining(result.op) ? ', forward and backward' : '';
  return `${batch === 1 ? '' : `batch ${batch}, `}${heads} heads of ${headDim}${shared}, ${dtype}${what}`;
}

/** `flash causal`: everything that differs, except the length. */
function lineName(result: CaseResult): string {
  const pages = result.op.startsWith('Paged') ? 'paged ' : '';
  return `${pages}${familyOf(result)} ${variant({ ...result, kvHeads: undefined, keyLength: undefined })}`.trim();
}

function hasTwoLengths(cases: readonly CaseResult[]): boolean {
  return new Set(cases.map(lengthOf)).size > 1;
}

function groupBy<K, T>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

/** The number of keys, if it differs from that of queries. */
function lengthOf({ shape, keyLength }: CaseResult): number {
  return keyLength ?? shape[2];
}

/** One line for each op and variant. */
export function drawTimes({ cases }: LengthGroup, drawing: Drawing): Markup {
  const lines = [...groupBy(cases, lineName)].map(([name, members]): LengthLine => {
    const [{ causal: isDashed }] = members;
    return { name, family: familyOf(members[0]), isDashed, dots: members.map(timeDot) };
  });
  const clock = cases.every(({ gpu }) => gpu)
    ? 'GPU time'
    : cases.some(({ gpu }) => gpu)
      ? 'GPU or wall time'
      : 'wall time';
  return drawLengthChart(lines, [], { label: `${clock} (ms)`, ticks: decimalTicks, format: formatTick }, drawing);
}

function timeDot(result: CaseResult): LengthDot {
  const { median, low, high } = timing(result);
  const title = `${result.name}\n${digits(median)} ms (${digits(low)} to ${digits(high)})`;
  return { length: lengthOf(result), value: median, low, high, title };
}

/**
 * Inputs, outputs and the memory that an op needs beyond them. Variants of an op share a line, which shows the largest. Ops
 * that need the same amount share a line too.
 */
export function drawMemory({ cases }: LengthGroup, drawing: Drawing): Markup {
  const perFamily = [...groupBy(cases, familyOf)].map(([family, members]) => {
    const totals = new Map<number, number>();
    for (const result of members) {
      const length = lengthOf(result);
      totals.set(length, Math.max(totals.get(length) ?? 0, result.bytes + result.extraBytes));
    }
    return { family, totals };
  });
  const shared: { families: Family[]; totals: Map<number, number> }[] = [];
  for (const { family, totals } of perFamily) {
    const twin = shared.find((line) => isSame(line.totals, totals));
    if (twin) {
      twin.families.push(family);
      for (const [length, total] of totals) twin.totals.set(length, total);
    } else shared.push({ families: [family], totals });
  }
  const lines = shared.map(({ families, totals }): LengthLine => {
    const name = families.join(', ');
    const dots = [...totals].map(([length, value]): LengthDot => {
      return { length, value, low: value, high: value, title: `${name}, length ${length}\n${formatBytes(value)}` };
    });
    return { name, family: families[0], isDashed: false, dots };
  });
  const floor = new Map(cases.map((result) => [lengthOf(result), result.bytes]));
  return drawLengthChart(
    lines,
    [...floor].sort(byLength),
    { label: 'memory', ticks: byteTicks, format: formatBytes },
    drawing,
  );
}

/** Whether two lines agree at all common lengths, of which there must be one, as closely as a chart can show. */
function isSame(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): boolean {
  const common = [...a.keys()].filter((length) => b.has(length));
  return common.length > 0 && common.every((length) => Math.abs(a.get(length)! / b.get(length)! - 1) < 0.01);
}

function byLength([a]: Point, [b]: Point): number {
  return a - b;
}

/** Powers of two, each a constant factor above the last. */
function byteTicks([low, high]: readonly [number, number]): number[] {
  const [first, last] = [Math.ceil(Math.log2(low)), Math.floor(Math.log2(high))];
  const step = Math.max(1, Math.ceil((last - first) / 7));
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => 2 ** (first + i * step));
}
