/** The roofline plot: the rate that each case reached, under the rate that arithmetic and bandwidth allow at its intensity. */
import type { Markish } from '@observablehq/plot';
import type { Drawing } from '../../src/display/drawing.ts';
import type { BenchResult, CaseResult } from '../result.ts';
import { isTraining } from '../cost.ts';
import { FAMILIES, digits, familyOf, isPositive, percent, rate, shortShape, variant } from './describe.ts';
import { dotStyle } from './family-style.ts';
import { textWidth, type Label, type Point, type Spot } from './free-space.ts';
import { decimalTicks, FONT_SIZE, formatTick, INK, LogChart } from './log-chart.ts';
import type { Markup } from './markup.ts';

export interface Dot {
  readonly result: CaseResult;
  /** Operations per byte. */
  readonly intensity: number;
  readonly gflops: number;
}

/** The cases that logarithmic axes can show. */
export function dotsOf(cases: readonly CaseResult[]): Dot[] {
  return cases
    .map((result) => ({ result, intensity: result.flops / result.bytes, gflops: result.gflops }))
    .filter(({ intensity, gflops }) => isPositive(intensity) && isPositive(gflops));
}

/**
 * Draws all cases that the axes can show, and labels those for which there is room.
 *
 * @param dots at least one
 */
export function drawRoofline(
  dots: readonly Dot[],
  roof: BenchResult['roof'],
  size: { width: number; height: number },
  drawing: Drawing,
): Markup {
  const { plot } = drawing;
  const ceilings = [
    { name: 'float32', gflops: roof.f32Gflops },
    { name: 'float16', gflops: roof.f16Gflops ?? 0 },
  ].filter(({ gflops }) => isPositive(gflops));
  const highest = Math.max(0, ...ceilings.map(({ gflops }) => gflops));
  const hasSlope = isPositive(roof.copyGBs);
  const ridges = hasSlope ? ceilings.map(({ gflops }) => gflops / roof.copyGBs) : [];
  // the slope stays long enough to be seen and named, even if bandwidth limits no case
  const intensities = [...ridges.map((ridge) => ridge / 4), ...ridges, ...dots.map(({ intensity }) => intensity)];
  const rates = [...ceilings, ...dots].map(({ gflops }) => gflops);
  const x = { domain: [Math.min(...intensities) / 3, Math.max(...intensities) * 3] as const };
  const y = { domain: [Math.min(...rates) / 2.5, Math.max(...rates) * 2] as const };
  const chart = new LogChart(
    {
      ...size,
      marginRight: 1,
      x: { ...x, ticks: decimalTicks(x.domain), format: formatTick, label: 'operations per byte (FLOP/byte)' },
      y: { ...y, ticks: decimalTicks(y.domain), format: formatTick, label: 'GFLOP/s' },
      description: 'Roofline plot: operations per byte against GFLOP/s, both logarithmic',
    },
    drawing,
  );
  const { space } = chart;
  for (const { intensity, gflops } of dots) space.takeDot(chart.at(intensity, gflops), 6);

  const [left, right] = x.domain;
  const lines = ceilings.map(({ name, gflops }) => {
    const from = hasSlope ? gflops / roof.copyGBs : left;
    return {
      name,
      gflops,
      points: [
        [from, gflops],
        [right, gflops],
      ] as [Point, Point],
    };
  });
  const slope: Point[] = hasSlope
    ? [Math.max(left, y.domain[0] / roof.copyGBs), highest === 0 ? right : highest / roof.copyGBs].map(
        (intensity): Point => [intensity, intensity * roof.copyGBs],
      )
    : [];
  for (const [from, to] of [...lines.map(({ points }) => points), slope]) {
    if (from) space.takeLine(chart.at(...from), chart.at(...to));
  }
  const marks: Markish[] = [...lines.map(({ points }) => points), slope].map((points) =>
    plot.line(points, { stroke: INK, strokeWidth: 1.5 }),
  );

  const labels: (Label & { fill?: string })[] = [];
  for (const { name, gflops, points } of lines) {
    const label = labelCeiling(chart, points, [
      `${name} arithmetic, measured: ${rate(gflops)}`,
      `${name}: ${rate(gflops)}`,
    ]);
    if (label) labels.push(label);
  }
  if (hasSlope) marks.push(...labelSlope(chart, slope as [Point, Point], roof.copyGBs));
  labels.push(...labelDots(chart, dots));

  for (const family of FAMILIES) {
    marks.push(
      plot.dot(
        dots.filter(({ result }) => familyOf(result) === family),
        {
          ...dotStyle(family, ({ result }: Dot) => result.dtype),
          x: 'intensity',
          y: 'gflops',
          title: titleOf,
        },
      ),
    );
  }
  return chart.draw([...marks, ...chart.write(labels)]);
}

function titleOf({ result, intensity }: Dot): string {
  const { name, gflops, roofShare } = result;
  return `${name}\n${rate(gflops)} at ${digits(intensity)} FLOP/byte\n${percent(roofShare)} of the roof`;
}

/** Places the longest text that has room, as far right as possible, and above the line rather than below. */
function labelCeiling(chart: LogChart, [low, high]: [Point, Point], texts: readonly string[]): Label | undefined {
  const [from, to] = [chart.at(...low), chart.at(...high)];
  const steps = Array.from({ length: 20 }, (_, i) => (i * (to[0] - from[0])) / 20);
  const spots = [-10, 11].flatMap((dy) => steps.map((step): Spot => ({ dx: -6 - step, dy, anchor: 'end' })));
  for (const text of texts) {
    const label = chart.space.place(text, to, spots);
    if (label) return label;
  }
  return undefined;
}

/** Places the text along the slope, above it, where it covers no dot. */
function labelSlope(chart: LogChart, [low, high]: [Point, Point], copyGBs: number): Markish[] {
  const [from, to] = [chart.at(...low), chart.at(...high)];
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const [ux, uy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  const gap = 10;
  const along = (distance: number): Point => [from[0] + ux * distance + uy * gap, from[1] + uy * distance - ux * gap];
  for (const text of [`copy, measured: ${digits(copyGBs)} GB/s`, `${digits(copyGBs)} GB/s`]) {
    const half = textWidth(text, FONT_SIZE) / 2;
    for (const share of [0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.2]) {
      const middle = share * length;
      const ends = [along(middle - half), along(middle + half)] as const;
      if (!chart.space.isLineFree(...ends, FONT_SIZE)) continue;
      chart.space.takeLine(...ends, FONT_SIZE);
      return [chart.writeAlong(text, along(middle), (Math.atan2(uy, ux) * 180) / Math.PI)];
    }
  }
  return [];
}

const BESIDE: readonly Spot[] = [
  { dx: 9, dy: 0, anchor: 'start' },
  { dx: -9, dy: 0, anchor: 'end' },
  { dx: 0, dy: -14, anchor: 'middle' },
  { dx: 0, dy: 14, anchor: 'middle' },
  { dx: 7, dy: -11, anchor: 'start' },
  { dx: 7, dy: 11, anchor: 'start' },
  { dx: -7, dy: -11, anchor: 'end' },
  { dx: -7, dy: 11, anchor: 'end' },
];

/** The largest case of each family first, then the second, and so on, so that no family is left without a label. */
function labelDots(chart: LogChart, dots: readonly Dot[]): (Label & { fill: string })[] {
  const rank = new Map<Dot, number>();
  for (const family of FAMILIES) {
    const own = dots.filter(({ result }) => familyOf(result) === family);
    own.sort((a, b) => b.result.flops - a.result.flops).forEach((dot, i) => rank.set(dot, i));
  }
  return [...dots]
    .sort((a, b) => rank.get(a)! - rank.get(b)!)
    .flatMap(({ result, intensity, gflops }) => {
      const family = familyOf(result);
      const name = [
        family === 'modules' || family === 'cache' ? result.op : '',
        shortShape(result),
        variant(result),
        isTraining(result.op) && 'train',
      ].filter(Boolean);
      const label = chart.space.place(name.join(' '), chart.at(intensity, gflops), BESIDE);
      return label ? [{ ...label, fill: `var(--${family})` }] : [];
    });
}
