/** A chart of lines against length on logarithmic axes, each line named at its end. */
import type { Markish } from '@observablehq/plot';
import type { Drawing } from '../../src/display/drawing.ts';
import type { Family } from './describe.ts';
import { colour, dotStyle } from './family-style.ts';
import { textWidth, type Label, type Point, type Spot } from './free-space.ts';
import { FAINT, FONT_SIZE, LogChart, type LogAxis } from './log-chart.ts';
import type { Markup } from './markup.ts';

export interface LengthLine {
  readonly name: string;
  readonly family: Family;
  readonly isDashed: boolean;
  readonly dots: readonly LengthDot[];
}

export interface LengthDot {
  readonly length: number;
  readonly value: number;
  /** The ends of the interval; the value itself if there is none. */
  readonly low: number;
  readonly high: number;
  readonly title: string;
}

export interface ValueAxis {
  readonly label: string;
  readonly ticks: (domain: readonly [number, number]) => number[];
  readonly format: (value: number) => string;
}

const SIZE = { width: 500, height: 360 };
/** The gap between the end of a line and its name. */
const GAP = 9;
/** The longest side of the guides that show slopes. */
const GUIDE = 48;

/**
 * @param floor the top of the shaded area, as lengths and values in order; may be empty
 */
export function drawLengthChart(
  lines: readonly LengthLine[],
  floor: readonly Point[],
  value: ValueAxis,
  drawing: Drawing,
): Markup {
  const { plot } = drawing;
  const dots = lines.flatMap((one) => one.dots);
  const lengths = [...new Set(dots.map(({ length }) => length))].sort((a, b) => a - b);
  const lows = [...dots.map(({ low }) => low), ...floor.map(([, bytes]) => bytes)];
  const domain = [Math.min(...lows) / 2, Math.max(...dots.map(({ high }) => high)) * 2] as const;
  const y: LogAxis = { label: value.label, domain, ticks: value.ticks(domain), format: value.format };
  const x: LogAxis = {
    label: 'length',
    domain: [lengths[0] / 1.15, lengths.at(-1)! * 1.15],
    ticks: lengthTicks(lengths),
    format: String,
  };
  const names = lines.map(({ name }) => name).join(', ');
  // leave room for the names of lines that reach the end; the other lines have room inside
  const atEnd = lines.filter((one) => one.dots.some(({ length }) => length === lengths.at(-1)));
  const marginRight = 2 * GAP + Math.max(...atEnd.map(({ name }) => textWidth(name, FONT_SIZE)));
  const chart = new LogChart(
    { ...SIZE, marginRight, x, y, description: `${value.label} against length: ${names}` },
    drawing,
  );
  const marks: Markish[] = [];
  if (floor.length > 1) {
    const shade = { x: ([length]: Point) => length, y1: domain[0], y2: ([, bytes]: Point) => bytes, fill: FAINT };
    marks.push(plot.areaY(floor, { ...shade, fillOpacity: 0.3 }));
  }
  for (const one of lines) {
    const ordered = [...one.dots].sort((a, b) => a.length - b.length);
    const stroke = colour(one.family);
    marks.push(
      plot.line(ordered, {
        x: 'length',
        y: 'value',
        stroke,
        strokeWidth: 2,
        strokeDasharray: one.isDashed ? '5 4' : undefined,
      }),
      plot.ruleX(ordered, { x: 'length', y1: 'low', y2: 'high', stroke, strokeWidth: 1.5 }),
      plot.dot(ordered, { ...dotStyle(one.family, () => 'float32'), r: 3, x: 'length', y: 'value', title: 'title' }),
    );
    const points = ordered.map(({ length, value }) => chart.at(length, value));
    for (const [i, point] of points.entries()) {
      chart.space.takeDot(point, 4);
      if (i > 0) chart.space.takeLine(points[i - 1], point);
    }
  }
  const labels = labelEnds(chart, lines);
  const guides = drawGuides(chart, lengths[0], domain[0], drawing);
  return chart.draw([...guides, ...marks, ...chart.write(labels)]);
}

/** The powers of two among the lengths, or all lengths if few are powers of two. */
function lengthTicks(lengths: readonly number[]): readonly number[] {
  const powers = lengths.filter((length) => Number.isInteger(Math.log2(length)));
  return powers.length > 1 ? powers : lengths;
}

/** Guides that show how steeply N and N² grow, if the corner above the lines is free. */
function drawGuides(chart: LogChart, length: number, value: number, { plot }: Drawing): Markish[] {
  const [x, y] = chart.at(length, value);
  const [xAfter, yAfter] = chart.at(length * 2, value * 4);
  const run = Math.min(GUIDE, (GUIDE * (xAfter - x)) / (y - yAfter));
  const rise = (run * (y - yAfter)) / (xAfter - x);
  const from: Point = [chart.frame.left + 14, chart.frame.top + 16 + rise];
  const guides = [
    { text: '∝ N²', to: [from[0] + run, from[1] - rise] as Point, below: 0 },
    { text: '∝ N', to: [from[0] + run, from[1] - rise / 2] as Point, below: Math.max(0, FONT_SIZE * 1.3 - rise / 2) },
  ];
  const labels = guides.flatMap(
    ({ text, to, below }) => chart.space.place(text, to, [{ dx: 5, dy: below, anchor: 'start' }]) ?? [],
  );
  const hasRoom = labels.length === guides.length && guides.every(({ to }) => chart.space.isLineFree(from, to, 2));
  if (!hasRoom) return [];
  const pixel = (axis: 0 | 1) => ({ value: (point: Point) => point[axis], scale: null });
  const lines = guides.map(({ to }) => plot.line([from, to], { x: pixel(0), y: pixel(1), stroke: FAINT }));
  return [...lines, ...chart.write(labels)];
}

/**
 * Places labels from the highest line to the lowest, each to the right of its line's end or as near as there is room. Dashed
 * lines come last. One that has a solid twin is named only if that is easy, because the page says what dashes mean.
 */
function labelEnds(chart: LogChart, lines: readonly LengthLine[]): (Label & { fill: string })[] {
  const solid = new Set(lines.filter(({ isDashed }) => !isDashed).map(({ family }) => family));
  const near = BESIDE_END.filter(({ dy }) => Math.abs(dy) <= NEAR);
  return lines
    .map((line) => {
      const last = line.dots.reduce((a, b) => (b.length > a.length ? b : a));
      return { ...line, end: chart.at(last.length, last.value) };
    })
    .sort((a, b) => Number(a.isDashed) - Number(b.isDashed) || a.end[1] - b.end[1])
    .flatMap(({ name, family, isDashed, end }) => {
      const label = chart.space.place(name, end, isDashed && solid.has(family) ? near : BESIDE_END);
      return label ? [{ ...label, fill: colour(family) }] : [];
    });
}

const NEAR = 7;
const BESIDE_END: readonly Spot[] = [
  ...[0, NEAR, -NEAR].map((dy): Spot => ({ dx: GAP, dy, anchor: 'start' })),
  ...[-14, 14].map((dy): Spot => ({ dx: 0, dy, anchor: 'middle' })),
  ...Array.from({ length: 20 }, (_, i) => 14 + NEAR * i).flatMap((dy): Spot[] => [
    { dx: -GAP, dy: -dy, anchor: 'end' },
    { dx: GAP, dy, anchor: 'start' },
    { dx: GAP, dy: -dy, anchor: 'start' },
    { dx: -GAP, dy, anchor: 'end' },
  ]),
];
