/** Draws a heatmap onto a canvas. */
import { ArgumentError } from '../../gpu/errors.ts';
import { kindOf } from '../../tensor/options.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { rasterOf } from './raster.ts';
import { readHeatmap, type AttentionHeatmapOptions, type HeatmapWeights } from './read-heatmap.ts';
import { layOut, NUMBER_SIZE, numberIn, type Box, type Panel, type Scene, type Text } from './scene.ts';
import { rgb, THEMES, type Theme } from './theme.ts';

/** What is used of a CanvasRenderingContext2D, or of an OffscreenCanvas's. */
export interface HeatmapCanvasContext {
  readonly canvas: { readonly width: number; readonly height: number };
  fillStyle: unknown;
  strokeStyle: unknown;
  lineWidth: number;
  font: string;
  textAlign: unknown;
  textBaseline: unknown;
  save(): void;
  restore(): void;
  setTransform(a: number, b: number, c: number, d: number, e: number, f: number): void;
  translate(x: number, y: number): void;
  rotate(angle: number): void;
  fillRect(x: number, y: number, width: number, height: number): void;
  strokeRect(x: number, y: number, width: number, height: number): void;
  fillText(text: string, x: number, y: number): void;
  createImageData(width: number, height: number): { readonly data: { set(bytes: ArrayLike<number>): void } };
  putImageData(image: never, x: number, y: number): void;
}

/** Distance, in pixels of the canvas, of the lines that mark masked cells. */
const HATCH = 6;

/** Fills the canvas's paper, and fits the picture into its width and height, at the top left. */
export async function drawOnCanvas(
  call: string,
  context: HeatmapCanvasContext,
  weights: Tensor | HeatmapWeights,
  options: AttentionHeatmapOptions,
): Promise<void> {
  if (typeof (context as Partial<HeatmapCanvasContext> | null)?.putImageData !== 'function') {
    throw new ArgumentError(`${call}: context must be a canvas's '2d' context, got ${kindOf(context)}`);
  }
  const scene = layOut(await readHeatmap(call, weights, options));
  const { colorScheme = 'auto' } = options;
  const theme = THEMES[colorScheme === 'auto' ? preferredScheme() : colorScheme];
  const { canvas } = context;
  const zoom = Math.min(canvas.width / scene.width, canvas.height / scene.height);
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = theme.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  // cells are images, which know no transform
  for (const panel of scene.panels) drawPixels(context, scaled(panel, zoom), theme, cellColour(panel, scene, theme));
  drawPixels(context, scaled(scene.ramp, zoom), theme, (across) => mixed(theme, across));
  for (const sample of scene.samples) {
    drawPixels(context, scaled(sample, zoom), theme, () => (sample.kind === 'bad' ? rgb(theme.bad) : undefined));
  }
  context.setTransform(zoom, 0, 0, zoom, 0, 0);
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  for (const { x, y, width, height } of [...scene.panels, scene.ramp, ...scene.samples])
    context.strokeRect(x, y, width, height);
  for (const text of scene.texts) drawText(context, text, theme);
  if (scene.hasNumbers) for (const panel of scene.panels) drawNumbers(context, panel, scene, theme);
  context.restore();
}

function preferredScheme(): 'light' | 'dark' {
  const page = globalThis as { matchMedia?: (query: string) => { readonly matches: boolean } };
  return page.matchMedia?.('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

type Colour = readonly [red: number, green: number, blue: number];

/** @param colourAt tells the colour at a place, as shares of the box's width and height; undefined is masked */
function drawPixels(
  context: HeatmapCanvasContext,
  { x, y, width, height }: Box,
  theme: Theme,
  colourAt: (across: number, down: number) => Colour | undefined,
): void {
  const [left, top] = [Math.round(x), Math.round(y)];
  const [columns, rows] = [Math.max(1, Math.round(x + width) - left), Math.max(1, Math.round(y + height) - top)];
  const [paper, line] = [rgb(theme.paper), rgb(theme.line)];
  const bytes = new Uint8ClampedArray(columns * rows * 4);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const hatch = (row + column) % HATCH === 0 ? line : paper;
      const colour = colourAt((column + 0.5) / columns, (row + 0.5) / rows) ?? hatch;
      bytes.set([...colour, 255], (row * columns + column) * 4);
    }
  }
  const image = context.createImageData(columns, rows);
  image.data.set(bytes);
  context.putImageData(image as never, left, top);
}

function cellColour(panel: Panel, scene: Scene, theme: Theme): (across: number, down: number) => Colour | undefined {
  const { width, bin, shares, present, bad } = rasterOf(panel, scene);
  const shades = Array.from({ length: 256 }, (_, share) => mixed(theme, share / 255));
  const colourOfBad = rgb(theme.bad);
  return (across, down) => {
    const column = Math.floor((across * scene.columns) / bin);
    const at = Math.floor((down * scene.rows) / bin) * width + column;
    if (bad[at]) return colourOfBad;
    return present[at] ? shades[shares[at]] : undefined;
  };
}

/** The colour of a weight: laid over the paper, as in SVG. */
function mixed(theme: Theme, share: number): Colour {
  const [from, to] = [rgb(theme.paper), rgb(theme.weight)];
  return [0, 1, 2].map((i) => Math.round(from[i] + share * (to[i] - from[i]))) as unknown as Colour;
}

function drawText(
  context: HeatmapCanvasContext,
  { text, x, y, size, anchor, paint, isBold, turn = 0 }: Text,
  theme: Theme,
): void {
  context.save();
  context.font = `${isBold ? '600 ' : ''}${size}px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif`;
  context.fillStyle = theme[paint];
  context.textAlign = anchor === 'middle' ? 'center' : anchor;
  context.textBaseline = 'alphabetic';
  context.translate(x, y);
  context.rotate((turn * Math.PI) / 180);
  context.fillText(text, 0, 0);
  context.restore();
}

function drawNumbers(context: HeatmapCanvasContext, panel: Panel, { rows, columns, scale }: Scene, theme: Theme): void {
  const [w, h] = [panel.width / columns, panel.height / rows];
  for (let i = 0; i < rows * columns; i++) {
    const number = numberIn(panel.weights[i], scale);
    if (!number) continue;
    const x = panel.x + ((i % columns) + 0.5) * w;
    const y = panel.y + (Math.floor(i / columns) + 0.5) * h + 0.36 * NUMBER_SIZE;
    drawText(context, { ...number, x, y, size: NUMBER_SIZE, anchor: 'middle' }, theme);
  }
}

function scaled({ x, y, width, height }: Box, zoom: number): Box {
  return { x: x * zoom, y: y * zoom, width: width * zoom, height: height * zoom };
}
