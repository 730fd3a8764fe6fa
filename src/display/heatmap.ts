/** Draws attention weights as an SVG: one panel for each head of each batch entry, with words along both axes. */
import type { Drawing } from './drawing.ts';

/** The weights of one module, [batch, heads, queries, keys] in row-major order. */
export interface AttentionMaps {
  readonly title: string;
  readonly weights: ArrayLike<number>;
  readonly shape: readonly [batch: number, heads: number, queries: number, keys: number];
  /** The word at each position, for each batch entry. */
  readonly queryLabels: readonly (readonly string[])[];
  readonly keyLabels: readonly (readonly string[])[];
  /** What each head looks for; absent if nothing is known. */
  readonly headLabels?: readonly string[];
}

// Lengths are in pixels.
const FONT_SIZE = 11;
/** An average letter of FONT_SIZE in a wide sans-serif font. */
const LETTER = 6.5;
/** How much wider bold letters are. */
const BOLD = 1.15;
const TITLE_SIZE = 16;
const LINE = 16;
const CELL = 26;
const GAP = 16;
const MARGIN = 20;
const PANELS_A_ROW = 4;
const LEGEND = { width: 260, height: 64 };
const INK = '#222';
/** Begins almost white, so that keys without weight recede; its lightness changes in even steps. */
const SCHEME = 'blues';
/** Cells with less weight than this show only their colour. */
const LEAST_WRITTEN = 0.05;

/**
 * Draws all heads of all batch entries on one colour scale from 0 to the largest weight, as a standalone SVG. Weights
 * of at least 0.05 are written in their cells; pointing at a cell shows its words and the weight to three digits.
 */
export function drawAttentionMaps(maps: AttentionMaps, drawing: Drawing): string {
  const [batch, heads] = maps.shape;
  const panel = panelBox(maps);
  const max = largest(maps.weights);
  const columns = Math.min(heads, PANELS_A_ROW);
  const sectionHeight = 2 * LINE + Math.ceil(heads / columns) * (panel.height + GAP);
  const top = MARGIN + 2 * LINE + LEGEND.height;
  const titleWidth = maps.title.length * LETTER * (TITLE_SIZE / FONT_SIZE) * BOLD;
  const width = Math.ceil(2 * MARGIN + Math.max(columns * (panel.width + GAP) - GAP, LEGEND.width, titleWidth));
  const height = top + batch * sectionHeight + MARGIN;

  const parts = [
    `<title>${escape(maps.title)}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    heading(MARGIN, MARGIN + LINE, TITLE_SIZE, maps.title),
    placed(MARGIN, MARGIN + 1.5 * LINE, drawLegend(max, drawing)),
  ];
  for (let entry = 0; entry < batch; entry++) {
    const sectionTop = top + entry * sectionHeight;
    parts.push(heading(MARGIN, sectionTop + LINE, 14, `batch entry ${entry}`));
    for (let head = 0; head < heads; head++) {
      const x = MARGIN + (head % columns) * (panel.width + GAP);
      const y = sectionTop + 2 * LINE + Math.floor(head / columns) * (panel.height + GAP);
      if (heads > 1) parts.push(heading(x + panel.left, y + 12, 12, headTitle(maps, head)));
      parts.push(placed(x, y, drawPanel(maps, entry, head, panel, max, drawing)));
    }
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
      `role="img" font-family="sans-serif" fill="${INK}" color="${INK}">`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

interface PanelBox {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  readonly slantsKeys: boolean;
}

/** Leaves room for the longest words of any panel, so that all panels have one size. */
function panelBox({ shape, queryLabels, keyLabels }: AttentionMaps): PanelBox {
  const [, , queries, keys] = shape;
  const queryWidth = longest(queryLabels) * LETTER;
  const keyWidth = longest(keyLabels) * LETTER;
  const slantsKeys = keyWidth > CELL - 4;
  const slanted = keyWidth * Math.SQRT1_2;
  const left = Math.ceil(Math.max(LINE + queryWidth + 8, slanted - CELL / 2));
  const bottom = Math.ceil((slantsKeys ? slanted + 8 : LINE) + LINE + 4);
  const top = shape[1] > 1 ? LINE + 4 : 1;
  return {
    width: left + keys * CELL + 1,
    height: top + queries * CELL + bottom,
    left,
    top,
    right: 1,
    bottom,
    slantsKeys,
  };
}

interface Cell {
  readonly query: number;
  readonly key: number;
  readonly weight: number;
}

function drawPanel(
  { weights, shape, queryLabels, keyLabels }: AttentionMaps,
  entry: number,
  head: number,
  panel: PanelBox,
  max: number,
  { plot, document }: Drawing,
): string {
  const [, heads, queries, keys] = shape;
  const begin = (entry * heads + head) * queries * keys;
  const cells = Array.from({ length: queries * keys }, (_, i): Cell => {
    return { query: Math.floor(i / keys), key: i % keys, weight: weights[begin + i] };
  });
  const word = (labels: AttentionMaps['keyLabels'], position: number) => labels[entry][position];
  const axis = { tickSize: 0, tickPadding: 4, fontSize: FONT_SIZE, labelAnchor: 'center', labelArrow: 'none' } as const;
  const slant = panel.slantsKeys ? ({ tickRotate: -45, textAnchor: 'end' } as const) : {};
  return svgText(
    plot.plot({
      document: document as never,
      width: panel.width,
      height: panel.height,
      marginLeft: panel.left,
      marginTop: panel.top,
      marginRight: panel.right,
      marginBottom: panel.bottom,
      x: { type: 'band', domain: positions(keys), padding: 0 },
      y: { type: 'band', domain: positions(queries), padding: 0 },
      color: { type: 'linear', scheme: SCHEME, domain: [0, max] },
      marks: [
        plot.cell(cells, {
          x: 'key',
          y: 'query',
          fill: 'weight',
          inset: 0.5,
          title: ({ query, key, weight }: Cell) =>
            `query ${query} (${word(queryLabels, query)}), key ${key} (${word(keyLabels, key)}): ${weight.toFixed(3)}`,
        }),
        plot.text(
          cells.filter(({ weight }) => weight >= LEAST_WRITTEN),
          {
            x: 'key',
            y: 'query',
            text: ({ weight }: Cell) => weight.toFixed(2).replace(/^0/, ''),
            fill: ({ weight }: Cell) => (weight > 0.55 * max ? 'white' : INK),
            fontSize: 9,
          },
        ),
        plot.frame({ stroke: '#bbb' }),
        plot.axisX({
          ...axis,
          ...slant,
          label: 'key position',
          labelOffset: panel.bottom - 4,
          tickFormat: (key: number) => word(keyLabels, key),
        }),
        plot.axisY({
          ...axis,
          label: 'query position',
          labelOffset: panel.left - 4,
          tickFormat: (query: number) => word(queryLabels, query),
        }),
      ],
    }),
  );
}

function drawLegend(max: number, { plot, document }: Drawing): string {
  const steps = 64;
  const ramp = Array.from({ length: steps }, (_, i) => ({ from: (i * max) / steps, to: ((i + 1) * max) / steps }));
  return svgText(
    plot.plot({
      document: document as never,
      ...LEGEND,
      marginLeft: 10,
      marginRight: 16,
      marginTop: 24,
      marginBottom: 22,
      x: { domain: [0, max] },
      y: { axis: null },
      color: { type: 'linear', scheme: SCHEME, domain: [0, max] },
      marks: [
        // each step reaches under the next, or hair lines would show between them
        plot.rect(ramp, { x1: 'from', x2: 'to', fill: 'to', insetRight: -1 }),
        plot.frame({ stroke: '#bbb' }),
        plot.text(['attention weight'], { frameAnchor: 'top-left', dy: -14, fontSize: FONT_SIZE }),
        plot.axisX([0, max], { label: null, tickFormat: formatWeight, fontSize: FONT_SIZE, tickSize: 3 }),
      ],
    }),
  );
}

function formatWeight(weight: number): string {
  return String(Number(weight.toPrecision(2)));
}

/** Plot's markup without its style sheet, whose rule `height: auto` is meant for web pages. */
function svgText(drawn: unknown): string {
  const svg = drawn as { querySelector(selector: string): { remove(): void } | null; outerHTML: string };
  svg.querySelector('style')?.remove();
  return svg.outerHTML;
}

function headTitle({ headLabels }: AttentionMaps, head: number): string {
  return headLabels ? `head ${head}: ${headLabels[head]}` : `head ${head}`;
}

function heading(x: number, y: number, size: number, text: string): string {
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="bold">${escape(text)}</text>`;
}

function placed(x: number, y: number, markup: string): string {
  return `<g transform="translate(${x},${y})">${markup}</g>`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function longest(labels: readonly (readonly string[])[]): number {
  return labels.flat().reduce((most, { length }) => Math.max(most, length), 0);
}

function positions(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}

/** The largest weight, but at least a little, so that the scale has a length even if all weights are 0. */
function largest(weights: ArrayLike<number>): number {
  return Array.from(weights).reduce((max, weight) => Math.max(max, weight), 1e-3);
}
