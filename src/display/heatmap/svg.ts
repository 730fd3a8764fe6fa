/** Writes a heatmap as SVG. */
import type { Tensor } from '../../tensor/tensor.ts';
import { crc32, encodeGreyPng } from './png.ts';
import { rasterOf, type Raster } from './raster.ts';
import { readHeatmap, type AttentionHeatmapOptions, type HeatmapWeights } from './read-heatmap.ts';
import {
  layOut,
  cellKind,
  NUMBER_SIZE,
  numberIn,
  shareOf,
  type Box,
  type Panel,
  type Scene,
  type Text,
} from './scene.ts';
import { THEMES, type Paint } from './theme.ts';

const RAMP_STEPS = 48;
/** Distance of the lines that mark masked cells where cells are small. */
const HATCH = 6;

export async function writeSvg(
  call: string,
  weights: Tensor | HeatmapWeights,
  options: AttentionHeatmapOptions,
): Promise<string> {
  const scene = layOut(await readHeatmap(call, weights, options));
  const { colorScheme = 'auto' } = options;
  const { width, height, title, description, panels, texts, isLarge } = scene;
  const name = `attention-heatmap-${colorScheme}`;
  const cells = isLarge
    ? await Promise.all(panels.map((panel) => drawImage(panel, scene)))
    : panels.map((panel) => drawCells(panel, scene));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="${name}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
      `role="img" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif">`,
    `<title>${escape(title)}</title>`,
    `<desc>${escape(description)}</desc>`,
    `<style>${styleSheet(name, colorScheme)}</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    drawLegend(scene),
    ...panels.map((panel, i) => `${cells[i]}\n${box(panel, 'frame')}`),
    ...texts.map(drawText),
    '</svg>\n',
  ].join('\n');
}

/** Rules for one scheme, or for both. A page may set the variables; a viewer that knows none takes the colour before. */
function styleSheet(name: string, colorScheme: 'auto' | 'light' | 'dark'): string {
  const rules = (theme: 'light' | 'dark') => {
    const colour = (paint: Paint, property = 'fill') => {
      const value = THEMES[theme][paint];
      return `${property}:${value};${property}:var(--attention-heatmap-${paint},${value})`;
    };
    const fills = (['paper', 'ink', 'muted', 'weight', 'weak', 'strong', 'bad'] as const).map(
      (paint) => `.${name} .${paint}{${colour(paint)}}`,
    );
    return `${fills.join('')}.${name} .hatch,.${name} .frame{fill:none;${colour('line', 'stroke')}}`;
  };
  if (colorScheme !== 'auto') return rules(colorScheme);
  return `${rules('light')}@media screen and (prefers-color-scheme:dark){${rules('dark')}}`;
}

function drawText({ text, x, y, size, anchor, paint, isBold, turn }: Text): string {
  const attributes = [
    `class="${paint}"`,
    `x="${short(x)}" y="${short(y)}"`,
    `font-size="${size}"`,
    anchor !== 'start' && `text-anchor="${anchor}"`,
    isBold && 'font-weight="600"',
    turn && `transform="rotate(${turn} ${short(x)} ${short(y)})"`,
  ];
  return `<text ${attributes.filter(Boolean).join(' ')}>${escape(text)}</text>`;
}

/** One element for each cell, with what it says in words. */
function drawCells(panel: Panel, scene: Scene): string {
  const { rows, columns, scale, nameOf, hasNumbers } = scene;
  const [w, h] = [panel.width / columns, panel.height / rows];
  const size = `width="${short(w)}" height="${short(h)}"`;
  const [cells, numbers, masked]: [string[], string[], string[]] = [[], [], []];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const weight = panel.weights[row * columns + column];
      const [x, y] = [column * w, row * h];
      const kind = cellKind(weight, scale);
      const look =
        kind === 'bad' ? 'class="bad"' : `fill-opacity="${kind === 'masked' ? 0 : short(shareOf(weight, scale), 3)}"`;
      const words = escape(nameOf(row, column, weight));
      cells.push(`<rect x="${short(x)}" y="${short(y)}" ${size} ${look}><title>${words}</title></rect>`);
      if (kind === 'masked') masked.push(`M${short(x)} ${short(y + h)}l${short(w)} ${short(-h)}`);
      const number = hasNumbers ? numberIn(weight, scale) : undefined;
      if (number) {
        const [cx, cy] = [short(x + w / 2), short(y + h / 2 + 0.36 * NUMBER_SIZE)];
        numbers.push(`<text class="${number.paint}" x="${cx}" y="${cy}">${number.text}</text>`);
      }
    }
  }
  return [
    `<g transform="translate(${short(panel.x)} ${short(panel.y)})">`,
    ...(masked.length > 0 ? [`<path class="hatch" d="${masked.join('')}"/>`] : []),
    `<g class="weight" shape-rendering="crispEdges">${cells.join('')}</g>`,
    ...(numbers.length > 0
      ? [`<g font-size="${NUMBER_SIZE}" text-anchor="middle" pointer-events="none">${numbers.join('')}</g>`]
      : []),
    '</g>',
  ].join('\n');
}

/** The cells as images, which are masks, so that the colours stay those of the style sheet. */
async function drawImage(panel: Panel, scene: Scene): Promise<string> {
  const raster = rasterOf(panel, scene);
  const { shares, present, bad } = raster;
  const parts: string[] = [];
  const isMasked = present.some((value, i) => value === 0 && bad[i] === 0);
  if (isMasked) {
    parts.push(drawHatch(panel), await maskedBox('paper', present, raster, panel, scene));
  }
  parts.push(await maskedBox('weight', shares, raster, panel, scene));
  if (bad.includes(255)) parts.push(await maskedBox('bad', bad, raster, panel, scene));
  return parts.join('\n');
}

async function maskedBox(
  paint: Paint,
  pixels: Uint8Array,
  { width, height, bin }: Raster,
  panel: Panel,
  scene: Scene,
): Promise<string> {
  const url = `data:image/png;base64,${base64(await encodeGreyPng(width, height, pixels))}`;
  const id = `attention-heatmap-${crc32(new TextEncoder().encode(`${panel.x} ${panel.y} ${url}`)).toString(36)}`;
  // the last pixels may reach beyond the panel, whose box cuts them off
  const size = {
    width: (panel.width / scene.columns) * bin * width,
    height: (panel.height / scene.rows) * bin * height,
  };
  const place = `x="${short(panel.x)}" y="${short(panel.y)}"`;
  return [
    `<mask id="${id}" maskUnits="userSpaceOnUse" ${place} width="${short(size.width)}" height="${short(size.height)}">`,
    `<image ${place} width="${short(size.width)}" height="${short(size.height)}" preserveAspectRatio="none" ` +
      `style="image-rendering:pixelated" href="${url}"/></mask>`,
    box(panel, paint, `mask="url(#${id})"`),
  ].join('');
}

/** Diagonal lines over a whole panel. */
function drawHatch({ x, y, width, height }: Box): string {
  const lines: string[] = [];
  for (let d = HATCH; d < width + height; d += HATCH) {
    const [fromX, fromY] = [Math.max(0, d - height), Math.min(d, height)];
    const [toX, toY] = [Math.min(d, width), Math.max(0, d - width)];
    lines.push(`M${short(x + fromX)} ${short(y + fromY)}L${short(x + toX)} ${short(y + toY)}`);
  }
  return `<path class="hatch" d="${lines.join('')}"/>`;
}

function drawLegend({ ramp, samples }: Scene): string {
  const step = ramp.width / RAMP_STEPS;
  const steps = Array.from(
    { length: RAMP_STEPS },
    (_, i) =>
      `<rect x="${short(ramp.x + i * step)}" y="${ramp.y}" width="${short(step)}" height="${ramp.height}" ` +
      `fill-opacity="${short((i + 0.5) / RAMP_STEPS, 3)}"/>`,
  );
  const boxes = samples.map((sample) => {
    const inner = sample.kind === 'bad' ? box(sample, 'bad') : drawHatch({ ...sample });
    return `${inner}${box(sample, 'frame')}`;
  });
  return [`<g class="weight" shape-rendering="crispEdges">${steps.join('')}</g>${box(ramp, 'frame')}`, ...boxes].join(
    '\n',
  );
}

function box({ x, y, width, height }: Box, paint: Paint | 'frame', more = ''): string {
  const own = `class="${paint}" x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}"`;
  return `<rect ${own}${paint === 'frame' ? ' pointer-events="none"' : ''}${more && ` ${more}`}/>`;
}

function short(number: number, digits = 2): string {
  return String(Number(number.toFixed(digits)));
}

/** Text as XML: what it forbids even when escaped (control characters, halves of pairs) becomes a replacement character. */
function escape(text: string): string {
  const named = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return Array.from(text, (letter) => {
    const code = letter.codePointAt(0)!;
    const isForbidden =
      (code < 0x20 && !'\t\n\r'.includes(letter)) || (code >= 0xd800 && code <= 0xdfff) || (code & 0xfffe) === 0xfffe;
    return isForbidden ? '\uFFFD' : (named[letter as keyof typeof named] ?? letter);
  }).join('');
}

function base64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
