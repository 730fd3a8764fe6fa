/** A chart with two logarithmic axes, drawn by Observable Plot, that knows where it has room for labels. */
import type { Markish, PlotOptions } from '@observablehq/plot';
import type { Drawing } from '../../src/display/drawing.ts';
import { FreeSpace, textWidth, type Label, type Point } from './free-space.ts';
import { Markup } from './markup.ts';

export interface LogAxis {
  readonly label: string;
  readonly domain: readonly [number, number];
  readonly ticks: readonly number[];
  readonly format: (tick: number) => string;
}

export interface ChartOptions {
  readonly width: number;
  readonly height: number;
  /** The margin beside the frame, for labels. */
  readonly marginRight: number;
  readonly x: LogAxis;
  readonly y: LogAxis;
  /** The description for readers who cannot see the chart. */
  readonly description: string;
}

export const FONT_SIZE = 12;
export const INK = 'var(--ink)';
export const FAINT = 'var(--faint)';
const MARGIN_TOP = 8;
const MARGIN_BOTTOM = 44;
/** Height of the axis label's line, and the gaps beside the ticks' text. */
const LABEL_LINE = 28;

export class LogChart {
  readonly space: FreeSpace;
  readonly frame: { left: number; top: number; right: number; bottom: number };
  readonly #options: ChartOptions;
  readonly #drawing: Drawing;
  readonly #at: (x: number, y: number) => Point;

  constructor(options: ChartOptions, drawing: Drawing) {
    const { width, height, marginRight, x, y } = options;
    this.#options = options;
    this.#drawing = drawing;
    const left = LABEL_LINE + Math.max(...y.ticks.map((tick) => textWidth(y.format(tick), FONT_SIZE)));
    this.frame = { left, top: MARGIN_TOP, right: width - marginRight, bottom: height - MARGIN_BOTTOM };
    this.space = new FreeSpace({ ...this.frame, right: width }, FONT_SIZE);
    const { top, right, bottom } = this.frame;
    const { plot } = drawing;
    const across = plot.scale({ x: { type: 'log', domain: [...x.domain], range: [left, right] } });
    const upwards = plot.scale({ y: { type: 'log', domain: [...y.domain], range: [bottom, top] } });
    this.#at = (x, y) => [across.apply(x) as number, upwards.apply(y) as number];
  }

  /** Where a point of the data lies, in pixels. */
  at(x: number, y: number): Point {
    return this.#at(x, y);
  }

  /** Draws labels that were placed in this chart's space, each in its colour. */
  write(labels: readonly (Label & { readonly fill?: string })[]): Markish[] {
    const { plot } = this.#drawing;
    return (['start', 'middle', 'end'] as const).map((anchor) =>
      plot.text(
        labels.filter((label) => label.anchor === anchor),
        {
          x: { value: 'x', scale: null },
          y: { value: 'y', scale: null },
          text: 'text',
          textAnchor: anchor,
          fill: ({ fill = INK }: { fill?: string }) => fill,
          fontSize: FONT_SIZE,
        },
      ),
    );
  }

  /** Writes one text along a line that rises to the right. */
  writeAlong(text: string, [x, y]: Point, degrees: number): Markish {
    const { plot } = this.#drawing;
    return plot.text([text], {
      x: { value: [x], scale: null },
      y: { value: [y], scale: null },
      rotate: degrees,
      fill: INK,
      fontSize: FONT_SIZE,
    });
  }

  /** The ticks of the horizontal axis whose text does not run into the text before. */
  #spaced({ ticks, format }: LogAxis): number[] {
    const spaced: number[] = [];
    let free = -Infinity;
    for (const tick of ticks) {
      const [x] = this.#at(tick, this.#options.y.domain[0]);
      const half = textWidth(format(tick), FONT_SIZE) / 2;
      if (x - half < free) continue;
      spaced.push(tick);
      free = x + half + 4;
    }
    return spaced;
  }

  draw(marks: readonly Markish[]): Markup {
    const { plot, document } = this.#drawing;
    const { width, height, x, y, description } = this.#options;
    const { left, top, right, bottom } = this.frame;
    const grid = { stroke: FAINT, strokeOpacity: 0.35 };
    const axis = {
      tickSize: 0,
      tickPadding: 6,
      fontSize: FONT_SIZE,
      labelAnchor: 'center',
      labelArrow: 'none',
    } as const;
    const options: PlotOptions = {
      document: document as never,
      className: 'plot',
      width,
      height,
      marginLeft: left,
      marginTop: top,
      marginRight: width - right,
      marginBottom: height - bottom,
      ariaLabel: description,
      x: { type: 'log', domain: [...x.domain] },
      y: { type: 'log', domain: [...y.domain] },
      marks: [
        plot.gridX(x.ticks, grid),
        plot.gridY(y.ticks, grid),
        plot.frame({ stroke: FAINT }),
        // written as text, because Plot drops most of the ticks that tickFormat gives on a logarithmic axis
        plot.axisX(this.#spaced(x), { ...axis, label: x.label, labelOffset: MARGIN_BOTTOM - 6, text: x.format }),
        plot.axisY(y.ticks, { ...axis, label: y.label, labelOffset: left - 6, text: y.format }),
        ...marks,
      ],
    };
    return new Markup((plot.plot(options) as { outerHTML: string }).outerHTML);
  }
}

/** The powers of ten in a domain; if there are fewer than three, also twice and five times those. */
export function decimalTicks([low, high]: readonly [number, number]): number[] {
  const steps = Math.log10(high / low) < 2.5 ? [1, 2, 5] : [1];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    // as text, since 10 ** -2 * 2 is not 0.02
    for (const step of steps) ticks.push(Number(`${step}e${power}`));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

/** `1,000`, `0.05`. */
export function formatTick(tick: number): string {
  return tick.toLocaleString('en', { maximumFractionDigits: 20 });
}
