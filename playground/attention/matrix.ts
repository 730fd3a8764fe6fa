/** Draws attention matrices onto canvases: a large one with words, band and tiles, and small ones for choosing. */
import { keysOf, type Band, type Tile } from './tiles.ts';

export interface Picture {
  /** [queries, keys] in row-major order, each row sums to 1 or is 0. */
  readonly weights: Float32Array;
  readonly labels: readonly string[];
  readonly band: Band;
  /** Keys that the key mask hides. */
  readonly hidden: ReadonlySet<number>;
  readonly tiles: readonly Tile[] | undefined;
  readonly chosen: { readonly query: number; readonly key: number };
}

type Colour = readonly [number, number, number];

/** From no weight to all of it; lightness changes in even steps. */
const RAMPS: Readonly<Record<'light' | 'dark', readonly Colour[]>> = {
  light: [
    [246, 249, 252],
    [198, 219, 239],
    [107, 174, 214],
    [33, 113, 181],
    [8, 48, 107],
  ],
  dark: [
    [27, 32, 40],
    [28, 62, 104],
    [48, 110, 168],
    [122, 184, 228],
    [236, 247, 255],
  ],
};

/** Small weights are what most cells have; this makes them differ visibly. */
const GAMMA = 0.6;
const MOST_FONT = 13;
const LEAST_FONT = 8;
/** Widths of letters relative to the font's size, at most; the canvas measures the words themselves. */
const LABEL_GAP = 6;
const MOST_LABEL = 90;

export const isDark = matchMedia('(prefers-color-scheme: dark)');

export function colourOf(weight: number): Colour {
  const ramp = RAMPS[isDark.matches ? 'dark' : 'light'];
  const at = Math.min(1, Math.max(0, weight)) ** GAMMA * (ramp.length - 1);
  const low = Math.min(Math.floor(at), ramp.length - 2);
  const share = at - low;
  return [0, 1, 2].map((i) => Math.round(ramp[low][i] * (1 - share) + ramp[low + 1][i] * share)) as unknown as Colour;
}

export function cssColour([red, green, blue]: Colour): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** One pixel a cell; the style sheet enlarges it. */
export function drawSmall(canvas: HTMLCanvasElement, weights: Float32Array, length: number): void {
  canvas.width = length;
  canvas.height = length;
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(length, length);
  weights.forEach((weight, i) => image.data.set([...colourOf(weight), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

/** Where the cells of the large matrix lie, in CSS pixels. */
export interface Frame {
  readonly left: number;
  readonly top: number;
  readonly cell: number;
}

/** The canvas has the size that the style sheet gives it, whatever is drawn. */
export function drawLarge(canvas: HTMLCanvasElement, { weights, labels, band, hidden, tiles, chosen }: Picture): Frame {
  const size = canvas.clientWidth;
  const scale = devicePixelRatio;
  canvas.width = Math.round(size * scale);
  canvas.height = Math.round(size * scale);
  const context = canvas.getContext('2d')!;
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const [ink, faint, accent, hatch] = ['--ink', '--faint', '--accent', '--hatch'].map((name) =>
    style.getPropertyValue(name),
  );
  const { length } = labels;
  const font = (pixels: number) => `${pixels}px ${style.fontFamily}`;
  context.font = font(MOST_FONT);
  const widest = Math.max(...labels.map((label) => context.measureText(label).width));
  const margin = Math.min(widest, MOST_LABEL) + 2 * LABEL_GAP;
  const cell = (size - margin - 1) / length;
  const frame = { left: margin, top: margin, cell };
  const x = (key: number) => frame.left + key * cell;
  const y = (query: number) => frame.top + query * cell;

  for (let query = 0; query < length; query++) {
    const [first, end] = keysOf(query, band);
    for (let key = 0; key < length; key++) {
      const isVisible = key >= first && key < end && !hidden.has(key);
      context.fillStyle = isVisible ? cssColour(colourOf(weights[query * length + key])) : hatch;
      // half a pixel less leaves a line between cells, where there is room for one
      const gap = cell > 6 ? 0.5 : 0;
      context.fillRect(x(key) + gap, y(query) + gap, cell - 2 * gap, cell - 2 * gap);
    }
  }
  if (tiles) drawTiles(context, tiles, frame, length, { accent, ink });

  const fontSize = Math.min(MOST_FONT, Math.max(LEAST_FONT, cell - 1));
  // words that would overlap are left out, except the chosen ones
  const step = Math.ceil((fontSize + 1) / cell);
  const write = (label: string, isChosen: boolean) => {
    context.fillStyle = isChosen ? accent : ink;
    context.font = `${isChosen ? 'bold ' : ''}${font(fontSize)}`;
    context.fillText(label, 0, 0, margin - 2 * LABEL_GAP);
  };
  context.textBaseline = 'middle';
  for (let token = 0; token < length; token++) {
    for (const [isRow, isChosen] of [
      [true, token === chosen.query],
      [false, token === chosen.key],
    ]) {
      const near = Math.abs(token - (isRow ? chosen.query : chosen.key));
      if (!isChosen && (token % step !== 0 || (step > 1 && near < step))) continue;
      context.save();
      context.textAlign = isRow ? 'right' : 'left';
      if (isRow) {
        context.translate(margin - LABEL_GAP, y(token) + cell / 2);
      } else {
        context.translate(x(token) + cell / 2, margin - LABEL_GAP);
        context.rotate(-Math.PI / 2);
      }
      write(labels[token], isChosen);
      context.restore();
    }
  }
  context.strokeStyle = faint;
  context.strokeRect(frame.left, frame.top, cell * length, cell * length);
  context.strokeStyle = accent;
  context.lineWidth = 2;
  context.strokeRect(x(chosen.key), y(chosen.query), cell, cell);
  return frame;
}

/** Outlines the visited tiles, and crosses out everything else. */
function drawTiles(
  context: CanvasRenderingContext2D,
  tiles: readonly Tile[],
  { left, top, cell }: Frame,
  length: number,
  { accent, ink }: { accent: string; ink: string },
): void {
  const box = ({ queries, keys }: Tile) =>
    [
      left + keys[0] * cell,
      top + queries[0] * cell,
      (keys[1] - keys[0]) * cell,
      (queries[1] - queries[0]) * cell,
    ] as const;
  context.save();
  context.beginPath();
  context.rect(left, top, length * cell, length * cell);
  for (const tile of tiles) context.rect(...box(tile));
  context.clip('evenodd');
  context.globalAlpha = 0.28;
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = 0; at < 2 * length * cell; at += 7) {
    context.moveTo(left + at, top);
    context.lineTo(left, top + at);
  }
  context.stroke();
  context.restore();
  context.save();
  context.strokeStyle = accent;
  context.lineWidth = 1.5;
  for (const tile of tiles) context.strokeRect(...box(tile));
  context.restore();
}
