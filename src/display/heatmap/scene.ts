/** Lays attention weights out as a picture: what stands where, in pixels, for SVG and canvas alike. */
import { largestOf } from '../../tensor/shape.ts';
import { STRONG, type Paint } from './theme.ts';

/** The weights of some heads, and what to write beside them. */
export interface Heatmap {
  /** The heads shown: row-major [queries, keys], and a heading unless there is one head only. */
  readonly heads: readonly { readonly weights: ArrayLike<number>; readonly heading?: string }[];
  readonly queries: number;
  readonly keys: number;
  /** The word at each position, if it has one. */
  readonly queryLabels?: readonly string[];
  readonly keyLabels?: readonly string[];
  readonly title?: string;
  /** The weights at the ends of the colour scale; default 0 (or the least weight, if that is below) and the largest weight. */
  readonly range?: readonly [low: number, high: number];
}

export interface Text {
  readonly text: string;
  /** Where the text is anchored, on its base line. */
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly anchor: 'start' | 'middle' | 'end';
  readonly paint: Paint;
  readonly isBold?: boolean;
  /** Degrees, clockwise, around the anchor; default 0. */
  readonly turn?: number;
}

/** One head's cells. */
export interface Panel {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly weights: ArrayLike<number>;
}

export interface Scene {
  readonly width: number;
  readonly height: number;
  /** For readers who cannot see the picture. */
  readonly title: string;
  readonly description: string;
  readonly rows: number;
  readonly columns: number;
  readonly panels: readonly Panel[];
  readonly texts: readonly Text[];
  /** The colour scale, from left to right, and the samples of what is no weight. */
  readonly ramp: Box;
  readonly samples: readonly (Box & { readonly kind: Exclude<CellKind, 'weight'> })[];
  /** Whether each weight is written in its cell. */
  readonly hasNumbers: boolean;
  /** What a pointer shows at a cell. */
  readonly nameOf: (row: number, column: number, weight: number) => string;
  readonly scale: Scale;
  /** Whether there are too many cells for an element each. */
  readonly isLarge: boolean;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A weight; one of exactly 0 (or −∞, for scores), as a masked key's; or none: NaN or +∞. */
export type CellKind = 'weight' | 'masked' | 'bad';

export interface Scale {
  readonly low: number;
  readonly high: number;
  /** Whether there are weights beyond `high`, which look like it. */
  readonly isOpen: boolean;
  /** Whether a weight of exactly 0 is a masked key's: of weights, but not of scores, some of which are below 0. */
  readonly zeroIsMasked: boolean;
}

export function cellKind(weight: number, { zeroIsMasked }: Scale): CellKind {
  if (weight === -Infinity || (weight === 0 && zeroIsMasked)) return 'masked';
  return Number.isFinite(weight) ? 'weight' : 'bad';
}

/** Where on the scale a weight lies, from 0 to 1. */
export function shareOf(weight: number, { low, high }: Scale): number {
  return Math.min(Math.max((weight - low) / (high - low), 0), 1);
}

// Lengths are in pixels.
const MARGIN = 16;
const GAP = 20;
const LABEL = 11;
const LINE = 16;
const HEADING = 12;
const TITLE = 15;
const NUMBER = 9;
/** How much wider bold text is. */
const BOLD = 1.22;
const LARGEST_CELL = 30;
/** A word needs this much along its axis. */
const LABELLED_CELL = 12;
/** Words at 45° need this much, or they would touch. */
const SLANTED_CELL = 17;
/** How many words of an axis are written at most; longer axes show positions. */
const MOST_LABELS = 80;
const LONGEST_LABEL = 18;
const LONGEST_HEADING = 180;
const WIDEST = 1200;
const TICK_DISTANCE = 28;
const RAMP = { width: 120, height: 10 };
/** Each cell is an element with its own tooltip in pictures of at most this many. Beyond, panels are images. */
const MOST_ELEMENTS = 8192;
const USUAL_SHARE = 0.95;
const FRACTION_LEFT = 20;
/** Weights below this show only their colour. */
const LEAST_WRITTEN = 0.05;

/** @param map at least one head, query and key */
export function layOut(map: Heatmap): Scene {
  const { heads, queries, keys, queryLabels, keyLabels, title } = map;
  const isLarge = heads.length * queries * keys > MOST_ELEMENTS;
  const found = survey(map);
  const scale = scaleOf(map, found, isLarge);
  const cell = cellOf(map);
  const panel = { width: Math.max(1, cell.width * keys), height: Math.max(1, cell.height * queries) };
  const side = axisOf(queries, cell.height, queryLabels);
  const foot = axisOf(keys, cell.width, keyLabels);
  const footHeight = foot.turn === 0 ? LINE : Math.ceil(foot.longest * Math.sin((-foot.turn * Math.PI) / 180)) + 14;
  // slanted words reach to the left of their cells
  const overhang = foot.turn === 0 ? foot.longest / 2 : foot.longest * Math.cos((foot.turn * Math.PI) / 180);
  const left = MARGIN + Math.ceil(Math.max(LINE + 4 + side.longest + 6, overhang - cell.width / 2));
  const gap = Math.max(GAP, Math.ceil(overhang - cell.width / 2) + 6);
  const headings = heads.map(({ heading = '' }) => BOLD * widthOf(heading, HEADING));
  const room = Math.max(panel.width, Math.min(LONGEST_HEADING, largestOf(headings)));
  const fits = Math.max(1, Math.floor((WIDEST - left - MARGIN + gap) / (room + gap)));
  const columns = Math.min(fits, usualColumns(heads.length));
  const rows = Math.ceil(heads.length / columns);
  const headingHeight = heads[0].heading === undefined ? 0 : LINE + 4;
  const rowHeight = headingHeight + panel.height + footHeight;

  const texts: Text[] = [];
  const write = (text: string, x: number, y: number, how: Partial<Text> = {}): number =>
    texts.push({ text, x, y, size: LABEL, anchor: 'start', paint: 'ink', ...how });
  let top = MARGIN;
  if (title !== undefined) {
    write(title, MARGIN, top + TITLE - 2, { size: TITLE, isBold: true });
    top += TITLE + 12;
  }
  const legend = legendOf(found, scale, MARGIN, top, write);
  top += LINE + 14;

  const panels = heads.map(({ weights, heading }, i): Panel => {
    const x = left + (i % columns) * (room + gap);
    const row = Math.floor(i / columns);
    const y = top + row * (rowHeight + GAP) + headingHeight;
    if (heading !== undefined)
      write(shortened(heading, room / BOLD, HEADING), x, y - 7, { size: HEADING, isBold: true });
    if (i % columns === 0) {
      for (const { at, text } of side.ticks) {
        write(text, x - 6, y + (at + 0.5) * cell.height + 0.36 * LABEL, { anchor: 'end' });
      }
      const named = { anchor: 'middle', paint: 'muted', turn: -90 } as const;
      const isTall = panel.height >= widthOf('query position', LABEL);
      write(queryLabels || !isTall ? 'query' : 'query position', MARGIN + LABEL - 1, y + panel.height / 2, named);
    }
    for (const { at, text } of foot.ticks) {
      const centre = x + (at + 0.5) * cell.width;
      const base = y + panel.height;
      if (foot.turn === 0) write(text, centre, base + LABEL + 3, { anchor: 'middle' });
      else
        write(text, centre + 0.36 * LABEL * Math.sin(-foot.turn / 57.3), base + 9, { anchor: 'end', turn: foot.turn });
    }
    if (i + columns >= heads.length) {
      const named = { anchor: 'middle', paint: 'muted' } as const;
      write(keyLabels ? 'key' : 'key position', x + panel.width / 2, y + panel.height + footHeight + LABEL, named);
    }
    return { x, y, ...panel, weights };
  });

  const gridWidth = left + Math.min(columns, heads.length) * (room + gap) - gap;
  const titleWidth = title === undefined ? 0 : MARGIN + BOLD * widthOf(title, TITLE);
  const width = Math.ceil(Math.max(gridWidth, legend.end, titleWidth) + MARGIN);
  const height = Math.ceil(top + rows * (rowHeight + GAP) - GAP + LINE + MARGIN);
  const hasNumbers = cell.width >= 24 && cell.height >= 14 && scale.low >= 0 && scale.high <= 1;
  const word = (labels: readonly string[] | undefined, at: number) => (labels ? `${at} (${labels[at]})` : `${at}`);
  return {
    width,
    height,
    title: title ?? 'Attention weights',
    description: describe(map, scale),
    rows: queries,
    columns: keys,
    panels,
    texts,
    ramp: legend.ramp,
    samples: legend.samples,
    hasNumbers,
    nameOf: (row, column, weight) =>
      `query ${word(queryLabels, row)}, key ${word(keyLabels, column)}: ${formatWeight(weight)}`,
    scale,
    isLarge,
  };
}

/** Whether a weight of a picture with numbers is written, and in what. */
export function numberIn(weight: number, scale: Scale): { text: string; paint: Paint } | undefined {
  if (cellKind(weight, scale) !== 'weight' || weight < LEAST_WRITTEN) return undefined;
  return {
    text: weight.toFixed(2).replace(/^0/, ''),
    paint: shareOf(weight, scale) > STRONG ? 'strong' : 'weak',
  };
}

export const NUMBER_SIZE = NUMBER;

/** What there is in all heads. */
interface Survey {
  readonly least: number;
  readonly largest: number;
  readonly hasMasked: boolean;
  readonly hasBad: boolean;
}

function survey({ heads }: Heatmap): Survey {
  let [least, largest, hasZero, hasMasked, hasBad] = [0, 0, false, false, false];
  for (const { weights } of heads) {
    for (let i = 0; i < weights.length; i++) {
      const weight = weights[i];
      if (weight === 0) hasZero = true;
      else if (weight === -Infinity) hasMasked = true;
      else if (!Number.isFinite(weight)) hasBad = true;
      else if (weight < least) least = weight;
      else if (weight > largest) largest = weight;
    }
  }
  return { least, largest, hasMasked: hasMasked || (hasZero && least === 0), hasBad };
}

/**
 * From 0 to the largest weight. In large pictures that would show nothing, because the first rows of a causal matrix have weights of
 * 1, and the others thousandths. There, the scale ends at the weight up to which nearly all attention goes.
 */
function scaleOf({ heads, range }: Heatmap, { least, largest }: Survey, isLarge: boolean): Scale {
  const zeroIsMasked = least === 0;
  if (range) return { low: range[0], high: range[1], isOpen: largest > range[1], zeroIsMasked };
  const high = isLarge && least === 0 ? Math.min(usualMost(heads), largest) : largest;
  if (high > least) return { low: least, high, isOpen: largest > high, zeroIsMasked };
  return { low: least, high: least + 1, isOpen: false, zeroIsMasked };
}

/** The weight up to which `USUAL_SHARE` of the sum of all weights goes, rounded up by at most an eighth. */
function usualMost(heads: Heatmap['heads']): number {
  // sums of the weights that agree in the first bits of their float32: exponent and three of the fraction
  const sums = new Float64Array(2 ** (32 - FRACTION_LEFT));
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  let sum = 0;
  for (const { weights } of heads) {
    for (let i = 0; i < weights.length; i++) {
      const weight = weights[i];
      if (!Number.isFinite(weight)) continue;
      number[0] = weight;
      sums[bits[0] >>> FRACTION_LEFT] += weight;
      sum += weight;
    }
  }
  let left = USUAL_SHARE * sum;
  bits[0] = (sums.findIndex((part) => (left -= part) <= 0) + 1) << FRACTION_LEFT;
  return number[0];
}

/** Cells are square unless one axis is more than four times as long as the other. They are larger where words must fit. */
function cellOf({ heads, queries, keys, queryLabels, keyLabels }: Heatmap): { width: number; height: number } {
  const columns = usualColumns(heads.length);
  const target = columns === 1 ? 540 : columns <= 3 ? 320 : columns === 4 ? 240 : 120;
  const isWritten = (length: number, labels: readonly string[] | undefined) => labels && length <= MOST_LABELS;
  const fit = (length: number, hasWords: boolean | undefined) => {
    const size = Math.min(target / length, LARGEST_CELL);
    return Math.max(size > 4 ? Math.floor(size) : size, hasWords ? LABELLED_CELL : 0);
  };
  const [across, down] = [isWritten(keys, keyLabels), isWritten(queries, queryLabels)];
  if (Math.max(queries, keys) > 4 * Math.min(queries, keys)) {
    return { width: fit(keys, across), height: fit(queries, down) };
  }
  const side = fit(Math.max(queries, keys), across || down);
  return { width: side, height: side };
}

function usualColumns(heads: number): number {
  if (heads <= 3) return heads;
  if (heads === 4) return 2;
  return heads <= 16 ? 4 : 8;
}

interface Axis {
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
  /** Width of the longest text. */
  readonly longest: number;
  /** Degrees by which texts below the cells are turned. */
  readonly turn: 0 | -45 | -90;
}

/** Words where each has room, else positions in round steps. */
function axisOf(length: number, cell: number, labels: readonly string[] | undefined): Axis {
  const isWritten = labels !== undefined && cell >= LABELLED_CELL;
  const room = Math.max(TICK_DISTANCE, widthOf(String(length), LABEL) + 12);
  const step = isWritten ? 1 : roundStep(room / cell);
  const ticks = Array.from({ length: Math.ceil(length / step) }, (_, i) => ({
    at: i * step,
    text: isWritten ? shortened(visible(labels[i]), Infinity, LABEL) : String(i * step),
  }));
  const longest = ticks.reduce((most, { text }) => Math.max(most, widthOf(text, LABEL)), 0);
  const turn = longest <= step * cell - 4 ? 0 : cell >= SLANTED_CELL ? -45 : -90;
  return { ticks, longest, turn };
}

/** The least of 1, 2, 5, 10, 20, 50, … that is not below. */
function roundStep(least: number): number {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(least)));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= least) ?? power;
}

/** The colour scale with its ends, and samples of masked and of bad cells if there are any. */
function legendOf(
  { hasMasked, hasBad }: Survey,
  scale: Scale,
  x: number,
  y: number,
  write: (text: string, x: number, y: number, how?: Partial<Text>) => void,
): { ramp: Box; samples: Scene['samples']; end: number } {
  const base = y + LABEL - 1;
  let at = x;
  const put = (text: string, paint: Paint = 'ink') => {
    write(text, at, base, { paint });
    at += widthOf(text, LABEL) + 6;
  };
  put('weight', 'muted');
  put(formatEnd(scale.low));
  const ramp = { x: at, y: y + LABEL / 2 - RAMP.height / 2, ...RAMP };
  at += RAMP.width + 6;
  put(`${scale.isOpen ? '≥ ' : ''}${formatEnd(scale.high)}`);
  const samples = (['masked', 'bad'] as const)
    .filter((kind) => (kind === 'masked' ? hasMasked : hasBad))
    .map((kind) => {
      at += 14;
      const box = { kind, x: at, y: ramp.y, width: 14, height: RAMP.height };
      at += box.width + 6;
      put(kind === 'bad' ? 'not a number' : scale.zeroIsMasked ? 'exactly 0, as masked' : 'masked', 'muted');
      return box;
    });
  return { ramp, samples, end: at };
}

function describe({ heads, queries, keys }: Heatmap, { low, high }: Scale): string {
  const count = (number: number, what: string) => `${number} ${number === 1 ? what : what.replace(/y$/, 'ie')}s`;
  const lengths = `${queries} ${queries === 1 ? 'query' : 'queries'} and ${keys} ${keys === 1 ? 'key' : 'keys'}`;
  return `A matrix of ${lengths} for each of ${count(heads.length, 'head')}, coloured from ${formatEnd(low)} to ${formatEnd(high)}.`;
}

function formatEnd(weight: number): string {
  return String(Number(weight.toPrecision(2)));
}

/** Three decimals, or as many digits where those would not tell it from 0. */
function formatWeight(weight: number): string {
  if (weight === 0 || !Number.isFinite(weight)) return String(weight);
  return Math.abs(weight) < 0.001 ? weight.toExponential(2) : weight.toFixed(3);
}

/** Shows blanks and line breaks of tokens. */
function visible(label: string): string {
  const text = label.replaceAll('\n', '⏎').replaceAll('\t', '⇥');
  return text.trim() === '' ? '␣'.repeat(text.length) : text.trim();
}

/** Cut to a width in pixels, and to the longest label where that is Infinity. */
function shortened(text: string, width: number, size: number): string {
  const letters = Array.from(text);
  const isTooLong = (count: number) =>
    width === Infinity ? count > LONGEST_LABEL : widthOf(letters.slice(0, count).join(''), size) > width;
  if (!isTooLong(letters.length)) return text;
  let count = letters.length - 1;
  while (count > 1 && isTooLong(count + 1)) count--;
  return `${letters.slice(0, count).join('')}…`;
}

/** An estimate, because only browsers measure text: of a wide sans-serif font. */
export function widthOf(text: string, size: number): number {
  let width = 0;
  for (const letter of text) {
    if (letter.codePointAt(0)! >= 0x1100) width += 1;
    else if (/[A-ZmwMW@%]/.test(letter)) width += 0.74;
    else if (/[fijlrtI1 .,:;'|!()[\]]/.test(letter)) width += 0.36;
    else width += 0.58;
  }
  return width * size;
}
