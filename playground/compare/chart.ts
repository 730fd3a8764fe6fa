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
          ? { type: 'log', label: null, grid: true, domain: decades(shown), tickFormat: plainly }
          : { label: null, grid: true, zero: true },
      marks: shown.flatMap(({ colour, points }) => [
        plot.lineY(points, { x: 'x', y: 'y', stroke: colour, strokeWidth: 2 }),
        ...(hasDots ? [plot.dot(points, { x: 'x', y: 'y', fill: colour, r: 3 })] : []),
      ]),
    }),
  );
}

/** Whole powers of ten around all values, so that even equal ones have an axis. */
function decades(series: readonly Series[]): [number, number] {
  const exponents = series.flatMap(({ points }) => points.map(({ y }) => Math.log10(y)));
  const first = Math.floor(Math.min(...exponents));
  return [10 ** first, 10 ** Math.max(first + 1, Math.ceil(Math.max(...exponents)))];
}

/** Only the ticks of full and half decades have room. */
function plainly(value: number): string {
  const digit = Number(value.toExponential()[0]);
  if (digit !== 1 && digit !== 2 && digit !== 5) return '';
  return value < 1e-2 ? value.toExponential(0) : String(Number(value.toPrecision(2)));
}

/** 16384 → 16k. */
function shorten(length: number): string {
  return length >= 1024 ? `${length / 1024}k` : String(length);
}
