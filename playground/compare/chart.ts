/** Small charts that fill their boxes, whose height the style sheet fixes. */
import * as plot from '@observablehq/plot';

export interface Series {
  /** A colour of the style sheet, as `var(--flash)`. */
  readonly colour: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

interface Axes {
  readonly label: string;
  readonly xType: 'linear' | 'log';
  readonly yType: 'linear' | 'log';
  readonly hasDots?: boolean;
}

const MARGINS = { marginLeft: 52, marginRight: 14, marginTop: 14, marginBottom: 36 };

export function drawChart(box: HTMLElement, series: readonly Series[], { label, xType, yType, hasDots }: Axes): void {
  const shown = series.filter(({ points }) => points.length > 0);
  if (shown.length === 0) {
    box.replaceChildren();
    return;
  }
  const lengths = [...new Set(shown.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  box.replaceChildren(
    plot.plot({
      width: box.clientWidth,
      height: box.clientHeight,
      ...MARGINS,
      x:
        xType === 'log'
          ? { type: 'log', base: 2, label, ticks: lengths, tickFormat: shorten }
          : { label, domain: [0, Math.max(...lengths)], ticks: 5 },
      y:
        yType === 'log'
          ? { type: 'log', label: null, grid: true, ...decades(shown), tickFormat: plainly }
          : { label: null, grid: true, zero: true },
      marks: shown.flatMap(({ colour, points }) => [
        plot.lineY(points, { x: 'x', y: 'y', stroke: colour, strokeWidth: 2 }),
        ...(hasDots ? [plot.dot(points, { x: 'x', y: 'y', fill: colour, r: 3 })] : []),
      ]),
    }),
  );
}

/** Whole powers of ten around all values, so that even equal ones have an axis, and its ticks. */
function decades(series: readonly Series[]) {
  const exponents = series.flatMap(({ points }) => points.map(({ y }) => Math.log10(y)));
  const first = Math.floor(Math.min(...exponents));
  const last = Math.max(first + 1, Math.ceil(Math.max(...exponents)));
  const powers = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
  const ticks = last - first > 1 ? powers : [1, 2, 5, 10].map((digit) => digit * powers[0]);
  return { domain: [powers[0], powers.at(-1)!], ticks };
}

function plainly(value: number): string {
  return value < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(2)));
}

/** 16384 → 16k. */
function shorten(length: number): string {
  return length >= 1024 ? `${length / 1024}k` : String(length);
}
